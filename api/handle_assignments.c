/* handle_assignments.c: which variant a user gets: one user, many users, many experiments; and who is in which. */
#include "api/assignment_work.h"
#include "api/csv.h"
#include "api/handler.h"
#include "api/routes.h"
#include "engine/assign.h"
#include "engine/timestamp.h"

static const struct experiment *experiment_at(const struct call *call, uint32_t index)
{
    return call->catalog->experiments[index]->current;
}

/* Answering. */

static bool is_conflict(const struct entry *entry)
{
    bool other_variant =
        entry->forced_variant != ENTRY_NO_VARIANT && entry->forced_variant != entry->stored.variant;
    bool other_time =
        entry->assigned_at_us != 0 && entry->assigned_at_us != entry->stored.assigned_at_us;
    return entry->reason == NULL && (other_variant || other_time);
}

/* What is stored nowhere has no time; the version is the one that it is of. */
static void write_given(struct json_writer *writer, const struct variant *variant, const struct assignment_view *stored,
                        const struct experiment *experiment)
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
    if (stored != NULL) {
        json_time(writer, stored->assigned_at_us);
    } else {
        json_null(writer);
    }
    json_key(writer, "experiment_version");
    json_uint(writer, stored != NULL ? stored->experiment_version : experiment->version);
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
    const struct variant *variant = assignment_variant(call, entry);
    const struct experiment *experiment = experiment_at(call, entry->experiment);
    json_begin_object(writer);
    json_key(writer, "experiment_id");
    json_uuid(writer, &experiment->id);
    json_key(writer, "experiment_key");
    json_text_bytes(writer, experiment->key);
    json_key(writer, "user_id");
    json_text_bytes(writer, entry->user_id);
    if (variant != NULL) {
        write_given(writer, variant, entry->is_override ? NULL : &entry->stored, experiment);
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

/* One user. */

static bool no_parameters(struct call *call)
{
    static const char *const names[] = {NULL};
    return call_query_only(call, names);
}

void handle_assignment_get(struct call *call)
{
    uint32_t index = handler_experiment(call);
    if (index == CATALOG_NONE) {
        return;
    }
    struct assignment_work *work = assignment_work_make(call, 1);
    if (work == NULL || !entry_read_path(call, &work->entries[0])) {
        return;
    }
    work->entries[0].experiment = index;
    work->reply = reply_one;
    assignment_work_run(call, work);
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
    struct assignment_work *work = assignment_work_make(call, 1);
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
    entry_read(&reading, document, ENTRY_ONE);
    work->entries[0].experiment = index;
    work->reply = reply_one;
    if (entry_check(call, &errors)) {
        assignment_work_run(call, work);
    }
}

/* Many users. */

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
        !entry_enter_users(call, document, &cursor, &count)) {
        return;
    }
    struct assignment_work *work = assignment_work_make(call, count);
    if (work == NULL) {
        return;
    }
    struct field_errors errors = field_errors_in(&call->arena);
    struct entry_reading reading = {
        .call = call,
        .experiment = experiment_at(call, index),
        .errors = &errors,
    };
    entry_read_users(&cursor, &reading, work->entries, count, ENTRY_BULK);
    for (uint32_t i = 0; i < count; i++) {
        work->entries[i].experiment = index;
    }
    work->reply = reply_list;
    if (reading.needs_scope && (call->scopes & (SCOPE_ADMIN | SCOPE_EXPERIMENTS_WRITE)) == 0) {
        call_reply_problem(call, 403, "insufficient_scope",
                           "Giving variant or assigned_at takes the scope experiments:write.");
    } else if (entry_check(call, &errors)) {
        assignment_work_run(call, work);
    }
}

/* Many experiments. */

void handle_assignment_everywhere(struct call *call)
{
    struct bytes document;
    if (!no_parameters(call) || !call_document(call, &document)) {
        return;
    }
    struct entry asked = {.forced_variant = ENTRY_NO_VARIANT};
    struct field_errors errors = field_errors_in(&call->arena);
    struct entry_reading reading = {
        .call = call,
        .errors = &errors,
        .path = "",
        .entry = &asked,
    };
    entry_read(&reading, document, ENTRY_EVERYWHERE);
    if (!entry_check(call, &errors)) {
        return;
    }
    struct assignment_work *work = assignment_work_everywhere(call, &asked);
    if (work == NULL) {
        return;
    }
    work->reply = reply_list;
    assignment_work_run(call, work);
}

/* Who is in which variant. */

struct members_work {
    struct arena *arena;
    uint32_t experiment;
    uint32_t variant; /* ENTRY_NO_VARIANT: all */
    uint32_t generation;
    struct version_range versions; /* of that generation */
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
    work->count = state_list_members(state, work->experiment, work->versions, work->variant, work->page.cursor,
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
    json_key(writer, "generation");
    json_uint(writer, work->generation);
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

static void members_as_csv(struct call *call, const struct members_work *work)
{
    static const char *const columns[] = {"user_id", "variant", "assigned_at", "experiment_version", "forced"};
    struct csv_writer writer = csv_writer_in(&call->arena);
    csv_names(&writer, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < work->count; i++) {
        const struct assignment_view *stored = &work->members[i].assignment;
        char time[TIMESTAMP_TEXT_SIZE];
        timestamp_format(stored->assigned_at_us, time);
        csv_text(&writer, work->members[i].user_id);
        csv_text(&writer, member_variant(call, work, i)->name);
        csv_text(&writer, bytes_of_text(time));
        csv_uint(&writer, stored->experiment_version);
        csv_bool(&writer, stored->forced);
        csv_end_row(&writer);
    }
    header_next(call, work);
    csv_reply(call, &writer);
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
    *out_variant = ENTRY_NO_VARIANT;
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

/* ?generation= by number; without it the newest. */
static bool read_generation(struct call *call, struct members_work *work)
{
    const struct catalog_experiment *at = call->catalog->experiments[work->experiment];
    struct bytes text;
    uint64_t generation = at->current->generation;
    if (call_query(call, "generation", &text) &&
        (!handler_parse_natural(text, &generation) || generation < 1 || generation > at->current->generation)) {
        call_reply_problem(call, 422, "invalid_generation", "generation must be from 1 to %u, the newest one.",
                           at->current->generation);
        return false;
    }
    work->generation = (uint32_t)generation;
    work->versions = catalog_generation_versions(at, work->generation);
    return true;
}

void handle_assignment_list(struct call *call)
{
    static const char *const names[] = {"variant", "generation", "cursor", "limit", NULL};
    struct members_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    if (work == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    if (!call_query_only(call, names) || !handler_page_read(call, &work->page)) {
        return;
    }
    work->experiment = handler_experiment(call);
    if (work->experiment == CATALOG_NONE || !read_variant(call, work->experiment, &work->variant) ||
        !read_generation(call, work)) {
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
