/* io_sim.h: a disk in memory that keeps no promise but those of io.h: what was not synced may be gone, torn or out of
 * order after a crash, and any operation can be made to fail.
 *
 * Model        A file has a current content, which reads see, and a durable one, which a crash leaves. Between them lies
 *              a list of changes: completed writes not yet synced, then writes in flight. A change falls apart into
 *              atoms: one for each sector it touches, one for the size where the file grew. IO_SYNC makes durable what
 *              had completed when it was submitted, IO_WRITE_DURABLE its own sectors and size, and neither makes a name
 *              durable. Each made, renamed or unlinked name is one atom until sync_directory() of its directory. (A
 *              rename between directories is two: the old name never goes before the new one is there.)
 * Crash        yields a new disk on which each atom has met its fate (enum io_sim_fate) and everything is durable. The
 *              atoms are independent, so this is the least that POSIX promises; every real filesystem's outcomes are
 *              among them. io_sim_crash() draws the fates from a seed; io_sim_crash_with() takes them from an explorer,
 *              which goes through all, or some, of the fates of io_sim_atoms().
 * Cut points   io_sim_watch() is called back after every change of what a crash could leave: one run of a workload
 *              visits all of its cut points, and may take any number of crash disks at each.
 * Cost         Content is in shared, copy-on-write pages and zeros take no memory: a copy or a crash of a small disk
 *              costs microseconds. io_sim_hash() tells equal crash disks apart from new ones.
 * Faults       The n-th operation of the chosen kinds fails, once or from then on. A failed write leaves its range part
 *              old, part new; a failed sync loses part of what it should have kept, and the next sync will not bring it
 *              back, as on real kernels. Status STATUS_OK makes the device lie: it reports success, but a write or
 *              other change does not happen, and a durable write or sync makes nothing durable.
 * Schedule     A wait hands back what it likes of what is in flight, in any order, decided by the seed.
 * Threads      Any number of struct io, one for each thread, on one disk: a lock around every operation.
 * Memory       The disk asserts that there is memory. Same seed and same calls give the same disk, bit for bit.
 */
#ifndef ASSAY_TESTS_IO_SIM_H
#define ASSAY_TESTS_IO_SIM_H

#include "engine/io.h"

struct io_sim;

struct io_sim_options {
    uint64_t seed;
    uint32_t sector_size; /* 512 or 4096; 0: 512. What a crash keeps or drops as a whole */
    bool in_order;        /* hand back everything in flight at once, in order of submission */
    int64_t clock_us;     /* 0: 2026-01-01T00:00:00Z */
};

/* `options` may be NULL: all zeros. */
struct io_sim *io_sim_open(const struct io_sim_options *options);
/* The same disk again, volatile state included, without handles, locks, fault and watcher. Writes in flight stay in
 * flight for ever: a snapshot of a cut point, to crash later. */
struct io_sim *io_sim_clone(const struct io_sim *disk);
void io_sim_close(struct io_sim *disk); /* NULL is fine; all handles are closed */
/* A new handle, to be closed with io_close(). */
struct io *io_sim_handle(struct io_sim *disk);

/* The clock stands still unless moved. */
void io_sim_clock_set(struct io_sim *disk, int64_t now_us);
void io_sim_clock_advance(struct io_sim *disk, int64_t by_us);

/* Crashes */

enum io_sim_fate {
    IO_SIM_DROP, /* the old bytes; zeros where there were none */
    IO_SIM_KEEP, /* the new bytes */
    IO_SIM_HALF, /* the first half of the sector is new: torn within a sector */
    IO_SIM_STALE, /* where the file grew into a fresh block: bytes of a deleted file, else noise; elsewhere as DROP */
};

enum io_sim_atom_kind {
    IO_SIM_ATOM_SECTOR,
    IO_SIM_ATOM_SIZE, /* KEEP or, with any other fate, the size stays */
    IO_SIM_ATOM_NAME, /* KEEP or, with any other fate, the name stays */
};

struct io_sim_atom {
    enum io_sim_atom_kind kind;
    uint32_t owner;  /* the file, or the directory of the name: equal for equal ones, else opaque */
    uint64_t offset; /* sector: its first changed byte. Size: the new size */
    uint32_t size;   /* sector: changed bytes */
    bool in_flight;  /* of a write not yet handed back */
    bool fresh;      /* sector: beyond the durable size, so IO_SIM_STALE differs from IO_SIM_DROP */
    uint64_t change; /* equal for the atoms of one operation */
};

/* Fills in up to `capacity` atoms (which may be 0) and returns how many there are. Files first, then names, each in
 * order of time. */
size_t io_sim_atoms(const struct io_sim *disk, struct io_sim_atom *atoms, size_t capacity);
/* One line for a person. */
void io_sim_describe(const struct io_sim *disk, const struct io_sim_atom *atom, char *out_text,
                     size_t size);

/* The disk after power comes back. `fates` is an array of enum io_sim_fate as bytes, one for each of `count` atoms. */
struct io_sim *io_sim_crash_with(const struct io_sim *disk, const uint8_t *fates, size_t count,
                                 uint64_t seed);
/* Fates from a seed: of some seeds all kept, of some all dropped, of some a prefix, of the rest a mixture. */
struct io_sim *io_sim_crash(const struct io_sim *disk, uint64_t seed);
/* Of names and durable content. */
uint64_t io_sim_hash(const struct io_sim *disk);

/* `point` counts the cut points from 1. The watcher may call what takes a const disk, and io_sim_halt(). */
void io_sim_watch(struct io_sim *disk,
                  void (*watch)(void *context, struct io_sim *disk, uint64_t point), void *context);
/* The power is gone: from now on every operation fails with STATUS_IO and changes nothing. */
void io_sim_halt(struct io_sim *disk);

/* Faults */

enum io_sim_operation {
    IO_SIM_OPEN = 1 << 0,
    IO_SIM_SIZE = 1 << 1,
    IO_SIM_ALLOCATE = 1 << 2,
    IO_SIM_TRUNCATE = 1 << 3,
    IO_SIM_READ = 1 << 4,
    IO_SIM_WRITE = 1 << 5,
    IO_SIM_WRITE_DURABLE = 1 << 6,
    IO_SIM_SYNC = 1 << 7,
    IO_SIM_SYNC_DIRECTORY = 1 << 8,
    IO_SIM_MAKE_DIRECTORY = 1 << 9,
    IO_SIM_RENAME = 1 << 10,
    IO_SIM_UNLINK = 1 << 11,
    IO_SIM_LIST = 1 << 12,
    IO_SIM_LOCK = 1 << 13,
    IO_SIM_ALL = (1 << 14) - 1,
};

struct io_sim_fault {
    unsigned operations; /* kinds that count, of enum io_sim_operation */
    uint64_t nth; /* the first, 1, to fail, counted from now; requests count when submitted */
    bool forever; /* and all after it */
    bool
        revert_cache; /* a failed write or sync: reads then see the durable bytes again, not the new ones */
    enum status status; /* STATUS_NO_SPACE, STATUS_IO, ...; STATUS_OK lies */
};

/* Replaces the fault before it; NULL takes it away. */
void io_sim_inject(struct io_sim *disk, const struct io_sim_fault *fault);
/* How often the fault has struck: 0 tells a loop over n that it is at its end. */
uint64_t io_sim_struck(const struct io_sim *disk);

/* Around the contract, for tests that damage or inspect. Both look at the current content; poke changes the durable one
 * too, and grows nothing. */
MUST_USE enum status io_sim_peek(const struct io_sim *disk, const char *path, uint64_t offset,
                                 void *buffer, size_t size, size_t *out_done);
MUST_USE enum status io_sim_poke(struct io_sim *disk, const char *path, uint64_t offset,
                                 const void *bytes, size_t size);

#endif
