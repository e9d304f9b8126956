/* event_log.c: appending to the log.
 *
 * The way of a commit: event_log_append() puts it in the queue. event_log_poll() copies as many queued commits as fit
 * into a free buffer, puts a block header in front and submits one durable write; all that arrives meanwhile is the next
 * block. When the write is done the commits are handed back, and the buffer is busy until event_log_release().
 *
 *                  block_submit                          OPEN      a segment is open and nothing is in flight
 *          +--------------------------+                  WRITING   a block is in flight
 *          |                          v                  SEALED    the last segment is complete, or there is none yet,
 *        OPEN <---- block_finish -- WRITING                        and the next one could not be begun so far
 *         | ^                         |                  POISONED  a write or flush failed: nothing more is written,
 *         | +-- segment_begin --+     |                            for the life of the process
 *         |                     |     |
 *         +-- segment_seal -> SEALED  |
 *         |                     |     |
 *         +--------> POISONED <-+-----+
 *
 * Invariants   1. One write in flight, and none but in WRITING. Block k+1 starts only when block k is durable: recovery
 *                 lives on it (see "Vouching" in event_log_read.c).
 *              2. [offset, footer) of the open segment is zeros on disk, but for [offset, dirty_end): what a full disk
 *                 left of a failed write. Whatever is written next covers all of that.
 *              3. The next segment's file exists before this one is sealed, and has its header before it has its name. So
 *                 a directory's segments are always whole, and only the last can be unsealed.
 *              4. A failed commit is not in the log, or the log is poisoned.
 *
 * Rolling is done in one go, with nothing in flight: 64 MiB of commits pay for its three flushes.
 */
#include "engine/event_log_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define DAY_US 86400000000ll
#define ROLL_RETRY_US                                                                              \
    1000000ll /* after a roll found no room, so that a full disk is not hammered */
#define NO_BUFFER        UINT32_MAX
#define ROOT_DIRECTORY   "."
#define SEGMENT_OVERHEAD (2ull * LOG_BLOCK_ALIGN) /* header and footer */

static_assert(FORMAT_BLOCK_HEADER_SIZE + LOG_BLOCK_PAYLOAD <= LOG_BLOCK_SIZE,
              "the largest payload fits");
static_assert(LOG_SEGMENT_SIZE % LOG_BLOCK_ALIGN == 0, "segments are aligned");
static_assert(LOG_BLOCK_SIZE + SEGMENT_OVERHEAD <= LOG_SEGMENT_SIZE,
              "a fresh segment takes the largest block");

enum log_state {
    LOG_OPEN,
    LOG_WRITING,
    LOG_SEALED,
    LOG_POISONED,
};

struct commit_list {
    struct commit *first;
    struct commit *last;
};

struct event_log {
    struct io *io;
    char directory[LOG_DIRECTORY_MAX];
    uint64_t segment_size; /* of new segments */
    uint32_t block_size;
    uint32_t payload_limit; /* of one block, and so of one commit */

    enum log_state state;
    struct error failure; /* why it is poisoned */

    struct commit_list queue;
    struct commit_list failed; /* to be handed back, status set */

    /* The open segment; in LOG_SEALED the one before, if any. */
    int file;
    struct log_path path;
    struct segment_header header;
    struct segment_footer
        footer; /* of its durable blocks; end_lsn and chain are the next block's */
    uint64_t offset;
    uint64_t dirty_end; /* 0: nothing dirty */
    int64_t day;        /* of its first block, in days of 1970; only where it has blocks */
    int64_t written_at_us;
    bool closing; /* its footer was tried: no block may follow */

    /* The block in flight. */
    struct io_request request;
    bool submitted; /* the disk has the request, and may still be reading its buffer */
    uint32_t flight_buffer;
    struct commit_list flight;
    struct block_header flight_header;
    struct segment_footer flight_footer; /* the footer once it is durable */

    /* The segment to come. */
    bool prepared;  /* next.tmp is ready */
    int spare_file; /* the file that becomes it, open; -1: none */
    struct log_path spare_path;
    int64_t roll_again_us; /* not before; 0: any time */
    enum status roll_status;

    uint8_t *buffers[LOG_BLOCK_BUFFERS];
    bool buffer_busy[LOG_BLOCK_BUFFERS];
};

static void commit_list_push(struct commit_list *list, struct commit *commit)
{
    commit->next = NULL;
    if (list->last != NULL) {
        list->last->next = commit;
    } else {
        list->first = commit;
    }
    list->last = commit;
}

static struct commit *commit_list_pop(struct commit_list *list)
{
    struct commit *commit = list->first;
    list->first = commit->next;
    list->last = list->first != NULL ? list->last : NULL;
    commit->next = NULL;
    return commit;
}

static void commit_fail(struct event_log *log, struct commit *commit, enum status status)
{
    commit->status = status;
    commit_list_push(&log->failed, commit);
}

static void commit_list_fail(struct event_log *log, struct commit_list *list, enum status status)
{
    while (list->first != NULL) {
        commit_fail(log, commit_list_pop(list), status);
    }
}

/* States */

static void log_move(struct event_log *log, enum log_state state)
{
    static const bool allowed[][4] = {
        [LOG_OPEN] = {[LOG_WRITING] = true,   [LOG_SEALED] = true, [LOG_POISONED] = true},
        [LOG_WRITING] = {[LOG_OPEN] = true, [LOG_POISONED] = true},
        [LOG_SEALED] = {[LOG_OPEN] = true,      [LOG_POISONED] = true},
        [LOG_POISONED] = {false                     },
    };
    assert(allowed[log->state][state]);
    log->state = state;
}

/* Gives up for good, with log->failure set. Everything in flight or queued goes back as unavailable. */
static void log_give_up(struct event_log *log)
{
    log_move(log, LOG_POISONED);
    commit_list_fail(log, &log->flight, STATUS_UNAVAILABLE);
    commit_list_fail(log, &log->queue, STATUS_UNAVAILABLE);
}

static enum status log_poison(struct event_log *log, enum status status, const char *verb,
                              const char *path)
{
    (void)log_trouble(&log->failure, log->io, status, verb, path);
    log_give_up(log);
    return STATUS_UNAVAILABLE;
}

void event_log_fail(struct event_log *log, const char *why)
{
    if (log->state != LOG_POISONED) {
        (void)error_set(&log->failure, STATUS_IO, "%s", why);
        log_give_up(log);
    }
}

/* A full disk is survived; whatever else went wrong with our own files is not. */
static enum status log_failed(struct event_log *log, enum status status, const char *verb,
                              const char *path)
{
    return status == STATUS_NO_SPACE ? status : log_poison(log, status, verb, path);
}

/* Segments to come */

/* Pre-writes a file of this name. Leaves nothing behind on failure. */
static enum status spare_make(struct io *io, const struct log_path *path, uint64_t size)
{
    int file = -1;
    enum status status = io->operations->open(io, path->text, IO_OPEN_CREATE, &file);
    if (status == STATUS_EXISTS) {
        /* Nobody but us makes files of this name, and the log has not taken this one: it was left by a failure. */
        status = io->operations->unlink(io, path->text);
        status = status == STATUS_OK ? io->operations->open(io, path->text, IO_OPEN_CREATE, &file)
                                     : status;
    }
    if (status != STATUS_OK) {
        return status;
    }
    status = io->operations->allocate(io, file, size);
    int error_number = io->last_errno;
    io->operations->close_file(io, file);
    if (status != STATUS_OK) {
        (void)io->operations->unlink(io, path->text);
        io->last_errno = error_number; /* of the failure, not of the cleaning up */
    }
    return status;
}

enum status event_log_prepare(struct io *io, const char *directory, uint64_t segment_size)
{
    struct log_path path = log_path_make(directory, LOG_NAME_NEXT);
    return spare_make(io, &path, segment_size != 0 ? segment_size : LOG_SEGMENT_SIZE);
}

void event_log_prepared(struct event_log *log)
{
    log->prepared = true;
    log->roll_again_us = 0; /* there is room: no need to wait any longer */
}

bool event_log_wants_segment(const struct event_log *log)
{
    /* While a spare is open it may still bear the name next.tmp. */
    return !log->prepared && log->spare_file < 0 && log->state != LOG_POISONED;
}

/* Opens the spare and sees that it has the right size. */
static enum status spare_open(struct event_log *log, const char *name)
{
    const struct io_operations *operations = log->io->operations;
    struct log_path path = log_path_make(log->directory, name);
    int file = -1;
    enum status status = operations->open(log->io, path.text, IO_OPEN_DIRECT, &file);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t size = 0;
    status = operations->size(log->io, file, &size);
    if (status != STATUS_OK || size != log->segment_size) {
        operations->close_file(log->io, file);
        return status != STATUS_OK ? status : STATUS_INVALID;
    }
    log->spare_file = file;
    log->spare_path = path;
    return STATUS_OK;
}

/* Makes sure that there is a file for the next segment: the prepared one, or else one made here and now. */
static enum status spare_ensure(struct event_log *log)
{
    if (log->spare_file >= 0) {
        return STATUS_OK;
    }
    if (log->prepared) {
        log->prepared = false;
        if (spare_open(log, LOG_NAME_NEXT) == STATUS_OK) {
            return STATUS_OK;
        }
        /* It was made with another size, or taken away. The one made next under this name replaces it. */
    }
    struct log_path path = log_path_make(log->directory, LOG_NAME_ROLL);
    enum status status = spare_make(log->io, &path, log->segment_size);
    if (status == STATUS_OK) {
        status = spare_open(log, LOG_NAME_ROLL);
    }
    return status == STATUS_OK ? status : log_failed(log, status, "prepare", path.text);
}

/* Rolling. `page` is a free block buffer. */

static enum status dirty_zero(struct event_log *log, uint8_t *page)
{
    if (log->dirty_end <= log->offset) {
        return STATUS_OK;
    }
    size_t size = (size_t)(log->dirty_end - log->offset);
    memset(page, 0, size);
    return io_write_durable(log->io, log->file, page, size, log->offset);
}

/* Writes the footer. OPEN -> SEALED */
static enum status segment_seal(struct event_log *log, uint8_t *page)
{
    log->closing = true;
    enum status status = dirty_zero(log, page);
    if (status != STATUS_OK) {
        return log_failed(log, status, "write", log->path.text);
    }
    log->dirty_end = 0;
    memset(page, 0, LOG_BLOCK_ALIGN);
    segment_footer_encode(&log->footer, log->header.salt, page);
    status = io_write_durable(log->io, log->file, page, LOG_BLOCK_ALIGN,
                              log->header.file_size - LOG_BLOCK_ALIGN);
    if (status != STATUS_OK) {
        return log_failed(log, status, "write", log->path.text);
    }
    log->io->operations->close_file(log->io, log->file);
    log->file = -1;
    log_move(log, LOG_SEALED);
    return STATUS_OK;
}

/* Turns the spare into the next segment. SEALED -> OPEN */
static enum status segment_begin(struct event_log *log, uint8_t *page)
{
    const struct io_operations *operations = log->io->operations;
    assert(log->spare_file >= 0);
    struct segment_header header = log->header; /* store id and hash seed stay */
    header.first_lsn = log->footer.end_lsn;
    header.chain = log->footer.chain;
    header.file_size = log->segment_size;
    int64_t now_us = operations->now_us(log->io);
    log->written_at_us = now_us > log->written_at_us ? now_us : log->written_at_us;
    header.created_at_us = log->written_at_us;
    operations->random(log->io, &header.salt, sizeof(header.salt));
    memset(page, 0, LOG_BLOCK_ALIGN);
    segment_header_encode(&header, page);
    uint64_t chain = format_chain(page, FORMAT_SEGMENT_HEADER_SIZE);
    enum status status = io_write_durable(log->io, log->spare_file, page, LOG_BLOCK_ALIGN, 0);
    if (status != STATUS_OK) {
        return log_failed(log, status, "write", log->spare_path.text);
    }
    char name[SEGMENT_NAME_SIZE];
    segment_name(header.first_lsn, name);
    struct log_path path = log_path_make(log->directory, name);
    status = operations->rename(log->io, log->spare_path.text, path.text);
    if (status != STATUS_OK) {
        return log_failed(log, status, "rename", log->spare_path.text);
    }
    status = operations->sync_directory(log->io, log->directory);
    if (status != STATUS_OK) {
        return log_poison(log, status, "sync", log->directory);
    }
    log->file = log->spare_file;
    log->spare_file = -1;
    log->path = path;
    log->header = header;
    log->offset = LOG_BLOCK_ALIGN;
    log->dirty_end = 0;
    log->closing = false;
    segment_footer_init(&log->footer, header.first_lsn, chain);
    log_move(log, LOG_OPEN);
    return STATUS_OK;
}

/* Goes over to a new segment. STATUS_NO_SPACE: not now; the log goes on where it can. */
static enum status segment_roll(struct event_log *log, uint8_t *page)
{
    int64_t now_us = log->io->operations->now_us(log->io);
    int64_t wait_us = log->roll_again_us - now_us;
    if (wait_us > 0 &&
        wait_us <= ROLL_RETRY_US) { /* a longer wait means that the clock was set back */
        return log->roll_status;
    }
    enum status status = spare_ensure(log);
    if (status == STATUS_OK && log->state == LOG_OPEN) {
        status = segment_seal(log, page);
    }
    if (status == STATUS_OK) {
        status = segment_begin(log, page);
    }
    log->roll_status = status;
    log->roll_again_us = status == STATUS_OK ? 0 : now_us + ROLL_RETRY_US;
    return status;
}

/* Blocks */

static uint32_t buffer_find(const struct event_log *log)
{
    /* The lowest, so that a quiet log keeps to the same few pages of memory. */
    for (uint32_t i = 0; i < LOG_BLOCK_BUFFERS; i++) {
        if (!log->buffer_busy[i]) {
            return i;
        }
    }
    return NO_BUFFER;
}

void event_log_release(struct event_log *log, uint32_t buffer)
{
    if (buffer == NO_BUFFER) { /* a block of failed commits */
        return;
    }
    assert(buffer < LOG_BLOCK_BUFFERS && log->buffer_busy[buffer]);
    assert(!log->submitted || buffer != log->flight_buffer);
    log->buffer_busy[buffer] = false;
}

/* Bytes that a block may still take in the open segment, header included. */
static uint64_t segment_room(const struct event_log *log)
{
    if (log->state != LOG_OPEN || log->closing) {
        return 0;
    }
    return log->header.file_size - LOG_BLOCK_ALIGN - log->offset;
}

bool event_log_is_short(const struct event_log *log)
{
    if (log->prepared || log->spare_file >= 0) {
        return false;
    }
    if (log->file < 0 || log->closing) {
        return true;
    }
    const uint64_t used = log->offset + (log->state == LOG_WRITING ? log->request.size : 0);
    return log->header.file_size - LOG_BLOCK_ALIGN - used < log->block_size;
}

static bool commit_fits(const struct commit *commit, uint64_t used, uint64_t room,
                        uint64_t payload_limit)
{
    uint64_t payload = used + commit->records.size;
    return payload <= payload_limit && FORMAT_BLOCK_HEADER_SIZE + payload <= room;
}

/* What the reader will demand of the commit's bytes. A commit that breaks this would make the log unreadable, so it must
 * not get in; the bytes were just copied, so looking at the record headers is cheap. */
static void commit_check(const struct commit *commit, uint64_t first_lsn)
{
    struct record_cursor cursor = {commit->records, first_lsn};
    struct record record;
    enum status status = record_next(&cursor, &record);
    while (status == STATUS_OK) {
        status = record_next(&cursor, &record);
    }
    assert(status == STATUS_END);
    assert(cursor.next_lsn - first_lsn == commit->record_count);
}

/* Moves queued commits into the buffer, as many as fit, and fills in the block header but for its check sums. */
static void block_fill(struct event_log *log, uint8_t *buffer)
{
    struct block_header header = {
        .first_lsn = log->footer.end_lsn,
        .chain = log->footer.chain,
        .durable_lsn = log->footer.end_lsn,
        .offset = log->offset,
    };
    uint64_t room = segment_room(log);
    uint64_t used = 0;
    while (log->queue.first != NULL &&
           commit_fits(log->queue.first, used, room, log->payload_limit)) {
        struct commit *commit = commit_list_pop(&log->queue);
        memcpy(buffer + FORMAT_BLOCK_HEADER_SIZE + used, commit->records.data,
               commit->records.size);
        commit->first_lsn = header.first_lsn + header.record_count;
        commit_check(commit, commit->first_lsn);
        header.record_count += commit->record_count;
        used += commit->records.size;
        commit_list_push(&log->flight, commit);
    }
    header.payload_size = (uint32_t)used;
    int64_t now_us = log->io->operations->now_us(log->io);
    log->written_at_us = now_us > log->written_at_us ? now_us : log->written_at_us;
    header.written_at_us = log->written_at_us;
    log->flight_header = header;
}

/* Check sums, padding, and off it goes. OPEN -> WRITING */
static void block_submit(struct event_log *log, uint32_t index)
{
    uint8_t *buffer = log->buffers[index];
    struct block_header *header = &log->flight_header;
    uint8_t *payload = buffer + FORMAT_BLOCK_HEADER_SIZE;
    header->payload_check = format_payload_check(payload, header->payload_size, log->header.salt);
    block_header_encode(header, log->header.salt, buffer);
    size_t used = FORMAT_BLOCK_HEADER_SIZE + header->payload_size;
    size_t size = (size_t)round_up(used, LOG_BLOCK_ALIGN);
    if (log->dirty_end > log->offset + size) {
        size =
            (size_t)(log->dirty_end -
                     log->offset); /* invariant 2; it was one block, so the buffer has the room */
    }
    memset(buffer + used, 0, size - used);
    log->buffer_busy[index] = true;
    log->flight_buffer = index;
    log->request = (struct io_request){.kind = IO_WRITE_DURABLE,
                                       .file = log->file,
                                       .buffer = buffer,
                                       .size = size,
                                       .offset = log->offset};
    log_move(log, LOG_WRITING);
    enum status status = log->io->operations->submit(log->io, &log->request);
    if (status != STATUS_OK) {
        (void)log_poison(log, status, "write", log->path.text);
        return;
    }
    log->submitted = true;
    /* While the disk is busy there is time to decode the records for the footer. */
    log->flight_footer = log->footer;
    status =
        segment_footer_add(&log->flight_footer, bytes_of(payload, header->payload_size),
                           header->record_count, format_chain(buffer, FORMAT_BLOCK_HEADER_SIZE));
    assert(status == STATUS_OK); /* an encoder's promise */
}

/* True when the segment has blocks of a day that is over. */
static bool segment_day_over(const struct event_log *log)
{
    return log->state == LOG_OPEN && log->footer.blocks > 0 &&
           log->io->operations->now_us(log->io) / DAY_US > log->day;
}

/* Starts the next block if there is one to start. Commits that find no room fail here. */
static void block_start(struct event_log *log)
{
    uint32_t index = buffer_find(log);
    if (log->state == LOG_POISONED || index == NO_BUFFER) {
        return;
    }
    uint8_t *buffer = log->buffers[index];
    if (segment_day_over(log)) {
        (void)segment_roll(log, buffer); /* on a full disk the old day's segment goes on */
    }
    while (log->queue.first != NULL && log->state != LOG_POISONED) {
        if (commit_fits(log->queue.first, 0, segment_room(log), log->payload_limit)) {
            block_fill(log, buffer);
            block_submit(log, index);
            return;
        }
        enum status status = segment_roll(log, buffer);
        if (status != STATUS_OK && log->state != LOG_POISONED) {
            commit_fail(log, commit_list_pop(&log->queue), status);
        }
    }
}

static void block_hand_over(struct event_log *log, struct durable_block *out_block)
{
    const struct block_header *header = &log->flight_header;
    *out_block = (struct durable_block){
        .first_lsn = header->first_lsn,
        .end_lsn = header->first_lsn + header->record_count,
        .payload = bytes_of(log->buffers[log->flight_buffer] + FORMAT_BLOCK_HEADER_SIZE,
                            header->payload_size),
        .commits = log->flight.first,
        .buffer = log->flight_buffer,
    };
    for (struct commit *commit = log->flight.first; commit != NULL; commit = commit->next) {
        commit->status = STATUS_OK;
    }
    log->flight = (struct commit_list){0};
}

/* A write that found no room may have got as far as the padding: then the whole block is on disk, and a restart would take
 * it for a good one. Its header goes before anybody is told that it failed (invariant 4). */
static void block_withdraw(struct event_log *log)
{
    uint8_t *page = log->buffers[log->flight_buffer];
    memset(page, 0, LOG_BLOCK_ALIGN);
    enum status status = io_write_durable(log->io, log->file, page, LOG_BLOCK_ALIGN, log->offset);
    /* A disk too full even for that leaves the old, small doubt: a crash before the next block may bring the refused one
     * back. Nothing acknowledged is at stake, so it is no reason to give up the log. */
    if (status != STATUS_OK && status != STATUS_NO_SPACE) {
        (void)log_poison(log, status, "write", log->path.text);
        return;
    }
    commit_list_fail(log, &log->flight, STATUS_NO_SPACE);
}

/* The block's write is done, well or badly. True when it is durable and handed over. WRITING -> OPEN */
static bool block_finish(struct event_log *log, struct durable_block *out_block)
{
    log->submitted = false;
    const struct io_request *request = &log->request;
    if (request->status == STATUS_OK) {
        assert(request->done == request->size);
        uint64_t size =
            round_up(FORMAT_BLOCK_HEADER_SIZE + log->flight_header.payload_size, LOG_BLOCK_ALIGN);
        log->day = log->footer.blocks == 0 ? log->flight_header.written_at_us / DAY_US : log->day;
        log->footer = log->flight_footer;
        log->offset += size;
        log->dirty_end = 0;
        log_move(log, LOG_OPEN);
        block_hand_over(log, out_block);
        return true;
    }
    log->buffer_busy[log->flight_buffer] = false;
    if (request->status == STATUS_NO_SPACE) {
        log->dirty_end = request->offset + request->size;
        log_move(log, LOG_OPEN);
        block_withdraw(log);
        return false;
    }
    log->io->last_errno = request->error_number;
    (void)log_poison(log, request->status, "write", log->path.text);
    return false;
}

/* Waits for the block in flight. True when it became durable. */
static bool block_wait(struct event_log *log, int64_t timeout_us, struct durable_block *out_block)
{
    struct io_request *completed = NULL;
    enum status status = STATUS_OK;
    do {
        status = log->io->operations->wait(log->io, timeout_us, &completed);
    } while (status == STATUS_OK && completed == NULL && timeout_us < 0);
    if (status != STATUS_OK) {
        /* The write may still be under way, so its buffer stays busy for good. */
        (void)log_poison(log, status, "wait for", log->path.text);
        return false;
    }
    if (completed == NULL) {
        return false;
    }
    assert(completed == &log->request && completed->next == NULL);
    return block_finish(log, out_block);
}

/* The writer's calls */

void event_log_append(struct event_log *log, struct commit *commit)
{
    assert(commit->record_count >= 1 && commit->records.size >= FORMAT_RECORD_SIZE_MIN);
    if (log->state == LOG_POISONED) {
        commit_fail(log, commit, STATUS_UNAVAILABLE);
    } else if (commit->records.size > log->payload_limit || commit->records.size > LIMIT_FRAME) {
        commit_fail(log, commit, STATUS_TOO_LARGE);
    } else {
        commit_list_push(&log->queue, commit);
    }
}

enum status event_log_poll(struct event_log *log, int64_t timeout_us, bool *out_done,
                           struct durable_block *out_block)
{
    if (log->state != LOG_WRITING) {
        block_start(log);
    }
    bool done = false;
    if (log->state == LOG_WRITING) {
        /* With failures to report there is no time to wait. */
        done = block_wait(log, log->failed.first != NULL ? 0 : timeout_us, out_block);
    }
    if (!done && log->failed.first != NULL) {
        uint64_t lsn = log->footer.end_lsn;
        *out_block = (struct durable_block){
            .first_lsn = lsn, .end_lsn = lsn, .commits = log->failed.first, .buffer = NO_BUFFER};
        log->failed = (struct commit_list){0};
        done = true;
    }
    if (!done && log->state == LOG_POISONED) {
        return STATUS_UNAVAILABLE;
    }
    *out_done = done;
    return STATUS_OK;
}

bool event_log_busy(const struct event_log *log)
{
    return log->queue.first != NULL || log->flight.first != NULL || log->failed.first != NULL;
}

bool event_log_healthy(const struct event_log *log)
{
    return log->state != LOG_POISONED;
}

const char *event_log_segment_path(const struct event_log *log)
{
    return log->file >= 0 ? log->path.text : NULL;
}

const char *event_log_failure(const struct event_log *log)
{
    return log->state == LOG_POISONED ? log->failure.text : NULL;
}

/* Opening and closing */

static enum status options_check(const struct event_log *log, struct error *error)
{
    if (log->block_size % LOG_BLOCK_ALIGN != 0 || log->block_size < LOG_BLOCK_ALIGN ||
        log->block_size > LOG_BLOCK_SIZE) {
        return error_set(error, STATUS_INVALID,
                         "a block size of %u is not a multiple of %u up to %u", log->block_size,
                         LOG_BLOCK_ALIGN, LOG_BLOCK_SIZE);
    }
    if (log->segment_size % LOG_BLOCK_ALIGN != 0 || log->segment_size > FORMAT_SEGMENT_SIZE_MAX ||
        log->segment_size < log->block_size + SEGMENT_OVERHEAD) {
        return error_set(error, STATUS_INVALID,
                         "a segment size of %llu is not a multiple of %u that takes a block of %u",
                         (unsigned long long)log->segment_size, LOG_BLOCK_ALIGN, log->block_size);
    }
    return STATUS_OK;
}

/* The directory and its own name in the directory above. */
static enum status directory_make(struct io *io, const char *directory, struct error *error)
{
    enum status status = io->operations->make_directory(io, directory);
    if (status != STATUS_OK) {
        return log_trouble(error, io, status, "make", directory);
    }
    char above[LOG_DIRECTORY_MAX];
    (void)snprintf(above, sizeof(above), "%s", directory);
    char *slash = strrchr(above, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    const char *parent = slash != NULL ? above : ROOT_DIRECTORY;
    status = io->operations->sync_directory(io, parent);
    return status == STATUS_OK ? status : log_trouble(error, io, status, "sync", parent);
}

static void log_from_tail(struct event_log *log, const struct log_tail *tail)
{
    log->file = tail->file;
    log->state = LOG_SEALED;
    if (tail->segments == 0) {
        /* As if a log without records had just been sealed. */
        struct io *io = log->io;
        io->operations->random(io, log->header.store_id.bytes, sizeof(log->header.store_id.bytes));
        io->operations->random(io, &log->header.hash_seed, sizeof(log->header.hash_seed));
        segment_footer_init(&log->footer, 1, 0);
        return;
    }
    char name[SEGMENT_NAME_SIZE];
    segment_name(tail->header.first_lsn, name);
    log->path = log_path_make(log->directory, name);
    log->header = tail->header;
    log->footer = tail->footer;
    log->offset = tail->offset;
    log->written_at_us = tail->written_last_us;
    log->day = tail->written_first_us / DAY_US;
    if (!tail->sealed) {
        log_move(log, LOG_OPEN);
        return;
    }
    log->io->operations->close_file(log->io, log->file);
    log->file = -1;
}

/* After a crash between sealing a segment and beginning the next, and in an empty directory. */
static enum status log_complete(struct event_log *log, bool first, struct error *error)
{
    enum status status = log->state == LOG_SEALED ? segment_roll(log, log->buffers[0]) : STATUS_OK;
    if (status == STATUS_OK || (status == STATUS_NO_SPACE && !first)) {
        return STATUS_OK; /* without room the log can still be read, and commits will try again */
    }
    if (log->state == LOG_POISONED) {
        return error_set(error, STATUS_IO, "%s", log->failure.text);
    }
    if (status == STATUS_NO_SPACE) {
        return error_set(error, status,
                         "%s: no room for the first segment: %llu MiB must be free (of a small disk, %llu and an eighth of it)",
                         log->directory, (unsigned long long)((log->segment_size + DISK_RESERVE) >> 20),
                         (unsigned long long)(log->segment_size >> 20));
    }
    return log_trouble(error, log->io, status, "make the first segment of", log->directory);
}

static enum status buffers_take(struct event_log *log, struct error *error)
{
    for (size_t i = 0; i < LOG_BLOCK_BUFFERS; i++) {
        log->buffers[i] = aligned_alloc(LOG_BLOCK_ALIGN, log->block_size);
        if (log->buffers[i] == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "no memory for %u block buffers of %u bytes",
                             LOG_BLOCK_BUFFERS, log->block_size);
        }
    }
    return STATUS_OK;
}

static enum status log_open(struct event_log *log, const struct event_log_options *options,
                            struct error *error, struct event_log_recovery *out_recovery)
{
    enum status status = options_check(log, error);
    status = status == STATUS_OK ? buffers_take(log, error) : status;
    status = status == STATUS_OK ? directory_make(log->io, log->directory, error) : status;
    if (status != STATUS_OK) {
        return status;
    }
    struct log_tail tail;
    status = log_recover(options, error, &tail);
    if (status != STATUS_OK) {
        return status;
    }
    log_from_tail(log, &tail);
    status = log_complete(log, tail.segments == 0, error);
    if (status != STATUS_OK) {
        return status;
    }
    *out_recovery = (struct event_log_recovery){
        .first_lsn = tail.first_lsn,
        .end_lsn = log->footer.end_lsn,
        .cut_bytes = tail.cut_bytes,
        .segments =
            tail.segments + (tail.segments == 0 || (tail.sealed && log->state == LOG_OPEN) ? 1 : 0),
        .store_id = log->header.store_id,
        .hash_seed = log->header.hash_seed,
    };
    return STATUS_OK;
}

enum status event_log_open(const struct event_log_options *options, struct error *error,
                           struct event_log_recovery *out_recovery, struct event_log **out_log)
{
    assert(strlen(options->directory) < LOG_DIRECTORY_MAX);
    struct event_log *log = calloc(1, sizeof(*log));
    if (log == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the log");
    }
    (void)snprintf(log->directory, sizeof(log->directory), "%s", options->directory);
    log->io = options->io;
    log->file = -1;
    log->spare_file = -1;
    log->segment_size = options->segment_size != 0 ? options->segment_size : LOG_SEGMENT_SIZE;
    log->block_size = options->block_size != 0 ? options->block_size : LOG_BLOCK_SIZE;
    log->payload_limit =
        (uint32_t)size_min(log->block_size - FORMAT_BLOCK_HEADER_SIZE, LOG_BLOCK_PAYLOAD);
    enum status status = log_open(log, options, error, out_recovery);
    if (status != STATUS_OK) {
        event_log_close(log);
        return status;
    }
    *out_log = log;
    return STATUS_OK;
}

void event_log_close(struct event_log *log)
{
    if (log == NULL) {
        return;
    }
    struct io *io = log->io;
    struct io_request *completed = NULL;
    enum status status = STATUS_OK;
    while (log->submitted && completed == NULL && status == STATUS_OK) {
        status = io->operations->wait(io, -1, &completed);
    }
    bool lost =
        log->submitted && completed == NULL; /* the disk may still read a buffer and the request */
    if (log->file >= 0) {
        io->operations->close_file(io, log->file);
    }
    if (log->spare_file >= 0) {
        io->operations->close_file(io, log->spare_file);
    }
    for (size_t i = 0; i < LOG_BLOCK_BUFFERS && !lost; i++) {
        free(log->buffers[i]);
    }
    if (!lost) {
        free(log);
    }
}
