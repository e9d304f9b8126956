/* io_sync.c: the disk for kernels and containers that forbid io_uring: each request runs to its end inside submit, and
 * waits in a list to be handed back. */
#include "engine/io_posix.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

struct sync_disk {
    struct io_posix posix; /* first */
    struct io_request *completed_first;
    struct io_request *completed_last;
};

static int64_t step_run(const struct io_posix_step *step)
{
    struct iovec vector = {.iov_base = step->buffer, .iov_len = step->size};
    off_t offset = (off_t)step->offset;
    int64_t result = -1;
    switch (step->call) {
    case IO_POSIX_READ:
        result = preadv(step->descriptor, &vector, 1, offset);
        break;
    case IO_POSIX_WRITE:
        result = pwritev(step->descriptor, &vector, 1, offset);
        break;
    case IO_POSIX_WRITE_DSYNC:
        result = pwritev2(step->descriptor, &vector, 1, offset, RWF_DSYNC);
        /* A kernel or a filter that does not know the call at all is the same case as one that refuses the flag. */
        if (result < 0 && errno == ENOSYS) {
            errno = EOPNOTSUPP;
        }
        break;
    case IO_POSIX_FDATASYNC:
        result = fdatasync(step->descriptor);
        break;
    }
    return result < 0 ? -(int64_t)errno : result;
}

static enum status sync_submit(struct io *io, struct io_request *request)
{
    struct sync_disk *disk = (struct sync_disk *)io;
    io_posix_begin(&disk->posix, request);
    bool finished = false;
    while (!finished) {
        struct io_posix_step step = io_posix_step(&disk->posix, request);
        finished = io_posix_advance(&disk->posix, request, step_run(&step));
    }
    if (disk->completed_last != NULL) {
        disk->completed_last->next = request;
    } else {
        disk->completed_first = request;
    }
    disk->completed_last = request;
    return STATUS_OK;
}

static enum status sync_wait(struct io *io, int64_t timeout_us, struct io_request **out_completed)
{
    struct sync_disk *disk = (struct sync_disk *)io;
    (void)timeout_us; /* whatever was submitted is done */
    *out_completed = disk->completed_first;
    disk->completed_first = NULL;
    disk->completed_last = NULL;
    return STATUS_OK;
}

static void sync_close(struct io *io)
{
    struct sync_disk *disk = (struct sync_disk *)io;
    io_posix_deinit(&disk->posix);
    free(disk);
}

static const struct io_operations sync_operations = {
    .name = "sync",
    .open = io_posix_open,
    .close_file = io_posix_close_file,
    .size = io_posix_size,
    .allocate = io_posix_allocate,
    .truncate = io_posix_truncate,
    .submit = sync_submit,
    .wait = sync_wait,
    .sync_directory = io_posix_sync_directory,
    .make_directory = io_posix_make_directory,
    .rename = io_posix_rename,
    .unlink = io_posix_unlink,
    .list = io_posix_list,
    .lock = io_posix_lock,
    .now_us = io_posix_now_us,
    .random = io_posix_random,
    .close = sync_close,
};

enum status io_sync_open(const char *root, struct error *error, struct io **out_io)
{
    struct sync_disk *disk = calloc(1, sizeof(*disk));
    if (disk == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the disk");
    }
    enum status status = io_posix_init(&disk->posix, &sync_operations, root, error);
    if (status != STATUS_OK) {
        sync_close(&disk->posix.io);
        return status;
    }
    *out_io = &disk->posix.io;
    return STATUS_OK;
}
