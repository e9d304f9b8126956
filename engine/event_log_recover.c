/* event_log_recover.c: making a directory fit to be appended to.
 *
 * Everything is looked at before anything is changed: a log that is refused stays as it was found. Then a torn tail is
 * copied to quarantine/ and overwritten with zeros, files that never became part of the log are removed, and what is left
 * is synced. Each step can be cut short by a crash, and is then done again from the start.
 */
#include "engine/event_log_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define QUARANTINE_NAMES 1000u

/* Opens a new file in quarantine/. An earlier recovery may have died after it wrote one of the same name; that one may
 * hold more than is left to save now, so it is not replaced. */
static enum status quarantine_create(struct segment_scan *scan, const char *directory,
                                     struct error *error, struct log_path *out_path, int *out_file)
{
    enum status status = STATUS_EXISTS;
    for (unsigned try = 0; try < QUARANTINE_NAMES && status == STATUS_EXISTS; try++) {
        char name[64];
        char again[16] = "";
        if (try > 0) {
            (void)snprintf(again, sizeof(again), "-%u", try + 1);
        }
        (void)snprintf(name, sizeof(name), "%020llu-%llu%s.bin",
                       (unsigned long long)scan->header.first_lsn, (unsigned long long)scan->offset,
                       again);
        *out_path = log_path_make(directory, name);
        status = scan->io->operations->open(scan->io, out_path->text, IO_OPEN_CREATE, out_file);
    }
    return status == STATUS_OK ? status
                               : log_trouble(error, scan->io, status, "create", out_path->text);
}

static enum status quarantine_copy(struct segment_scan *scan, int file, struct error *error)
{
    enum status status = STATUS_OK;
    for (uint64_t done = 0; done < scan->torn_size && status == STATUS_OK; done += LOG_READ_PIECE) {
        size_t size = size_min((size_t)(scan->torn_size - done), LOG_READ_PIECE);
        const uint8_t *bytes = NULL;
        status = segment_window_at(scan, scan->offset + done, size, error, &bytes);
        if (status == STATUS_OK) {
            status = io_write_durable(scan->io, file, bytes, size, done);
            status = status == STATUS_OK
                         ? status
                         : log_trouble(error, scan->io, status, "write", "the quarantine");
        }
    }
    return status;
}

/* Copies the torn tail to quarantine/, durably. */
static enum status tail_quarantine(struct segment_scan *scan, const char *directory,
                                   struct error *error)
{
    struct io *io = scan->io;
    struct log_path quarantine = log_path_make(directory, LOG_NAME_QUARANTINE);
    enum status status = io->operations->make_directory(io, quarantine.text);
    if (status != STATUS_OK) {
        return log_trouble(error, io, status, "make", quarantine.text);
    }
    struct log_path path;
    int file = -1;
    status = quarantine_create(scan, quarantine.text, error, &path, &file);
    if (status != STATUS_OK) {
        return status;
    }
    status = quarantine_copy(scan, file, error);
    io->operations->close_file(io, file);
    if (status != STATUS_OK) {
        (void)io->operations->unlink(io, path.text);
        return status;
    }
    status = io->operations->sync_directory(io, quarantine.text);
    if (status == STATUS_OK) {
        status = io->operations->sync_directory(io, directory);
    }
    return status == STATUS_OK ? status : log_trouble(error, io, status, "sync", quarantine.text);
}

/* Writes zeros over the torn tail, so that no later block is ever followed by bytes that are not its successor's. Dying
 * in here leaves a torn tail again, only with more zeros in it. */
static enum status tail_zero(struct segment_scan *scan, struct error *error)
{
    size_t piece = size_min((size_t)scan->torn_size, LOG_READ_PIECE);
    scan->window_size = 0;
    enum status reserved = segment_window_reserve(scan, piece, error);
    if (reserved != STATUS_OK) {
        return reserved;
    }
    memset(scan->window, 0, piece);
    for (uint64_t done = 0; done < scan->torn_size; done += LOG_READ_PIECE) {
        size_t size = size_min((size_t)(scan->torn_size - done), LOG_READ_PIECE);
        enum status status =
            io_write_durable(scan->io, scan->file, scan->window, size, scan->offset + done);
        if (status != STATUS_OK) {
            return log_trouble(error, scan->io, status, "write", scan->path.text);
        }
    }
    return STATUS_OK;
}

/* Walks the last segment and fills in the tail. */
static enum status tail_find(struct segment_scan *scan, struct error *error, struct log_tail *tail)
{
    struct log_block block;
    segment_footer_init(&tail->footer, scan->header.first_lsn, scan->chain);
    enum status status = segment_scan_next(scan, 0, error, &block);
    while (status == STATUS_OK) {
        status = segment_footer_add(&tail->footer, block.payload, block.header.record_count,
                                    scan->chain);
        if (status != STATUS_OK) {
            return segment_records_trouble(scan, &block, status, error);
        }
        tail->written_first_us =
            tail->footer.blocks == 1 ? block.header.written_at_us : tail->written_first_us;
        tail->written_last_us = block.header.written_at_us;
        tail->last_offset = block.header.offset;
        tail->last_size =
            round_up(FORMAT_BLOCK_HEADER_SIZE + block.header.payload_size, LOG_BLOCK_ALIGN);
        status = segment_scan_next(scan, 0, error, &block);
    }
    return status == STATUS_END ? STATUS_OK : status;
}

/* The last segment: where does the log end? What lies behind is cut. */
static enum status tail_recover(struct segment_scan *scan, const struct event_log_options *options,
                                struct error *error, struct log_tail *tail)
{
    segment_vouch(scan, options->applied_lsn, "the checkpoint of the store");
    tail->header = scan->header;
    tail->sealed = scan->sealed;
    enum status status = STATUS_OK;
    if (scan->sealed) {
        tail->footer = scan->footer;
        tail->last_offset = scan->header.file_size - LOG_BLOCK_ALIGN;
        tail->last_size = LOG_BLOCK_ALIGN;
    } else {
        status = tail_find(scan, error, tail);
    }
    tail->offset = scan->offset;
    tail->cut_bytes = scan->torn_size;
    if (status == STATUS_OK && scan->torn_size > 0) {
        status = tail_quarantine(scan, options->directory, error);
        status = status == STATUS_OK ? tail_zero(scan, error) : status;
    }
    return status;
}

/* Checks that the segments follow one another, and leaves the last one open in `scan`. */
static enum status segments_check(struct segment_scan *scan,
                                  const struct event_log_options *options,
                                  const struct segment_list *list, struct error *error)
{
    struct segment_scan before;
    for (size_t i = 0; i < list->count; i++) {
        before = *scan;
        segment_scan_close(scan);
        bool last = i + 1 == list->count;
        unsigned flags = last ? IO_OPEN_DIRECT : IO_OPEN_READ | IO_OPEN_DIRECT;
        enum status status = segment_scan_open(scan, options->directory, list->first_lsns[i], flags,
                                               i > 0 ? &before : NULL, error);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/* Files that never became part of the log. */
static enum status leftovers_remove(struct io *io, const char *directory, struct error *error)
{
    static const char *const names[] = {LOG_NAME_NEXT, LOG_NAME_ROLL};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct log_path path = log_path_make(directory, names[i]);
        enum status status = io->operations->unlink(io, path.text);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
            return log_trouble(error, io, status, "remove", path.text);
        }
    }
    return STATUS_OK;
}

/* The process before us may have been killed between a write and its flush, or have seen the flush fail: what we read is
 * then only in a cache, and where that is the kernel's it may count as clean already, so that a flush alone would not
 * write it. Everything before the last write is vouched for; that one is written again. */
static enum status tail_rewrite(struct segment_scan *scan, const struct log_tail *tail,
                                struct error *error)
{
    if (tail->last_size == 0) {
        return STATUS_OK;
    }
    const uint8_t *bytes = NULL;
    scan->window_size = 0; /* what was cut behind it has changed on disk */
    enum status status =
        segment_window_at(scan, tail->last_offset, (size_t)tail->last_size, error, &bytes);
    if (status != STATUS_OK) {
        return status;
    }
    status =
        io_write_durable(scan->io, scan->file, bytes, (size_t)tail->last_size, tail->last_offset);
    return status == STATUS_OK ? status
                               : log_trouble(error, scan->io, status, "write", scan->path.text);
}

/* It must not be lost once we have built on it. */
static enum status tail_sync(struct segment_scan *scan, const char *directory, struct error *error)
{
    struct io *io = scan->io;
    struct io_request request = {.kind = IO_SYNC, .file = scan->file};
    struct io_request *completed = NULL;
    enum status status = io->operations->submit(io, &request);
    if (status == STATUS_OK) {
        while (completed == NULL) {
            status = io->operations->wait(io, -1, &completed);
            assert(status ==
                   STATUS_OK); /* the request is on our stack: there is no way on without it */
        }
        status = request.status;
    }
    if (status != STATUS_OK) {
        return log_trouble(error, io, status, "sync", scan->path.text);
    }
    status = io->operations->sync_directory(io, directory);
    return status == STATUS_OK ? status : log_trouble(error, io, status, "sync", directory);
}

/* A checkpoint that includes more than the log has: the log lost what it had acknowledged. */
static enum status log_reaches_checkpoint(const struct event_log_options *options, uint64_t end_lsn,
                                          struct error *error)
{
    if (options->applied_lsn <= end_lsn) {
        return STATUS_OK;
    }
    return error_set(error, STATUS_DAMAGED,
                     "%s ends before lsn %llu, but the store includes records up to lsn %llu: "
                     "acknowledged records are gone",
                     options->directory, (unsigned long long)end_lsn,
                     (unsigned long long)options->applied_lsn - 1);
}

static enum status directory_recover(struct segment_scan *scan,
                                     const struct event_log_options *options,
                                     const struct segment_list *list, struct error *error,
                                     struct log_tail *tail)
{
    enum status status = STATUS_OK;
    bool empty = list->count == 0;
    tail->segments = (uint32_t)list->count;
    tail->first_lsn = empty ? 1 : list->first_lsns[0];
    if (!empty) {
        status = segments_check(scan, options, list, error);
        status = status == STATUS_OK ? tail_recover(scan, options, error, tail) : status;
    }
    if (status == STATUS_OK) {
        status = log_reaches_checkpoint(options, empty ? 1 : tail->footer.end_lsn, error);
    }
    status = status == STATUS_OK ? leftovers_remove(scan->io, options->directory, error) : status;
    if (status == STATUS_OK && !empty) {
        status = tail_rewrite(scan, tail, error);
    }
    return status == STATUS_OK && !empty ? tail_sync(scan, options->directory, error) : status;
}

enum status log_recover(const struct event_log_options *options, struct error *error,
                        struct log_tail *out_tail)
{
    struct segment_list list = {0};
    struct segment_scan scan;
    struct log_tail tail = {.file = -1};
    segment_scan_init(&scan, options->io);
    enum status status = segment_list_read(options->io, options->directory, error, &list);
    if (status != STATUS_OK) {
        goto cleanup;
    }
    status = directory_recover(&scan, options, &list, error, &tail);
    if (status != STATUS_OK) {
        goto cleanup;
    }
    tail.file = scan.file; /* moved to the caller */
    scan.file = -1;
    *out_tail = tail;
cleanup:
    segment_scan_deinit(&scan);
    free(list.first_lsns);
    return status;
}
