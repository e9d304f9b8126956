/* io_posix.c: the half of a real disk that does not depend on how requests reach the kernel. */
#include "engine/io_posix.h"

#include "engine/limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* One system call moves at most this much, so that a count fits the int of a completion. */
#define CALL_SIZE_MAX  (1u << 30)
#define ALLOCATE_PIECE ((size_t)1024 * 1024)

static struct io_posix *posix_of(struct io *io)
{
    return (struct io_posix *)io;
}

static struct io_posix_file *file_of(const struct io_posix *disk, int file)
{
    assert(file >= 0 && (size_t)file < disk->file_count);
    assert(disk->files[file].descriptor >= 0);
    return &disk->files[file];
}

/* Paths are ours, never a client's, so a bad one is a broken promise. */
static void path_check(const char *path)
{
    assert(path[0] != '\0' && path[0] != '/');
    assert(strcmp(path, "..") != 0 && strncmp(path, "../", 3) != 0);
    assert(strstr(path, "/../") == NULL);
    size_t length = strlen(path);
    assert(length < 3 || strcmp(path + length - 3, "/..") != 0);
}

enum status io_posix_fail(struct io *io, int error_number)
{
    io->last_errno = error_number;
    switch (error_number) {
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EEXIST:
        return STATUS_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return STATUS_NO_SPACE;
    case ENOMEM:
        return STATUS_NO_MEMORY;
    case EWOULDBLOCK:
        return STATUS_LOCKED;
    default:
        return STATUS_IO;
    }
}

enum status io_posix_init(struct io_posix *disk, const struct io_operations *operations,
                          const char *root, struct error *error)
{
    disk->io.operations = operations;
    disk->root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (disk->root < 0) {
        int error_number = errno;
        return error_set(error, io_posix_fail(&disk->io, error_number),
                         "cannot open directory %s: %s", root, strerrordesc_np(error_number));
    }
    return STATUS_OK;
}

void io_posix_deinit(struct io_posix *disk)
{
    for (size_t i = 0; i < disk->file_count; i++) {
        if (disk->files[i].descriptor >= 0) {
            (void)close(disk->files[i].descriptor);
        }
    }
    for (size_t i = 0; i < disk->lock_count; i++) {
        (void)close(disk->locks[i]);
    }
    free(disk->files);
    free(disk->locks);
    if (disk->root >= 0) {
        (void)close(disk->root);
    }
    disk->files = NULL;
    disk->locks = NULL;
    disk->file_count = 0;
    disk->lock_count = 0;
    disk->root = -1;
}

/* Requests */

void io_posix_begin(struct io_posix *disk, struct io_request *request)
{
    struct io_posix_file *file = file_of(disk, request->file);
    assert(request->kind == IO_READ || !file->read_only);
    if (request->kind != IO_SYNC) {
        assert(request->size > 0);
        assert(!file->direct ||
               (request->offset % LOG_BLOCK_ALIGN == 0 && request->size % LOG_BLOCK_ALIGN == 0 &&
                (uintptr_t)request->buffer % LOG_BLOCK_ALIGN == 0));
    }
    file->plain_writes = file->plain_writes || request->kind == IO_WRITE;
    request->status = STATUS_OK;
    request->done = 0;
    request->error_number = 0;
    request->next = NULL;
}

/* True when what is left of a request is to push its file to the device. */
static bool wants_sync(const struct io_posix *disk, const struct io_request *request)
{
    return request->kind == IO_SYNC || (request->kind == IO_WRITE_DURABLE &&
                                        disk->durable_by_sync && request->done == request->size);
}

struct io_posix_step io_posix_step(const struct io_posix *disk, const struct io_request *request)
{
    struct io_posix_step step = {.descriptor = file_of(disk, request->file)->descriptor};
    if (wants_sync(disk, request)) {
        step.call = IO_POSIX_FDATASYNC;
        return step;
    }
    step.buffer = (char *)request->buffer + request->done;
    step.size = (unsigned)size_min(request->size - request->done, CALL_SIZE_MAX);
    step.offset = request->offset + request->done;
    if (request->kind == IO_READ) {
        step.call = IO_POSIX_READ;
    } else if (request->kind == IO_WRITE_DURABLE && !disk->durable_by_sync) {
        step.call = IO_POSIX_WRITE_DSYNC;
    } else {
        step.call = IO_POSIX_WRITE;
    }
    return step;
}

static bool request_finish(struct io_request *request, enum status status, int error_number)
{
    request->status = status;
    request->error_number = error_number;
    return true;
}

static bool request_failed(struct io_posix *disk, struct io_request *request, int error_number)
{
    /* A signal before the first byte moved nothing. A durable write is not given this chance: its bytes may be written
     * and only its flush interrupted, and a flush is never tried twice. */
    if (error_number == EINTR && (request->kind == IO_READ || request->kind == IO_WRITE)) {
        return false;
    }
    /* The first refusal of RWF_DSYNC sends this request, and all later ones, the other way. error_number remembers it,
     * so that a second refusal of the same request is a failure and not a loop. */
    if (error_number == EOPNOTSUPP && request->kind == IO_WRITE_DURABLE &&
        request->error_number != EOPNOTSUPP) {
        disk->durable_by_sync = true;
        request->error_number = EOPNOTSUPP;
        return false;
    }
    bool full = error_number == ENOSPC || error_number == EDQUOT;
    if (request->kind == IO_WRITE && full) {
        return request_finish(request, STATUS_NO_SPACE, error_number);
    }
    /* A durable write also reports what befell earlier plain writes of its file on their way to the device, and the
     * kernel reports that only once. Where there were any, a full disk may have cost bytes outside the range. */
    if (request->kind == IO_WRITE_DURABLE && full && !file_of(disk, request->file)->plain_writes) {
        return request_finish(request, STATUS_NO_SPACE, error_number);
    }
    return request_finish(request, STATUS_IO, error_number);
}

/* A direct transfer that stopped between blocks cannot go on from there: the next call would be misaligned. */
static bool direct_stopped_short(struct io_posix *disk, struct io_request *request, size_t moved)
{
    size_t beyond = request->done % LOG_BLOCK_ALIGN;
    if (request->kind == IO_READ) {
        struct stat stat;
        bool at_end = fstat(file_of(disk, request->file)->descriptor, &stat) == 0 &&
                      (uint64_t)stat.st_size <= request->offset + request->done;
        return at_end ? request_finish(request, STATUS_OK, 0)
                      : request_finish(request, STATUS_IO, EIO);
    }
    if (moved <= beyond) {
        return request_finish(request, STATUS_IO, EIO); /* going on would go round in circles */
    }
    request->done -= beyond; /* the same bytes again: harmless */
    return false;
}

bool io_posix_advance(struct io_posix *disk, struct io_request *request, int64_t result)
{
    if (wants_sync(disk, request)) {
        /* Whatever the errno, ENOSPC too: after a failed sync nobody knows which earlier writes are lost. */
        return result < 0 ? request_finish(request, STATUS_IO, (int)-result)
                          : request_finish(request, STATUS_OK, 0);
    }
    if (result < 0) {
        return request_failed(disk, request, (int)-result);
    }
    size_t moved = (size_t)result;
    request->done += moved;
    assert(request->done <= request->size);
    if (request->done == request->size) {
        return wants_sync(disk, request) ? false : request_finish(request, STATUS_OK, 0);
    }
    if (moved == 0) {
        return request->kind == IO_READ ? request_finish(request, STATUS_OK, 0) /* end of file */
                                        : request_finish(request, STATUS_IO, EIO);
    }
    if (file_of(disk, request->file)->direct && request->done % LOG_BLOCK_ALIGN != 0) {
        return direct_stopped_short(disk, request, moved);
    }
    return false;
}

/* Files */

/* Past the page cache if the filesystem takes our alignment. Set after open and not with it, because an open that
 * creates a file and then refuses O_DIRECT leaves the file behind. */
static void direct_try(int descriptor)
{
#ifdef STATX_DIOALIGN
    struct statx answer;
    if (statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &answer) == 0 &&
        (answer.stx_mask & STATX_DIOALIGN) != 0) {
        if (answer.stx_dio_offset_align == 0 || answer.stx_dio_offset_align > LOG_BLOCK_ALIGN ||
            answer.stx_dio_mem_align > LOG_BLOCK_ALIGN) {
            return;
        }
    }
#endif
    int flags = fcntl(descriptor, F_GETFL);
    if (flags >= 0) {
        (void)fcntl(descriptor, F_SETFL, flags | O_DIRECT);
    }
}

/* A free place in the file table, or -1 when memory is out. */
static int file_place(struct io_posix *disk)
{
    for (size_t i = 0; i < disk->file_count; i++) {
        if (disk->files[i].descriptor < 0) {
            return (int)i;
        }
    }
    size_t count = disk->file_count * 2 + 16;
    struct io_posix_file *files = realloc(disk->files, count * sizeof(*files));
    if (files == NULL) {
        return -1;
    }
    for (size_t i = disk->file_count; i < count; i++) {
        files[i] = (struct io_posix_file){.descriptor = -1};
    }
    int place = (int)disk->file_count;
    disk->files = files;
    disk->file_count = count;
    return place;
}

enum status io_posix_open(struct io *io, const char *path, unsigned flags, int *out_file)
{
    struct io_posix *disk = posix_of(io);
    path_check(path);
    assert((flags & IO_OPEN_CREATE) == 0 || (flags & IO_OPEN_READ) == 0);
    int place = file_place(disk);
    if (place < 0) {
        return io_posix_fail(io, ENOMEM);
    }
    int open_flags = O_CLOEXEC | O_NOFOLLOW;
    open_flags |= (flags & IO_OPEN_READ) != 0 ? O_RDONLY : O_RDWR;
    open_flags |= (flags & IO_OPEN_CREATE) != 0 ? O_CREAT | O_EXCL : 0;
    int descriptor = openat(disk->root, path, open_flags, 0600);
    if (descriptor < 0) {
        return io_posix_fail(io, errno);
    }
    bool direct = (flags & IO_OPEN_DIRECT) != 0;
    if (direct) {
        direct_try(descriptor);
    }
    /* `direct` holds the caller to its alignment even where the filesystem would not. */
    disk->files[place] = (struct io_posix_file){
        .descriptor = descriptor, .direct = direct, .read_only = (flags & IO_OPEN_READ) != 0};
    *out_file = place;
    return STATUS_OK;
}

void io_posix_close_file(struct io *io, int file)
{
    struct io_posix_file *entry = file_of(posix_of(io), file);
    (void)close(entry->descriptor);
    entry->descriptor = -1;
}

enum status io_posix_size(struct io *io, int file, uint64_t *out_size)
{
    struct stat stat;
    if (fstat(file_of(posix_of(io), file)->descriptor, &stat) != 0) {
        return io_posix_fail(io, errno);
    }
    *out_size = (uint64_t)stat.st_size;
    return STATUS_OK;
}

/* fsync of a descriptor whose failure is always STATUS_IO: a full disk found only now has lost something. */
static enum status descriptor_sync(struct io *io, int descriptor)
{
    if (fsync(descriptor) != 0) {
        io->last_errno = errno;
        return STATUS_IO;
    }
    return STATUS_OK;
}

static enum status zeros_write(struct io *io, int descriptor, const void *zeros, uint64_t size)
{
    uint64_t at = 0;
    while (at < size) {
        size_t piece = size - at < ALLOCATE_PIECE ? (size_t)(size - at) : ALLOCATE_PIECE;
        ssize_t written = pwrite(descriptor, zeros, piece, (off_t)at);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return io_posix_fail(io, written < 0 ? errno : EIO);
        }
        at += (uint64_t)written;
    }
    return STATUS_OK;
}

/* Asking first leaves the last of a nearly full disk alone. To take it, fail and give it back would be to starve, each time
 * again, whoever else writes there. */
static bool disk_has(int descriptor, uint64_t size)
{
    struct statvfs disk;
    if (fstatvfs(descriptor, &disk) != 0 || disk.f_blocks == 0) {
        return true; /* some filesystems do not say */
    }
    const uint64_t room = (uint64_t)disk.f_bavail * disk.f_frsize;
    const uint64_t eighth = (uint64_t)disk.f_blocks * disk.f_frsize / 8; /* a small disk has less to keep */
    const uint64_t reserve = eighth < DISK_RESERVE ? eighth : DISK_RESERVE;
    return room >= reserve && room - reserve >= size;
}

enum status io_posix_allocate(struct io *io, int file, uint64_t size)
{
    struct io_posix_file *entry = file_of(posix_of(io), file);
    assert(!entry->read_only && size > 0);
    assert(!entry->direct || size % LOG_BLOCK_ALIGN == 0);
    if (!disk_has(entry->descriptor, size)) {
        return io_posix_fail(io, ENOSPC);
    }
    void *zeros = aligned_alloc(LOG_BLOCK_ALIGN, ALLOCATE_PIECE);
    if (zeros == NULL) {
        return io_posix_fail(io, ENOMEM);
    }
    memset(zeros, 0, ALLOCATE_PIECE);
    enum status status = STATUS_OK;
    /* Reserving first finds a full disk before the work, and gets extents that lie together. It is not enough by itself:
     * reserved extents are marked unwritten, and each first write into one costs a journal commit. */
    if (fallocate(entry->descriptor, 0, 0, (off_t)size) != 0 && errno != EOPNOTSUPP) {
        status = io_posix_fail(io, errno);
        goto cleanup;
    }
    status = zeros_write(io, entry->descriptor, zeros, size);
    if (status != STATUS_OK) {
        goto cleanup;
    }
    status = descriptor_sync(io, entry->descriptor);
cleanup:
    free(zeros);
    return status;
}

enum status io_posix_truncate(struct io *io, int file, uint64_t size)
{
    struct io_posix_file *entry = file_of(posix_of(io), file);
    assert(!entry->read_only);
    if (ftruncate(entry->descriptor, (off_t)size) != 0) {
        return io_posix_fail(io, errno);
    }
    return descriptor_sync(io, entry->descriptor);
}

/* Names */

enum status io_posix_sync_directory(struct io *io, const char *path)
{
    path_check(path);
    int descriptor = openat(posix_of(io)->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        return io_posix_fail(io, errno);
    }
    enum status status = descriptor_sync(io, descriptor);
    (void)close(descriptor);
    return status;
}

enum status io_posix_make_directory(struct io *io, const char *path)
{
    path_check(path);
    if (mkdirat(posix_of(io)->root, path, 0700) == 0) {
        return STATUS_OK;
    }
    int error_number = errno;
    struct stat stat;
    bool exists = error_number == EEXIST && fstatat(posix_of(io)->root, path, &stat, 0) == 0 &&
                  S_ISDIR(stat.st_mode);
    return exists ? STATUS_OK : io_posix_fail(io, error_number);
}

enum status io_posix_rename(struct io *io, const char *from, const char *to)
{
    path_check(from);
    path_check(to);
    int root = posix_of(io)->root;
    return renameat(root, from, root, to) == 0 ? STATUS_OK : io_posix_fail(io, errno);
}

enum status io_posix_unlink(struct io *io, const char *path)
{
    path_check(path);
    return unlinkat(posix_of(io)->root, path, 0) == 0 ? STATUS_OK : io_posix_fail(io, errno);
}

enum status io_posix_list(struct io *io, const char *path,
                          void (*visit)(void *context, const char *name), void *context)
{
    path_check(path);
    int descriptor = openat(posix_of(io)->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        return io_posix_fail(io, errno);
    }
    DIR *directory = fdopendir(descriptor);
    if (directory == NULL) {
        int error_number = errno;
        (void)close(descriptor);
        return io_posix_fail(io, error_number);
    }
    int error_number = 0;
    for (;;) {
        errno = 0;
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone */
        const struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            error_number = errno; /* 0 at the end */
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            visit(context, entry->d_name);
        }
    }
    (void)closedir(directory);
    return error_number == 0 ? STATUS_OK : io_posix_fail(io, error_number);
}

enum status io_posix_lock(struct io *io, const char *path)
{
    struct io_posix *disk = posix_of(io);
    path_check(path);
    int *locks = realloc(disk->locks, (disk->lock_count + 1) * sizeof(*locks));
    if (locks == NULL) {
        return io_posix_fail(io, ENOMEM);
    }
    disk->locks = locks;
    int descriptor = openat(disk->root, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0) {
        return io_posix_fail(io, errno);
    }
    /* flock and not fcntl: a lock of fcntl would end when any descriptor of the file is closed anywhere in the process,
     * and would not keep a second opener in the same process out. */
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        int error_number = errno;
        (void)close(descriptor);
        return io_posix_fail(io, error_number);
    }
    locks[disk->lock_count++] = descriptor;
    return STATUS_OK;
}

/* Clock and randomness */

int64_t io_posix_now_us(struct io *io)
{
    (void)io;
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    assert(result == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void io_posix_random(struct io *io, void *buffer, size_t size)
{
    (void)io;
    uint8_t *at = buffer;
    while (size > 0) {
        ssize_t taken = getrandom(at, size, 0);
        /* No token or salt may ever come from anything weaker, so there is nothing to fall back to. */
        assert(taken > 0 || (taken < 0 && errno == EINTR));
        if (taken > 0) {
            at += taken;
            size -= (size_t)taken;
        }
    }
}
