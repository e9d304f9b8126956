/* handle_events.c: POST /events: a body of events into the log, answered once they are durable and applied. */
#include <stdio.h>

#include "api/events_work.h"
#include "api/handler.h"
#include "api/routes.h"

static const struct event_rejection reused_id = {
    0,
    "event_id_reused",
    "this event_id was sent before with another body: the first one counts",
};

/* What a body of each content type holds. */
struct content_kind {
    bool is_accepted;
    enum event_body kind;
};

static const struct content_kind content_kinds[] = {
    [CONTENT_NONE] = {true,  EVENT_BODY_JSON   },
      [CONTENT_JSON] = {true,  EVENT_BODY_JSON   },
    [CONTENT_NDJSON] = {true,  EVENT_BODY_NDJSON },
      [CONTENT_MSGPACK] = {true,  EVENT_BODY_MSGPACK},
    [CONTENT_OTHER] = {false, EVENT_BODY_JSON   },
};

static void write_rejection(struct json_writer *writer, const struct event_rejection *rejection,
                            bool with_path)
{
    json_begin_object(writer);
    json_key(writer, "index");
    json_uint(writer, rejection->index);
    if (with_path) {
        char path[16];
        (void)snprintf(path, sizeof(path), "[%u]", rejection->index);
        json_key(writer, "path");
        json_text(writer, path);
    }
    json_key(writer, "code");
    json_text(writer, rejection->code);
    json_key(writer, "message");
    json_text(writer, rejection->message);
    json_end_object(writer);
}

/* Nothing was stored: the problem document, with the counts and the events' own faults. */
static void reply_rejected(struct call *call, const struct event_batch *batch, const char *code,
                           const char *detail)
{
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "type");
    json_text(&writer, "about:blank");
    json_key(&writer, "title");
    json_text(&writer, "Unprocessable Content");
    json_key(&writer, "status");
    json_int(&writer, 422);
    json_key(&writer, "detail");
    json_text(&writer, detail);
    json_key(&writer, "code");
    json_text(&writer, code);
    json_key(&writer, "message");
    json_text(&writer, detail);
    json_key(&writer, "accepted");
    json_int(&writer, 0);
    json_key(&writer, "duplicates");
    json_int(&writer, 0);
    json_key(&writer, "rejected");
    json_uint(&writer, batch->received);
    json_key(&writer, "errors");
    json_begin_array(&writer);
    for (uint32_t i = 0; i < batch->rejection_count; i++) {
        write_rejection(&writer, &batch->rejections[i], true);
    }
    json_end_array(&writer);
    json_end_object(&writer);
    if (writer.failed) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    call_reply_text(call, 422, "application/problem+json", bytes_of(writer.text, writer.size));
}

struct events_tally events_tally(const struct events_work *work)
{
    struct events_tally out = {0};
    for (uint32_t i = 0; i < work->batch.accepted; i++) {
        out.applied += work->outcomes[i] == OUTCOME_APPLIED;
        out.mismatches += work->outcomes[i] == OUTCOME_DUPLICATE_MISMATCH;
    }
    out.duplicates = work->batch.accepted - out.applied;
    return out;
}

/* The faults of rejected events, then the reused ids; LIMIT_FIELD_ERRORS in all. */
static void write_errors(struct json_writer *writer, const struct events_work *work,
                         const struct events_tally *counts)
{
    const struct event_batch *batch = &work->batch;
    uint32_t room = LIMIT_FIELD_ERRORS;
    json_begin_array(writer);
    for (uint32_t i = 0; i < batch->rejection_count && room > 0; i++, room--) {
        write_rejection(writer, &batch->rejections[i], false);
    }
    uint32_t left = counts->mismatches;
    for (uint32_t i = 0; left > 0 && room > 0; i++) {
        if (work->outcomes[i] != OUTCOME_DUPLICATE_MISMATCH) {
            continue;
        }
        struct event_rejection rejection = reused_id;
        rejection.index = event_batch_index(batch, i);
        write_rejection(writer, &rejection, false);
        left--;
        room--;
    }
    json_end_array(writer);
}

void events_write_counts(struct json_writer *writer, const struct events_work *work)
{
    const struct events_tally counts = events_tally(work);
    json_key(writer, "accepted");
    json_uint(writer, counts.applied);
    json_key(writer, "duplicates");
    json_uint(writer, counts.duplicates);
    json_key(writer, "rejected");
    json_uint(writer, work->batch.rejected);
    json_key(writer, "errors");
    write_errors(writer, work, &counts);
}

static void reply_accepted(struct call *call, const struct events_work *work)
{
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "status");
    json_text(&writer, "accepted");
    events_write_counts(&writer, work);
    json_end_object(&writer);
    call_reply_json(call, 202, &writer);
}

static void events_done(struct call *call)
{
    if (call->request.commit.status != STATUS_OK) {
        call_reply_engine_status(call, call->request.commit.status);
        return;
    }
    reply_accepted(call, call->handler_data);
}

/* Most records are smaller than their JSON, so the first frame tried is about the body's size; numbers such as 1e1 grow
 * when transcoded, so a second try has room for the worst. */
enum status events_parse(struct call *call, enum event_body kind, struct bytes body, struct event_batch *batch)
{
    const size_t capacities[] = {
        body.size * (kind == EVENT_BODY_MSGPACK ? 2 : 1) + 2 * (size_t)EVENT_HEAD_MAX,
        body.size * 3 + 2 * (size_t)EVENT_HEAD_MAX,
    };
    enum status status = STATUS_NO_SPACE;
    struct arena_mark mark = arena_mark(&call->arena);
    for (size_t i = 0; i < COUNT_OF(capacities) && status == STATUS_NO_SPACE; i++) {
        arena_rewind(&call->arena, mark);
        *batch = (struct event_batch){
            .catalog = call->catalog,
            .received_at_us = call->received_at_us,
            .arena = &call->arena,
            .frame = call_frame(call, size_min(capacities[i], LIMIT_FRAME)),
        };
        status = batch->frame.data == NULL ? STATUS_NO_MEMORY
                                           : event_batch_parse(batch, kind, body);
    }
    return status;
}

void events_reply_unreadable(struct call *call, enum status status, struct event_batch *batch)
{
    if (status == STATUS_INVALID && batch->reader.fault != NULL) {
        call_reply_json_fault(call, &batch->reader);
    } else if (status == STATUS_INVALID) {
        call_reply_problem(call, 400, batch->fault_code, "%s.", batch->fault_message);
    } else if (status == STATUS_UNSUPPORTED) {
        call_reply_problem(call, 422, batch->fault_code, "%s.", batch->fault_message);
    } else if (status == STATUS_TOO_LARGE) {
        call_reply_problem(call, 413, "too_many_events",
                           "A request may hold up to %u events; nothing was stored.",
                           LIMIT_EVENTS_PER_REQUEST);
    } else if (status == STATUS_NO_SPACE) {
        call_reply_problem(call, 413, "body_too_large",
                           "The events take more than %u bytes as stored; send fewer at a time.",
                           LIMIT_FRAME);
    } else {
        call_reply_engine_status(call, status);
    }
}

void events_submit(struct call *call, struct events_work *work, void (*continuation)(struct call *call))
{
    work->outcomes = arena_take_zeroed(&call->arena, work->batch.accepted);
    if (work->outcomes == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    call->handler_data = work;
    call_set_write(call, &work->batch.frame, work->batch.accepted, work->outcomes);
    (void)call_submit(call, continuation);
}

static bool read_strict(struct call *call, bool *out_strict)
{
    static const char *const names[] = {"strict", NULL};
    struct bytes text;
    *out_strict = false;
    if (!call_query_only(call, names)) {
        return false;
    }
    if (!call_query(call, "strict", &text)) {
        return true;
    }
    *out_strict = bytes_equal_text(text, "true");
    if (*out_strict || bytes_equal_text(text, "false")) {
        return true;
    }
    call_reply_problem(call, 422, "invalid_strict", "strict must be true or false.");
    return false;
}

void handle_events_post(struct call *call)
{
    bool strict = false;
    if (!read_strict(call, &strict)) {
        return;
    }
    if (!content_kinds[call->content_type].is_accepted) {
        call_reply_problem(call, 415, "unsupported_media_type",
                           "Send application/json, application/x-ndjson or application/msgpack.");
        return;
    }
    struct events_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    if (work == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    struct event_batch *batch = &work->batch;
    enum status status = events_parse(call, content_kinds[call->content_type].kind, call->body, batch);
    bool all_or_nothing = strict && batch->rejected > 0;
    call_count_events(call, batch->received,
                      status == STATUS_OK && !all_or_nothing ? batch->rejected : batch->received);
    if (status != STATUS_OK) {
        events_reply_unreadable(call, status, batch);
        return;
    }
    if (batch->rejected > 0 && batch->accepted == 0) {
        reply_rejected(call, batch, "all_events_rejected",
                       "No event of the body is valid; nothing was stored.");
        return;
    }
    if (all_or_nothing) {
        reply_rejected(call, batch, "events_rejected",
                       "Some events are not valid and strict=true was asked for; nothing was "
                       "stored.");
        return;
    }
    if (batch->accepted == 0) {
        reply_accepted(call, work); /* an empty array: a sender's idle flush */
        return;
    }
    events_submit(call, work, events_done);
}
