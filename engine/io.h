/* io.h: the contract that every disk must keep, and the only door to whatever is not deterministic: files, the clock,
 * randomness.
 *
 * Backends     io_uring.c (production), io_sync.c (the same contract by pwrite and fdatasync, for kernels and
 *              containers that forbid io_uring), tests/support/io_sim.c (a seeded disk in memory that tears, drops,
 *              reorders and fails).
 * Paths        are relative to the root directory given at open; '/' separates; no ".."; "." is the root.
 * Threads      A struct io belongs to one thread: the first to submit. Another may open it, and close it once nothing is
 *              in flight. Two threads open two of them on the same root; file handles are not shared between them.
 * Completion   io_submit() never calls back. A request is the caller's, must not move until io_wait() has handed it
 *              back, and is handed back exactly once, in any order.
 * Short I/O    is the backend's business: a write is handed back whole or failed. A read is short only at end of file.
 * Durability   IO_WRITE_DURABLE and IO_SYNC are complete only once the device has the bytes and the size. A new,
 *              renamed or unlinked name is durable only after sync_directory().
 * Failure      A write that finds no room (ENOSPC, EDQUOT) is STATUS_NO_SPACE and leaves the file's old bytes as they
 *              were outside the range. Any other failed write, any failed sync, and a full disk met by IO_WRITE_DURABLE
 *              on a file that also had IO_WRITE, is STATUS_IO and leaves bytes in doubt (of a sync: all not yet synced):
 *              never retry it, never trust the file again in this process.
 * Alignment    Files opened with IO_OPEN_DIRECT take offsets, sizes and buffers in multiples of LOG_BLOCK_ALIGN.
 */
#ifndef ASSAY_ENGINE_IO_H
#define ASSAY_ENGINE_IO_H

#include "engine/base.h"

enum io_kind {
    IO_READ,
    IO_WRITE,
    IO_WRITE_DURABLE, /* data and, where it grew, size are on the device when done */
    IO_SYNC,          /* all earlier completed writes of the file are on the device when done */
};

enum io_open_flags {
    IO_OPEN_READ = 1,   /* read only; else read and write */
    IO_OPEN_CREATE = 2, /* must not exist yet: STATUS_EXISTS; not with IO_OPEN_READ */
    IO_OPEN_DIRECT = 4, /* past the page cache where the filesystem can (silently buffered where not) */
};

struct io_request {
    enum io_kind kind;
    int file;
    void *buffer;    /* read into, or written from (then not changed) */
    size_t size;
    uint64_t offset;
    enum status status; /* out */
    size_t done;        /* out: bytes read or written */
    int error_number;   /* out: errno behind a failure, for the message */
    void *context;      /* the caller's */
    struct io_request *next; /* the backend's while in flight, the list of io_wait() after */
};

struct io;

struct io_operations {
    const char *name; /* "uring", "sync", "sim" */
    enum status (*open)(struct io *io, const char *path, unsigned flags, int *out_file);
    void (*close_file)(struct io *io, int file);
    enum status (*size)(struct io *io, int file, uint64_t *out_size);
    /* Makes [0, size) of the file really written zeros, so that later overwrites change no metadata; durable. Slow. A
     * failure leaves part of them: unlink the file. STATUS_NO_SPACE, at once and with nothing taken, where less than
     * DISK_RESERVE, or an eighth of a small disk, would be left. */
    enum status (*allocate)(struct io *io, int file, uint64_t size);
    /* Cuts, or grows with zeros; durable, with all earlier completed writes. Slow. */
    enum status (*truncate)(struct io *io, int file, uint64_t size);
    /* Starts a request. Any number may be in flight. On failure the request is not taken. */
    enum status (*submit)(struct io *io, struct io_request *request);
    /* Hands back all completed requests as a list, in completion order. Waits up to timeout_us for the first
     * (negative: without end; 0: not at all). STATUS_OK with an empty list on time-out, and at once where nothing is in
     * flight. Anything else means that the backend is broken and requests in flight will not come back. */
    enum status (*wait)(struct io *io, int64_t timeout_us, struct io_request **out_completed);
    enum status (*sync_directory)(struct io *io, const char *path);
    enum status (*make_directory)(struct io *io, const char *path); /* mode 0700; an existing one is fine */
    enum status (*rename)(struct io *io, const char *from, const char *to); /* replaces `to` */
    enum status (*unlink)(struct io *io, const char *path);
    /* Calls visit for each entry, in no order, without "." and "..". visit must not change the directory. */
    enum status (*list)(struct io *io, const char *path, void (*visit)(void *context, const char *name), void *context);
    /* Takes an exclusive lock on a file, made if missing, that ends with this io or the process. STATUS_LOCKED while
     * anyone else has it: another process, or another io of this one. */
    enum status (*lock)(struct io *io, const char *path);
    int64_t (*now_us)(struct io *io); /* wall clock, UTC */
    void (*random)(struct io *io, void *buffer, size_t size); /* cryptographic where real */
    void (*close)(struct io *io); /* waits for requests in flight, hands none back; ends the files and locks */
};

/* Embedded as the first member of each backend's own struct. */
struct io {
    const struct io_operations *operations;
    int last_errno; /* behind the last failure, for the message */
};

enum io_backend {
    IO_BACKEND_AUTO, /* uring, or sync where rings are forbidden */
    IO_BACKEND_URING,
    IO_BACKEND_SYNC,
};

/* Opens a disk rooted at an existing directory. io_open() reports which backend it took in (*out_io)->operations->name. */
MUST_USE enum status io_open(enum io_backend backend, const char *root, struct error *error, struct io **out_io);
MUST_USE enum status io_uring_open(const char *root, struct error *error, struct io **out_io);
MUST_USE enum status io_sync_open(const char *root, struct error *error, struct io **out_io);
void io_close(struct io *io); /* NULL is fine */

/* One request, submitted and waited for. Only where no other request of this io is in flight. */
MUST_USE enum status io_read(struct io *io, int file, void *buffer, size_t size, uint64_t offset, size_t *out_done);
MUST_USE enum status io_write_durable(struct io *io, int file, const void *buffer, size_t size, uint64_t offset);

#endif
