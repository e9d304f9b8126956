/* handle_overrides.c: overrides: which variant a tester is shown, whatever the experiment says. They enrol nobody: what a
 * tester does is counted nowhere, unless they had been enrolled before.
 *
 * All overrides of an experiment are one definition; a change is its next version, and is tried again where another change
 * came first.
 */
#include "api/handler.h"
#include "api/routes.h"

#define ATTEMPTS_MAX 32u

struct override_work {
    uint32_t experiment;
    struct bytes user_id;
    bool is_removal;
    struct uuid variant_id;
    uint32_t attempts;
    uint8_t outcome;
};

static const struct experiment *experiment_at(const struct call *call, uint32_t index)
{
    return call->catalog->experiments[index]->current;
}

static const struct variant *variant_of(const struct experiment *experiment, const struct uuid *id)
{
    for (uint32_t i = 0; i < experiment->variant_count; i++) {
        if (uuid_equal(&experiment->variants[i].id, id)) {
            return &experiment->variants[i];
        }
    }
    return NULL;
}

/* variant: NULL where a draft has lost it. */
static void write_override(struct json_writer *writer, const struct override *override, const struct variant *variant)
{
    json_begin_object(writer);
    json_key(writer, "user_id");
    json_text_bytes(writer, override->user_id);
    json_key(writer, "variant");
    handler_write_optional_text(writer, variant != NULL ? variant->name : bytes_of(NULL, 0));
    json_key(writer, "variant_id");
    json_uuid(writer, &override->variant_id);
    json_end_object(writer);
}

/* GET /experiments/{id}/overrides: all of them, there are few. */
void handle_override_list(struct call *call)
{
    static const char *const names[] = {NULL};
    if (!call_query_only(call, names)) {
        return;
    }
    const uint32_t index = handler_experiment(call);
    if (index == CATALOG_NONE) {
        return;
    }
    const struct overrides *overrides = call->catalog->experiments[index]->overrides;
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "overrides");
    json_begin_array(&writer);
    for (uint32_t i = 0; overrides != NULL && i < overrides->count; i++) {
        write_override(&writer, &overrides->items[i],
                       variant_of(experiment_at(call, index), &overrides->items[i].variant_id));
    }
    json_end_array(&writer);
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

static void reply_changed(struct call *call, const struct override_work *work)
{
    if (work->is_removal) {
        call_reply_empty(call, 204);
        return;
    }
    const struct override override = {work->user_id, work->variant_id};
    struct json_writer writer = json_writer_in(&call->arena);
    write_override(&writer, &override, variant_of(experiment_at(call, work->experiment), &work->variant_id));
    call_reply_json(call, 200, &writer);
}

static void change_attempt(struct call *call, struct override_work *work);

static void change_done(struct call *call)
{
    struct override_work *work = call->handler_data;
    if (call->request.commit.status != STATUS_OK) {
        call_reply_engine_status(call, call->request.commit.status);
        return;
    }
    call_refresh_catalog(call);
    if (work->outcome == OUTCOME_APPLIED) {
        reply_changed(call, work);
    } else if (work->attempts < ATTEMPTS_MAX) {
        change_attempt(call, work);
    } else {
        call_reply_problem(call, 409, "conflict",
                           "Other requests keep changing these overrides: send the request again.");
    }
}

static void change_attempt(struct call *call, struct override_work *work)
{
    const struct overrides *current = call->catalog->experiments[work->experiment]->overrides;
    const struct override *there = overrides_find(current, work->user_id);
    if (work->is_removal ? there == NULL : there != NULL && uuid_equal(&there->variant_id, &work->variant_id)) {
        reply_changed(call, work); /* it is so already */
        return;
    }
    const struct definition_context context = {
        .id = experiment_at(call, work->experiment)->id,
        .version = (current != NULL ? current->version : 0) + 1,
        .author = handler_author(call),
        .now_us = call->received_at_us,
    };
    struct overrides *next = NULL;
    const enum status status =
        overrides_change(current, &context, work->user_id, work->is_removal ? NULL : &work->variant_id, &next);
    if (status == STATUS_TOO_LARGE) {
        call_reply_problem(call, 409, "too_many_overrides",
                           "The experiment has %u overrides, which is the most: remove one first.", LIMIT_OVERRIDES);
        return;
    }
    if (status != STATUS_OK) {
        call_reply_engine_status(call, status);
        return;
    }
    const struct definition definition = {context.id, next->version, next->author, next->document};
    work->attempts++;
    call->handler_data = work;
    (void)handler_submit_definitions(call, RECORD_OVERRIDES, &definition, 1, &work->outcome, change_done);
    overrides_free(next);
}

/* The experiment and user of the path; NULL where a reply was made. */
static struct override_work *change_begin(struct call *call)
{
    static const char *const names[] = {NULL};
    if (!call_query_only(call, names)) {
        return NULL;
    }
    const uint32_t index = handler_experiment(call);
    if (index == CATALOG_NONE) {
        return NULL;
    }
    const char *fault = handler_text_fault(call->parameters[1], LIMIT_USER_ID);
    if (fault != NULL) {
        call_reply_problem(call, 422, "invalid_user_id", "The path's user id is none: %s.", fault);
        return NULL;
    }
    struct override_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    if (work == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return NULL;
    }
    work->experiment = index;
    work->user_id = call->parameters[1];
    return work;
}

/* {"variant": name} */
static bool read_variant(struct call *call, struct override_work *work)
{
    const struct experiment *experiment = experiment_at(call, work->experiment);
    struct field_errors errors = field_errors_in(&call->arena);
    struct bytes document;
    struct bytes key;
    struct bytes name = bytes_of(NULL, 0);
    uint32_t fields = 0;
    if (!call_document(call, &document)) {
        return false;
    }
    struct pack_cursor cursor = pack_cursor_on(document);
    const bool is_whole = pack_read_map(&cursor, &fields) && fields == 1 && pack_read_text(&cursor, &key) &&
                          bytes_equal_text(key, "variant") && pack_read_text(&cursor, &name);
    for (uint32_t i = 0; is_whole && i < experiment->variant_count; i++) {
        if (bytes_equal(experiment->variants[i].name, name)) {
            work->variant_id = experiment->variants[i].id;
            return true;
        }
    }
    if (is_whole) {
        field_error_add(&errors, "unknown_variant", "must be the name of a variant of this experiment", "variant");
        call_reply_field_errors(call, 422, "unknown_variant", &errors, "The experiment has no such variant.");
    } else {
        call_reply_problem(call, 422, "validation_failed", "The body must be {\"variant\": the name of one}.");
    }
    return false;
}

void handle_override_put(struct call *call)
{
    struct override_work *work = change_begin(call);
    if (work == NULL || !read_variant(call, work)) {
        return;
    }
    if (experiment_at(call, work->experiment)->status == EXPERIMENT_ARCHIVED) {
        call_reply_problem(call, 409, "invalid_transition", "The experiment is archived: nobody is shown any of it.");
        return;
    }
    change_attempt(call, work);
}

void handle_override_delete(struct call *call)
{
    struct override_work *work = change_begin(call);
    if (work != NULL) {
        work->is_removal = true;
        change_attempt(call, work);
    }
}
