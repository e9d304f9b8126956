/* replay.c: see replay.h. */
#include "engine/replay.h"

/* The block was written by another processor, or by the disk: its lines are far away, and records are read with gaps that
 * hide from the processor that they lie in a row. */
#define READ_AHEAD 8192u
#define CACHE_LINE 64u

static void read_ahead(const uint8_t *from, size_t size, const uint8_t *end)
{
    const uint8_t *ahead = from + READ_AHEAD;
    for (const uint8_t *line = ahead; line < ahead + size && line < end; line += CACHE_LINE) {
        __builtin_prefetch(line);
    }
}

/* Records of one block, handed to the state in batches. */
enum status replay_block(struct state *state, uint64_t first_lsn, struct bytes payload, uint8_t *outcomes)
{
    struct record_cursor cursor = {payload, first_lsn};
    struct record records[STATE_BATCH];
    size_t count = 0;
    enum status status = STATUS_OK;
    const uint8_t *end = payload.data + payload.size;
    read_ahead(payload.data - READ_AHEAD, READ_AHEAD, end);
    while (status == STATUS_OK) {
        const uint8_t *start = cursor.rest.data;
        status = record_next(&cursor, &records[count]);
        read_ahead(start, (size_t)(cursor.rest.data - start), end);
        const bool fresh = status == STATUS_OK && records[count].lsn >= state_next_lsn(state);
        count += fresh ? 1 : 0;
        if (count == STATE_BATCH || (status == STATUS_END && count != 0)) {
            uint8_t *batch_outcomes = outcomes != NULL ? outcomes + (records[0].lsn - first_lsn) : NULL;
            const enum status applied = state_apply(state, records, count, batch_outcomes);
            if (applied != STATUS_OK) {
                return applied;
            }
            count = 0;
        }
    }
    return status == STATUS_END ? state_settle(state) : status;
}

enum status replay_log(const struct replay_options *options, struct state *state, struct error *error,
                       struct replay_progress *out_progress)
{
    const struct log_reader_options reader_options = {.io = options->io,
                                                      .directory = options->directory,
                                                      .from_lsn = state_next_lsn(state),
                                                      .end_lsn = options->end_lsn,
                                                      .buffered = options->buffered};
    struct replay_progress progress = {.next_lsn = state_next_lsn(state)};
    struct log_reader *reader = NULL;
    enum status status = log_reader_open(&reader_options, error, &reader);
    while (status == STATUS_OK) {
        struct log_block block;
        status = log_reader_next(reader, error, &block);
        if (status != STATUS_OK) {
            break;
        }
        const uint64_t before = state_next_lsn(state);
        status = replay_block(state, block.header.first_lsn, block.payload, NULL);
        if (status != STATUS_OK) {
            status = error_set(error, status, "segment %s, block at byte %llu: record %llu cannot be applied: %s",
                               block.segment, (unsigned long long)block.header.offset,
                               (unsigned long long)state_next_lsn(state), status_name(status));
            break;
        }
        progress.next_lsn = state_next_lsn(state);
        progress.records += progress.next_lsn - before;
        progress.bytes += block.payload.size;
        if (options->progress != NULL) {
            options->progress(options->progress_context, &progress);
        }
    }
    log_reader_close(reader);
    if (status != STATUS_END) {
        return status;
    }
    *out_progress = progress;
    return STATUS_OK;
}

static enum status history_scan(void *context, uint64_t end_lsn,
                                enum status (*visit)(void *visit_context, const struct record *record),
                                void *visit_context)
{
    struct log_history *history = context;
    struct io *io = NULL;
    enum status status = io_open(history->backend, history->root, &history->error, &io);
    if (status == STATUS_OK) {
        const struct log_reader_options options = {
            .io = io, .directory = history->directory, .from_lsn = 1, .end_lsn = end_lsn};
        status = log_scan(&options, &history->error, visit, visit_context);
    }
    io_close(io);
    return status;
}

struct history log_history_of(struct log_history *history)
{
    return (struct history){history_scan, history};
}
