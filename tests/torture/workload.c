/* workload.c: see workload.h. In this order: facts as records, frames, a session's life, the operations. */
#include "tests/torture/workload.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/torture/definitions.h"

#define DAY_US       86400000000ll
#define FRAMES_AHEAD 6u /* the most that wait for an answer at a time */
#define POLLS_MAX    64u

/* A commit with its bytes and facts. */
struct frame {
    struct commit commit; /* first */
    uint32_t ticket;      /* the model's */
    struct fact facts[FRAME_FACTS];
    uint8_t bytes[TORTURE_BLOCK_SIZE];
};

/* ---- facts as records ---- */

static uint64_t draw(struct session *session)
{
    session->random += 0x9e3779b97f4a7c15ull;
    uint64_t value = session->random;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

static int pick(struct session *session, uint32_t below)
{
    return (int)(draw(session) % below);
}

static int64_t pick_time(struct session *session)
{
    /* Few distinct moments, so that equal ones and both sides of an assignment are common. */
    return (MODEL_FIRST_DAY + pick(session, MODEL_DAYS)) * DAY_US + pick(session, 4) * 3600000000ll;
}

static struct fact event_fact(struct session *session)
{
    const struct model *model = session->model;
    return (struct fact){.kind = FACT_EVENT,
                         .user = pick(session, MODEL_USERS),
                         .type = pick(session, MODEL_TYPES),
                         .time_us = pick_time(session),
                         .amount = pick(session, 2000000000) - 500000000,
                         .id = pick(session, 4) == 0 ? MODEL_NO_ID : (int)model->fact_count};
}

static size_t write_event(struct pack_writer *writer, const struct fact *fact, size_t padding)
{
    static uint8_t filler[TORTURE_BLOCK_SIZE]; /* no zeros: what is torn off shows */
    char user[16];
    char id[24] = "";
    memset(filler, 0x77, sizeof(filler));
    model_user_name(fact->user, user);
    if (fact->id != MODEL_NO_ID) {
        (void)snprintf(id, sizeof(id), "event-%d", fact->id);
    }
    const struct event event = {.event_id = bytes_of_text(id),
                                .user_id = bytes_of_text(user),
                                .event_type = bytes_of_text(model_type_name(fact->type)),
                                .timestamp_us = fact->time_us};
    size_t place = event_encode_begin(writer, &event, TORTURE_TIME_US);
    pack_map(writer, padding > 0 ? 2 : 1);
    pack_text_z(writer, "amount");
    pack_millionths(writer, fact->amount);
    size_t padding_at = 0;
    if (padding > 0) {
        pack_text_z(writer, "padding");
        pack_bin(writer, bytes_of(filler, padding));
        padding_at = writer->size - padding;
    }
    event_encode_end(writer, place);
    return padding_at;
}

static void write_assignment(struct pack_writer *writer, const struct fact *fact)
{
    char user[16];
    model_user_name(fact->user, user);
    const struct assignment assignment = {.experiment_id = model_experiment_id(fact->experiment),
                                          .user_id = bytes_of_text(user),
                                          .variant = (uint32_t)fact->variant,
                                          .experiment_version = 1,
                                          .assigned_at_us = fact->time_us,
                                          .forced = true};
    assignment_encode(writer, &assignment, TORTURE_TIME_US);
}

/* How often the model has this definition: its next version is one more. */
static uint32_t versions_of(const struct model *model, enum fact_kind kind, int number)
{
    uint32_t versions = 0;
    for (uint32_t i = 0; i < model->fact_count; i++) {
        const struct fact *fact = &model->facts[i];
        versions +=
            fact->kind == kind && (kind == FACT_METRIC ? fact->metric : fact->experiment) == number
                ? 1
                : 0;
    }
    return versions;
}

static void write_fact(const struct session *session, struct pack_writer *writer,
                       const struct fact *fact)
{
    switch (fact->kind) {
    case FACT_EVENT:
        (void)write_event(writer, fact, 0);
        break;
    case FACT_ASSIGNMENT:
        write_assignment(writer, fact);
        break;
    case FACT_METRIC:
        pack_raw(writer,
                 definition_of_metric(fact->metric, &fact->definition,
                                      versions_of(session->model, FACT_METRIC, fact->metric) + 1));
        break;
    case FACT_EXPERIMENT:
        pack_raw(writer, definition_of_experiment(
                             fact->experiment,
                             versions_of(session->model, FACT_EXPERIMENT, fact->experiment) + 1));
        break;
    }
}

/* ---- frames ---- */

static struct frame *frame_take(struct session *session)
{
    assert(session->frames_used < FRAMES_AHEAD);
    return &session->frames[session->frames_used++];
}

static struct pack_writer frame_writer(struct frame *frame)
{
    return pack_writer_on(frame->bytes, sizeof(frame->bytes) - FORMAT_BLOCK_HEADER_SIZE);
}

/* Notes what the record at `start` is, and its bytes. */
static void frame_note(struct frame *frame, uint32_t index, const struct fact *fact, size_t start,
                       size_t end)
{
    frame->facts[index] = *fact;
    frame->facts[index].record_hash = model_record_hash(frame->bytes + start, end - start);
}

/* To the model and to the log, in this order: what the log writes was submitted before. */
static void frame_submit(struct session *session, struct frame *frame, size_t size, uint32_t count)
{
    frame->commit = (struct commit){.records = bytes_of(frame->bytes, size), .record_count = count};
    frame->ticket = model_submit(session->model, frame->facts, count);
    event_log_append(session->log, &frame->commit);
}

static void frame_of_facts(struct session *session, const struct fact *facts, uint32_t count)
{
    struct frame *frame = frame_take(session);
    struct pack_writer writer = frame_writer(frame);
    for (uint32_t i = 0; i < count; i++) {
        size_t start = writer.size;
        write_fact(session, &writer, &facts[i]);
        frame_note(frame, i, &facts[i], start, writer.size);
    }
    assert(!writer.overflow);
    frame_submit(session, frame, writer.size, count);
}

/* One event that fills a block to `size` bytes, block header included. */
static void frame_of_size(struct session *session, size_t size)
{
    struct frame *frame = frame_take(session);
    struct fact fact = event_fact(session);
    struct pack_writer writer = frame_writer(frame);
    (void)write_event(&writer, &fact, 300);
    size_t padding = 300 + size - FORMAT_BLOCK_HEADER_SIZE - writer.size;
    writer = frame_writer(frame);
    (void)write_event(&writer, &fact, padding);
    assert(!writer.overflow);
    frame_note(frame, 0, &fact, 0, writer.size);
    frame_submit(session, frame, writer.size, 1);
}

/* ---- a session's life ---- */

static enum status history_scan(void *context, uint64_t end_lsn,
                                enum status (*visit)(void *visit_context,
                                                     const struct record *record),
                                void *visit_context)
{
    const struct disk_history *history = context;
    struct error error;
    const struct log_reader_options options = {
        .io = history->io, .directory = TORTURE_DIRECTORY, .from_lsn = 1, .end_lsn = end_lsn};
    return log_scan(&options, &error, visit, visit_context);
}

struct history disk_history_of(struct disk_history *history)
{
    return (struct history){history_scan, history};
}

struct session *session_make(struct io_sim *disk, struct model *model, uint64_t seed)
{
    struct session *session = calloc(1, sizeof(*session));
    assert(session != NULL);
    session->disk = disk;
    session->model = model;
    session->random = seed;
    session->io = io_sim_handle(disk);
    session->other_io = io_sim_handle(disk);
    session->frames = malloc(FRAMES_AHEAD * sizeof(struct frame));
    assert(session->frames != NULL);
    enum status status = checkpoint_prepare(session->other_io);
    assert(status == STATUS_OK || status == STATUS_EXISTS);
    return session;
}

void session_close(struct session *session)
{
    event_log_close(session->log);
    session->log = NULL;
    state_close(session->state);
    session->state = NULL;
}

void session_free(struct session *session)
{
    if (session != NULL) {
        session_close(session);
        io_close(session->io);
        io_close(session->other_io);
        free(session->frames);
        free(session);
    }
}

/* From the checkpoint, if there is one, and the log behind it. */
static enum status state_recover(struct session *session)
{
    session->history.io = session->other_io;
    const struct state_options options = {.history = disk_history_of(&session->history),
                                          .hash_seed = session->recovery.hash_seed,
                                          .store_id = session->recovery.store_id};
    enum status status = state_open(&options, &session->state);
    if (status == STATUS_OK && session->snapshot != NULL) {
        status = snapshot_load(session->snapshot, session->state);
    }
    struct replay_progress progress;
    const struct replay_options replay = {.io = session->other_io,
                                          .directory = TORTURE_DIRECTORY,
                                          .end_lsn = session->recovery.end_lsn};
    return status == STATUS_OK ? replay_log(&replay, session->state, &session->error, &progress)
                               : status;
}

enum status session_open(struct session *session)
{
    session->snapshot = checkpoint_read(session->disk);
    const struct event_log_options options = {
        .io = session->io,
        .directory = TORTURE_DIRECTORY,
        .segment_size = TORTURE_SEGMENT_SIZE,
        .block_size = TORTURE_BLOCK_SIZE,
        .applied_lsn = session->snapshot != NULL ? snapshot_next_lsn(session->snapshot) : 0};
    enum status status =
        event_log_open(&options, &session->error, &session->recovery, &session->log);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t end_lsn = session->recovery.end_lsn;
    if (end_lsn < model_acknowledged_lsn(session->model) ||
        end_lsn > model_submitted_lsn(session->model) ||
        !model_ends_frame(session->model, end_lsn)) {
        return error_set(&session->error, STATUS_CONFLICT,
                         "the log ends at lsn %llu; acknowledged %llu, submitted %llu",
                         (unsigned long long)end_lsn,
                         (unsigned long long)model_acknowledged_lsn(session->model),
                         (unsigned long long)model_submitted_lsn(session->model));
    }
    model_recover(session->model, end_lsn);
    return state_recover(session);
}

/* Applies a block as the apply thread does. */
static bool block_apply(struct session *session, const struct durable_block *block)
{
    if (block->first_lsn == block->end_lsn) {
        return true;
    }
    enum status status = replay_block(session->state, block->first_lsn, block->payload, NULL);
    return status == STATUS_OK ||
           trouble_set(&session->trouble, "the block of lsn %llu cannot be applied: %s",
                       (unsigned long long)block->first_lsn, status_name(status));
}

/* What the log said of one commit. */
static bool commit_answered(struct session *session, const struct commit *commit)
{
    uint32_t ticket = ((const struct frame *)(const void *)commit)->ticket;
    if (commit->status == STATUS_OK) {
        return model_acknowledge(session->model, ticket, commit->first_lsn, &session->trouble);
    }
    if (!session->refusals_are_fine) {
        return trouble_set(&session->trouble, "a commit was refused on a good disk: %s",
                           status_name(commit->status));
    }
    if (commit->status == STATUS_NO_SPACE) {
        model_refuse(session->model, ticket);
        session->refused++;
    } else if (commit->status == STATUS_UNAVAILABLE && !event_log_healthy(session->log)) {
        session->unavailable++; /* perhaps it is in the log: the next start decides */
    } else {
        return trouble_set(&session->trouble, "a commit failed with %s",
                           status_name(commit->status));
    }
    return true;
}

static bool block_take(struct session *session, const struct durable_block *block)
{
    bool good = true;
    for (struct commit *commit = block->commits; commit != NULL && good;) {
        struct commit *next = commit->next;
        good = commit_answered(session, commit);
        commit = next;
    }
    if (good && session->settled != NULL) {
        session->settled(session->context, session);
    }
    good = good && block_apply(session, block);
    event_log_release(session->log, block->buffer);
    return good;
}

/* Polls until every commit is answered. */
static bool session_drain(struct session *session)
{
    bool good = true;
    for (uint32_t polls = 0; event_log_busy(session->log) && good; polls++) {
        bool done = false;
        struct durable_block block;
        enum status status = event_log_poll(session->log, -1, &done, &block);
        if (status == STATUS_UNAVAILABLE && session->refusals_are_fine) {
            break;
        }
        if (status != STATUS_OK || polls > POLLS_MAX) {
            return trouble_set(&session->trouble, "event_log_poll(): %s", status_name(status));
        }
        good = !done || block_take(session, &block);
    }
    session->frames_used = 0;
    return good;
}

bool session_begin(struct session *session)
{
    enum status status = session_open(session);
    if (status != STATUS_OK) {
        return trouble_set(&session->trouble, "the first start failed: %s", session->error.text);
    }
    for (int i = 0; i < MODEL_EXPERIMENTS; i++) {
        frame_of_facts(session, &(struct fact){.kind = FACT_EXPERIMENT, .experiment = i}, 1);
    }
    const struct model_metric metric = {.defined = true, .type = 1, .kind = MODEL_SUM};
    frame_of_facts(session, &(struct fact){.kind = FACT_METRIC, .metric = 0, .definition = metric},
                   1);
    return session_drain(session);
}

bool session_append_one(struct session *session)
{
    struct fact fact = event_fact(session);
    frame_of_facts(session, &fact, 1);
    return session_drain(session);
}

/* ---- the operations ---- */

static bool operation_batch(struct session *session)
{
    struct fact facts[FRAME_FACTS];
    for (uint32_t i = 0; i < FRAME_FACTS; i++) {
        facts[i] = event_fact(session);
        facts[i].id = facts[i].id == MODEL_NO_ID ? MODEL_NO_ID : facts[i].id + (int)i;
    }
    frame_of_facts(session, facts, FRAME_FACTS);
    return session_drain(session);
}

/* Nearly a page, which tears in many ways. */
static bool operation_page(struct session *session)
{
    frame_of_size(session, LOG_BLOCK_ALIGN - 10);
    return session_drain(session);
}

static bool operation_wide(struct session *session)
{
    frame_of_size(session, 2 * LOG_BLOCK_ALIGN + 700);
    return session_drain(session);
}

/* Frames that arrive while a block is in flight, for the next one. */
static bool operation_queue(struct session *session)
{
    bool done = false;
    struct durable_block block;
    struct fact fact = event_fact(session);
    frame_of_facts(session, &fact, 1);
    enum status status = event_log_poll(session->log, 0, &done, &block);
    if (status != STATUS_OK && !session->refusals_are_fine) {
        return trouble_set(&session->trouble, "event_log_poll(): %s", status_name(status));
    }
    if (status == STATUS_OK && done && !block_take(session, &block)) {
        return false;
    }
    fact = event_fact(session);
    frame_of_facts(session, &fact, 1);
    frame_of_size(session, LOG_BLOCK_ALIGN);
    return session_drain(session);
}

/* A retry: an id that was seen, with the same body, beside a new event. */
static bool operation_duplicate(struct session *session)
{
    const struct model *model = session->model;
    struct fact facts[2] = {event_fact(session), event_fact(session)};
    facts[0].id = (int)model->fact_count;
    facts[1] = facts[0];
    for (uint32_t i = 0; i < model->fact_count; i++) {
        if (model->facts[i].kind == FACT_EVENT && model->facts[i].id != MODEL_NO_ID &&
            pick(session, 2) == 0) {
            facts[1] = model->facts[i];
        }
    }
    frame_of_facts(session, facts, 2);
    return session_drain(session);
}

static bool operation_assign(struct session *session)
{
    struct fact facts[2];
    for (int i = 0; i < 2; i++) {
        facts[i] = (struct fact){.kind = FACT_ASSIGNMENT,
                                 .user = pick(session, MODEL_USERS),
                                 .experiment = pick(session, MODEL_EXPERIMENTS),
                                 .variant = pick(session, MODEL_VARIANTS),
                                 .time_us = pick_time(session)};
    }
    frame_of_facts(session, facts, 2);
    return session_drain(session);
}

static bool operation_change(struct session *session)
{
    struct fact fact = {.kind = FACT_EXPERIMENT, .experiment = pick(session, MODEL_EXPERIMENTS)};
    if (pick(session, 3) != 0) {
        fact = (struct fact){.kind = FACT_METRIC, .metric = pick(session, MODEL_METRICS)};
        fact.definition =
            (struct model_metric){true, pick(session, MODEL_TYPES),
                                  (enum model_metric_kind)pick(session, MODEL_METRIC_KINDS)};
    }
    frame_of_facts(session, &fact, 1);
    return session_drain(session);
}

static bool checkpoint(struct session *session)
{
    const struct snapshot *snapshot = snapshot_take(session->snapshot, session->state);
    enum status status = checkpoint_commit(session->other_io, snapshot);
    if (status != STATUS_OK) {
        return session->refusals_are_fine ||
               trouble_set(&session->trouble, "a checkpoint failed: %s", status_name(status));
    }
    session->snapshot = snapshot;
    if (session->settled != NULL) {
        session->settled(session->context, session);
    }
    return true;
}

/* Between two blocks, or while one is in flight. */
static bool operation_checkpoint(struct session *session)
{
    return checkpoint(session);
}

static bool operation_checkpoint_in_flight(struct session *session)
{
    bool done = false;
    struct durable_block block;
    struct fact fact = event_fact(session);
    frame_of_facts(session, &fact, 1);
    enum status status = event_log_poll(session->log, 0, &done, &block);
    if (status == STATUS_OK && done && !block_take(session, &block)) {
        return false;
    }
    return checkpoint(session) && session_drain(session);
}

/* The day is over: the next block goes into a new segment. */
static bool operation_roll(struct session *session)
{
    io_sim_clock_advance(session->disk, DAY_US);
    return session_append_one(session);
}

static bool operation_prepare(struct session *session)
{
    if (!event_log_wants_segment(session->log)) {
        return true;
    }
    enum status status =
        event_log_prepare(session->other_io, TORTURE_DIRECTORY, TORTURE_SEGMENT_SIZE);
    if (status == STATUS_OK) {
        event_log_prepared(session->log);
    }
    return status == STATUS_OK || session->refusals_are_fine ||
           trouble_set(&session->trouble, "event_log_prepare(): %s", status_name(status));
}

static bool operation_reopen(struct session *session)
{
    session_close(session);
    enum status status = session_open(session);
    if (status == STATUS_OK && session->recovery.cut_bytes > 0 && !session->refusals_are_fine) {
        return trouble_set(&session->trouble, "%llu bytes were cut after a clean end",
                           (unsigned long long)session->recovery.cut_bytes);
    }
    return status == STATUS_OK ||
           trouble_set(&session->trouble, "a start failed: %s", session->error.text);
}

struct place_search {
    uint64_t next_offset;
    uint64_t next_lsn;
};

/* Where the next block will be, as a client who has seen the disk could work out. */
static struct place_search place_find(struct session *session)
{
    struct place_search place = {LOG_BLOCK_ALIGN, session->recovery.end_lsn};
    struct log_reader *reader = NULL;
    struct log_block block;
    const struct log_reader_options options = {.io = session->other_io,
                                               .directory = TORTURE_DIRECTORY};
    enum status status = log_reader_open(&options, &session->error, &reader);
    while (status == STATUS_OK) {
        status = log_reader_next(reader, &session->error, &block);
        if (status == STATUS_OK) {
            place.next_offset =
                block.header.offset +
                round_up(FORMAT_BLOCK_HEADER_SIZE + block.header.payload_size, LOG_BLOCK_ALIGN);
            place.next_lsn = block.header.first_lsn + block.header.record_count;
        }
    }
    log_reader_close(reader);
    return place;
}

/* An event whose bytes look, in the right place, like a block that claims later records to be durable. A client can send
 * any bytes, so nothing but the segment's secret salt keeps a torn tail from vouching for itself. */
static bool operation_forge(struct session *session)
{
    struct place_search place = place_find(session);
    struct frame *frame = frame_take(session);
    struct fact fact = event_fact(session);
    struct pack_writer writer = frame_writer(frame);
    (void)write_event(&writer, &fact, 2 * LOG_BLOCK_ALIGN);
    size_t at = LOG_BLOCK_ALIGN - FORMAT_BLOCK_HEADER_SIZE; /* the block's second page */
    const struct block_header header = {.first_lsn = place.next_lsn + 2,
                                        .record_count = 1,
                                        .payload_size = 64,
                                        .durable_lsn = place.next_lsn + 2,
                                        .written_at_us = TORTURE_TIME_US,
                                        .offset = place.next_offset + LOG_BLOCK_ALIGN};
    block_header_encode(&header, 0, frame->bytes + at);
    frame_note(frame, 0, &fact, 0, writer.size);
    frame_submit(session, frame, writer.size, 1);
    return session_drain(session);
}

/* Compaction, retention and erasure get a row here when the engine has them. */
const struct workload_operation workload_operations[] = {
    {'a', "append",               session_append_one            },
    {'b', "batch",                operation_batch               },
    {'p', "page",                 operation_page                },
    {'w', "wide",                 operation_wide                },
    {'q', "queue",                operation_queue               },
    {'d', "duplicate",            operation_duplicate           },
    {'s', "assign",               operation_assign              },
    {'c', "change",               operation_change              },
    {'k', "checkpoint",           operation_checkpoint          },
    {'K', "checkpoint-in-flight", operation_checkpoint_in_flight},
    {'r', "roll",                 operation_roll                },
    {'n', "prepare",              operation_prepare             },
    {'o', "reopen",               operation_reopen              },
    {'f', "forge",                operation_forge               },
};

const size_t workload_operation_count = COUNT_OF(workload_operations);

bool session_run(struct session *session, char letter)
{
    for (size_t i = 0; i < workload_operation_count; i++) {
        if (workload_operations[i].letter == letter) {
            return workload_operations[i].run(session);
        }
    }
    return trouble_set(&session->trouble, "there is no operation '%c'", letter);
}
