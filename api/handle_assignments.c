/* handle_assignments.c: which variant a user gets: one user, many users, many experiments; and who is in which.
 *
 * Every request is a list of entries (experiment, user), answered in order. An entry whose assignment is stored is
 * answered from memory. The others are decided by assign_user(), written as one frame, and answered from what is stored
 * once that is applied: where two requests raced, both get the first one's answer.
 */
#include <stdio.h>

#include "api/handler.h"
#include "api/routes.h"
#include "engine/assign.h"
#include "engine/timestamp.h"

#define NO_VARIANT UINT32_MAX
#define NO_RECORD  UINT32_MAX
/* What an assignment's record takes beside user id and attributes. */
#define ASSIGNMENT_OVERHEAD 72u

/* One question: the variant of a user in an experiment. */
struct entry {
    uint32_t experiment; /* dense index */
    struct bytes user_id;
    struct bytes attributes; /* an encoded map; empty where none */
    uint32_t forced_variant; /* NO_VARIANT where the hash decides */
    int64_t assigned_at_us;  /* given by the client; 0: now */
    bool no_enrol;
    /* The answer. */
    const char *reason; /* why there is no variant; NULL where one is stored */
    uint32_t variant;   /* to be written */
    uint32_t record;    /* its number in the frame; NO_RECORD where nothing is written */
    bool is_new;
    struct assignment_view stored;
};

struct assignment_work {
    struct entry *entries;
    uint32_t count;
    uint32_t records;
    uint8_t *outcomes;
    void (*reply)(struct call *call, const struct assignment_work *work);
};

static const struct experiment *experiment_at(const struct call *call, uint32_t index)
{
    return call->catalog->experiments[index]->current;
}

/* Answering. */

/* The definition of a stored variant: of a newer catalog than the call's where it was added meanwhile. */
static const struct variant *stored_variant(struct call *call, const struct entry *entry)
{
    if (entry->stored.variant >= experiment_at(call, entry->experiment)->variant_count) {
        call_refresh_catalog(call);
    }
    const struct experiment *experiment = experiment_at(call, entry->experiment);
    assert(entry->stored.variant < experiment->variant_count);
    return &experiment->variants[entry->stored.variant];
}

static bool is_conflict(const struct entry *entry)
{
    bool other_variant =
        entry->forced_variant != NO_VARIANT && entry->forced_variant != entry->stored.variant;
    bool other_time =
        entry->assigned_at_us != 0 && entry->assigned_at_us != entry->stored.assigned_at_us;
    return entry->reason == NULL && (other_variant || other_time);
}

static void write_stored(struct json_writer *writer, const struct variant *variant,
                         const struct assignment_view *stored)
{
    json_key(writer, "variant");
    json_text_bytes(writer, variant->name);
    json_key(writer, "variant_id");
    json_uuid(writer, &variant->id);
    json_key(writer, "value");
    if (variant->value.size == 0 || !json_pack(writer, variant->value)) {
        json_null(writer);
    }
    json_key(writer, "is_control");
    json_bool(writer, variant->is_control);
    json_key(writer, "assigned_at");
    json_time(writer, stored->assigned_at_us);
    json_key(writer, "experiment_version");
    json_uint(writer, stored->experiment_version);
}

static void write_none(struct json_writer *writer, const struct experiment *experiment)
{
    static const char *const keys[] = {"variant", "variant_id", "value"};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        json_key(writer, keys[i]);
        json_null(writer);
    }
    json_key(writer, "is_control");
    json_bool(writer, false);
    json_key(writer, "assigned_at");
    json_null(writer);
    json_key(writer, "experiment_version");
    json_uint(writer, experiment->version);
}

static void write_answer(struct json_writer *writer, struct call *call, const struct entry *entry)
{
    const struct variant *variant = entry->reason == NULL ? stored_variant(call, entry) : NULL;
    const struct experiment *experiment = experiment_at(call, entry->experiment);
    json_begin_object(writer);
    json_key(writer, "experiment_id");
    json_uuid(writer, &experiment->id);
    json_key(writer, "experiment_key");
    json_text_bytes(writer, experiment->key);
    json_key(writer, "user_id");
    json_text_bytes(writer, entry->user_id);
    if (variant != NULL) {
        write_stored(writer, variant, &entry->stored);
    } else {
        write_none(writer, experiment);
    }
    json_key(writer, "new");
    json_bool(writer, entry->is_new);
    json_key(writer, "reason");
    json_text(writer,
              entry->reason != NULL
                  ? entry->reason
                  : assign_reason_name(entry->stored.forced ? ASSIGN_FORCED : ASSIGN_SPLIT));
    if (is_conflict(entry)) {
        json_key(writer, "conflict");
        json_bool(writer, true);
    }
    json_end_object(writer);
}

static void reply_one(struct call *call, const struct assignment_work *work)
{
    struct json_writer writer = json_writer_in(&call->arena);
    write_answer(&writer, call, &work->entries[0]);
    call_reply_json(call, 200, &writer);
}

static void reply_list(struct call *call, const struct assignment_work *work)
{
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "assignments");
    json_begin_array(&writer);
    for (uint32_t i = 0; i < work->count; i++) {
        write_answer(&writer, call, &work->entries[i]);
    }
    json_end_array(&writer);
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

/* Deciding. */

/* Looks the entry's assignment up; where there is none, decides whether one is to be made. */
static void entry_decide(struct call *call, struct entry *entry)
{
    const struct experiment *experiment = experiment_at(call, entry->experiment);
    entry->record = NO_RECORD;
    entry->reason = NULL;
    if (engine_find_assignment(call->engine, entry->experiment, entry->user_id, &entry->stored)) {
        return;
    }
    if (entry->forced_variant != NO_VARIANT) {
        /* An import may come before the start or after the end, but not into what was put away. */
        if (experiment->status == EXPERIMENT_ARCHIVED) {
            entry->reason = assign_reason_name(ASSIGN_NOT_RUNNING);
        }
        entry->variant = entry->forced_variant;
        return;
    }
    struct assign_result result =
        assign_user(experiment, entry->user_id, entry->attributes, call->received_at_us);
    if (result.reason != ASSIGN_SPLIT) {
        entry->reason = assign_reason_name(result.reason);
    } else if (entry->no_enrol) {
        entry->reason = "not_enrolled";
    }
    entry->variant = result.variant;
}

static bool entry_is_stored(const struct entry *entry)
{
    return entry->reason == NULL && entry->stored.lsn != 0;
}

static size_t record_size_max(const struct entry *entry)
{
    return ASSIGNMENT_OVERHEAD + entry->user_id.size + entry->attributes.size;
}

static void entry_encode(const struct call *call, const struct entry *entry,
                         struct pack_writer *frame)
{
    const struct experiment *experiment = experiment_at(call, entry->experiment);
    struct assignment assignment = {
        .experiment_id = experiment->id,
        .user_id = entry->user_id,
        .variant = entry->variant,
        .experiment_version = experiment->version,
        .assigned_at_us = entry->assigned_at_us != 0 ? entry->assigned_at_us : call->received_at_us,
        .forced = entry->forced_variant != NO_VARIANT,
        .attributes = entry->attributes,
    };
    assignment_encode(frame, &assignment, call->received_at_us);
}

/* The frame is durable and applied: what is stored now is the answer, whoever wrote it. */
static void work_done(struct call *call)
{
    struct assignment_work *work = call->handler_data;
    if (call->request.commit.status != STATUS_OK) {
        call_reply_engine_status(call, call->request.commit.status);
        return;
    }
    for (uint32_t i = 0; i < work->count; i++) {
        struct entry *entry = &work->entries[i];
        if (entry->record == NO_RECORD) {
            continue;
        }
        bool found =
            engine_find_assignment(call->engine, entry->experiment, entry->user_id, &entry->stored);
        if (!found) {
            /* Somebody enrolled the user in another experiment of the layer first. */
            entry->reason = assign_reason_name(ASSIGN_LAYER);
        }
        entry->is_new = found && work->outcomes[entry->record] == OUTCOME_APPLIED;
    }
    work->reply(call, work);
}

static void work_write(struct call *call, struct assignment_work *work, size_t size)
{
    if (size > LIMIT_FRAME) {
        call_reply_problem(call, 413, "body_too_large",
                           "The assignments take more than %u bytes as stored; send fewer at a "
                           "time.",
                           LIMIT_FRAME);
        return;
    }
    struct pack_writer frame = call_frame(call, size);
    work->outcomes = arena_take_zeroed(&call->arena, work->records);
    if (frame.data == NULL || work->outcomes == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    for (uint32_t i = 0; i < work->count; i++) {
        if (work->entries[i].record != NO_RECORD) {
            entry_encode(call, &work->entries[i], &frame);
        }
    }
    assert(!frame.overflow);
    call->handler_data = work;
    call_set_write(call, &frame, work->records, work->outcomes);
    (void)call_submit(call, work_done);
}

/* Answers the entries, after writing the new assignments among them. */
static void work_run(struct call *call, struct assignment_work *work)
{
    size_t size = 0;
    for (uint32_t i = 0; i < work->count; i++) {
        struct entry *entry = &work->entries[i];
        entry_decide(call, entry);
        if (entry->reason == NULL && !entry_is_stored(entry)) {
            entry->record = work->records++;
            size += record_size_max(entry);
        }
    }
    if (work->records == 0) {
        work->reply(call, work);
    } else {
        work_write(call, work, size);
    }
}

static struct assignment_work *work_make(struct call *call, uint32_t count)
{
    struct assignment_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    struct entry *entries = arena_take_zeroed(&call->arena, count * sizeof(*entries) + 1);
    if (work == NULL || entries == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return NULL;
    }
    work->entries = entries;
    work->count = count;
    for (uint32_t i = 0; i < count; i++) {
        entries[i].forced_variant = NO_VARIANT;
    }
    return work;
}

/* Reading entries from a document. */

enum entry_shape {
    SHAPE_ONE = 1,        /* POST .../assignment */
    SHAPE_BULK = 2,       /* an item of POST .../assignments */
    SHAPE_EVERYWHERE = 4, /* POST /assignments */
};

struct entry_reading {
    struct call *call;
    const struct experiment *experiment; /* NULL for SHAPE_EVERYWHERE */
    struct field_errors *errors;
    const char *path; /* of the entry: "users[3]."; "" for the document itself */
    struct entry *entry;
    bool needs_scope; /* something was forced */
};

struct entry_row {
    const char *name;
    unsigned shapes;
    void (*take)(struct entry_reading *reading, const struct pack_value *value,
                 struct bytes encoded);
};

static void entry_fault(struct entry_reading *reading, const char *name, const char *code,
                        const char *message)
{
    /* Of the entry as a whole, the path is without its last dot. */
    size_t size = strlen(reading->path) - (name[0] == '\0' && reading->path[0] != '\0');
    field_error_add(reading->errors, code, message, "%.*s%s", (int)size, reading->path, name);
}

static void take_user_id(struct entry_reading *reading, const struct pack_value *value,
                         struct bytes encoded)
{
    (void)encoded;
    if (value->type != PACK_TEXT) {
        entry_fault(reading, "user_id", "wrong_type", "must be text");
    } else if (handler_text_fault(value->as.bytes, LIMIT_USER_ID) != NULL) {
        entry_fault(reading, "user_id", "invalid_user_id",
                    "must be 1 to 255 bytes without control characters");
    } else {
        reading->entry->user_id = value->as.bytes;
    }
}

static void take_attributes(struct entry_reading *reading, const struct pack_value *value,
                            struct bytes encoded)
{
    if (value->type == PACK_NIL) {
        return;
    }
    if (value->type != PACK_MAP) {
        entry_fault(reading, "attributes", "wrong_type", "must be an object");
    } else if (encoded.size > LIMIT_ATTRIBUTES) {
        entry_fault(reading, "attributes", "too_large", "may take up to 8 KB as stored");
    } else if (value->as.count > 0) {
        reading->entry->attributes = encoded;
    }
}

static void take_enroll(struct entry_reading *reading, const struct pack_value *value,
                        struct bytes encoded)
{
    (void)encoded;
    if (value->type != PACK_BOOL) {
        entry_fault(reading, "enroll", "wrong_type", "must be true or false");
        return;
    }
    reading->entry->no_enrol = !value->as.boolean;
}

static void take_variant(struct entry_reading *reading, const struct pack_value *value,
                         struct bytes encoded)
{
    (void)encoded;
    if (value->type == PACK_NIL) {
        return;
    }
    const struct experiment *experiment = reading->experiment;
    for (uint32_t i = 0; value->type == PACK_TEXT && i < experiment->variant_count; i++) {
        if (bytes_equal(experiment->variants[i].name, value->as.bytes)) {
            reading->entry->forced_variant = i;
        }
    }
    if (reading->entry->forced_variant == NO_VARIANT) {
        entry_fault(reading, "variant", "unknown_variant",
                    "must be the name of a variant of this experiment");
    }
    reading->needs_scope = true;
}

static void take_assigned_at(struct entry_reading *reading, const struct pack_value *value,
                             struct bytes encoded)
{
    (void)encoded;
    int64_t us = 0;
    if (value->type == PACK_NIL) {
        return;
    }
    if (!handler_parse_time(value, &us)) {
        entry_fault(reading, "assigned_at", "invalid_timestamp",
                    "must be RFC 3339 text or epoch milliseconds");
    } else if (us < LIMIT_TIMESTAMP_MIN_US || us > reading->call->received_at_us) {
        entry_fault(reading, "assigned_at", "out_of_range", "must be from the year 2000 to now");
    } else {
        reading->entry->assigned_at_us = us;
    }
    reading->needs_scope = true;
}

static const struct entry_row entry_rows[] = {
    {"user_id",     SHAPE_ONE | SHAPE_BULK | SHAPE_EVERYWHERE, take_user_id    },
    {"attributes",  SHAPE_ONE | SHAPE_BULK | SHAPE_EVERYWHERE, take_attributes },
    {"enroll",      SHAPE_ONE | SHAPE_EVERYWHERE,              take_enroll     },
    {"variant",     SHAPE_BULK,                                take_variant    },
    {"assigned_at", SHAPE_BULK,                                take_assigned_at},
};

static const struct entry_row *entry_row_find(struct bytes name, unsigned shape)
{
    for (size_t i = 0; i < COUNT_OF(entry_rows); i++) {
        if ((entry_rows[i].shapes & shape) != 0 && bytes_equal_text(name, entry_rows[i].name)) {
            return &entry_rows[i];
        }
    }
    return NULL;
}

static void entry_read(struct entry_reading *reading, struct bytes document, unsigned shape)
{
    struct pack_cursor cursor = pack_cursor_on(document);
    uint32_t count = 0;
    if (!pack_read_map(&cursor, &count)) {
        entry_fault(reading, "", "wrong_type", "must be an object");
        return;
    }
    bool has_user = false;
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name;
        struct bytes encoded;
        struct pack_value value;
        if (!pack_read_text(&cursor, &name) || !pack_read_raw(&cursor, &encoded)) {
            entry_fault(reading, "", "wrong_type", "must have texts as keys");
            return;
        }
        struct pack_cursor inner = pack_cursor_on(encoded);
        bool good = pack_read(&inner, &value);
        assert(good);
        const struct entry_row *row = entry_row_find(name, shape);
        if (row == NULL) {
            field_error_add(reading->errors, "unknown_field", "there is no such field here",
                            "%s%.*s", reading->path, (int)name.size, (const char *)name.data);
        } else {
            has_user = has_user || row->take == take_user_id;
            row->take(reading, &value, encoded);
        }
    }
    if (!has_user) {
        entry_fault(reading, "user_id", "required", "is required");
    }
}

/* False, with the reply made, where entries have faults. */
static bool check_entries(struct call *call, const struct field_errors *errors)
{
    if (errors->count == 0) {
        return true;
    }
    call_reply_field_errors(call, 422,
                            errors->count == 1 ? errors->items[0].code : "validation_failed",
                            errors, "The request breaks the rules listed in errors.");
    return false;
}

static bool no_parameters(struct call *call)
{
    static const char *const names[] = {NULL};
    return call_query_only(call, names);
}

/* One user. */

/* The query as attributes, except enroll. */
static bool read_query_attributes(struct call *call, struct entry *entry)
{
    struct pack_writer map = call_frame(call, LIMIT_ATTRIBUTES);
    struct bytes name;
    struct bytes value;
    size_t position = 0;
    uint32_t count = 0;
    size_t place = pack_map_begin(&map);
    while (call_query_next(call, &position, &name, &value)) {
        if (!bytes_equal_text(name, "enroll")) {
            pack_text(&map, name);
            pack_text(&map, value);
            count++;
        } else if (bytes_equal_text(value, "false")) {
            entry->no_enrol = true;
        } else if (!bytes_equal_text(value, "true")) {
            call_reply_problem(call, 422, "invalid_enroll", "enroll must be true or false.");
            return false;
        }
    }
    pack_container_end(&map, place, count);
    if (map.overflow) {
        call_reply_problem(call, 422, "too_large", "The attributes may take up to %u bytes.",
                           LIMIT_ATTRIBUTES);
        return false;
    }
    if (count > 0) {
        entry->attributes = bytes_of(map.data, map.size);
    }
    return true;
}

void handle_assignment_get(struct call *call)
{
    uint32_t index = handler_experiment(call);
    if (index == CATALOG_NONE) {
        return;
    }
    struct bytes user_id = call->parameters[1];
    if (handler_text_fault(user_id, LIMIT_USER_ID) != NULL) {
        call_reply_problem(call, 422, "invalid_user_id",
                           "The user id must be 1 to %u bytes without control characters.",
                           LIMIT_USER_ID);
        return;
    }
    struct assignment_work *work = work_make(call, 1);
    if (work == NULL || !read_query_attributes(call, &work->entries[0])) {
        return;
    }
    work->entries[0].experiment = index;
    work->entries[0].user_id = user_id;
    work->reply = reply_one;
    work_run(call, work);
}

void handle_assignment_post(struct call *call)
{
    struct bytes document;
    if (!no_parameters(call)) {
        return;
    }
    uint32_t index = handler_experiment(call);
    if (index == CATALOG_NONE || !call_document(call, &document)) {
        return;
    }
    struct assignment_work *work = work_make(call, 1);
    if (work == NULL) {
        return;
    }
    struct field_errors errors = field_errors_in(&call->arena);
    struct entry_reading reading = {
        .call = call,
        .experiment = experiment_at(call, index),
        .errors = &errors,
        .path = "",
        .entry = &work->entries[0],
    };
    entry_read(&reading, document, SHAPE_ONE);
    work->entries[0].experiment = index;
    work->reply = reply_one;
    if (check_entries(call, &errors)) {
        work_run(call, work);
    }
}

/* Many users. */

/* Enters {"users": [...]}. */
static bool enter_users(struct call *call, struct bytes document, struct pack_cursor *out_cursor,
                        uint32_t *out_count)
{
    struct pack_cursor cursor = pack_cursor_on(document);
    struct bytes name;
    uint32_t fields = 0;
    uint32_t count = 0;
    if (!pack_read_map(&cursor, &fields) || fields != 1 || !pack_read_text(&cursor, &name) ||
        !bytes_equal_text(name, "users") || !pack_read_array(&cursor, &count)) {
        call_reply_problem(call, 422, "validation_failed",
                           "The body must be {\"users\": [...]} and nothing else.");
        return false;
    }
    if (count > LIMIT_USERS_PER_REQUEST) {
        call_reply_problem(call, 413, "too_many_users", "A request may hold up to %u users.",
                           LIMIT_USERS_PER_REQUEST);
        return false;
    }
    *out_cursor = cursor;
    *out_count = count;
    return true;
}

static void read_users(struct pack_cursor *cursor, struct entry_reading *reading,
                       struct assignment_work *work)
{
    for (uint32_t i = 0; i < work->count; i++) {
        char path[32];
        struct bytes item;
        bool good = pack_read_raw(cursor, &item);
        assert(good); /* the document was checked as a whole */
        (void)snprintf(path, sizeof(path), "users[%u].", i);
        reading->path = path;
        reading->entry = &work->entries[i];
        entry_read(reading, item, SHAPE_BULK);
    }
}

void handle_assignment_bulk(struct call *call)
{
    struct bytes document;
    struct pack_cursor cursor;
    uint32_t count = 0;
    if (!no_parameters(call)) {
        return;
    }
    uint32_t index = handler_experiment(call);
    if (index == CATALOG_NONE || !call_document(call, &document) ||
        !enter_users(call, document, &cursor, &count)) {
        return;
    }
    struct assignment_work *work = work_make(call, count);
    if (work == NULL) {
        return;
    }
    struct field_errors errors = field_errors_in(&call->arena);
    struct entry_reading reading = {
        .call = call,
        .experiment = experiment_at(call, index),
        .errors = &errors,
    };
    read_users(&cursor, &reading, work);
    for (uint32_t i = 0; i < count; i++) {
        work->entries[i].experiment = index;
    }
    work->reply = reply_list;
    if (reading.needs_scope && (call->scopes & (SCOPE_ADMIN | SCOPE_EXPERIMENTS_WRITE)) == 0) {
        call_reply_problem(call, 403, "insufficient_scope",
                           "Giving variant or assigned_at takes the scope experiments:write.");
    } else if (check_entries(call, &errors)) {
        work_run(call, work);
    }
}

/* Many experiments. */

static bool is_running(const struct call *call, uint32_t index)
{
    return experiment_at(call, index)->status == EXPERIMENT_RUNNING;
}

void handle_assignment_everywhere(struct call *call)
{
    struct bytes document;
    if (!no_parameters(call) || !call_document(call, &document)) {
        return;
    }
    struct entry asked = {.forced_variant = NO_VARIANT};
    struct field_errors errors = field_errors_in(&call->arena);
    struct entry_reading reading = {
        .call = call,
        .errors = &errors,
        .path = "",
        .entry = &asked,
    };
    entry_read(&reading, document, SHAPE_EVERYWHERE);
    if (!check_entries(call, &errors)) {
        return;
    }
    uint32_t running = 0;
    for (uint32_t i = 0; i < call->catalog->experiment_count; i++) {
        running += is_running(call, i);
    }
    struct assignment_work *work = work_make(call, running);
    if (work == NULL) {
        return;
    }
    uint32_t filled = 0;
    for (uint32_t i = 0; i < call->catalog->experiment_count; i++) {
        if (is_running(call, i)) {
            work->entries[filled] = asked;
            work->entries[filled++].experiment = i;
        }
    }
    work->reply = reply_list;
    work_run(call, work);
}

/* Who is in which variant. */

struct members_work {
    struct arena *arena;
    uint32_t experiment;
    uint32_t variant; /* NO_VARIANT: all */
    struct handler_page page;
    struct member *members;
    uint32_t count;
    uint64_t next;
    bool no_memory;
};

/* Runs on the apply thread. The user ids are copied: they are the state's. */
static void read_members(const struct state *state, void *context)
{
    struct members_work *work = context;
    work->count = state_list_members(state, work->experiment, work->variant, work->page.cursor,
                                     work->members, work->page.limit, &work->next);
    for (uint32_t i = 0; i < work->count; i++) {
        struct bytes *user_id = &work->members[i].user_id;
        const char *copy = arena_copy(work->arena, *user_id);
        work->no_memory = work->no_memory || copy == NULL;
        *user_id = bytes_of(copy, user_id->size);
    }
}

static const struct variant *member_variant(const struct call *call,
                                            const struct members_work *work, uint32_t index)
{
    const struct experiment *experiment = experiment_at(call, work->experiment);
    uint32_t variant = work->members[index].assignment.variant;
    assert(variant < experiment->variant_count);
    return &experiment->variants[variant];
}

static void write_member(struct json_writer *writer, const struct call *call,
                         const struct members_work *work, uint32_t index)
{
    const struct member *member = &work->members[index];
    const struct variant *variant = member_variant(call, work, index);
    json_begin_object(writer);
    json_key(writer, "user_id");
    json_text_bytes(writer, member->user_id);
    json_key(writer, "variant");
    json_text_bytes(writer, variant->name);
    json_key(writer, "variant_id");
    json_uuid(writer, &variant->id);
    json_key(writer, "assigned_at");
    json_time(writer, member->assignment.assigned_at_us);
    json_key(writer, "experiment_version");
    json_uint(writer, member->assignment.experiment_version);
    json_key(writer, "forced");
    json_bool(writer, member->assignment.forced);
    json_end_object(writer);
}

static void members_as_json(struct call *call, const struct members_work *work)
{
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "assignments");
    json_begin_array(&writer);
    for (uint32_t i = 0; i < work->count; i++) {
        write_member(&writer, call, work, i);
    }
    json_end_array(&writer);
    json_key(&writer, "next_cursor");
    json_text(&writer, handler_cursor(call, work->next));
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

/* A page without an envelope names the next one in a header. */
static void header_next(struct call *call, const struct members_work *work)
{
    const char *cursor = handler_cursor(call, work->next);
    if (cursor != NULL) {
        call_header(call, "x-next-cursor", cursor);
    }
}

static void members_as_lines(struct call *call, const struct members_work *work)
{
    struct json_writer writer = json_writer_in(&call->arena);
    for (uint32_t i = 0; i < work->count; i++) {
        write_member(&writer, call, work, i);
        json_newline(&writer);
    }
    if (writer.failed) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    header_next(call, work);
    call_reply_text(call, 200, "application/x-ndjson", bytes_of(writer.text, writer.size));
}

/* A quoted CSV field (RFC 4180). Returns the place behind it. */
static char *put_field(char *at, struct bytes text)
{
    *at++ = '"';
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"') {
            *at++ = '"';
        }
        *at++ = (char)text.data[i];
    }
    *at++ = '"';
    return at;
}

static void members_as_csv(struct call *call, const struct members_work *work)
{
    static const char head[] = "user_id,variant,assigned_at,experiment_version,forced\r\n";
    const size_t rest_max = 96; /* quotes, commas, time, version, true or false */
    size_t size = sizeof(head);
    for (uint32_t i = 0; i < work->count; i++) {
        size += 2 * work->members[i].user_id.size + 2 * member_variant(call, work, i)->name.size +
                rest_max;
    }
    char *text = arena_take(&call->arena, size);
    if (text == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    char *at = text + sizeof(head) - 1;
    memcpy(text, head, sizeof(head) - 1);
    for (uint32_t i = 0; i < work->count; i++) {
        const struct assignment_view *stored = &work->members[i].assignment;
        char time[TIMESTAMP_TEXT_SIZE];
        timestamp_format(stored->assigned_at_us, time);
        at = put_field(at, work->members[i].user_id);
        *at++ = ',';
        at = put_field(at, member_variant(call, work, i)->name);
        at += snprintf(at, rest_max, ",%s,%u,%s\r\n", time, stored->experiment_version,
                       stored->forced ? "true" : "false");
    }
    header_next(call, work);
    call_reply_text(call, 200, "text/csv; charset=utf-8", bytes_of(text, (size_t)(at - text)));
}

struct member_format {
    const char *media_type;
    void (*reply)(struct call *call, const struct members_work *work);
};

static const struct member_format member_formats[] = {
    {"application/x-ndjson", members_as_lines},
    {"text/csv",             members_as_csv  },
};

static void members_done(struct call *call)
{
    const struct members_work *work = call->handler_data;
    if (work->no_memory) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    call_refresh_catalog(call); /* a member may be in a variant added since the call came */
    for (size_t i = 0; i < COUNT_OF(member_formats); i++) {
        const char *type = member_formats[i].media_type;
        if (call->accept.size != 0 &&
            memmem(call->accept.data, call->accept.size, type, strlen(type)) != NULL) {
            member_formats[i].reply(call, work);
            return;
        }
    }
    members_as_json(call, work);
}

/* ?variant= by name. */
static bool read_variant(struct call *call, uint32_t experiment_index, uint32_t *out_variant)
{
    const struct experiment *experiment = experiment_at(call, experiment_index);
    struct bytes name;
    *out_variant = NO_VARIANT;
    if (!call_query(call, "variant", &name)) {
        return true;
    }
    for (uint32_t i = 0; i < experiment->variant_count; i++) {
        if (bytes_equal(experiment->variants[i].name, name)) {
            *out_variant = i;
            return true;
        }
    }
    call_reply_problem(call, 422, "unknown_variant", "The experiment has no variant of this name.");
    return false;
}

void handle_assignment_list(struct call *call)
{
    static const char *const names[] = {"variant", "cursor", "limit", NULL};
    struct members_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    if (work == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    if (!call_query_only(call, names) || !handler_page_read(call, &work->page)) {
        return;
    }
    work->experiment = handler_experiment(call);
    if (work->experiment == CATALOG_NONE || !read_variant(call, work->experiment, &work->variant)) {
        return;
    }
    work->arena = &call->arena;
    work->members = arena_take_zeroed(&call->arena, work->page.limit * sizeof(*work->members));
    if (work->members == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    call->handler_data = work;
    call_set_read(call, read_members, work);
    (void)call_submit(call, members_done);
}
