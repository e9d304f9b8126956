/* io_uring.c: the production disk: requests go to the kernel through a ring, so that a flush, a read-ahead and the next
 * batch of work overlap in one thread. The only includer of <liburing.h>.
 *
 * Life of a ring   made disabled at open, where a refusal can still choose the other backend; enabled by the thread
 *                  that first submits, which is its only issuer from then on.
 * Life of a step   backlog (no room in the ring) -> submission queue -> kernel -> completion queue ->
 *                  io_posix_advance(), which either finishes the request or sends its next step the same way.
 */
#include "engine/io_posix.h"

#include <errno.h>
#include <liburing.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#define RING_ENTRIES 64u

/* How long a wait watches the ring before it sleeps. A sleeping virtual processor takes long to wake beside a flush of
 * 70 us: with a bound of 0, 50, 150 and 400 us, one durable 4 KiB write took 96, 84, 67 and 67 us (means of two
 * medians) on a virtual machine of 2 processors. The bound keeps a slow disk from costing a processor; between looks the
 * thread yields, so that whoever has work goes first. */
#define SPIN_US    150
#define STALLED_US 1000

struct request_list {
    struct io_request *first;
    struct io_request *last;
};

struct ring_disk {
    struct io_posix posix; /* first */
    struct io_uring ring;
    bool made;
    bool enabled;
    size_t in_flight;              /* submitted by the caller, not yet finished; backlog included */
    struct request_list backlog;   /* whose next step found no room in the ring */
    struct request_list completed; /* to be handed back */
};

static void list_push(struct request_list *list, struct io_request *request)
{
    request->next = NULL;
    if (list->last != NULL) {
        list->last->next = request;
    } else {
        list->first = request;
    }
    list->last = request;
}

static struct io_request *list_pop(struct request_list *list)
{
    struct io_request *request = list->first;
    list->first = request->next;
    if (list->first == NULL) {
        list->last = NULL;
    }
    return request;
}

static int64_t monotonic_us(void)
{
    struct timespec now;
    int result = clock_gettime(CLOCK_MONOTONIC, &now);
    assert(result == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Tells the processor that this is a waiting loop, so that it does not run ahead of the load it waits for. */
static void spin_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Submission */

static void step_prepare(struct io_uring_sqe *sqe, const struct io_posix_step *step)
{
    switch (step->call) {
    case IO_POSIX_READ:
        io_uring_prep_read(sqe, step->descriptor, step->buffer, step->size, step->offset);
        break;
    case IO_POSIX_WRITE:
        io_uring_prep_write(sqe, step->descriptor, step->buffer, step->size, step->offset);
        break;
    case IO_POSIX_WRITE_DSYNC:
        io_uring_prep_write(sqe, step->descriptor, step->buffer, step->size, step->offset);
        sqe->rw_flags = RWF_DSYNC;
        break;
    case IO_POSIX_FDATASYNC:
        io_uring_prep_fsync(sqe, step->descriptor, IORING_FSYNC_DATASYNC);
        break;
    }
}

/* Moves as much as there is room for from the backlog to the kernel. What the kernel cannot take now (EAGAIN, EBUSY)
 * stays where it is, to be tried again after completions have made room. */
static enum status ring_flush(struct ring_disk *disk)
{
    while (disk->backlog.first != NULL) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&disk->ring);
        if (sqe == NULL) {
            break;
        }
        struct io_request *request = list_pop(&disk->backlog);
        struct io_posix_step step = io_posix_step(&disk->posix, request);
        step_prepare(sqe, &step);
        io_uring_sqe_set_data(sqe, request);
    }
    while (io_uring_sq_ready(&disk->ring) > 0) {
        int result = io_uring_submit(&disk->ring);
        if (result >= 0 || result == -EINTR) {
            continue;
        }
        assert(result != -EEXIST); /* not the ring's thread */
        if (result == -EAGAIN || result == -EBUSY) {
            break;
        }
        disk->posix.io.last_errno = -result;
        return STATUS_IO;
    }
    return STATUS_OK;
}

static enum status ring_enable(struct ring_disk *disk)
{
    /* By number, as below: the shared library of liburing 2.3 leaves out the named calls that its header declares. */
    int result =
        io_uring_register((unsigned)disk->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (result < 0) {
        disk->posix.io.last_errno = -result;
        return STATUS_IO;
    }
    disk->enabled = true;
    return STATUS_OK;
}

static enum status ring_submit(struct io *io, struct io_request *request)
{
    struct ring_disk *disk = (struct ring_disk *)io;
    if (!disk->enabled) {
        enum status status = ring_enable(disk);
        if (status != STATUS_OK) {
            return status;
        }
    }
    io_posix_begin(&disk->posix, request);
    list_push(&disk->backlog, request);
    disk->in_flight++;
    /* Once queued, the request is handed back by wait and only there, so a ring that fails is wait's to report. */
    (void)ring_flush(disk);
    return STATUS_OK;
}

/* Completion */

/* Takes every completion there is. */
static enum status ring_reap(struct ring_disk *disk)
{
    struct io_uring_cqe *cqe = NULL;
    /* With deferred task work the kernel only flags that completions are due: the peek sees the flag and enters. */
    while (io_uring_peek_cqe(&disk->ring, &cqe) == 0 && cqe != NULL) {
        struct io_request *request = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&disk->ring, cqe);
        assert(disk->in_flight > 0);
        if (io_posix_advance(&disk->posix, request, result)) {
            disk->in_flight--;
            list_push(&disk->completed, request);
        } else {
            list_push(&disk->backlog, request);
        }
        cqe = NULL;
    }
    return ring_flush(disk);
}

/* Watches for a short while, without sleeping. */
static enum status ring_spin(struct ring_disk *disk, int64_t until_us)
{
    enum status status = STATUS_OK;
    while (status == STATUS_OK && disk->completed.first == NULL && monotonic_us() < until_us) {
        for (int i = 0; i < 64; i++) {
            spin_pause();
        }
        (void)sched_yield();
        status = ring_reap(disk);
    }
    return status;
}

/* Sleeps until a completion is due, or `until_us` (negative: no end). STATUS_OK in both cases. */
static enum status ring_sleep(struct ring_disk *disk, int64_t until_us)
{
    struct __kernel_timespec timeout = {0};
    /* With steps that the kernel would not take yet, there may be nothing to be woken by: look again soon. */
    if (io_uring_sq_ready(&disk->ring) > 0 || disk->backlog.first != NULL) {
        int64_t soon_us = monotonic_us() + STALLED_US;
        until_us = until_us < 0 || soon_us < until_us ? soon_us : until_us;
    }
    if (until_us >= 0) {
        int64_t left_us = until_us - monotonic_us();
        if (left_us <= 0) {
            return STATUS_OK;
        }
        timeout.tv_sec = left_us / 1000000;
        timeout.tv_nsec = left_us % 1000000 * 1000;
    }
    struct io_uring_cqe *cqe = NULL;
    int result = io_uring_wait_cqes(&disk->ring, &cqe, 1, until_us >= 0 ? &timeout : NULL, NULL);
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN &&
        result != -EBUSY) {
        disk->posix.io.last_errno = -result;
        return STATUS_IO;
    }
    return STATUS_OK;
}

static enum status ring_wait(struct io *io, int64_t timeout_us, struct io_request **out_completed)
{
    struct ring_disk *disk = (struct ring_disk *)io;
    enum status status = disk->enabled ? ring_reap(disk) : STATUS_OK;
    int64_t start_us = monotonic_us();
    int64_t until_us = timeout_us < 0 ? -1 : start_us + timeout_us;
    int64_t spin_until_us = start_us + SPIN_US;
    if (until_us >= 0 && until_us < spin_until_us) {
        spin_until_us = until_us;
    }
    if (status == STATUS_OK && disk->in_flight > 0) {
        status = ring_spin(disk, spin_until_us);
    }
    /* A completion may be only one step of a request, so one wake-up need not be the last. */
    while (status == STATUS_OK && disk->completed.first == NULL && disk->in_flight > 0 &&
           (until_us < 0 || monotonic_us() < until_us)) {
        status = ring_sleep(disk, until_us);
        if (status == STATUS_OK) {
            status = ring_reap(disk);
        }
    }
    if (status == STATUS_OK || disk->completed.first != NULL) {
        *out_completed = disk->completed.first;
        disk->completed = (struct request_list){0};
        return STATUS_OK; /* a broken ring is reported by the next call */
    }
    return status;
}

/* Opening and closing */

static void ring_close(struct io *io)
{
    struct ring_disk *disk = (struct ring_disk *)io;
    enum status status = STATUS_OK;
    while (disk->in_flight > 0 && status == STATUS_OK) {
        struct io_request *completed;
        status = ring_wait(io, -1, &completed);
    }
    if (disk->made) {
        io_uring_queue_exit(&disk->ring);
    }
    io_posix_deinit(&disk->posix);
    free(disk);
}

static const struct io_operations ring_operations = {
    .name = "uring",
    .open = io_posix_open,
    .close_file = io_posix_close_file,
    .size = io_posix_size,
    .allocate = io_posix_allocate,
    .truncate = io_posix_truncate,
    .submit = ring_submit,
    .wait = ring_wait,
    .sync_directory = io_posix_sync_directory,
    .make_directory = io_posix_make_directory,
    .rename = io_posix_rename,
    .unlink = io_posix_unlink,
    .list = io_posix_list,
    .lock = io_posix_lock,
    .now_us = io_posix_now_us,
    .random = io_posix_random,
    .close = ring_close,
};

/* Takes the best ring this kernel makes. Returns 0 or minus an errno. */
static int ring_make(struct io_uring *ring)
{
    /* Completions run when this thread asks for them, not as interruptions of whatever it does. Each row gives up what
     * the kernel version in its comment brought. */
    static const unsigned always = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP;
    static const unsigned rows[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN |
            IORING_SETUP_TASKRUN_FLAG,                         /* 6.1 */
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, /* 6.0 */
        0,                                                     /* 5.19 */
    };
    int result = -EINVAL;
    for (size_t i = 0; i < COUNT_OF(rows) && result == -EINVAL; i++) {
        result = io_uring_queue_init(RING_ENTRIES, ring, always | rows[i]);
    }
    return result;
}

/* Shrinks the ring to what this file uses: a ring is a way around system call filters, so whoever takes over the
 * process should not find one that can open files or connect sockets. Where the kernel refuses, the ring works without.
 */
static void ring_restrict(struct io_uring *ring)
{
    struct io_uring_restriction allowed[] = {
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_ENABLE_RINGS},
        {.opcode = IORING_RESTRICTION_SQE_OP,      .sqe_op = IORING_OP_READ                   },
        {.opcode = IORING_RESTRICTION_SQE_OP,      .sqe_op = IORING_OP_WRITE                  },
        {.opcode = IORING_RESTRICTION_SQE_OP,      .sqe_op = IORING_OP_FSYNC                  },
    };
    (void)io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_RESTRICTIONS, allowed,
                            COUNT_OF(allowed));
}

enum status io_uring_open(const char *root, struct error *error, struct io **out_io)
{
    struct ring_disk *disk = calloc(1, sizeof(*disk));
    if (disk == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the disk");
    }
    int result = 0;
    enum status status = io_posix_init(&disk->posix, &ring_operations, root, error);
    if (status != STATUS_OK) {
        goto cleanup;
    }
    result = ring_make(&disk->ring);
    disk->made = result == 0;
    if (result < 0) {
        /* Forbidden (EPERM, EACCES), unknown (ENOSYS, EINVAL) or not within the locked-memory limit of older kernels
         * (ENOMEM): in each case the other backend can do the work. */
        status = error_set(error, STATUS_UNSUPPORTED, "cannot make an io_uring: %s",
                           strerrordesc_np(-result));
        goto cleanup;
    }
    /* Waiting with a time-out without it would need an operation of its own in the ring. Any kernel that has it also
     * has the plain read and write operations. */
    if ((disk->ring.features & IORING_FEAT_EXT_ARG) == 0) {
        status = error_set(error, STATUS_UNSUPPORTED, "the io_uring of this kernel is too old");
        goto cleanup;
    }
    ring_restrict(&disk->ring);
    *out_io = &disk->posix.io;
    disk = NULL; /* moved to the caller */
cleanup:
    if (disk != NULL) {
        ring_close(&disk->posix.io);
    }
    return status;
}
