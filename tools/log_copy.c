/* log_copy.c: see log_copy.h. First the place of the cut is found, then files are copied up to it, then all is read back. */
#include "tools/log_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/files.h"
#include "tools/offline.h"

#define PARTIAL      ".partial"
#define SEGMENT_PATH (OFFLINE_PATH + 8 + SEGMENT_NAME_SIZE)

/* Where the copy ends. */
struct cut {
    uint32_t segment;   /* the last one copied: its place in the list */
    uint64_t end;       /* of its last whole block, in bytes */
    struct bytes block; /* a shorter block to put there, header and payload; owned; empty: none */
};

struct work {
    struct log_copy *copy;
    struct error *error;
    struct offline *source;
    struct cut cut;
    struct progress progress;
    char partial[OFFLINE_PATH]; /* the target's name while it is not whole */
    char from[SEGMENT_PATH];    /* of the segment at hand */
    char to[SEGMENT_PATH];
};

/* ---- the cut ---- */

static bool is_beyond(const struct log_copy *copy, const struct record *record)
{
    return (copy->end_lsn != 0 && record->lsn >= copy->end_lsn) || record->received_at_us > copy->end_us;
}

/* The salt of a segment's blocks. */
static enum status salt_read(struct work *work, uint64_t first_lsn, uint64_t *out_salt)
{
    struct io *io = work->source->io;
    struct segment_header header;
    uint8_t encoded[FORMAT_SEGMENT_HEADER_SIZE];
    char name[SEGMENT_NAME_SIZE];
    char path[SEGMENT_NAME_SIZE + sizeof(OFFLINE_LOG) + 1];
    size_t done = 0;
    int file = -1;
    segment_name(first_lsn, name);
    (void)snprintf(path, sizeof(path), OFFLINE_LOG "/%s", name);
    enum status status = io->operations->open(io, path, IO_OPEN_READ, &file);
    if (status == STATUS_OK) {
        status = io_read(io, file, encoded, sizeof(encoded), 0, &done);
        io->operations->close_file(io, file);
    }
    if (status == STATUS_OK) {
        status = done == sizeof(encoded) ? segment_header_decode(encoded, &header) : STATUS_DAMAGED;
    }
    if (status != STATUS_OK) {
        return error_set(work->error, status, "%s: %s", path, status_name(status));
    }
    *out_salt = header.salt;
    return STATUS_OK;
}

/* The first `count` records of a block, `size` bytes, as a block of their own in the same place. */
static enum status block_shorten(struct work *work, const struct log_block *block, uint32_t count, size_t size)
{
    struct block_header header = block->header;
    uint64_t salt = 0;
    const enum status status = salt_read(work, work->source->segments[work->cut.segment], &salt);
    if (status != STATUS_OK) {
        return status;
    }
    uint8_t *shorter = calloc(1, FORMAT_BLOCK_HEADER_SIZE + size);
    if (shorter == NULL) {
        return error_set(work->error, STATUS_NO_MEMORY, "out of memory");
    }
    memcpy(shorter + FORMAT_BLOCK_HEADER_SIZE, block->payload.data, size);
    header.record_count = count;
    header.payload_size = (uint32_t)size;
    header.payload_check = format_payload_check(block->payload.data, size, salt);
    block_header_encode(&header, salt, shorter);
    work->cut.block = bytes_of(shorter, FORMAT_BLOCK_HEADER_SIZE + size);
    return STATUS_OK;
}

/* Looks at one block. STATUS_END where the copy ends in it, or before it. */
static enum status block_look(struct work *work, const struct log_block *block)
{
    struct record_cursor cursor = {block->payload, block->header.first_lsn};
    uint32_t count = 0;
    size_t size = 0;
    for (;;) {
        struct record record;
        const enum status status = record_next(&cursor, &record);
        if (status == STATUS_END) {
            work->cut.end =
                block->header.offset + round_up(FORMAT_BLOCK_HEADER_SIZE + block->header.payload_size, LOG_BLOCK_ALIGN);
            return STATUS_OK;
        }
        if (status != STATUS_OK) {
            return error_set(work->error, status, "segment %s, block at byte %llu: %s", block->segment,
                             (unsigned long long)block->header.offset, status_name(status));
        }
        if (is_beyond(work->copy, &record)) {
            const enum status shortened = count != 0 ? block_shorten(work, block, count, size) : STATUS_OK;
            return shortened == STATUS_OK ? STATUS_END : shortened;
        }
        count++;
        size = (size_t)(cursor.rest.data - block->payload.data);
    }
}

/* The segment to look for the cut in: with a time it may be in any, else the last one that begins before end_lsn. */
static uint32_t segment_first(const struct work *work)
{
    uint32_t at = 0;
    for (uint32_t i = 1; i < work->source->segment_count && work->copy->end_us == INT64_MAX; i++) {
        if (work->copy->end_lsn == 0 || work->source->segments[i] < work->copy->end_lsn) {
            at = i;
        }
    }
    return at;
}

/* A block of a later segment: the ones before it are copied whole. False where the segment has begun since we looked. */
static bool segment_follow(struct work *work, const struct log_block *block)
{
    char name[SEGMENT_NAME_SIZE];
    for (uint32_t i = work->cut.segment; i < work->source->segment_count; i++) {
        segment_name(work->source->segments[i], name);
        if (strcmp(block->segment, name) == 0) {
            work->cut.end = i != work->cut.segment ? LOG_BLOCK_ALIGN : work->cut.end;
            work->cut.segment = i;
            return true;
        }
    }
    return false;
}

static enum status cut_find(struct work *work)
{
    work->cut.segment = segment_first(work);
    work->cut.end = LOG_BLOCK_ALIGN; /* behind the segment's header */
    const struct log_reader_options options = {.io = work->source->io,
                                               .directory = OFFLINE_LOG,
                                               .from_lsn = work->source->segments[work->cut.segment],
                                               .buffered = true};
    struct log_reader *reader = NULL;
    uint64_t end_lsn = work->source->segments[work->cut.segment];
    enum status status = log_reader_open(&options, work->error, &reader);
    progress_begin(&work->progress, "looking for the end", "records", 0);
    while (status == STATUS_OK) {
        struct log_block block;
        status = log_reader_next(reader, work->error, &block);
        if (status == STATUS_OK && !segment_follow(work, &block)) {
            status = STATUS_END;
        }
        if (status == STATUS_OK) {
            status = block_look(work, &block);
            end_lsn = block.header.first_lsn + block.header.record_count;
            progress_show(&work->progress, end_lsn - options.from_lsn);
        }
    }
    progress_end(&work->progress, end_lsn - options.from_lsn);
    log_reader_close(reader);
    if (status == STATUS_END && work->copy->end_lsn > end_lsn) {
        return error_set(work->error, STATUS_NOT_FOUND, "the log ends before lsn %llu: its last record is %llu",
                         (unsigned long long)work->copy->end_lsn, (unsigned long long)end_lsn - 1);
    }
    return status == STATUS_END ? STATUS_OK : status;
}

/* ---- copying ---- */

static enum status block_put(struct work *work, const char *path)
{
    const struct cut *cut = &work->cut;
    const int file = open(path, O_WRONLY | O_CLOEXEC);
    const bool is_put = file >= 0 && pwrite(file, cut->block.data, cut->block.size, (off_t)cut->end) == (ssize_t)cut->block.size &&
                        fsync(file) == 0;
    const enum status status = is_put ? STATUS_OK : path_error(work->error, "write", path);
    if (file >= 0) {
        (void)close(file);
    }
    return status;
}

static enum status segments_copy(struct work *work)
{
    const struct offline *source = work->source;
    const uint32_t count = work->cut.segment + 1;
    enum status status = STATUS_OK;
    progress_begin(&work->progress, "copying", "segments", count);
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
        char name[SEGMENT_NAME_SIZE];
        const bool is_last = i + 1 == count;
        segment_name(source->segments[i], name);
        (void)snprintf(work->from, sizeof(work->from), "%s/" OFFLINE_LOG "/%s", source->path, name);
        (void)snprintf(work->to, sizeof(work->to), "%s/" OFFLINE_LOG "/%s", work->partial, name);
        status = file_copy(work->from, work->to, is_last ? work->cut.end : FILE_WHOLE, work->error);
        if (status == STATUS_OK && is_last && work->cut.block.size != 0) {
            status = block_put(work, work->to);
        }
        progress_show(&work->progress, i + 1);
    }
    progress_end(&work->progress, count);
    return status;
}

static enum status record_count(void *context, const struct record *record)
{
    struct work *work = context;
    work->copy->copied_records++;
    work->copy->copied_end_lsn = record->lsn + 1;
    progress_show(&work->progress, work->copy->copied_records);
    return STATUS_OK;
}

/* Reads the copy as a server would: every checksum, every record. */
static enum status copy_check(struct work *work)
{
    struct io *io = NULL;
    work->copy->copied_end_lsn = work->source->segments[0];
    enum status status = io_open(IO_BACKEND_SYNC, work->partial, work->error, &io);
    if (status == STATUS_OK) {
        const struct log_reader_options options = {.io = io, .directory = OFFLINE_LOG, .from_lsn = 0, .buffered = true};
        progress_begin(&work->progress, "checking", "records", 0);
        status = log_scan(&options, work->error, record_count, work);
        progress_end(&work->progress, work->copy->copied_records);
    }
    io_close(io);
    return status;
}

/* The folder that holds the target: its new name must be on the disk too. */
static enum status parent_sync(struct work *work)
{
    (void)snprintf(work->to, sizeof(work->to), "%s", work->copy->target);
    char *slash = strrchr(work->to, '/');
    if (slash == NULL) {
        return directory_sync(".", work->error);
    }
    slash[slash == work->to ? 1 : 0] = '\0';
    return directory_sync(work->to, work->error);
}

static enum status partial_fill(struct work *work)
{
    (void)snprintf(work->to, sizeof(work->to), "%s/" OFFLINE_LOG, work->partial);
    enum status status = mkdir(work->to, 0700) == 0 ? segments_copy(work) : path_error(work->error, "make", work->to);
    if (status == STATUS_OK) {
        status = token_copy(work->source->path, work->partial, work->error);
    }
    if (status == STATUS_OK) {
        status = copy_check(work);
    }
    if (status == STATUS_OK) {
        (void)snprintf(work->to, sizeof(work->to), "%s/" OFFLINE_LOG, work->partial);
        status = directory_sync(work->to, work->error);
    }
    return status == STATUS_OK ? directory_sync(work->partial, work->error) : status;
}

static enum status target_make(struct work *work)
{
    if (mkdir(work->partial, 0700) != 0) {
        return errno == EEXIST ? error_set(work->error, STATUS_EXISTS,
                                           "%s is in the way: another copy is under way, or was interrupted; delete it",
                                           work->partial)
                               : path_error(work->error, "make", work->partial);
    }
    enum status status = partial_fill(work);
    if (status == STATUS_OK && rename(work->partial, work->copy->target) != 0) {
        status = path_error(work->error, "make", work->copy->target);
    }
    if (status != STATUS_OK) {
        directory_remove(work->partial);
        return status;
    }
    return parent_sync(work);
}

/* "DIR.partial", also for "DIR/". */
static enum status partial_name(struct work *work)
{
    size_t size = strlen(work->copy->target);
    while (size > 1 && work->copy->target[size - 1] == '/') {
        size--;
    }
    const int written = snprintf(work->partial, sizeof(work->partial), "%.*s" PARTIAL, (int)size, work->copy->target);
    return written < (int)sizeof(work->partial) ? STATUS_OK
                                                : error_set(work->error, STATUS_INVALID, "the new directory's path is too long");
}

enum status log_copy_make(struct log_copy *copy, struct error *error)
{
    struct work *work = calloc(1, sizeof(*work));
    if (work == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    work->copy = copy;
    work->error = error;
    copy->copied_records = 0;
    enum status status = directory_check_free(copy->target, error);
    if (status == STATUS_OK) {
        status = partial_name(work);
    }
    if (status == STATUS_OK) {
        status = copy->is_shared ? offline_open_shared(copy->source, error, &work->source)
                                 : offline_open(copy->source, error, &work->source);
    }
    if (status == STATUS_OK && copy->end_lsn != 0 && copy->end_lsn < work->source->segments[0]) {
        status = error_set(error, STATUS_NOT_FOUND, "the log begins at lsn %llu",
                           (unsigned long long)work->source->segments[0]);
    }
    if (status == STATUS_OK) {
        status = cut_find(work);
    }
    if (status == STATUS_OK) {
        status = target_make(work);
    }
    offline_close(work->source);
    free((void *)(uintptr_t)work->cut.block.data);
    free(work);
    return status;
}
