/* import_send.c: the second reading of the table. Rows are collected into two bodies, assignments and events; when either
 * is full both go out, the assignments first, so that no event is ever ahead of the assignment that makes it count. */
#include <stdio.h>
#include <stdlib.h>

#include "api/json.h"
#include "tools/answer.h"
#include "tools/import.h"
#include "tools/terminal.h"

#define BATCH_USERS   5000u
#define BATCH_EVENTS  8000u
#define BATCH_BYTES   ((size_t)512 * 1024)
#define EVENT_BYTES   1500u /* one event at most: every text doubled by escapes */
#define FAULTS_SHOWN  5u
#define ARENA_KEPT    ((size_t)8 * 1024 * 1024)
#define USER_ID_BYTES (LIMIT_USER_ID + 1)

static_assert(BATCH_USERS <= LIMIT_USERS_PER_REQUEST, "a batch is one request");
static_assert(BATCH_EVENTS + IMPORT_CELL_EVENTS <= LIMIT_EVENTS_PER_REQUEST,
              "a batch takes one more cell");
static_assert(BATCH_BYTES + IMPORT_CELL_EVENTS * EVENT_BYTES <= LIMIT_BODY,
              "a batch takes one more cell");

struct sending {
    struct import *import;
    struct error *error;
    struct arena user_arena;
    struct arena event_arena;
    struct arena reply_arena;
    struct json_writer users;
    struct json_writer events;
    uint32_t user_count;
    uint32_t event_count;
    uint64_t event_lines[LIMIT_EVENTS_PER_REQUEST]; /* where each event of the batch comes from */
    uint64_t row;                                   /* from 1 */
    uint64_t line;
    uint32_t faults_shown;
    struct progress progress;
};

/* ---- what became of a batch ---- */

static void conflict_show(struct sending *sending, struct bytes answer)
{
    struct bytes user = {NULL, 0};
    struct bytes variant = {NULL, 0};
    struct bytes assigned_at = {NULL, 0};
    (void)answer_text(answer, "user_id", &user);
    (void)answer_text(answer, "variant", &variant);
    (void)answer_text(answer, "assigned_at", &assigned_at);
    if (sending->faults_shown++ < FAULTS_SHOWN) {
        note("user '%.*s' keeps '%.*s' of %.*s: the file says otherwise", (int)user.size,
             (const char *)user.data, (int)variant.size, (const char *)variant.data,
             (int)assigned_at.size, (const char *)assigned_at.data);
    }
}

static void assignments_count(struct sending *sending, struct bytes reply)
{
    struct import *import = sending->import;
    struct answer_items items = answer_items(reply, "assignments");
    struct bytes answer;
    struct bytes variant;
    while (answer_next(&items, &answer)) {
        if (!answer_text(answer, "variant", &variant)) {
            import->refused++;
        } else if (answer_is_true(answer, "conflict")) {
            import->conflicts++;
            conflict_show(sending, answer);
        } else if (answer_is_true(answer, "new")) {
            import->assigned_new++;
        } else {
            import->assigned_before++;
        }
    }
}

static void events_count(struct sending *sending, struct bytes reply)
{
    struct import *import = sending->import;
    import->events_accepted += answer_count(reply, "accepted");
    import->events_duplicate += answer_count(reply, "duplicates");
    import->events_rejected += answer_count(reply, "rejected");
    struct answer_items items = answer_items(reply, "errors");
    struct bytes item;
    while (answer_next(&items, &item) && sending->faults_shown < FAULTS_SHOWN) {
        const uint64_t index = answer_count(item, "index");
        struct bytes message = {NULL, 0};
        (void)answer_text(item, "message", &message);
        sending->faults_shown++;
        note("%s, line %llu: %.*s", import->path,
             (unsigned long long)(index < sending->event_count ? sending->event_lines[index] : 0),
             (int)message.size, (const char *)message.data);
    }
}

/* ---- sending ---- */

static void batch_begin(struct sending *sending)
{
    arena_reset(&sending->user_arena, ARENA_KEPT);
    arena_reset(&sending->event_arena, ARENA_KEPT);
    sending->users = json_writer_in(&sending->user_arena);
    sending->events = json_writer_in(&sending->event_arena);
    sending->user_count = 0;
    sending->event_count = 0;
    json_begin_object(&sending->users);
    json_key(&sending->users, "users");
    json_begin_array(&sending->users);
}

static enum status assignments_send(struct sending *sending)
{
    json_end_array(&sending->users);
    json_end_object(&sending->users);
    if (sending->user_count == 0) {
        return STATUS_OK;
    }
    if (sending->users.failed) {
        return error_set(sending->error, STATUS_NO_MEMORY, "out of memory");
    }
    const char *path =
        arena_format(&sending->reply_arena, "%s/assignments", sending->import->experiment_path);
    if (path == NULL) {
        return error_set(sending->error, STATUS_NO_MEMORY, "out of memory");
    }
    const struct client_request request = {.method = "POST",
                                           .path = path,
                                           .content_type = "application/json",
                                           .body =
                                               bytes_of(sending->users.text, sending->users.size),
                                           .is_repeatable = true};
    struct bytes reply;
    const enum status status = client_call(sending->import->client, &request, &sending->reply_arena,
                                           sending->error, &reply);
    if (status == STATUS_OK) {
        assignments_count(sending, reply);
    }
    return status;
}

static enum status events_send(struct sending *sending)
{
    if (sending->event_count == 0) {
        return STATUS_OK;
    }
    if (sending->events.failed) {
        return error_set(sending->error, STATUS_NO_MEMORY, "out of memory");
    }
    const struct client_request request = {.method = "POST",
                                           .path = "/events",
                                           .content_type = "application/x-ndjson",
                                           .body =
                                               bytes_of(sending->events.text, sending->events.size),
                                           .is_repeatable = true};
    struct client_reply reply;
    struct bytes document = {NULL, 0};
    struct bytes code = {NULL, 0};
    enum status status = client_send(sending->import->client, &request, sending->error, &reply);
    const bool is_answer = status == STATUS_OK || status == STATUS_INVALID;
    if (is_answer && answer_read(&sending->reply_arena, reply.body, NULL, &document) == STATUS_OK) {
        /* Where every event of the batch was refused the answer is an error, but it counts them all the same. */
        const bool is_count =
            status == STATUS_OK ||
            (answer_text(document, "code", &code) && bytes_equal_text(code, "all_events_rejected"));
        if (is_count) {
            events_count(sending, document);
            status = STATUS_OK;
        }
    }
    return status;
}

static enum status batch_send(struct sending *sending)
{
    arena_reset(&sending->reply_arena, ARENA_KEPT);
    enum status status = assignments_send(sending);
    if (status == STATUS_OK) {
        status = events_send(sending);
    }
    batch_begin(sending);
    return status;
}

static bool batch_is_full(const struct sending *sending)
{
    return sending->user_count >= BATCH_USERS || sending->event_count >= BATCH_EVENTS ||
           sending->users.size >= BATCH_BYTES || sending->events.size >= BATCH_BYTES;
}

/* ---- rows ---- */

static void user_add(struct sending *sending, struct bytes user, struct bytes variant)
{
    struct json_writer *writer = &sending->users;
    json_begin_object(writer);
    json_key(writer, "user_id");
    json_text_bytes(writer, user);
    json_key(writer, "variant");
    json_text_bytes(writer, variant);
    json_key(writer, "assigned_at");
    json_text(writer, sending->import->assigned_at);
    json_end_object(writer);
    sending->user_count++;
}

static void number_write(struct json_writer *writer, const struct import_number *number)
{
    switch (number->kind) {
    case IMPORT_NUMBER_INTEGER:
        json_int(writer, number->integer);
        return;
    case IMPORT_NUMBER_MILLIONTHS:
        json_millionths(writer, number->integer);
        return;
    case IMPORT_NUMBER_DOUBLE:
        json_double(writer, number->number);
        return;
    case IMPORT_NUMBER_NONE:
        break;
    }
    json_null(writer);
}

/* The id says which cell of which import it is, so that the same cell never counts twice. repeat: of a count column. */
static void event_add(struct sending *sending, const struct import_source *source,
                      struct bytes user, const struct import_number *number, uint32_t repeat)
{
    struct json_writer *writer = &sending->events;
    char id[LIMIT_EVENT_ID + 1];
    char suffix[16] = "";
    if (repeat > 0) {
        (void)snprintf(suffix, sizeof(suffix), "-%u", repeat + 1);
    }
    const int size = snprintf(id, sizeof(id), "import-%s-%llu-%.*s%s", sending->import->experiment,
                              (unsigned long long)sending->row, (int)source->column.size,
                              (const char *)source->column.data, suffix);
    assert(size > 0 && (size_t)size < sizeof(id)); /* the command line was checked for it */
    json_begin_object(writer);
    json_key(writer, "event_id");
    json_text(writer, id);
    json_key(writer, "user_id");
    json_text_bytes(writer, user);
    json_key(writer, "event_type");
    json_text_bytes(writer, source->event_type);
    json_key(writer, "timestamp");
    json_text(writer, sending->import->event_time);
    if (number != NULL) {
        json_key(writer, "properties");
        json_begin_object(writer);
        json_key_bytes(writer, source->property);
        number_write(writer, number);
        json_end_object(writer);
    }
    json_end_object(writer);
    json_newline(writer);
    assert(sending->event_count < LIMIT_EVENTS_PER_REQUEST);
    sending->event_lines[sending->event_count++] = sending->line;
}

/* The events of one cell, all in one batch. */
static enum status cell_add(struct sending *sending, const struct import_source *source,
                            struct bytes user, struct bytes cell)
{
    struct import_number number = {.kind = IMPORT_NUMBER_NONE};
    uint32_t count = 0;
    bool is_good = false;
    if (source->property.size == 0) {
        is_good = import_cell_count(cell, &count);
        for (uint32_t i = 0; i < count; i++) {
            event_add(sending, source, user, NULL, i);
        }
    } else {
        is_good = import_cell_number(cell, &number);
        if (number.kind != IMPORT_NUMBER_NONE) {
            event_add(sending, source, user, &number, 0);
        }
    }
    if (!is_good) {
        return error_set(sending->error, STATUS_CONFLICT, "%s changed while it was read",
                         sending->import->path);
    }
    return batch_is_full(sending) ? batch_send(sending) : STATUS_OK;
}

static enum status row_send(struct sending *sending, const struct csv_row *row)
{
    struct import *import = sending->import;
    char row_id[USER_ID_BYTES];
    sending->row++;
    sending->line = row->line;
    if (row->count != import->column_count) {
        return error_set(sending->error, STATUS_CONFLICT, "%s changed while it was read",
                         import->path);
    }
    const struct bytes variant = row->fields[import->variant_index];
    if (variant.size == 0) {
        return STATUS_OK;
    }
    (void)snprintf(row_id, sizeof(row_id), "%s%llu", import->user_prefix,
                   (unsigned long long)sending->row);
    const struct bytes user = import->user_index != IMPORT_NO_COLUMN
                                  ? row->fields[import->user_index]
                                  : bytes_of_text(row_id);
    user_add(sending, user, variant);
    enum status status =
        batch_is_full(sending) && import->source_count == 0 ? batch_send(sending) : STATUS_OK;
    for (uint32_t i = 0; i < import->source_count && status == STATUS_OK; i++) {
        status =
            cell_add(sending, &import->sources[i], user, row->fields[import->sources[i].index]);
    }
    return status;
}

static enum status rows_send(struct sending *sending, struct csv *csv)
{
    struct csv_row row;
    enum status status = csv_next(csv, sending->error, &row); /* the head */
    while (status == STATUS_OK) {
        status = csv_next(csv, sending->error, &row);
        if (status == STATUS_OK) {
            status = row_send(sending, &row);
        }
        progress_show(&sending->progress, sending->row);
    }
    return status == STATUS_END ? batch_send(sending) : status;
}

enum status import_send(struct import *import, struct error *error)
{
    struct csv *csv = NULL;
    struct sending *sending = calloc(1, sizeof(*sending));
    if (sending == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    sending->import = import;
    sending->error = error;
    arena_init(&sending->user_arena, BATCH_BYTES);
    arena_init(&sending->event_arena, BATCH_BYTES);
    arena_init(&sending->reply_arena, BATCH_BYTES);
    batch_begin(sending);
    progress_begin(&sending->progress, "importing", "rows", import->rows);
    enum status status = csv_open(import->path, error, &csv);
    if (status == STATUS_OK) {
        status = rows_send(sending, csv);
    }
    progress_end(&sending->progress, sending->row);
    if (sending->faults_shown > FAULTS_SHOWN) {
        note("and more of the kind");
    }
    csv_close(csv);
    arena_deinit(&sending->user_arena);
    arena_deinit(&sending->event_arena);
    arena_deinit(&sending->reply_arena);
    free(sending);
    return status;
}
