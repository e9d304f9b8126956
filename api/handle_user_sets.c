/* handle_user_sets.c: /segments: named sets of users for targeting ("user sets" in the code: a segment of the log is
 * another thing, and so is the tracking API of handle_segment.c).
 *
 * A request is one change: the prints of its users, sorted, in as many records as they need, in one frame. Nothing is kept
 * of the ids themselves.
 */
#include <stdlib.h>

#include "api/handler.h"
#include "api/routes.h"

/* What a part takes beside its users. */
#define PART_OVERHEAD (LIMIT_KEY + 128u)

struct set_work {
    struct bytes name;
    enum user_set_operation operation;
    struct user_print *users;
    uint32_t count;
    uint32_t capacity;
    uint32_t part_count;
    uint8_t *outcomes;
};

static const struct user_set *set_of(const struct call *call, struct bytes name)
{
    return user_sets_find(&call->catalog->user_sets, name);
}

static void reply_not_found(struct call *call)
{
    call_reply_problem(call, 404, "segment_not_found", "There is no segment of this name: PUT /segments/{name} makes one.");
}

/* Is the set named by the targeting of an experiment that is not put away? */
static bool is_used_by(const struct experiment *experiment, struct bytes name)
{
    for (uint32_t i = 0; experiment->status != EXPERIMENT_ARCHIVED && i < experiment->targeting.node_count; i++) {
        const struct targeting_node *node = &experiment->targeting.nodes[i];
        if (node->kind == TARGETING_SEGMENT && bytes_equal(node->segment, name)) {
            return true;
        }
    }
    return false;
}

/* Answering. */

/* Members of an object that is open. */
static void write_members(struct json_writer *writer, const struct user_set *set)
{
    json_key(writer, "name");
    json_text_bytes(writer, user_set_name(set));
    json_key(writer, "users");
    json_uint(writer, set->users);
    json_key(writer, "version");
    json_uint(writer, set->version);
    json_key(writer, "created_at");
    json_time(writer, set->created_at_us);
    json_key(writer, "updated_at");
    json_time(writer, set->updated_at_us);
    json_key(writer, "updated_by");
    json_uuid(writer, &set->author);
}

static void reply_set(struct call *call, const struct user_set *set)
{
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    write_members(&writer, set);
    json_key(&writer, "used_by");
    json_begin_array(&writer);
    for (uint32_t i = 0; i < call->catalog->experiment_count; i++) {
        const struct experiment *experiment = call->catalog->experiments[i]->current;
        if (is_used_by(experiment, user_set_name(set))) {
            json_text_bytes(&writer, experiment->key);
        }
    }
    json_end_array(&writer);
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

static bool no_parameters(struct call *call)
{
    static const char *const names[] = {NULL};
    return call_query_only(call, names);
}

/* GET /segments: by name; a cursor is the place of the next one. */
void handle_user_set_list(struct call *call)
{
    static const char *const names[] = {"limit", "cursor", NULL};
    const struct user_sets *sets = &call->catalog->user_sets;
    struct handler_page page;
    if (!call_query_only(call, names) || !handler_page_read(call, &page)) {
        return;
    }
    uint64_t at = page.cursor;
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "segments");
    json_begin_array(&writer);
    for (uint32_t shown = 0; at < sets->count && shown < page.limit; at++, shown++) {
        json_begin_object(&writer);
        write_members(&writer, sets->items[at]);
        json_end_object(&writer);
    }
    json_end_array(&writer);
    json_key(&writer, "next_cursor");
    json_text(&writer, handler_cursor(call, at < sets->count ? at : 0));
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

void handle_user_set_get(struct call *call)
{
    const struct user_set *set = set_of(call, call->parameters[0]);
    if (!no_parameters(call)) {
        return;
    }
    if (set == NULL) {
        reply_not_found(call);
        return;
    }
    reply_set(call, set);
}

/* GET /segments/{name}/users/{user_id} */
void handle_user_set_user(struct call *call)
{
    const struct user_set *set = set_of(call, call->parameters[0]);
    if (!no_parameters(call)) {
        return;
    }
    if (set == NULL) {
        reply_not_found(call);
        return;
    }
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "user_id");
    json_text_bytes(&writer, call->parameters[1]);
    json_key(&writer, "in_segment");
    json_bool(&writer, user_set_has(set, user_print_of(call->parameters[1])));
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

/* The users of a body. */

struct users_reading {
    struct call *call;
    struct set_work *work;
    struct field_errors *errors;
    uint32_t index; /* of the next user in the body */
};

/* False where nothing more is to be read: too many, or no memory; then the reply was made. */
static bool take_user(struct users_reading *reading, bool is_text, struct bytes user_id)
{
    struct set_work *work = reading->work;
    const char *fault = is_text ? handler_text_fault(user_id, LIMIT_USER_ID) : "it must be text";
    if (fault != NULL) {
        field_error_add(reading->errors, "invalid_user_id", "must be text of 1 to 255 bytes without control characters",
                        "users[%u]", reading->index);
    } else if (work->count == LIMIT_SEGMENT_CHANGE) {
        call_reply_problem(reading->call, 413, "too_many_users",
                           "A change may hold up to %u users: send more with POST /segments/{name}/users.",
                           LIMIT_SEGMENT_CHANGE);
        return false;
    } else if (work->count == work->capacity) {
        const uint32_t capacity = work->capacity == 0 ? 1024 : work->capacity * 4;
        struct user_print *grown = arena_take(&reading->call->arena, capacity * sizeof(*grown));
        if (grown == NULL) {
            call_reply_engine_status(reading->call, STATUS_NO_MEMORY);
            return false;
        }
        if (work->count != 0) {
            memcpy(grown, work->users, work->count * sizeof(*grown));
        }
        work->users = grown;
        work->capacity = capacity;
    }
    if (fault == NULL) {
        work->users[work->count++] = user_print_of(user_id);
    }
    reading->index++;
    return true;
}

/* A list, or {"users": list}. */
static bool read_document(struct users_reading *reading)
{
    struct bytes document;
    struct bytes key;
    uint32_t count = 0;
    if (!call_document(reading->call, &document)) {
        return false;
    }
    struct pack_cursor cursor = pack_cursor_on(document);
    bool is_list = pack_read_array(&cursor, &count);
    if (!is_list) {
        cursor = pack_cursor_on(document);
        is_list = pack_read_map(&cursor, &count) && count == 1 && pack_read_text(&cursor, &key) &&
                  bytes_equal_text(key, "users") && pack_read_array(&cursor, &count);
    }
    if (!is_list) {
        call_reply_problem(reading->call, 422, "validation_failed",
                           "The body must be a list of user ids, or {\"users\": such a list}, or one id a line as "
                           "application/x-ndjson.");
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct bytes encoded;
        struct pack_value value;
        const bool is_whole = pack_read_raw(&cursor, &encoded);
        struct pack_cursor inner = pack_cursor_on(encoded);
        assert(is_whole); /* the document was checked */
        const bool is_text = pack_read(&inner, &value) && value.type == PACK_TEXT;
        if (!take_user(reading, is_text, is_text ? value.as.bytes : bytes_of(NULL, 0))) {
            return false;
        }
    }
    return true;
}

/* A text a line, or an object with one member, user_id. */
static bool read_lines(struct users_reading *reading)
{
    struct call *call = reading->call;
    struct json_reader reader = json_reader_on((const char *)call->body.data, call->body.size);
    while (json_peek(&reader) != 0) {
        struct bytes text = bytes_of(NULL, 0);
        struct bytes key;
        bool is_text = json_peek(&reader) == '"' && json_read_string(&reader, &call->arena, &text);
        if (!is_text && json_peek(&reader) == '{' && json_enter_object(&reader)) {
            bool is_first = true;
            while (json_next_key(&reader, &is_first, &call->arena, &key)) {
                const bool is_it = bytes_equal_text(key, "user_id") && !is_text && json_peek(&reader) == '"';
                is_text = is_it ? json_read_string(&reader, &call->arena, &text) : false;
                if (!is_it && !json_skip(&reader, &call->arena)) {
                    break;
                }
            }
        } else if (!is_text) {
            (void)json_skip(&reader, &call->arena);
        }
        if (reader.fault != NULL) {
            break;
        }
        if (!take_user(reading, is_text, text)) {
            return false;
        }
    }
    if (reader.fault != NULL || !json_at_end(&reader)) {
        call_reply_json_fault(call, &reader);
        return false;
    }
    return true;
}

static int print_compare(const void *a, const void *b)
{
    struct user_print left;
    struct user_print right;
    memcpy(&left, a, sizeof(left));
    memcpy(&right, b, sizeof(right));
    return user_print_order(left, right);
}

/* The prints of the body's users, ascending, each once. */
static bool read_users(struct call *call, struct set_work *work)
{
    struct field_errors errors = field_errors_in(&call->arena);
    struct users_reading reading = {.call = call, .work = work, .errors = &errors};
    if (!(call->content_type == CONTENT_NDJSON ? read_lines(&reading) : read_document(&reading))) {
        return false;
    }
    if (errors.count != 0) {
        call_reply_field_errors(call, 422, errors.count == 1 ? "invalid_user_id" : "validation_failed", &errors,
                                "The list holds what is no user id.");
        return false;
    }
    if (work->count > 1) {
        qsort(work->users, work->count, sizeof(*work->users), print_compare);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < work->count; i++) {
        if (i == 0 || user_print_order(work->users[kept - 1], work->users[i]) != 0) {
            work->users[kept++] = work->users[i];
        }
    }
    work->count = kept;
    return true;
}

/* Writing. */

static void change_done(struct call *call)
{
    const struct set_work *work = call->handler_data;
    if (call->request.commit.status != STATUS_OK) {
        call_reply_engine_status(call, call->request.commit.status);
        return;
    }
    call_refresh_catalog(call);
    const struct user_set *set = set_of(call, work->name);
    const bool is_applied = work->outcomes[work->part_count - 1] == OUTCOME_APPLIED;
    if (is_applied && work->operation == USER_SET_DROP) {
        call_reply_empty(call, 204);
    } else if (is_applied && set != NULL) {
        reply_set(call, set);
    } else if (set == NULL && work->operation != USER_SET_REPLACE) {
        reply_not_found(call);
    } else if (set == NULL && call->catalog->user_sets.count >= LIMIT_SEGMENTS) {
        call_reply_problem(call, 409, "too_many_segments", "There are %u segments, which is the most.", LIMIT_SEGMENTS);
    } else {
        call_reply_problem(call, 409, "too_many_segment_users",
                           "All segments together may hold %u users: nothing was changed.", LIMIT_SEGMENT_USERS);
    }
}

static void change_submit(struct call *call, struct set_work *work)
{
    work->part_count = work->count == 0 ? 1 : (work->count + USER_SET_PART_USERS - 1) / USER_SET_PART_USERS;
    work->outcomes = arena_take_zeroed(&call->arena, work->part_count);
    uint8_t *users = arena_take(&call->arena, (size_t)USER_SET_PART_USERS * USER_PRINT_SIZE);
    struct pack_writer frame =
        call_frame(call, work->count * (size_t)USER_PRINT_SIZE + work->part_count * (size_t)PART_OVERHEAD);
    if (work->outcomes == NULL || users == NULL || frame.data == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    for (uint32_t i = 0; i < work->part_count; i++) {
        const uint32_t first = i * USER_SET_PART_USERS;
        const uint32_t count = (uint32_t)size_min(work->count - first, USER_SET_PART_USERS);
        for (uint32_t j = 0; j < count; j++) {
            user_print_store(users + j * (size_t)USER_PRINT_SIZE, work->users[first + j]);
        }
        const struct user_set_part part = {.name = work->name,
                                           .author = handler_author(call),
                                           .operation = work->operation,
                                           .part = i,
                                           .part_count = work->part_count,
                                           .users = bytes_of(users, count * (size_t)USER_PRINT_SIZE)};
        user_set_part_encode(&frame, &part, call->received_at_us);
    }
    assert(!frame.overflow);
    call->handler_data = work;
    call_set_write(call, &frame, work->part_count, work->outcomes);
    (void)call_submit(call, change_done);
}

/* The change that the path names; NULL where a reply was made. */
static struct set_work *change_begin(struct call *call, enum user_set_operation operation)
{
    if (!no_parameters(call)) {
        return NULL;
    }
    if (operation != USER_SET_REPLACE && set_of(call, call->parameters[0]) == NULL) {
        reply_not_found(call);
        return NULL;
    }
    struct set_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    if (work == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return NULL;
    }
    work->name = call->parameters[0];
    work->operation = operation;
    return work;
}

static void change_by_body(struct call *call, enum user_set_operation operation)
{
    struct set_work *work = change_begin(call, operation);
    if (work != NULL && read_users(call, work)) {
        change_submit(call, work);
    }
}

/* The rule of keys, which a targeting rule that names the segment is held to. */
static bool is_name(struct bytes text)
{
    bool good = text.size <= LIMIT_KEY;
    for (size_t i = 0; i < text.size && good; i++) {
        const uint8_t byte = text.data[i];
        const bool is_plain = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
        good = is_plain || (i > 0 && (byte == '_' || byte == '-'));
    }
    struct uuid uuid;
    return good && uuid_parse(text, &uuid) != STATUS_OK;
}

void handle_user_set_put(struct call *call)
{
    if (!is_name(call->parameters[0])) {
        call_reply_problem(call, 422, "invalid_segment_name",
                           "A segment's name has lower-case letters, digits, '-' and '_', begins with one of the first two, "
                           "has up to %u bytes, and is no UUID.",
                           LIMIT_KEY);
        return;
    }
    change_by_body(call, USER_SET_REPLACE);
}

void handle_user_set_add(struct call *call)
{
    change_by_body(call, USER_SET_ADD);
}

void handle_user_set_remove(struct call *call)
{
    change_by_body(call, USER_SET_REMOVE);
}

/* DELETE /segments/{name}/users/{user_id} */
void handle_user_set_remove_one(struct call *call)
{
    struct set_work *work = change_begin(call, USER_SET_REMOVE);
    if (work != NULL) {
        struct user_print print = user_print_of(call->parameters[1]);
        work->users = &print;
        work->count = 1;
        change_submit(call, work); /* which encodes them before it returns */
        work->users = NULL;
    }
}

/* DELETE /segments/{name} */
void handle_user_set_delete(struct call *call)
{
    struct set_work *work = change_begin(call, USER_SET_DROP);
    for (uint32_t i = 0; work != NULL && i < call->catalog->experiment_count; i++) {
        const struct experiment *experiment = call->catalog->experiments[i]->current;
        if (is_used_by(experiment, work->name)) {
            call_reply_problem(call, 409, "segment_in_use", "The targeting of experiment %.*s names this segment.",
                               (int)experiment->key.size, (const char *)experiment->key.data);
            return;
        }
    }
    if (work != NULL) {
        change_submit(call, work);
    }
}
