/* handle_audit.c: GET /audit: who changed which definition, and when. It is the log's own records, so what is in it has
 * happened, and nothing that happened is missing.
 */
#include "api/handler.h"
#include "api/routes.h"
#include "engine/format.h"

struct audit_work {
    struct handler_page page;
    struct record *records; /* one more than the page, to know whether more follow */
    uint32_t count;
};

/* What the audit says of a definition besides its id and version. */
struct audit_entry {
    const char *kind;
    const char *action;
    struct bytes name;
    int64_t at_us;
};

static bool take_name(struct arena *arena, struct bytes name, struct audit_entry *entry)
{
    const char *copy = arena_copy(arena, name);
    entry->name = bytes_of(copy, copy != NULL ? name.size : 0);
    return copy != NULL;
}

static enum status read_experiment(struct arena *arena, const struct definition *definition, struct audit_entry *entry)
{
    struct experiment *experiment = NULL;
    const enum status status = experiment_decode(definition->document, &experiment);
    if (status != STATUS_OK) {
        return status;
    }
    entry->kind = "experiment";
    entry->at_us = experiment->updated_at_us;
    const bool is_taken = take_name(arena, experiment->key, entry);
    if (experiment->status == EXPERIMENT_ARCHIVED) {
        entry->action = "archived";
    } else if (experiment->breached_at_us != 0 && experiment->breached_at_us == experiment->updated_at_us) {
        entry->action = "guardrail_breached";
    } else if (experiment->generation > 1 && experiment->generation_version == definition->version) {
        entry->action = "rerandomized";
    }
    experiment_free(experiment);
    return is_taken ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status read_metric(struct arena *arena, const struct definition *definition, struct audit_entry *entry)
{
    struct metric *metric = NULL;
    const enum status status = metric_decode(definition->document, &metric);
    if (status != STATUS_OK) {
        return status;
    }
    entry->kind = "metric";
    entry->at_us = metric->updated_at_us;
    const bool is_taken = take_name(arena, metric->name, entry);
    if (metric->archived) {
        entry->action = "archived";
    }
    metric_free(metric);
    return is_taken ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status read_token(struct arena *arena, const struct definition *definition, struct audit_entry *entry)
{
    struct token *token = NULL;
    const enum status status = token_decode(definition->document, &token);
    if (status != STATUS_OK) {
        return status;
    }
    entry->kind = "token";
    entry->at_us = token->revoked_at_us != 0 ? token->revoked_at_us : token->created_at_us;
    const bool is_taken = take_name(arena, token->name, entry);
    if (token->revoked_at_us != 0) {
        entry->action = "revoked";
    }
    token_free(token);
    return is_taken ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status read_overrides(struct arena *arena, const struct catalog *catalog, const struct definition *definition,
                                  struct audit_entry *entry)
{
    struct overrides *overrides = NULL;
    const enum status status = overrides_decode(definition->document, &overrides);
    if (status != STATUS_OK) {
        return status;
    }
    const uint32_t experiment = catalog_find_experiment(catalog, &definition->id);
    assert(experiment != CATALOG_NONE); /* it was applied after the experiment */
    entry->kind = "overrides";
    entry->at_us = overrides->updated_at_us;
    overrides_free(overrides);
    const bool is_taken = take_name(arena, catalog->experiments[experiment]->current->key, entry);
    return is_taken ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status read_erasure(const struct definition *definition, struct audit_entry *entry)
{
    struct erasure erasure;
    const enum status status = erasure_decode(definition, &erasure);
    *entry = (struct audit_entry){.kind = "user", .action = "erased", .at_us = erasure.erased_at_us}; /* whose name is nobody's to know */
    return status;
}

static enum status read_entry(struct call *call, const struct record *record, struct definition *definition,
                              struct audit_entry *entry)
{
    struct arena *arena = &call->arena;
    const enum status status = definition_decode(record, definition);
    if (status != STATUS_OK) {
        return status;
    }
    if (record->kind == RECORD_ERASURE) {
        return read_erasure(definition, entry);
    }
    entry->action = definition->version == 1 ? "created" : "changed";
    if (record->kind == RECORD_EXPERIMENT) {
        return read_experiment(arena, definition, entry);
    }
    if (record->kind == RECORD_OVERRIDES) {
        return read_overrides(arena, call->catalog, definition, entry);
    }
    return record->kind == RECORD_METRIC ? read_metric(arena, definition, entry) : read_token(arena, definition, entry);
}

static void write_entry(struct json_writer *writer, const struct record *record, const struct definition *definition,
                        const struct audit_entry *entry)
{
    static const struct uuid nobody = {{0}};
    json_begin_object(writer);
    json_key(writer, "lsn");
    json_uint(writer, record->lsn);
    json_key(writer, "time");
    json_time(writer, entry->at_us);
    json_key(writer, "author");
    if (uuid_equal(&definition->author, &nobody)) {
        json_null(writer);
    } else {
        json_uuid(writer, &definition->author);
    }
    json_key(writer, "action");
    json_text(writer, entry->action);
    json_key(writer, "kind");
    json_text(writer, entry->kind);
    json_key(writer, "id");
    json_uuid(writer, &definition->id);
    json_key(writer, "name");
    json_text_bytes(writer, entry->name);
    json_key(writer, "version");
    json_uint(writer, definition->version);
    json_end_object(writer);
}

static void audit_done(struct call *call)
{
    const struct audit_work *work = call->handler_data;
    call_refresh_catalog(call);
    const bool has_more = work->count > work->page.limit;
    const uint32_t shown = has_more ? work->page.limit : work->count;
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "entries");
    json_begin_array(&writer);
    for (uint32_t i = 0; i < shown; i++) {
        struct definition definition;
        struct audit_entry entry = {0};
        const enum status status = read_entry(call, &work->records[i], &definition, &entry);
        if (status != STATUS_OK) {
            call_reply_engine_status(call, status);
            return;
        }
        write_entry(&writer, &work->records[i], &definition, &entry);
    }
    json_end_array(&writer);
    json_key(&writer, "next_cursor");
    json_text(&writer, handler_cursor(call, has_more ? work->page.cursor + shown : 0));
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

/* Runs on the apply thread. */
static void read_definitions(const struct state *state, void *context)
{
    struct audit_work *work = context;
    work->count = state_list_definitions(state, work->page.cursor, work->records, work->page.limit + 1);
}

void handle_audit(struct call *call)
{
    static const char *const names[] = {"limit", "cursor", NULL};
    struct audit_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    if (work == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    if (!call_query_only(call, names) || !handler_page_read(call, &work->page)) {
        return;
    }
    work->records = arena_take(&call->arena, (work->page.limit + 1ull) * sizeof(*work->records));
    if (work->records == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    call->handler_data = work;
    call_set_read(call, read_definitions, work);
    (void)call_submit(call, audit_done);
}
