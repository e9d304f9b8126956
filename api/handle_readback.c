/* handle_readback.c: GET /events and GET /users/{user_id}/export: what lies in the log, in its order. It is read on the scanner's
 * thread, a bounded piece a request: an answer may have fewer records than asked for, or none, and still a next_cursor.
 */
#include "api/handler.h"
#include "api/routes.h"
#include "engine/timestamp.h"

/* An assignment of the one user that an export is of. Names are looked up where the catalog may be asked. */
struct found_assignment {
    struct found_assignment *next;
    uint64_t lsn;
    int64_t received_at_us;
    struct assignment assignment; /* its texts in the call's arena */
};

struct readback {
    struct call *call;
    bool is_export; /* of everything about user_id */
    struct found_assignment *assignments;
    struct found_assignment **assignments_end;
    struct handler_page page; /* the cursor is the lsn to go on from; 0: the first */
    struct bytes user_id;     /* empty: any */
    struct bytes event_type;  /* empty: any */
    int64_t start_us;
    int64_t end_us; /* before it */
    const struct erasures *erasures; /* of the call's catalog */
    struct json_writer writer;
    uint64_t bytes; /* of records looked at */
    uint32_t count;
    uint64_t next_lsn; /* 0: the end of the log was reached */
    enum status status;
};

static void write_event(struct json_writer *writer, const struct event *event, const struct record *record)
{
    json_begin_object(writer);
    json_key(writer, "lsn");
    json_uint(writer, record->lsn);
    json_key(writer, "event_id");
    if (event->event_id.size != 0) {
        json_text_bytes(writer, event->event_id);
    } else {
        json_null(writer);
    }
    json_key(writer, "user_id");
    json_text_bytes(writer, event->user_id);
    json_key(writer, "event_type");
    json_text_bytes(writer, event->event_type);
    json_key(writer, "timestamp");
    json_time(writer, event->timestamp_us);
    json_key(writer, "received_at");
    json_time(writer, record->received_at_us);
    json_key(writer, "properties");
    if (event->properties.size == 0 || !json_pack(writer, event->properties)) {
        json_begin_object(writer);
        json_end_object(writer);
    }
    json_end_object(writer);
}

static bool is_wanted(const struct readback *readback, const struct event *event)
{
    return event->timestamp_us >= readback->start_us && event->timestamp_us < readback->end_us &&
           (readback->user_id.size == 0 || bytes_equal(event->user_id, readback->user_id)) &&
           (readback->event_type.size == 0 || bytes_equal(event->event_type, readback->event_type));
}

/* By what the catalog knew when the request came. */
static bool is_erased(const struct readback *readback, const struct record *record, struct bytes user_id)
{
    return readback->erasures != NULL && record->lsn < erasures_find_user(readback->erasures, user_id);
}

static enum status assignment_visit(struct readback *readback, const struct record *record)
{
    struct assignment assignment;
    const enum status status = assignment_decode(record, &assignment);
    if (status != STATUS_OK || !bytes_equal(assignment.user_id, readback->user_id) ||
        is_erased(readback, record, assignment.user_id)) {
        return status;
    }
    struct found_assignment *found = arena_take_zeroed(&readback->call->arena, sizeof(*found));
    const char *attributes = arena_copy(&readback->call->arena, assignment.attributes);
    if (found == NULL || attributes == NULL) {
        return STATUS_NO_MEMORY;
    }
    assignment.attributes = bytes_of(attributes, assignment.attributes.size);
    assignment.user_id = readback->user_id;
    *found = (struct found_assignment){.lsn = record->lsn, .received_at_us = record->received_at_us, .assignment = assignment};
    *readback->assignments_end = found;
    readback->assignments_end = &found->next;
    readback->count++;
    return STATUS_OK;
}

/* STATUS_END where the answer is as large, or the work as much, as one request may be. */
static enum status record_visit(void *context, const struct record *record)
{
    struct readback *readback = context;
    if (readback->count == readback->page.limit || readback->writer.size >= LIMIT_SCAN_ANSWER ||
        readback->bytes >= LIMIT_SCAN_BYTES) {
        readback->next_lsn = record->lsn;
        return STATUS_END;
    }
    readback->bytes += record->payload.size;
    struct event event;
    if (record->kind == RECORD_ASSIGNMENT && readback->is_export) {
        return assignment_visit(readback, record);
    }
    if (record->kind != RECORD_EVENT) {
        return STATUS_OK;
    }
    const enum status status = event_decode(record, &event);
    if (status == STATUS_OK && is_wanted(readback, &event) && !is_erased(readback, record, event.user_id)) {
        write_event(&readback->writer, &event, record);
        readback->count++;
    }
    return status;
}

/* Runs on the scanner's thread. */
static void log_read(const struct log_reader_options *log, void *context)
{
    struct readback *readback = context;
    const uint64_t from_lsn = readback->page.cursor != 0 ? readback->page.cursor : 1;
    if (log == NULL) {
        readback->status = STATUS_UNAVAILABLE;
        return;
    }
    json_begin_object(&readback->writer);
    json_key(&readback->writer, "events");
    json_begin_array(&readback->writer);
    if (from_lsn < log->end_lsn) {
        struct log_reader_options options = *log;
        struct error error;
        options.from_lsn = from_lsn;
        const enum status status = log_scan(&options, &error, record_visit, readback);
        readback->status = status == STATUS_END ? STATUS_OK : status;
    }
    json_end_array(&readback->writer);
}

static void write_assignment(struct json_writer *writer, struct call *call, const struct found_assignment *found)
{
    const struct assignment *assignment = &found->assignment;
    const uint32_t index = catalog_find_experiment(call->catalog, &assignment->experiment_id);
    json_begin_object(writer);
    json_key(writer, "lsn");
    json_uint(writer, found->lsn);
    json_key(writer, "experiment_id");
    json_uuid(writer, &assignment->experiment_id);
    if (index != CATALOG_NONE) {
        const struct experiment *experiment = call->catalog->experiments[index]->current;
        json_key(writer, "experiment_key");
        json_text_bytes(writer, experiment->key);
        json_key(writer, "variant");
        json_text_bytes(writer, experiment->variants[assignment->variant].name);
    }
    json_key(writer, "experiment_version");
    json_uint(writer, assignment->experiment_version);
    json_key(writer, "assigned_at");
    json_time(writer, assignment->assigned_at_us);
    json_key(writer, "received_at");
    json_time(writer, found->received_at_us);
    json_key(writer, "attributes");
    if (assignment->attributes.size == 0 || !json_pack(writer, assignment->attributes)) {
        json_begin_object(writer);
        json_end_object(writer);
    }
    json_end_object(writer);
}

static void readback_done(struct call *call)
{
    struct readback *readback = call->handler_data;
    if (readback->status != STATUS_OK) {
        call_reply_engine_status(call, readback->status);
        return;
    }
    if (readback->is_export) {
        call_refresh_catalog(call);
        json_key(&readback->writer, "user_id");
        json_text_bytes(&readback->writer, readback->user_id);
        json_key(&readback->writer, "assignments");
        json_begin_array(&readback->writer);
        for (const struct found_assignment *found = readback->assignments; found != NULL; found = found->next) {
            write_assignment(&readback->writer, call, found);
        }
        json_end_array(&readback->writer);
    }
    json_key(&readback->writer, "next_cursor");
    json_text(&readback->writer, handler_cursor(call, readback->next_lsn));
    json_end_object(&readback->writer);
    call_reply_json(call, 200, &readback->writer);
}

/* RFC 3339, epoch milliseconds, or a day of UTC. False where the parameter is none of these. */
static bool time_parse(struct bytes text, int64_t *out_us)
{
    double ms = 0;
    int32_t day = 0;
    if (timestamp_parse(text, out_us) == STATUS_OK) {
        return true;
    }
    if (day_parse(text, &day) == STATUS_OK) {
        *out_us = (int64_t)day * MICROSECONDS_PER_DAY;
        return true;
    }
    if (handler_parse_decimal(text, &ms) && ms >= 0 && ms < 1e15) {
        *out_us = (int64_t)(ms * 1000);
        return true;
    }
    return false;
}

static bool read_query(struct call *call, struct readback *readback)
{
    static const char *const names[] = {"user_id", "event_type", "start", "end", "from_lsn", "limit", "cursor", NULL};
    struct field_errors errors = field_errors_in(&call->arena);
    struct bytes text;
    if (!call_query_only(call, names) || !handler_page_read(call, &readback->page)) {
        return false;
    }
    (void)call_query(call, "user_id", &readback->user_id);
    (void)call_query(call, "event_type", &readback->event_type);
    if (call_query(call, "start", &text) && !time_parse(text, &readback->start_us)) {
        field_error_add(&errors, "invalid_time", "must be a time such as 2026-01-31T10:00:00Z or 2026-01-31", "start");
    }
    if (call_query(call, "end", &text) && !time_parse(text, &readback->end_us)) {
        field_error_add(&errors, "invalid_time", "must be a time such as 2026-01-31T10:00:00Z or 2026-01-31", "end");
    }
    double from_lsn = 0;
    const bool has_from = call_query(call, "from_lsn", &text);
    if (has_from && (!handler_parse_decimal(text, &from_lsn) || from_lsn < 1 || from_lsn > 1e15)) {
        field_error_add(&errors, "out_of_range", "must be a position of the log, 1 or more", "from_lsn");
    } else if (has_from && readback->page.cursor == 0) {
        readback->page.cursor = (uint64_t)from_lsn;
    }
    if (errors.count != 0) {
        call_reply_field_errors(call, 422, "invalid_query", &errors, "The query has parameters that cannot be used.");
    }
    return errors.count == 0;
}

/* NULL after a reply. */
static struct readback *readback_make(struct call *call)
{
    struct readback *readback = arena_take_zeroed(&call->arena, sizeof(*readback));
    if (readback == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return NULL;
    }
    readback->call = call;
    readback->erasures = call->catalog->erasures;
    readback->assignments_end = &readback->assignments;
    readback->start_us = INT64_MIN;
    readback->end_us = INT64_MAX;
    readback->writer = json_writer_in(&call->arena);
    return readback;
}

static void readback_send(struct call *call, struct readback *readback)
{
    call->handler_data = readback;
    call_set_scan(call, log_read, readback);
    (void)call_submit(call, readback_done);
}

void handle_events_get(struct call *call)
{
    struct readback *readback = readback_make(call);
    if (readback != NULL && read_query(call, readback)) {
        readback_send(call, readback);
    }
}

void handle_user_export(struct call *call)
{
    static const char *const names[] = {"limit", "cursor", NULL};
    struct readback *readback = readback_make(call);
    if (readback == NULL || !call_query_only(call, names) || !handler_page_read(call, &readback->page)) {
        return;
    }
    readback->is_export = true;
    readback->user_id = call->parameters[0];
    if (handler_text_fault(readback->user_id, LIMIT_USER_ID) != NULL) {
        call_reply_problem(call, 422, "invalid_user_id", "The user id must be 1 to %u bytes without control characters.", LIMIT_USER_ID);
        return;
    }
    readback_send(call, readback);
}
