/* sim_disk.h: what lies on the simulated disk, and how it becomes durable. Shared by the three files behind io_sim.h:
 * sim_disk.c (this), sim_crash.c (what a crash leaves), io_sim.c (requests, faults and the operations of struct io).
 *
 * All functions want the disk's lock held.
 */
#ifndef ASSAY_TESTS_SIM_DISK_H
#define ASSAY_TESTS_SIM_DISK_H

#include "tests/support/io_sim.h"
#include "tests/support/sim_pages.h"

#include <pthread.h>
#include <stdatomic.h>

#define SIM_NAME_SIZE   60u /* with the terminating NUL */
#define SIM_ROOT        0u
#define SIM_GRAVES      8u    /* how many deleted files can come back as stale bytes */
#define SIM_SECTOR_SIZE 4096u /* the largest */

/* The bytes of one write, shared by the disks that a cut point is copied to. */
struct sim_payload {
    atomic_size_t holders;
    uint8_t bytes[];
};

enum sim_change_kind {
    SIM_CHANGE_WRITE,
    SIM_CHANGE_RESIZE, /* to `offset`, shrinking too */
};

/* Something done to a file that is not, or not wholly, durable. */
struct sim_change {
    enum sim_change_kind kind;
    struct sim_payload *payload; /* NULL: zeros */
    uint64_t offset;
    uint64_t size;
    uint64_t number;
    uint8_t *settled; /* a bit for each sector that has become durable since; NULL: none has */
};

struct sim_changes {
    struct sim_change *items;
    size_t count;
};

struct sim_entry {
    char name[SIM_NAME_SIZE];
    uint32_t inode;
};

struct sim_entries {
    struct sim_entry *items;
    size_t count;
};

/* A file or a directory. `durable` is what a crash leaves, `current` what reads see. */
struct sim_inode {
    bool directory;
    bool locked;
    uint32_t opens;
    struct sim_content durable;
    struct sim_content current;
    struct sim_changes applied;   /* in current, in this order, and not in durable */
    struct sim_changes in_flight; /* in neither */
    struct sim_entries durable_entries;
    struct sim_entries current_entries;
};

enum sim_name_kind {
    SIM_NAME_LINK,   /* `name` -> inode */
    SIM_NAME_UNLINK, /* `name` no longer */
    SIM_NAME_RENAME, /* `name` no longer, `to` -> inode, in one step */
};

struct sim_name_change {
    enum sim_name_kind kind;
    uint32_t directory;
    uint32_t inode;
    char name[SIM_NAME_SIZE];
    char to[SIM_NAME_SIZE];
    uint64_t number;
    uint64_t needs; /* 0, or the number of the change that must not come later than this one */
};

struct io_sim {
    pthread_mutex_t *
        mutex; /* recursive: the watcher calls back. By pointer, for functions that take a const disk */
    struct io_sim_options options;
    struct sim_inode **inodes; /* NULL: free. [SIM_ROOT] is the root directory */
    uint32_t inode_count;
    struct sim_name_change *names; /* in order of effect */
    size_t name_count;
    struct sim_content graves[SIM_GRAVES];
    size_t grave_next;
    uint64_t number; /* the last given to a change */
    uint64_t
        random; /* states of two generators: what the workload draws must not depend on the schedule */
    uint64_t schedule;
    int64_t now_us;
    bool halted;
    uint32_t handles;
    uint64_t point;
    void (*watch)(void *context, struct io_sim *disk, uint64_t point);
    void *watch_context;
    bool watching; /* inside the watcher */
    struct io_sim_fault fault;
    uint64_t fault_seen;
    uint64_t fault_struck;
};

void sim_enter(const struct io_sim *disk);
void sim_leave(const struct io_sim *disk);

/* Random numbers: a good hash of 64 bits, and a generator. */
uint64_t sim_mix(uint64_t value);
uint64_t sim_draw(uint64_t *state);
/* realloc that does not fail; room for nothing is not NULL. */
void *sim_resize(void *memory, size_t count, size_t item_size);

/* A disk with the durable half of another: its inodes keep their numbers. */
struct io_sim *sim_copy_durable(const struct io_sim *disk);
/* Frees files that no name, no pending name and no handle can reach any more. Their blocks are what a fresh block may
 * show. */
void sim_sweep(struct io_sim *disk);
/* To be called after each change of what a crash could leave. */
void sim_cut_point(struct io_sim *disk);

/* Names. Paths as in io.h; STATUS_NOT_FOUND where a directory on the way is missing. The root's last name is ".". */
enum status sim_path_split(const struct io_sim *disk, const char *path, uint32_t *out_directory,
                           char out_name[SIM_NAME_SIZE]);
enum status sim_path_find(const struct io_sim *disk, const char *path, uint32_t *out_inode);
void sim_entries_copy(struct sim_entries *to, const struct sim_entries *from);
uint32_t sim_make(struct io_sim *disk, uint32_t directory, const char *name, bool make_directory);
void sim_unlink(struct io_sim *disk, uint32_t directory, const char *name, uint32_t inode);
void sim_rename(struct io_sim *disk, uint32_t from, const char *from_name, uint32_t to,
                const char *to_name, uint32_t inode);
/* Makes the names of a directory durable, with the names elsewhere that they must not come before. */
void sim_names_settle(struct io_sim *disk, uint32_t directory);
void sim_name_apply(struct sim_entries *entries, const struct sim_name_change *change);
/* The pending change with this number, or NULL when it is durable. */
const struct sim_name_change *sim_name_find(const struct io_sim *disk, uint64_t number);

/* Content. How an operation ended for its bytes. */
enum sim_outcome {
    SIM_DONE,
    SIM_FULL,     /* a prefix took effect */
    SIM_FAILED,   /* some sectors became durable; reads see all */
    SIM_REVERTED, /* some sectors became durable; reads see those */
    SIM_LIED,     /* reported as done, but not */
};

/* A write goes in flight. Returns its number. */
uint64_t sim_write_begin(struct io_sim *disk, struct sim_inode *inode, uint64_t offset,
                         const void *bytes, size_t size);
void sim_write_end(struct io_sim *disk, struct sim_inode *inode, uint64_t number, bool durable,
                   enum sim_outcome outcome);
/* The bytes of a write in flight. */
const uint8_t *sim_write_bytes(const struct sim_inode *inode, uint64_t number);
/* Makes durable the changes up to a number. */
void sim_sync(struct io_sim *disk, struct sim_inode *inode, uint64_t number,
              enum sim_outcome outcome);
/* Zeros in [0, size), durable, with a cut point before they are. */
void sim_zero(struct io_sim *disk, struct sim_inode *inode, uint64_t size,
              enum sim_outcome outcome);
void sim_truncate(struct io_sim *disk, struct sim_inode *inode, uint64_t size);

/* The sectors of a change: how many, which part of the change lies in the index-th, whether it is durable by now. */
uint64_t sim_sector_count(const struct io_sim *disk, const struct sim_change *change);
void sim_sector_range(const struct io_sim *disk, const struct sim_change *change, uint64_t index,
                      uint64_t *out_start, uint64_t *out_end);
bool sim_sector_settled(const struct sim_change *change, uint64_t index);
uint64_t sim_change_end(const struct sim_change *change);
/* From `offset` on; NULL: zeros. */
const uint8_t *sim_change_bytes(const struct sim_change *change, uint64_t offset);
void sim_content_grow(struct sim_content *content, uint64_t size);

#endif
