/* handle_experiments.c: experiments: made, listed, shown, changed, archived, and their history.
 *
 * A change is a new version that follows on the newest one; two at the same time are ordered by the log, and the second is
 * told so (OUTCOME_SUPERSEDED). Where the client did not say which version it changes (If-Match), it is tried again on the
 * newest.
 */
#include <math.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "api/experiment_json.h"
#include "api/handler.h"
#include "api/routes.h"
#include "engine/layer.h"

#define IDEMPOTENCY_KEY_MAX 255u
#define IDEMPOTENCY_US      (24 * 3600 * 1000000ll)
/* How often a write that lost against another is tried on the newest definitions: of any number that contend, each round
 * lets one through. */
#define ATTEMPTS_MAX 32u
/* From any state to archived: completed, then archived. */
#define ARCHIVE_STEPS 2u

struct experiment_work {
    struct bytes document; /* the client's */
    struct uuid id;
    uint32_t version; /* the one being written */
    uint32_t attempts;
    uint64_t *variant_users;
    uint32_t variant_count;
    uint32_t index;
    bool has_key; /* given by the client, not made of the name */
    struct uuid idempotency_digest;
    uint8_t outcomes[ARCHIVE_STEPS];
};

static const struct experiment *experiment_at(const struct call *call, uint32_t index)
{
    return call->catalog->experiments[index]->current;
}

/* A version of an experiment; NULL where it has none of this number. */
static const struct experiment *experiment_version(const struct call *call, uint32_t index,
                                                   uint32_t version)
{
    const struct catalog_experiment *at = call->catalog->experiments[index];
    while (at != NULL && at->current->version != version) {
        at = at->previous;
    }
    return at == NULL ? NULL : at->current;
}

static void set_etag(struct call *call, const struct experiment *experiment)
{
    const char *etag = arena_format(&call->arena, "\"%u\"", experiment->version);
    if (etag != NULL) {
        call_header(call, "etag", etag);
    }
}

static void reply_experiment_at(struct call *call, int status, const struct experiment *experiment, int64_t now_us)
{
    struct json_writer writer = json_writer_in(&call->arena);
    experiment_write(&writer, experiment, now_us);
    set_etag(call, experiment);
    call_reply_json(call, status, &writer);
}

static void reply_experiment(struct call *call, int status, const struct experiment *experiment)
{
    reply_experiment_at(call, status, experiment, call->received_at_us);
}

/* As it was when it was made, though it be told again. */
static void reply_created(struct call *call, const struct experiment *experiment)
{
    char id[UUID_TEXT_SIZE];
    uuid_format(&experiment->id, id);
    const char *location = arena_format(&call->arena, "/experiments/%s", id);
    if (location != NULL) {
        call_header(call, "location", location);
    }
    reply_experiment_at(call, 201, experiment, experiment->updated_at_us);
}

/* Checks that several requests share. */

static struct definition_context context_of(const struct call *call, const struct uuid *id,
                                            uint32_t version)
{
    return (struct definition_context){
        .id = *id,
        .version = version,
        .author = handler_author(call),
        .now_us = call->received_at_us,
    };
}

static bool names_metric(const struct experiment *experiment, struct bytes name)
{
    for (uint32_t i = 0; experiment != NULL && i < experiment->metric_count; i++) {
        if (bytes_equal(experiment->metrics[i], name)) {
            return true;
        }
    }
    return false;
}

/* Every metric that is new to the experiment must be defined and not archived. `before`: the version before, or NULL. */
static bool check_metrics(struct call *call, const struct experiment *experiment,
                          const struct experiment *before)
{
    struct field_errors errors = field_errors_in(&call->arena);
    for (uint32_t i = 0; i < experiment->metric_count; i++) {
        struct bytes name = experiment->metrics[i];
        uint32_t index = catalog_find_metric(call->catalog, name);
        bool is_usable = index != CATALOG_NONE && !call->catalog->metrics[index]->current->archived;
        if (!is_usable && !names_metric(before, name)) {
            field_error_add(&errors, "unknown_metric",
                            "no metric of this name is defined: POST /metric-definitions first",
                            "metrics[%u]", i);
        }
    }
    if (errors.count == 0) {
        return true;
    }
    call_reply_field_errors(call, 422, "unknown_metric", &errors,
                            "The experiment names metrics that are not defined.");
    return false;
}

static bool names_segment(const struct experiment *experiment, struct bytes name)
{
    for (uint32_t i = 0; experiment != NULL && i < experiment->targeting.node_count; i++) {
        const struct targeting_node *node = &experiment->targeting.nodes[i];
        if (node->kind == TARGETING_SEGMENT && bytes_equal(node->segment, name)) {
            return true;
        }
    }
    return false;
}

/* Every segment that is new to the experiment must be there. */
static bool check_segments(struct call *call, const struct experiment *experiment, const struct experiment *before)
{
    struct field_errors errors = field_errors_in(&call->arena);
    for (uint32_t i = 0; i < experiment->targeting.node_count; i++) {
        const struct targeting_node *node = &experiment->targeting.nodes[i];
        if (node->kind == TARGETING_SEGMENT && user_sets_find(&call->catalog->user_sets, node->segment) == NULL &&
            !names_segment(before, node->segment)) {
            field_error_add(&errors, "unknown_segment", "there is no segment of this name: PUT /segments/{name} first",
                            "%s.segment", node->path);
        }
    }
    if (errors.count == 0) {
        return true;
    }
    call_reply_field_errors(call, 422, "unknown_segment", &errors, "The targeting names segments that are not there.");
    return false;
}

/* Does If-Match (a list of entity tags, or *) hold for this version? Absent, it always does. */
static bool version_matches(struct bytes if_match, uint32_t version)
{
    if (if_match.size == 0) {
        return true;
    }
    char wanted[16];
    (void)snprintf(wanted, sizeof(wanted), "\"%u\"", version);
    size_t at = 0;
    while (at < if_match.size) {
        size_t end = at;
        while (end < if_match.size && if_match.data[end] != ',') {
            end++;
        }
        size_t first = at;
        size_t last = end;
        while (first < last && (if_match.data[first] == ' ' || if_match.data[first] == '\t')) {
            first++;
        }
        while (last > first &&
               (if_match.data[last - 1] == ' ' || if_match.data[last - 1] == '\t')) {
            last--;
        }
        struct bytes tag = bytes_of(if_match.data + first, last - first);
        if (bytes_equal_text(tag, wanted) || bytes_equal_text(tag, "*")) {
            return true;
        }
        at = end + 1;
    }
    return false;
}

static void reply_lost_update(struct call *call, const struct experiment *current)
{
    set_etag(call, current);
    call_reply_problem(call, 412, "version_mismatch",
                       "The experiment is at version %u now, which If-Match does not name: read it "
                       "again and repeat the change.",
                       current->version);
}

/* A write lost against another. With If-Match that is the client's to settle. */
static void reply_superseded(struct call *call, const struct experiment *current)
{
    if (call->if_match.size != 0) {
        reply_lost_update(call, current);
        return;
    }
    call_reply_problem(call, 409, "conflict",
                       "Other requests keep changing this experiment: send the request again.");
}

static bool may_retry(const struct call *call, const struct experiment_work *work)
{
    return call->if_match.size == 0 && work->attempts < ATTEMPTS_MAX;
}

static void reply_no_memory(struct call *call)
{
    call_reply_engine_status(call, STATUS_NO_MEMORY);
}

/* False, with the reply made, where the write failed; else call->catalog is the newest. */
static bool written(struct call *call)
{
    if (call->request.commit.status != STATUS_OK) {
        call_reply_engine_status(call, call->request.commit.status);
        return false;
    }
    call_refresh_catalog(call);
    return true;
}

static bool submit_version(struct call *call, const struct experiment *experiment,
                           struct experiment_work *work, void (*continuation)(struct call *call))
{
    struct definition definition = {
        .id = experiment->id,
        .version = experiment->version,
        .author = experiment->author,
        .document = experiment->document,
    };
    work->id = experiment->id;
    work->version = experiment->version;
    call->handler_data = work;
    return handler_submit_definitions(call, RECORD_EXPERIMENT, &definition, 1, work->outcomes,
                                      continuation);
}

/* Experiments that name one group must mean the same users. Replies where another one gives it another share. */
static bool check_holdout(struct call *call, const struct experiment *experiment)
{
    for (uint32_t i = 0; experiment->holdout.size != 0 && i < call->catalog->experiment_count; i++) {
        const struct experiment *other = experiment_at(call, i);
        if (other->status == EXPERIMENT_ARCHIVED || uuid_equal(&other->id, &experiment->id) ||
            !bytes_equal(other->holdout, experiment->holdout) ||
            fabs(other->holdout_share - experiment->holdout_share) <= 1e-12) {
            continue;
        }
        struct field_errors errors = field_errors_in(&call->arena);
        const char *message =
            arena_format(&call->arena, "the group has a share of %g in experiment %.*s: it must be the same everywhere",
                         other->holdout_share, (int)other->key.size, (const char *)other->key.data);
        field_error_add(&errors, "holdout_share", message != NULL ? message : "the group has another share elsewhere",
                        "holdout.share");
        call_reply_field_errors(call, 422, "holdout_share", &errors, "The holdout group has another share elsewhere.");
        return false;
    }
    return true;
}

/* A slice of its layer for what has not begun; what has begun keeps its start. Replies where none is free. */
static bool take_slice(struct call *call, const struct experiment *experiment, bool has_begun,
                       struct experiment_place *place)
{
    if (!layer_is_held(experiment) || (has_begun && layer_fits(call->catalog, experiment))) {
        return true;
    }
    double largest = 0;
    if (!has_begun &&
        layer_place(call->catalog, experiment, &place->layer_start, &largest) == STATUS_OK) {
        return true;
    }
    struct field_errors errors = field_errors_in(&call->arena);
    if (has_begun) {
        field_error_add(&errors, "layer_full",
                        "the slice cannot grow: the next one begins where it would end, and slices do not move",
                        "traffic_allocation");
    } else {
        const char *message = arena_format(
            &call->arena, "does not fit layer \"%.*s\": its largest free slice is %g",
            (int)experiment->layer.size, (const char *)experiment->layer.data, largest);
        field_error_add(&errors, "layer_full", message != NULL ? message : "does not fit the layer",
                        "traffic_allocation");
    }
    call_reply_field_errors(call, 422, "layer_full", &errors, "The layer has no room for this experiment.");
    return false;
}

/* The last steps of a new version: its slice, its final document, and off to the log. */
static void place_and_submit(struct call *call, const struct experiment *experiment, bool has_begun,
                             struct experiment_place *place, struct experiment_work *work,
                             void (*continuation)(struct call *call))
{
    struct experiment *finished = NULL;
    if (!check_holdout(call, experiment) || !take_slice(call, experiment, has_begun, place)) {
        return;
    }
    enum status status = experiment_finish(experiment, place, &finished);
    if (status != STATUS_OK) {
        call_reply_engine_status(call, status);
        return;
    }
    (void)submit_version(call, finished, work, continuation);
    experiment_free(finished);
}

/* POST /experiments */

static void create_attempt(struct call *call, struct experiment_work *work);

/* Where the request's Idempotency-Key made an experiment before: the answer to that, and true. */
static bool reply_repeated(struct call *call, const struct experiment_work *work)
{
    uint32_t index =
        call->idempotency_key.size == 0
            ? CATALOG_NONE
            : catalog_find_experiment_idempotency(call->catalog, call->idempotency_key);
    const struct experiment *first =
        index == CATALOG_NONE ? NULL : experiment_version(call, index, 1);
    if (first == NULL || call->received_at_us - first->created_at_us >= IDEMPOTENCY_US) {
        return false;
    }
    if (!uuid_equal(&first->idempotency_digest, &work->idempotency_digest)) {
        call_reply_problem(call, 409, "idempotency_key_reused",
                           "This Idempotency-Key was used within 24 hours with another body.");
        return true;
    }
    reply_created(call, first);
    return true;
}

static void create_done(struct call *call)
{
    struct experiment_work *work = call->handler_data;
    if (!written(call)) {
        return;
    }
    if (work->outcomes[0] == OUTCOME_APPLIED) {
        uint32_t index = catalog_find_experiment(call->catalog, &work->id);
        assert(index != CATALOG_NONE);
        reply_created(call, experiment_version(call, index, work->version));
        return;
    }
    /* Another request took the key first; perhaps this very one, sent twice at the same time. */
    if (!reply_repeated(call, work)) {
        create_attempt(call, work);
    }
}

/* Fills in a key that no experiment has: the slug of the name, then with -2, -3, ... */
static void choose_key(const struct call *call, const struct experiment *experiment,
                       char key[LIMIT_KEY + 1])
{
    char slug[LIMIT_KEY + 1];
    experiment_slug(experiment->name, slug, sizeof(slug));
    (void)memcpy(key, slug, sizeof(slug));
    for (uint32_t i = 2;
         catalog_find_experiment_key(call->catalog, bytes_of_text(key)) != CATALOG_NONE; i++) {
        char suffix[16];
        int size = snprintf(suffix, sizeof(suffix), "-%u", i);
        int room = (int)LIMIT_KEY - size;
        (void)snprintf(key, LIMIT_KEY + 1, "%.*s%s", room, slug, suffix);
    }
}

/* Gives a checked new experiment its key and writes it. */
static void create_submit(struct call *call, const struct experiment *experiment,
                          struct experiment_work *work)
{
    char chosen[LIMIT_KEY + 1];
    struct bytes key = experiment->key;
    if (key.size == 0) {
        choose_key(call, experiment, chosen);
        key = bytes_of_text(chosen);
    } else if (catalog_find_experiment_key(call->catalog, key) != CATALOG_NONE) {
        call_reply_problem(call, 409, "key_taken", "Another experiment has the key \"%.*s\".",
                           (int)key.size, (const char *)key.data);
        return;
    }
    struct experiment_place place = {.key = key,
                                     .idempotency_key = call->idempotency_key,
                                     .idempotency_digest = work->idempotency_digest};
    place_and_submit(call, experiment, false, &place, work, create_done);
}

static void create_attempt(struct call *call, struct experiment_work *work)
{
    if (work->attempts++ == ATTEMPTS_MAX) {
        call_reply_problem(call, 409, "key_taken",
                           "Other requests took every key that was tried: send the request again.");
        return;
    }
    if (call->catalog->experiment_count >= LIMIT_EXPERIMENTS) {
        call_reply_problem(call, 409, "too_many_experiments",
                           "There are %u experiments, which is the most.", LIMIT_EXPERIMENTS);
        return;
    }
    uint8_t random[64];
    engine_random(call->engine, random, sizeof(random));
    struct uuid id = handler_new_id(call);
    struct definition_context context = context_of(call, &id, 1);
    struct field_errors errors = field_errors_in(&call->arena);
    struct experiment *experiment = NULL;
    enum status status = experiment_create(work->document, &context, random, &errors, &experiment);
    if (status != STATUS_OK) {
        handler_reply_refused(call, status, &errors);
        return;
    }
    if (check_metrics(call, experiment, NULL) && check_segments(call, experiment, NULL)) {
        create_submit(call, experiment, work);
    }
    experiment_free(experiment);
}

/* The digest that tells two bodies under one Idempotency-Key apart: of the document, so that white space does not count. */
static struct uuid document_digest(struct bytes document)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    struct uuid out;
    (void)SHA256(document.data, document.size, digest);
    memcpy(out.bytes, digest, sizeof(out.bytes));
    return out;
}

void handle_experiment_create(struct call *call)
{
    static const char *const names[] = {NULL};
    struct bytes document;
    if (!call_query_only(call, names)) {
        return;
    }
    if (call->idempotency_key.size != 0 &&
        handler_text_fault(call->idempotency_key, IDEMPOTENCY_KEY_MAX) != NULL) {
        call_reply_problem(call, 400, "invalid_idempotency_key",
                           "Idempotency-Key must be 1 to %u bytes without control characters.",
                           IDEMPOTENCY_KEY_MAX);
        return;
    }
    if (!call_document(call, &document)) {
        return;
    }
    struct experiment_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    if (work == NULL) {
        reply_no_memory(call);
        return;
    }
    work->document = document;
    if (call->idempotency_key.size != 0) {
        work->idempotency_digest = document_digest(document);
    }
    if (!reply_repeated(call, work)) {
        create_attempt(call, work);
    }
}

/* GET /experiments */

struct experiment_filter {
    bool any_status; /* archived ones too */
    bool has_status;
    enum experiment_status status;
    struct bytes layer;
    struct bytes text;
};

static uint8_t lower(uint8_t character)
{
    return character >= 'A' && character <= 'Z' ? (uint8_t)(character + ('a' - 'A')) : character;
}

/* Is `part` in `text`, whatever the case of ASCII letters? */
static bool contains(struct bytes text, struct bytes part)
{
    for (size_t at = 0; at + part.size <= text.size; at++) {
        size_t same = 0;
        while (same < part.size && lower(text.data[at + same]) == lower(part.data[same])) {
            same++;
        }
        if (same == part.size) {
            return true;
        }
    }
    return false;
}

static bool filter_passes(const struct experiment_filter *filter,
                          const struct experiment *experiment)
{
    bool status_passes = filter->has_status
                             ? experiment->status == filter->status
                             : filter->any_status || experiment->status != EXPERIMENT_ARCHIVED;
    return status_passes &&
           (filter->layer.size == 0 || bytes_equal(experiment->layer, filter->layer)) &&
           (filter->text.size == 0 || contains(experiment->name, filter->text) ||
            contains(experiment->key, filter->text) ||
            contains(experiment->description, filter->text));
}

static bool filter_read(struct call *call, struct experiment_filter *out_filter)
{
    struct experiment_filter filter = {0};
    struct bytes text;
    if (call_query(call, "status", &text)) {
        filter.any_status = bytes_equal_text(text, "all");
        filter.has_status = !filter.any_status;
        if (filter.has_status && experiment_status_parse(text, &filter.status) != STATUS_OK) {
            call_reply_problem(
                call, 422, "invalid_status",
                "status must be draft, running, paused, completed, archived or all.");
            return false;
        }
    }
    (void)call_query(call, "layer", &filter.layer);
    (void)call_query(call, "q", &filter.text);
    *out_filter = filter;
    return true;
}

/* The newest first. A cursor is the place of the last one shown, counted from 1. Archived ones are shown where status asks
 * for them. */
void handle_experiment_list(struct call *call)
{
    static const char *const names[] = {"status", "layer", "q", "limit", "cursor", NULL};
    struct handler_page page;
    struct experiment_filter filter;
    if (!call_query_only(call, names) || !handler_page_read(call, &page) ||
        !filter_read(call, &filter)) {
        return;
    }
    uint32_t count = call->catalog->experiment_count;
    uint32_t at = page.cursor == 0 || page.cursor > count ? count : (uint32_t)page.cursor - 1;
    uint32_t shown = 0;
    uint64_t last = 0;
    uint64_t next = 0;
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "experiments");
    json_begin_array(&writer);
    for (; at > 0 && next == 0; at--) {
        const struct experiment *experiment = experiment_at(call, at - 1);
        if (!filter_passes(&filter, experiment)) {
            continue;
        }
        if (shown == page.limit) {
            next = last;
            continue;
        }
        experiment_write(&writer, experiment, call->received_at_us);
        last = at;
        shown++;
    }
    json_end_array(&writer);
    json_key(&writer, "next_cursor");
    json_text(&writer, handler_cursor(call, next));
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

/* GET /experiments/{id} */

void handle_experiment_get(struct call *call)
{
    static const char *const names[] = {NULL};
    if (!call_query_only(call, names)) {
        return;
    }
    uint32_t index = handler_experiment(call);
    if (index != CATALOG_NONE) {
        reply_experiment(call, 200, experiment_at(call, index));
    }
}

/* GET /experiments/{id}/history: the newest version first; a cursor is the last version shown. */

static void write_version(struct json_writer *writer, const struct experiment *experiment)
{
    static const struct uuid nobody = {{0}};
    json_begin_object(writer);
    json_key(writer, "version");
    json_uint(writer, experiment->version);
    json_key(writer, "changed_at");
    json_time(writer, experiment->updated_at_us);
    json_key(writer, "changed_by");
    if (uuid_equal(&experiment->author, &nobody)) {
        json_null(writer);
    } else {
        json_uuid(writer, &experiment->author);
    }
    json_key(writer, "experiment");
    experiment_write(writer, experiment, experiment->updated_at_us);
    json_end_object(writer);
}

void handle_experiment_history(struct call *call)
{
    static const char *const names[] = {"limit", "cursor", NULL};
    struct handler_page page;
    if (!call_query_only(call, names) || !handler_page_read(call, &page)) {
        return;
    }
    uint32_t index = handler_experiment(call);
    if (index == CATALOG_NONE) {
        return;
    }
    const struct catalog_experiment *at = call->catalog->experiments[index];
    while (at != NULL && page.cursor != 0 && at->current->version >= page.cursor) {
        at = at->previous;
    }
    uint32_t shown = 0;
    uint32_t last = 0;
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "versions");
    json_begin_array(&writer);
    for (; at != NULL && shown < page.limit; at = at->previous, shown++) {
        write_version(&writer, at->current);
        last = at->current->version;
    }
    json_end_array(&writer);
    json_key(&writer, "next_cursor");
    json_text(&writer, handler_cursor(call, at == NULL ? 0 : last));
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

/* PATCH /experiments/{id} */

static void patch_read_users(struct call *call, struct experiment_work *work);

static void patch_done(struct call *call)
{
    struct experiment_work *work = call->handler_data;
    if (!written(call)) {
        return;
    }
    const struct experiment *current = experiment_at(call, work->index);
    if (work->outcomes[0] == OUTCOME_APPLIED) {
        reply_experiment(call, 200, experiment_version(call, work->index, work->version));
    } else if (may_retry(call, work)) {
        patch_read_users(call, work);
    } else {
        reply_superseded(call, current);
    }
}

static void patch_write(struct call *call)
{
    struct experiment_work *work = call->handler_data;
    const struct experiment *current = experiment_at(call, work->index);
    uint8_t random[64];
    engine_random(call->engine, random, sizeof(random));
    struct definition_context context = context_of(call, &current->id, current->version + 1);
    struct field_errors errors = field_errors_in(&call->arena);
    struct experiment *patched = NULL;
    enum status status = experiment_patch(current, work->document, work->variant_users, &context,
                                          random, &errors, &patched);
    if (status != STATUS_OK) {
        handler_reply_refused(call, status, &errors);
        return;
    }
    struct experiment_place place = {.key = patched->key,
                                     .layer_start = patched->layer_start,
                                     .idempotency_key = patched->idempotency_key,
                                     .idempotency_digest = patched->idempotency_digest};
    if (check_metrics(call, patched, current) && check_segments(call, patched, current)) {
        place_and_submit(call, patched, current->started_at_us != 0, &place, work, patch_done);
    }
    experiment_free(patched);
}

/* Runs on the apply thread. */
static void read_variant_users(const struct state *state, void *context)
{
    struct experiment_work *work = context;
    for (uint32_t i = 0; i < work->variant_count; i++) {
        work->variant_users[i] = state_variant_users(state, work->index, i);
    }
}

static void patch_read_users(struct call *call, struct experiment_work *work)
{
    work->attempts++;
    work->variant_count = experiment_at(call, work->index)->variant_count;
    work->variant_users =
        arena_take_zeroed(&call->arena, work->variant_count * sizeof(*work->variant_users));
    if (work->variant_users == NULL) {
        reply_no_memory(call);
        return;
    }
    call->handler_data = work;
    call_set_read(call, read_variant_users, work);
    (void)call_submit(call, patch_write);
}

/* The experiment of the path and what a change of it needs; NULL where a reply was made. */
static struct experiment_work *change_begin(struct call *call)
{
    static const char *const names[] = {NULL};
    if (!call_query_only(call, names)) {
        return NULL;
    }
    uint32_t index = handler_experiment(call);
    if (index == CATALOG_NONE) {
        return NULL;
    }
    const struct experiment *current = experiment_at(call, index);
    if (!version_matches(call->if_match, current->version)) {
        reply_lost_update(call, current);
        return NULL;
    }
    struct experiment_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    if (work == NULL) {
        reply_no_memory(call);
        return NULL;
    }
    work->index = index;
    return work;
}

void handle_experiment_patch(struct call *call)
{
    struct experiment_work *work = change_begin(call);
    if (work != NULL && call_document(call, &work->document)) {
        patch_read_users(call, work);
    }
}

/* POST /experiments/{id}/rerandomize */

static void rerandomize_attempt(struct call *call, struct experiment_work *work);

static void rerandomize_done(struct call *call)
{
    struct experiment_work *work = call->handler_data;
    if (!written(call)) {
        return;
    }
    if (work->outcomes[0] == OUTCOME_APPLIED) {
        reply_experiment(call, 200, experiment_version(call, work->index, work->version));
    } else if (may_retry(call, work)) {
        rerandomize_attempt(call, work);
    } else {
        reply_superseded(call, experiment_at(call, work->index));
    }
}

static void rerandomize_attempt(struct call *call, struct experiment_work *work)
{
    const struct experiment *current = experiment_at(call, work->index);
    struct definition_context context = context_of(call, &current->id, current->version + 1);
    struct experiment *next = NULL;
    uint8_t random[64];
    if (current->status != EXPERIMENT_RUNNING && current->status != EXPERIMENT_PAUSED) {
        call_reply_problem(call, 409, "invalid_transition",
                           "The experiment is %s: only a running or paused one can be rerandomized.",
                           experiment_status_name(current->status));
        return;
    }
    work->attempts++;
    engine_random(call->engine, random, sizeof(random));
    const enum status status = experiment_rerandomize(current, &context, random, &next);
    if (status != STATUS_OK) {
        call_reply_engine_status(call, status);
        return;
    }
    (void)submit_version(call, next, work, rerandomize_done);
    experiment_free(next);
}

/* The body says nothing: {} or none at all. */
void handle_experiment_rerandomize(struct call *call)
{
    struct bytes document;
    uint32_t fields = 0;
    struct experiment_work *work = change_begin(call);
    if (work == NULL || (call->body.size != 0 && !call_document(call, &document))) {
        return;
    }
    if (call->body.size != 0) {
        struct pack_cursor cursor = pack_cursor_on(document);
        if (!pack_read_map(&cursor, &fields) || fields != 0) {
            call_reply_problem(call, 422, "validation_failed", "The body must be {} or empty: there is nothing to choose.");
            return;
        }
    }
    rerandomize_attempt(call, work);
}

/* DELETE /experiments/{id}: walks the life cycle to its end, one version a step: running experiments are completed first. */

static void archive_attempt(struct call *call, struct experiment_work *work);

static void archive_done(struct call *call)
{
    struct experiment_work *work = call->handler_data;
    if (!written(call)) {
        return;
    }
    if (work->outcomes[0] == OUTCOME_APPLIED) {
        call_reply_empty(call, 204);
    } else if (may_retry(call, work)) {
        archive_attempt(call, work);
    } else {
        reply_superseded(call, experiment_at(call, work->index));
    }
}

/* The version after `current` with another status. */
static enum status next_status(struct call *call, const struct experiment *current,
                               enum experiment_status next, const struct experiment_work *work,
                               struct field_errors *errors, struct experiment **out_experiment)
{
    uint8_t buffer[64];
    uint8_t random[64];
    engine_random(call->engine, random, sizeof(random));
    struct pack_writer patch = pack_writer_on(buffer, sizeof(buffer));
    pack_map(&patch, 1);
    pack_text_z(&patch, "status");
    pack_text_z(&patch, experiment_status_name(next));
    assert(!patch.overflow);
    struct definition_context context = context_of(call, &current->id, current->version + 1);
    return experiment_patch(current, bytes_of(buffer, patch.size), work->variant_users, &context,
                            random, errors, out_experiment);
}

static void archive_attempt(struct call *call, struct experiment_work *work)
{
    struct experiment *steps[ARCHIVE_STEPS] = {NULL};
    struct definition definitions[ARCHIVE_STEPS];
    const struct experiment *at = experiment_at(call, work->index);
    struct field_errors errors = field_errors_in(&call->arena);
    enum status status = STATUS_OK;
    uint32_t count = 0;
    work->attempts++;
    while (at->status != EXPERIMENT_ARCHIVED && status == STATUS_OK) {
        assert(count < ARCHIVE_STEPS);
        bool is_direct = experiment_status_may_follow(at->status, EXPERIMENT_ARCHIVED);
        enum experiment_status next = is_direct ? EXPERIMENT_ARCHIVED : EXPERIMENT_COMPLETED;
        status = next_status(call, at, next, work, &errors, &steps[count]);
        if (status == STATUS_OK) {
            at = steps[count];
            definitions[count++] =
                (struct definition){at->id, at->version, at->author, at->document};
        }
    }
    call->handler_data = work;
    if (status != STATUS_OK) {
        handler_reply_refused(call, status, &errors);
    } else if (count == 0) {
        call_reply_empty(call, 204); /* archived before */
    } else {
        (void)handler_submit_definitions(call, RECORD_EXPERIMENT, definitions, count,
                                         work->outcomes, archive_done);
    }
    for (uint32_t i = 0; i < ARCHIVE_STEPS; i++) {
        experiment_free(steps[i]);
    }
}

void handle_experiment_archive(struct call *call)
{
    struct experiment_work *work = change_begin(call);
    if (work == NULL) {
        return;
    }
    /* A change of status alone removes no variant, so their users do not matter. */
    work->variant_users =
        arena_take_zeroed(&call->arena, LIMIT_VARIANTS * sizeof(*work->variant_users));
    if (work->variant_users == NULL) {
        reply_no_memory(call);
        return;
    }
    archive_attempt(call, work);
}
