/* survey.c: see survey.h. */
#include "tests/torture/survey.h"

#include <stdio.h>

enum status survey_open(struct io *io, const struct io_sim *disk, struct survey *survey,
                        struct event_log **out_log)
{
    *survey = (struct survey){.snapshot = checkpoint_read(disk)};
    const struct event_log_options options = {
        .io = io,
        .directory = TORTURE_DIRECTORY,
        .segment_size = TORTURE_SEGMENT_SIZE,
        .block_size = TORTURE_BLOCK_SIZE,
        .applied_lsn = survey->snapshot != NULL ? snapshot_next_lsn(survey->snapshot) : 0};
    survey->status = event_log_open(&options, &survey->error, &survey->recovery, out_log);
    return survey->status;
}

/* A record's bytes with its header, which lies in front of the payload. */
static uint64_t record_hash(const struct record *record)
{
    return model_record_hash(record->payload.data - FORMAT_RECORD_HEADER_SIZE,
                             record->payload.size + FORMAT_RECORD_HEADER_SIZE);
}

static bool block_survey(const struct log_block *block, uint64_t chain_lsn, uint64_t *next_lsn,
                         struct survey *survey, struct trouble *trouble)
{
    struct record_cursor cursor = {block->payload, block->header.first_lsn};
    struct record record;
    enum status status = record_next(&cursor, &record);
    survey->blocks = model_chain_add(survey->blocks, block->header.first_lsn);
    while (status == STATUS_OK) {
        if (record.lsn != *next_lsn) {
            return trouble_set(trouble, "lsn %llu comes where %llu is due",
                               (unsigned long long)record.lsn, (unsigned long long)*next_lsn);
        }
        survey->last = record_hash(&record);
        survey->chain =
            record.lsn < chain_lsn ? model_chain_add(survey->chain, survey->last) : survey->chain;
        (*next_lsn)++;
        status = record_next(&cursor, &record);
    }
    return status == STATUS_END ||
           trouble_set(trouble, "a record does not decode: %s", status_name(status));
}

bool survey_scan(struct io *io, uint64_t chain_lsn, struct survey *survey, struct trouble *trouble)
{
    const struct log_reader_options options = {.io = io,
                                               .directory = TORTURE_DIRECTORY,
                                               .from_lsn = 1,
                                               .end_lsn = survey->recovery.end_lsn};
    struct log_reader *reader = NULL;
    uint64_t next_lsn = 1;
    survey->chain = 0;
    survey->last = 0;
    survey->blocks = 0;
    enum status status = log_reader_open(&options, &survey->error, &reader);
    bool good = true;
    while (status == STATUS_OK && good) {
        struct log_block block;
        status = log_reader_next(reader, &survey->error, &block);
        good = status != STATUS_OK || block_survey(&block, chain_lsn, &next_lsn, survey, trouble);
    }
    log_reader_close(reader);
    if (good && status != STATUS_END) {
        return trouble_set(trouble, "the log cannot be read: %s", survey->error.text);
    }
    if (good && next_lsn != survey->recovery.end_lsn) {
        return trouble_set(trouble, "the log was said to end at lsn %llu, but ends at %llu",
                           (unsigned long long)survey->recovery.end_lsn,
                           (unsigned long long)next_lsn);
    }
    return good;
}

/* ---- quarantine ---- */

struct quarantine {
    struct io *io;
    uint64_t wanted; /* bytes */
    char names[64][48];
    uint32_t count;
};

static void quarantine_name(void *context, const char *name)
{
    struct quarantine *quarantine = context;
    if (quarantine->count < COUNT_OF(quarantine->names)) {
        (void)snprintf(quarantine->names[quarantine->count++], sizeof(quarantine->names[0]), "%s",
                       name);
    }
}

bool survey_quarantine(struct io *io, const struct survey *survey, struct trouble *trouble)
{
    struct quarantine quarantine = {.io = io, .wanted = survey->recovery.cut_bytes};
    enum status status =
        io->operations->list(io, TORTURE_DIRECTORY "/quarantine", quarantine_name, &quarantine);
    bool found = false;
    for (uint32_t i = 0; i < quarantine.count && status == STATUS_OK && !found; i++) {
        char path[96];
        int file = -1;
        uint64_t size = 0;
        (void)snprintf(path, sizeof(path), TORTURE_DIRECTORY "/quarantine/%s", quarantine.names[i]);
        if (io->operations->open(io, path, IO_OPEN_READ, &file) == STATUS_OK) {
            found = io->operations->size(io, file, &size) == STATUS_OK && size == quarantine.wanted;
            io->operations->close_file(io, file);
        }
    }
    return found || trouble_set(trouble, "%llu bytes were cut, and are not in quarantine",
                                (unsigned long long)survey->recovery.cut_bytes);
}

/* ---- the fold ---- */

static enum status state_replay(struct io *io, const struct survey *survey,
                                const struct snapshot *snapshot, struct disk_history *history,
                                struct trouble *trouble, struct state **out_state)
{
    struct state *state = NULL;
    struct error error = {0};
    const struct state_options options = {.history = disk_history_of(history),
                                          .hash_seed = survey->recovery.hash_seed,
                                          .store_id = survey->recovery.store_id};
    enum status status = state_open(&options, &state);
    if (status == STATUS_OK && snapshot != NULL) {
        status = snapshot_load(snapshot, state);
    }
    struct replay_progress progress;
    const struct replay_options replay = {
        .io = io, .directory = TORTURE_DIRECTORY, .end_lsn = survey->recovery.end_lsn};
    if (status == STATUS_OK) {
        status = replay_log(&replay, state, &error, &progress);
    }
    if (status != STATUS_OK) {
        state_close(state);
        (void)trouble_set(trouble, "a replay from %s failed: %s, %s",
                          snapshot != NULL ? "the checkpoint" : "nothing", status_name(status),
                          error.text);
        return status;
    }
    *out_state = state;
    return STATUS_OK;
}

bool survey_fold(struct io *io, const struct survey *survey, const struct model *model,
                 struct trouble *trouble)
{
    struct disk_history history = {io};
    struct state *full = NULL;
    struct state *tail = NULL;
    uint64_t end_lsn = survey->recovery.end_lsn;
    bool good = state_replay(io, survey, NULL, &history, trouble, &full) == STATUS_OK;
    good = good && model_check_state(model, end_lsn, full, trouble);
    if (good && survey->snapshot != NULL) {
        good = state_replay(io, survey, survey->snapshot, &history, trouble, &tail) == STATUS_OK;
        good = good && model_check_state(model, end_lsn, tail, trouble);
        if (good && state_digest(full) != state_digest(tail)) {
            good = trouble_set(trouble,
                               "checkpoint of lsn %llu and tail give other rows than the whole log",
                               (unsigned long long)snapshot_next_lsn(survey->snapshot));
        }
    }
    state_close(full);
    state_close(tail);
    return good;
}

/* ---- going on ---- */

bool survey_append(struct event_log *log, uint64_t lsn, uint64_t *out_last, struct trouble *trouble)
{
    uint8_t bytes[256];
    struct pack_writer writer = pack_writer_on(bytes, sizeof(bytes));
    const struct event event = {.user_id = bytes_of_text("after"),
                                .event_type = bytes_of_text("the crash"),
                                .timestamp_us = TORTURE_TIME_US};
    event_encode(&writer, &event, TORTURE_TIME_US);
    assert(!writer.overflow);
    struct commit commit = {.records = bytes_of(bytes, writer.size), .record_count = 1};
    event_log_append(log, &commit);
    bool done = false;
    while (!done) {
        struct durable_block block;
        enum status status = event_log_poll(log, -1, &done, &block);
        if (status != STATUS_OK) {
            return trouble_set(trouble, "after recovery: event_log_poll(): %s",
                               status_name(status));
        }
        if (done) {
            event_log_release(log, block.buffer);
        }
    }
    *out_last = model_record_hash(bytes, writer.size);
    return (commit.status == STATUS_OK && commit.first_lsn == lsn) ||
           trouble_set(trouble, "after recovery: lsn %llu instead of %llu, %s",
                       (unsigned long long)commit.first_lsn, (unsigned long long)lsn,
                       status_name(commit.status));
}
