/* io_posix.h: what the two disks on a real kernel share: files, names, locks, clock, and what the result of one system
 * call means for a request. io_uring.c and io_sync.c differ only in how a request reaches the kernel.
 *
 * A request moves in steps of one system call each. The backend asks io_posix_step() which call is next, makes it, and
 * tells io_posix_advance() the result, until that says the request is finished. Short reads and writes, a kernel without
 * RWF_DSYNC and every rule of io.h about failure live behind these two, once.
 */
#ifndef ASSAY_ENGINE_IO_POSIX_H
#define ASSAY_ENGINE_IO_POSIX_H

#include "engine/io.h"

struct io_posix_file {
    int descriptor; /* -1: a free place in the table */
    bool direct;
    bool read_only;
    bool plain_writes; /* an IO_WRITE was submitted: see ENOSPC in io_posix_advance() */
};

/* The first member of each backend's own struct. */
struct io_posix {
    struct io io;
    int root;
    bool durable_by_sync; /* RWF_DSYNC was refused: a durable write is a write, then fdatasync */
    struct io_posix_file *files; /* a file handle is its place in here */
    size_t file_count;
    int *locks;
    size_t lock_count;
};

enum io_posix_call {
    IO_POSIX_READ,
    IO_POSIX_WRITE,
    IO_POSIX_WRITE_DSYNC,
    IO_POSIX_FDATASYNC,
};

/* The next system call of a request. The buffer, size and offset are those still to do. */
struct io_posix_step {
    enum io_posix_call call;
    int descriptor;
    void *buffer;
    unsigned size;
    uint64_t offset;
};

/* `disk` is zeroed. On failure io_posix_deinit() is still safe and still due. */
MUST_USE enum status io_posix_init(struct io_posix *disk, const struct io_operations *operations,
                                   const char *root, struct error *error);
void io_posix_deinit(struct io_posix *disk);

/* To be called on each submit: asserts what the caller promised, clears the out fields. */
void io_posix_begin(struct io_posix *disk, struct io_request *request);
struct io_posix_step io_posix_step(const struct io_posix *disk, const struct io_request *request);
/* `result` is bytes done, or minus an errno. True when the request is finished and its status set. */
bool io_posix_advance(struct io_posix *disk, struct io_request *request, int64_t result);

/* Keeps the errno for the message and maps it to a status. For all but reads, writes and syncs. */
enum status io_posix_fail(struct io *io, int error_number);

/* Rows of the operation tables. */
enum status io_posix_open(struct io *io, const char *path, unsigned flags, int *out_file);
void io_posix_close_file(struct io *io, int file);
enum status io_posix_size(struct io *io, int file, uint64_t *out_size);
enum status io_posix_allocate(struct io *io, int file, uint64_t size);
enum status io_posix_truncate(struct io *io, int file, uint64_t size);
enum status io_posix_sync_directory(struct io *io, const char *path);
enum status io_posix_make_directory(struct io *io, const char *path);
enum status io_posix_rename(struct io *io, const char *from, const char *to);
enum status io_posix_unlink(struct io *io, const char *path);
enum status io_posix_list(struct io *io, const char *path,
                          void (*visit)(void *context, const char *name), void *context);
enum status io_posix_lock(struct io *io, const char *path);
int64_t io_posix_now_us(struct io *io);
void io_posix_random(struct io *io, void *buffer, size_t size);

#endif
