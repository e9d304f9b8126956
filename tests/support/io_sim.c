/* io_sim.c: the simulated disk as a struct io: handles, requests, faults, schedule. */
#include "tests/support/io_sim.h"

#include "engine/limits.h"
#include "tests/support/sim_disk.h"

#include <errno.h>
#include <stdlib.h>

struct open_file {
    bool open;
    unsigned flags;
    uint32_t inode;
};

/* A request in flight. */
struct flight {
    struct io_request *request;
    uint64_t number; /* of its change; of a sync, the last change that it covers */
    bool fails;
    struct io_sim_fault fault; /* as it was when it struck */
};

struct sim_handle {
    struct io io; /* first */
    struct io_sim *disk;
    struct open_file *files;
    size_t file_count;
    uint32_t *locks;
    size_t lock_count;
    struct flight *flights;
    size_t flight_count;
};

/* Clock */

void io_sim_clock_set(struct io_sim *disk, int64_t now_us)
{
    sim_enter(disk);
    disk->now_us = now_us;
    sim_leave(disk);
}

void io_sim_clock_advance(struct io_sim *disk, int64_t by_us)
{
    sim_enter(disk);
    disk->now_us += by_us;
    sim_leave(disk);
}

/* Faults */

void io_sim_inject(struct io_sim *disk, const struct io_sim_fault *fault)
{
    /* A lie about a thing asked for would leave the asker without an answer. */
    const unsigned askers = IO_SIM_OPEN | IO_SIM_SIZE | IO_SIM_READ | IO_SIM_LIST | IO_SIM_LOCK;
    assert(fault == NULL || fault->status != STATUS_OK || (fault->operations & askers) == 0);
    sim_enter(disk);
    disk->fault = fault != NULL ? *fault : (struct io_sim_fault){0};
    disk->fault_seen = 0;
    disk->fault_struck = 0;
    sim_leave(disk);
}

uint64_t io_sim_struck(const struct io_sim *disk)
{
    sim_enter(disk);
    uint64_t struck = disk->fault_struck;
    sim_leave(disk);
    return struck;
}

/* True when this operation is the one to fail. */
static bool fault_strikes(struct io_sim *disk, enum io_sim_operation operation)
{
    if ((disk->fault.operations & operation) == 0) {
        return false;
    }
    disk->fault_seen++;
    bool strikes = disk->fault_seen == disk->fault.nth ||
                   (disk->fault.forever && disk->fault_seen > disk->fault.nth);
    disk->fault_struck += strikes ? 1 : 0;
    return strikes;
}

static int status_errno(enum status status)
{
    if (status == STATUS_OK) {
        return 0;
    }
    return status == STATUS_NO_SPACE ? ENOSPC : EIO;
}

/* Whether an operation goes on. False: it returns *out_status (STATUS_OK if the disk lies). */
static bool operation_begins(struct io *io, enum io_sim_operation operation,
                             enum status *out_status)
{
    struct io_sim *disk = ((struct sim_handle *)io)->disk;
    if (disk->halted) {
        *out_status = STATUS_IO;
    } else if (fault_strikes(disk, operation)) {
        *out_status = disk->fault.status;
    } else {
        *out_status = STATUS_OK;
        return true;
    }
    io->last_errno = status_errno(*out_status);
    return false;
}

/* Requests */

static struct sim_handle *handle_of(struct io *io)
{
    return (struct sim_handle *)io;
}

static struct open_file *file_of(const struct sim_handle *handle, int file)
{
    assert(file >= 0 && (size_t)file < handle->file_count && handle->files[file].open);
    return &handle->files[file];
}

static struct sim_inode *inode_of(const struct sim_handle *handle, int file)
{
    return handle->disk->inodes[file_of(handle, file)->inode];
}

static void request_check(const struct sim_handle *handle, const struct io_request *request)
{
    const struct open_file *file = file_of(handle, request->file);
    assert(request->kind == IO_READ || (file->flags & IO_OPEN_READ) == 0);
    if (request->kind == IO_SYNC) {
        return;
    }
    assert(request->size > 0);
    uint64_t unit = (file->flags & IO_OPEN_DIRECT) != 0 ? LOG_BLOCK_ALIGN : 1;
    assert(request->offset % unit == 0);
    assert(request->size % unit == 0);
    assert((uintptr_t)request->buffer % unit == 0);
}

static enum io_sim_operation operation_of(enum io_kind kind)
{
    switch (kind) {
    case IO_READ:
        return IO_SIM_READ;
    case IO_WRITE:
        return IO_SIM_WRITE;
    case IO_WRITE_DURABLE:
        return IO_SIM_WRITE_DURABLE;
    case IO_SYNC:
        return IO_SIM_SYNC;
    }
    assert(false);
    return IO_SIM_READ;
}

static enum status sim_submit(struct io *io, struct io_request *request)
{
    struct sim_handle *handle = handle_of(io);
    struct io_sim *disk = handle->disk;
    sim_enter(disk);
    request_check(handle, request);
    request->status = STATUS_OK;
    request->done = 0;
    request->error_number = 0;
    request->next = NULL;
    struct flight flight = {.request = request, .number = disk->number, .fault = disk->fault};
    flight.fails = !disk->halted && fault_strikes(disk, operation_of(request->kind));
    if (!disk->halted && (request->kind == IO_WRITE || request->kind == IO_WRITE_DURABLE)) {
        flight.number = sim_write_begin(disk, inode_of(handle, request->file), request->offset,
                                        request->buffer, request->size);
    }
    handle->flights = sim_resize(handle->flights, handle->flight_count + 1, sizeof(struct flight));
    handle->flights[handle->flight_count++] = flight;
    sim_leave(disk);
    return STATUS_OK;
}

static enum sim_outcome fault_outcome(const struct io_sim_fault *fault)
{
    if (fault->status == STATUS_OK) {
        return SIM_LIED;
    }
    if (fault->status == STATUS_NO_SPACE) {
        return SIM_FULL;
    }
    return fault->revert_cache ? SIM_REVERTED : SIM_FAILED;
}

static void flight_fail(const struct flight *flight, enum status status)
{
    /* Whatever the reason, a sync or a read that fails is STATUS_IO by the contract. */
    bool writes = flight->request->kind == IO_WRITE || flight->request->kind == IO_WRITE_DURABLE;
    flight->request->status = writes || status == STATUS_OK ? status : STATUS_IO;
    flight->request->error_number = status_errno(flight->request->status);
    flight->request->done = status == STATUS_OK ? flight->request->size : 0;
}

static void flight_complete(struct sim_handle *handle, const struct flight *flight)
{
    struct io_sim *disk = handle->disk;
    struct io_request *request = flight->request;
    struct sim_inode *inode = inode_of(handle, request->file);
    if (disk->halted) {
        flight_fail(flight, STATUS_IO); /* its atoms stay as they are, for a crash to decide */
        return;
    }
    enum sim_outcome outcome = flight->fails ? fault_outcome(&flight->fault) : SIM_DONE;
    switch (request->kind) {
    case IO_READ:
        if (!flight->fails) {
            request->done =
                sim_content_read(&inode->current, request->offset, request->buffer, request->size);
        }
        break;
    case IO_WRITE:
    case IO_WRITE_DURABLE:
        /* A real device reads the buffer at any time until completion. */
        assert(memcmp(sim_write_bytes(inode, flight->number), request->buffer, request->size) == 0);
        sim_write_end(disk, inode, flight->number, request->kind == IO_WRITE_DURABLE, outcome);
        request->done = request->size;
        break;
    case IO_SYNC:
        sim_sync(disk, inode, flight->number, outcome);
        break;
    }
    if (flight->fails) {
        flight_fail(flight, flight->fault.status);
    }
}

/* How many of the requests in flight this wait hands back. */
static size_t flights_due(struct sim_handle *handle, int64_t timeout_us)
{
    struct io_sim *disk = handle->disk;
    size_t count = handle->flight_count;
    if (count == 0 || disk->options.in_order || disk->halted) {
        return count;
    }
    return timeout_us == 0 ? (size_t)(sim_draw(&disk->schedule) % (count + 1))
                           : 1 + (size_t)(sim_draw(&disk->schedule) % count);
}

static enum status sim_wait(struct io *io, int64_t timeout_us, struct io_request **out_completed)
{
    struct sim_handle *handle = handle_of(io);
    struct io_sim *disk = handle->disk;
    struct io_request *first = NULL;
    struct io_request **last = &first;
    sim_enter(disk);
    for (size_t due = flights_due(handle, timeout_us); due > 0; due--) {
        size_t index =
            disk->options.in_order ? 0 : (size_t)(sim_draw(&disk->schedule) % handle->flight_count);
        struct flight flight = handle->flights[index];
        handle->flight_count--;
        memmove(&handle->flights[index], &handle->flights[index + 1],
                (handle->flight_count - index) * sizeof(flight));
        flight_complete(handle, &flight);
        flight.request->next = NULL;
        *last = flight.request;
        last = &flight.request->next;
    }
    sim_leave(disk);
    *out_completed = first;
    return STATUS_OK;
}

/* Files */

static int handle_place(struct sim_handle *handle)
{
    for (size_t i = 0; i < handle->file_count; i++) {
        if (!handle->files[i].open) {
            return (int)i;
        }
    }
    handle->files = sim_resize(handle->files, handle->file_count + 1, sizeof(struct open_file));
    return (int)handle->file_count++;
}

/* The inode to open: an existing file, or a new one where `flags` say so. */
static enum status file_reach(struct io_sim *disk, const char *path, unsigned flags,
                              uint32_t *out_inode)
{
    uint32_t directory = 0;
    char name[SIM_NAME_SIZE];
    enum status status = sim_path_split(disk, path, &directory, name);
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t inode = 0;
    bool exists = sim_path_find(disk, path, &inode) == STATUS_OK;
    bool create = (flags & IO_OPEN_CREATE) != 0;
    if (exists && create) {
        return STATUS_EXISTS;
    }
    if (!exists && !create) {
        return STATUS_NOT_FOUND;
    }
    if (exists && disk->inodes[inode]->directory) {
        return STATUS_IO;
    }
    *out_inode = exists ? inode : sim_make(disk, directory, name, false);
    return STATUS_OK;
}

static enum status sim_open(struct io *io, const char *path, unsigned flags, int *out_file)
{
    struct sim_handle *handle = handle_of(io);
    struct io_sim *disk = handle->disk;
    enum status status = STATUS_OK;
    assert((flags & IO_OPEN_CREATE) == 0 || (flags & IO_OPEN_READ) == 0);
    sim_enter(disk);
    if (operation_begins(io, IO_SIM_OPEN, &status)) {
        uint32_t inode = 0;
        status = file_reach(disk, path, flags, &inode);
        if (status == STATUS_OK) {
            int place = handle_place(handle);
            handle->files[place] = (struct open_file){.open = true, .flags = flags, .inode = inode};
            disk->inodes[inode]->opens++;
            *out_file = place;
        }
    }
    sim_leave(disk);
    return status;
}

static void sim_close_file(struct io *io, int file)
{
    struct sim_handle *handle = handle_of(io);
    sim_enter(handle->disk);
    for (size_t i = 0; i < handle->flight_count; i++) {
        assert(handle->flights[i].request->file != file);
    }
    inode_of(handle, file)->opens--;
    handle->files[file].open = false;
    sim_sweep(handle->disk);
    sim_leave(handle->disk);
}

static enum status sim_size(struct io *io, int file, uint64_t *out_size)
{
    struct sim_handle *handle = handle_of(io);
    enum status status = STATUS_OK;
    sim_enter(handle->disk);
    if (operation_begins(io, IO_SIM_SIZE, &status)) {
        *out_size = inode_of(handle, file)->current.size;
    }
    sim_leave(handle->disk);
    return status;
}

static enum status sim_allocate(struct io *io, int file, uint64_t size)
{
    struct sim_handle *handle = handle_of(io);
    struct io_sim *disk = handle->disk;
    enum status status = STATUS_OK;
    sim_enter(disk);
    assert((file_of(handle, file)->flags & IO_OPEN_READ) == 0 && size > 0);
    bool begins = operation_begins(io, IO_SIM_ALLOCATE, &status);
    if (begins || !disk->halted) {
        sim_zero(disk, inode_of(handle, file), size,
                 begins ? SIM_DONE : fault_outcome(&disk->fault));
        status = disk->halted ? STATUS_IO : status;
    }
    sim_leave(disk);
    return status;
}

static enum status sim_operation_truncate(struct io *io, int file, uint64_t size)
{
    struct sim_handle *handle = handle_of(io);
    struct io_sim *disk = handle->disk;
    enum status status = STATUS_OK;
    sim_enter(disk);
    assert((file_of(handle, file)->flags & IO_OPEN_READ) == 0);
    if (operation_begins(io, IO_SIM_TRUNCATE, &status)) {
        sim_truncate(disk, inode_of(handle, file), size);
        status = disk->halted ? STATUS_IO : STATUS_OK;
    }
    sim_leave(disk);
    return status;
}

/* Names */

static enum status sim_sync_directory(struct io *io, const char *path)
{
    struct io_sim *disk = handle_of(io)->disk;
    enum status status = STATUS_OK;
    sim_enter(disk);
    if (operation_begins(io, IO_SIM_SYNC_DIRECTORY, &status)) {
        uint32_t directory = 0;
        status = sim_path_find(disk, path, &directory);
        if (status == STATUS_OK && !disk->inodes[directory]->directory) {
            status = STATUS_NOT_FOUND;
        }
        if (status == STATUS_OK) {
            sim_names_settle(disk, directory);
            sim_sweep(disk);
            sim_cut_point(disk);
        }
    }
    sim_leave(disk);
    return status;
}

static enum status sim_make_directory(struct io *io, const char *path)
{
    struct io_sim *disk = handle_of(io)->disk;
    enum status status = STATUS_OK;
    sim_enter(disk);
    if (operation_begins(io, IO_SIM_MAKE_DIRECTORY, &status)) {
        uint32_t directory = 0;
        uint32_t found = 0;
        char name[SIM_NAME_SIZE];
        status = sim_path_split(disk, path, &directory, name);
        if (status == STATUS_OK && sim_path_find(disk, path, &found) == STATUS_OK) {
            status = disk->inodes[found]->directory ? STATUS_OK : STATUS_EXISTS;
        } else if (status == STATUS_OK) {
            (void)sim_make(disk, directory, name, true);
        }
    }
    sim_leave(disk);
    return status;
}

static enum status rename_begun(struct io_sim *disk, const char *from, const char *to)
{
    uint32_t inode = 0;
    uint32_t replaced = 0;
    uint32_t from_directory = 0;
    uint32_t to_directory = 0;
    char from_name[SIM_NAME_SIZE];
    char to_name[SIM_NAME_SIZE];
    enum status status = sim_path_find(disk, from, &inode);
    if (status != STATUS_OK) {
        return status;
    }
    status = sim_path_split(disk, from, &from_directory, from_name);
    assert(status == STATUS_OK);
    status = sim_path_split(disk, to, &to_directory, to_name);
    if (status != STATUS_OK) {
        return status;
    }
    bool replaces = sim_path_find(disk, to, &replaced) == STATUS_OK;
    if (replaces && replaced == inode) {
        return STATUS_OK;
    }
    if (replaces && disk->inodes[replaced]->directory) {
        return STATUS_IO;
    }
    sim_rename(disk, from_directory, from_name, to_directory, to_name, inode);
    return STATUS_OK;
}

static enum status sim_operation_rename(struct io *io, const char *from, const char *to)
{
    struct io_sim *disk = handle_of(io)->disk;
    enum status status = STATUS_OK;
    sim_enter(disk);
    if (operation_begins(io, IO_SIM_RENAME, &status)) {
        status = rename_begun(disk, from, to);
    }
    sim_leave(disk);
    return status;
}

static enum status sim_operation_unlink(struct io *io, const char *path)
{
    struct io_sim *disk = handle_of(io)->disk;
    enum status status = STATUS_OK;
    sim_enter(disk);
    if (operation_begins(io, IO_SIM_UNLINK, &status)) {
        uint32_t directory = 0;
        uint32_t inode = 0;
        char name[SIM_NAME_SIZE];
        status = sim_path_find(disk, path, &inode);
        if (status == STATUS_OK && disk->inodes[inode]->directory) {
            status = STATUS_IO;
        }
        if (status == STATUS_OK) {
            status = sim_path_split(disk, path, &directory, name);
            sim_unlink(disk, directory, name, inode);
        }
    }
    sim_leave(disk);
    return status;
}

static enum status sim_list(struct io *io, const char *path,
                            void (*visit)(void *context, const char *name), void *context)
{
    struct io_sim *disk = handle_of(io)->disk;
    enum status status = STATUS_OK;
    struct sim_entries list = {0};
    sim_enter(disk);
    if (operation_begins(io, IO_SIM_LIST, &status)) {
        uint32_t directory = 0;
        status = sim_path_find(disk, path, &directory);
        if (status == STATUS_OK && !disk->inodes[directory]->directory) {
            status = STATUS_NOT_FOUND;
        }
        if (status == STATUS_OK) {
            sim_entries_copy(&list, &disk->inodes[directory]->current_entries);
        }
    }
    sim_leave(disk);
    for (size_t i = 0; i < list.count; i++) {
        visit(context, list.items[i].name);
    }
    free(list.items);
    return status;
}

static enum status sim_lock(struct io *io, const char *path)
{
    struct sim_handle *handle = handle_of(io);
    struct io_sim *disk = handle->disk;
    enum status status = STATUS_OK;
    sim_enter(disk);
    if (operation_begins(io, IO_SIM_LOCK, &status)) {
        uint32_t inode = 0;
        status = file_reach(disk, path, 0, &inode);
        if (status == STATUS_NOT_FOUND) {
            status = file_reach(disk, path, IO_OPEN_CREATE, &inode);
        }
        if (status == STATUS_OK && disk->inodes[inode]->locked) {
            status = STATUS_LOCKED;
        }
        if (status == STATUS_OK) {
            disk->inodes[inode]->locked = true;
            handle->locks = sim_resize(handle->locks, handle->lock_count + 1, sizeof(uint32_t));
            handle->locks[handle->lock_count++] = inode;
        }
    }
    sim_leave(disk);
    return status;
}

static int64_t sim_now_us(struct io *io)
{
    struct io_sim *disk = handle_of(io)->disk;
    sim_enter(disk);
    int64_t now_us = disk->now_us;
    sim_leave(disk);
    return now_us;
}

static void sim_random(struct io *io, void *buffer, size_t size)
{
    struct io_sim *disk = handle_of(io)->disk;
    uint8_t *to = buffer;
    sim_enter(disk);
    for (size_t i = 0; i < size; i++) {
        to[i] = (uint8_t)(sim_draw(&disk->random) >> 56);
    }
    sim_leave(disk);
}

static void sim_close(struct io *io)
{
    struct sim_handle *handle = handle_of(io);
    struct io_sim *disk = handle->disk;
    struct io_request *completed = NULL;
    while (handle->flight_count > 0) {
        (void)sim_wait(io, -1, &completed);
    }
    sim_enter(disk);
    for (size_t i = 0; i < handle->file_count; i++) {
        if (handle->files[i].open) {
            disk->inodes[handle->files[i].inode]->opens--;
        }
    }
    for (size_t i = 0; i < handle->lock_count; i++) {
        disk->inodes[handle->locks[i]]->locked = false;
    }
    disk->handles--;
    sim_sweep(disk);
    sim_leave(disk);
    free(handle->files);
    free(handle->locks);
    free(handle->flights);
    free(handle);
}

static const struct io_operations sim_operations = {
    .name = "sim",
    .open = sim_open,
    .close_file = sim_close_file,
    .size = sim_size,
    .allocate = sim_allocate,
    .truncate = sim_operation_truncate,
    .submit = sim_submit,
    .wait = sim_wait,
    .sync_directory = sim_sync_directory,
    .make_directory = sim_make_directory,
    .rename = sim_operation_rename,
    .unlink = sim_operation_unlink,
    .list = sim_list,
    .lock = sim_lock,
    .now_us = sim_now_us,
    .random = sim_random,
    .close = sim_close,
};

struct io *io_sim_handle(struct io_sim *disk)
{
    struct sim_handle *handle = calloc(1, sizeof(*handle));
    assert(handle != NULL);
    handle->io.operations = &sim_operations;
    handle->disk = disk;
    sim_enter(disk);
    disk->handles++;
    sim_leave(disk);
    return &handle->io;
}

/* Around the contract */

enum status io_sim_peek(const struct io_sim *disk, const char *path, uint64_t offset, void *buffer,
                        size_t size, size_t *out_done)
{
    sim_enter(disk);
    uint32_t inode = 0;
    enum status status = sim_path_find(disk, path, &inode);
    if (status == STATUS_OK) {
        *out_done = sim_content_read(&disk->inodes[inode]->current, offset, buffer, size);
    }
    sim_leave(disk);
    return status;
}

enum status io_sim_poke(struct io_sim *disk, const char *path, uint64_t offset, const void *bytes,
                        size_t size)
{
    sim_enter(disk);
    uint32_t inode = 0;
    enum status status = sim_path_find(disk, path, &inode);
    if (status == STATUS_OK && offset + size > disk->inodes[inode]->current.size) {
        status = STATUS_INVALID;
    }
    if (status == STATUS_OK) {
        sim_content_write(&disk->inodes[inode]->current, offset, bytes, size);
        sim_content_write(&disk->inodes[inode]->durable, offset, bytes, size);
    }
    sim_leave(disk);
    return status;
}
