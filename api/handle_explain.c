/* handle_explain.c: why a user gets what they get, question by question; and the same for many users before an experiment
 * runs. Neither enrols anyone.
 *
 * The questions are those of docs/assignment.md, answered by assign_explain(), which says what assign_user() says.
 */
#include "api/entry.h"
#include "api/experiment_json.h"
#include "api/handler.h"
#include "api/routes.h"
#include "engine/assign.h"
#include "engine/layer.h"
#include "engine/timestamp.h"

/* One user asked about. */
struct question {
    struct call *call;
    const struct experiment *experiment;
    uint32_t index; /* of the experiment */
    const struct entry *entry;
    struct assign_explanation told;
    bool is_overridden;
    const struct experiment
        *taken_by; /* an experiment of the layer that has the user; NULL where none */
};

static const char *const node_kinds[] = {
    [TARGETING_CONDITION] = "condition",
    [TARGETING_ALL] = "all",
    [TARGETING_ANY] = "any",
    [TARGETING_NOT] = "not",
    [TARGETING_SEGMENT] = "segment",
};

/* The other experiment of the layer that has the user, which keeps them out of this one. */
static const struct experiment *layer_holder(const struct question *question)
{
    const struct catalog *catalog = question->call->catalog;
    struct assignment_view view;
    for (uint32_t i = 0; question->experiment->layer.size > 0 && i < catalog->experiment_count;
         i++) {
        const struct experiment *other = catalog->experiments[i]->current;
        if (i != question->index && layer_is_held(other) &&
            bytes_equal(other->layer, question->experiment->layer) &&
            engine_find_assignment(question->call->engine, i, catalog_current_versions(catalog, i),
                                   question->entry->user_id, &view)) {
            return other;
        }
    }
    return NULL;
}

/* Whom the hash lets in, an assignment in the layer may still keep out. */
static void layer_settle(struct question *question)
{
    question->taken_by = layer_holder(question);
    if (question->taken_by != NULL && question->told.result.reason == ASSIGN_SPLIT) {
        question->told.result.reason = ASSIGN_LAYER;
    }
}

static double allocation_now(const struct question *question)
{
    return experiment_allocation_at(question->experiment, question->call->received_at_us);
}

/* Why, in a sentence. */

static const char *why_not_running(const struct question *question)
{
    const struct experiment *experiment = question->experiment;
    char time[TIMESTAMP_TEXT_SIZE];
    if (experiment->status != EXPERIMENT_RUNNING) {
        return arena_format(&question->call->arena, "the experiment is %s, not running",
                            experiment_status_name(experiment->status));
    }
    const bool is_early = question->call->received_at_us < experiment->start_at_us;
    timestamp_format(is_early ? experiment->start_at_us : experiment->end_at_us, time);
    return arena_format(&question->call->arena, "start_at and end_at: it %s %s",
                        is_early ? "starts at" : "ended at", time);
}

/* The first of the parts, all of which must hold, that does not. */
static const char *why_not_targeted(const struct question *question)
{
    const struct targeting *targeting = &question->experiment->targeting;
    const struct targeting_node *root = &targeting->nodes[0];
    uint32_t at = root->first_child;
    while (question->told.holds[at]) {
        at++;
    }
    assert(at < root->first_child + root->child_count);
    return arena_format(&question->call->arena, "%s does not hold", targeting->nodes[at].path);
}

static const char *why_layer(const struct question *question)
{
    const struct experiment *experiment = question->experiment;
    if (question->told.is_in_traffic) {
        return arena_format(
            &question->call->arena, "the user is in %.*s, another experiment of the layer",
            (int)question->taken_by->key.size, (const char *)question->taken_by->key.data);
    }
    return arena_format(&question->call->arena,
                        "the point in the layer, %.9g, is outside of the slice [%.9g, %.9g)",
                        question->told.traffic_point, experiment->layer_start,
                        experiment->layer_start + allocation_now(question));
}

static const char *why(const struct question *question)
{
    const struct assign_explanation *told = &question->told;
    switch (told->result.reason) {
    case ASSIGN_NOT_RUNNING:
        return why_not_running(question);
    case ASSIGN_HOLDOUT:
        return arena_format(&question->call->arena,
                            "the point in the holdout group, %.9g, is below its share, %.9g: every experiment that names "
                            "the group leaves the user out",
                            told->holdout_point, question->experiment->holdout_share);
    case ASSIGN_NOT_TARGETED:
        return why_not_targeted(question);
    case ASSIGN_LAYER:
        return why_layer(question);
    case ASSIGN_NOT_IN_TRAFFIC:
        return arena_format(&question->call->arena,
                            "the traffic point, %.9g, is not below the allocation, %.9g",
                            told->traffic_point, allocation_now(question));
    case ASSIGN_SPLIT:
        return arena_format(&question->call->arena,
                            "the variant point, %.9g, falls to this variant", told->variant_point);
    case ASSIGN_OVERRIDE:
        return "an override shows the user this variant";
    case ASSIGN_FORCED:
        break;
    }
    assert(false); /* nothing is forced for a new user */
    return NULL;
}

/* Writing. */

static void write_head(struct json_writer *writer, const struct experiment *experiment)
{
    json_key(writer, "experiment_id");
    json_uuid(writer, &experiment->id);
    json_key(writer, "experiment_key");
    json_text_bytes(writer, experiment->key);
    json_key(writer, "experiment_version");
    json_uint(writer, experiment->version);
    json_key(writer, "generation");
    json_uint(writer, experiment->generation);
}

static void write_time(struct json_writer *writer, const char *key, int64_t us)
{
    json_key(writer, key);
    if (us == 0) {
        json_null(writer);
    } else {
        json_time(writer, us);
    }
}

static void write_outcome(struct json_writer *writer, bool outcome)
{
    json_key(writer, "outcome");
    json_bool(writer, outcome);
}

static void write_point(struct json_writer *writer, double point)
{
    json_key(writer, "point");
    json_double(writer, point);
}

static void write_running(struct json_writer *writer, const struct question *question)
{
    const struct experiment *experiment = question->experiment;
    json_key(writer, "running");
    json_begin_object(writer);
    json_key(writer, "status");
    json_text(writer, experiment_status_name(experiment->status));
    json_key(writer, "effective_status");
    json_text(writer, experiment_effective_status(experiment, question->call->received_at_us));
    write_time(writer, "start_at", experiment->start_at_us);
    write_time(writer, "end_at", experiment->end_at_us);
    write_time(writer, "now", question->call->received_at_us);
    write_outcome(writer, question->told.is_open);
    json_end_object(writer);
}

/* The attribute as it was given, whatever its type; null where it is missing. */
static void write_given(struct json_writer *writer, struct bytes attributes, struct bytes name)
{
    struct pack_cursor cursor = pack_cursor_on(attributes);
    uint32_t count = 0;
    if (attributes.size == 0 || !pack_read_map(&cursor, &count)) {
        json_null(writer);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct bytes key;
        struct bytes encoded;
        const bool good = pack_read_text(&cursor, &key) && pack_read_raw(&cursor, &encoded);
        if (good && bytes_equal(key, name) && json_pack(writer, encoded)) {
            return;
        }
    }
    json_null(writer);
}

static void write_node(struct json_writer *writer, const struct question *question, uint32_t at)
{
    const struct targeting_node *node = &question->experiment->targeting.nodes[at];
    json_begin_object(writer);
    json_key(writer, "path");
    json_text(writer, node->path);
    json_key(writer, "kind");
    json_text(writer, node_kinds[node->kind]);
    if (node->kind == TARGETING_SEGMENT) {
        json_key(writer, "segment");
        json_text_bytes(writer, node->segment);
    }
    if (node->kind == TARGETING_CONDITION) {
        json_key(writer, "attribute");
        json_text_bytes(writer, node->attribute);
        json_key(writer, "op");
        json_text(writer, rule_operator_name(node->operation));
        handler_write_operand(writer, node->operation, &node->values);
        json_key(writer, "given");
        write_given(writer, question->entry->attributes, node->attribute);
    }
    write_outcome(writer, question->told.holds[at]);
    json_end_object(writer);
}

static void write_targeting(struct json_writer *writer, const struct question *question)
{
    json_key(writer, "targeting");
    json_begin_object(writer);
    json_key(writer, "rules");
    json_begin_array(writer);
    for (uint32_t i = 1; i < question->experiment->targeting.node_count; i++) {
        write_node(writer, question, i);
    }
    json_end_array(writer);
    write_outcome(writer, question->told.is_targeted);
    json_end_object(writer);
}

static void write_holdout(struct json_writer *writer, const struct question *question)
{
    const struct experiment *experiment = question->experiment;
    json_key(writer, "holdout");
    if (experiment->holdout.size == 0) {
        json_null(writer);
        return;
    }
    json_begin_object(writer);
    json_key(writer, "name");
    json_text_bytes(writer, experiment->holdout);
    json_key(writer, "share");
    json_double(writer, experiment->holdout_share);
    write_point(writer, question->told.holdout_point);
    write_outcome(writer, !question->told.is_held_out);
    json_end_object(writer);
}

/* Of the ramp, the step that is still to come. */
static void write_next_step(struct json_writer *writer, const struct question *question)
{
    const struct experiment *experiment = question->experiment;
    uint32_t next = 0;
    while (next < experiment->ramp_count && experiment->ramp[next].at_us <= question->call->received_at_us) {
        next++;
    }
    json_key(writer, "next_step");
    if (next == experiment->ramp_count) {
        json_null(writer);
        return;
    }
    json_begin_object(writer);
    write_time(writer, "at", experiment->ramp[next].at_us);
    json_key(writer, "traffic_allocation");
    json_double(writer, experiment->ramp[next].traffic_allocation);
    json_end_object(writer);
}

static void write_layer(struct json_writer *writer, const struct question *question)
{
    const struct experiment *experiment = question->experiment;
    json_key(writer, "layer");
    if (experiment->layer.size == 0) {
        json_null(writer);
        return;
    }
    json_begin_object(writer);
    json_key(writer, "name");
    json_text_bytes(writer, experiment->layer);
    json_key(writer, "slice");
    json_begin_array(writer);
    json_double(writer, experiment->layer_start);
    json_double(writer, experiment->layer_start + allocation_now(question));
    json_end_array(writer);
    write_next_step(writer, question);
    write_point(writer, question->told.traffic_point);
    json_key(writer, "taken_by");
    if (question->taken_by == NULL) {
        json_null(writer);
    } else {
        json_text_bytes(writer, question->taken_by->key);
    }
    write_outcome(writer, question->told.is_in_traffic && question->taken_by == NULL);
    json_end_object(writer);
}

static void write_traffic(struct json_writer *writer, const struct question *question)
{
    const struct experiment *experiment = question->experiment;
    json_key(writer, "traffic");
    if (experiment->layer.size != 0) {
        json_null(writer);
        return;
    }
    json_begin_object(writer);
    json_key(writer, "allocation");
    json_double(writer, allocation_now(question));
    write_next_step(writer, question);
    write_point(writer, question->told.traffic_point);
    write_outcome(writer, question->told.is_in_traffic);
    json_end_object(writer);
}

static void write_split(struct json_writer *writer, const struct question *question)
{
    const struct experiment *experiment = question->experiment;
    double cumulative = 0;
    json_key(writer, "split");
    json_begin_object(writer);
    write_point(writer, question->told.variant_point);
    json_key(writer, "variants");
    json_begin_array(writer);
    for (uint32_t i = 0; i < experiment->variant_count; i++) {
        const struct variant *variant = &experiment->variants[i];
        cumulative += variant->weight;
        json_begin_object(writer);
        json_key(writer, "variant");
        json_text_bytes(writer, variant->name);
        json_key(writer, "weight");
        json_double(writer, variant->weight);
        json_key(writer, "cumulative");
        json_double(writer, cumulative);
        write_outcome(writer, i == question->told.variant);
        json_end_object(writer);
    }
    json_end_array(writer);
    json_end_object(writer);
}

static void write_variant(struct json_writer *writer, const struct variant *variant)
{
    json_key(writer, "variant");
    if (variant == NULL) {
        json_null(writer);
        json_key(writer, "variant_id");
        json_null(writer);
        return;
    }
    json_text_bytes(writer, variant->name);
    json_key(writer, "variant_id");
    json_uuid(writer, &variant->id);
}

/* Members of the object that is open: variant, reason, why. */
static void write_decision(struct json_writer *writer, const struct question *question)
{
    const struct assign_result *result = &question->told.result;
    const bool is_in = result->reason == ASSIGN_SPLIT || result->reason == ASSIGN_OVERRIDE;
    write_variant(writer, is_in ? &question->experiment->variants[result->variant] : NULL);
    json_key(writer, "reason");
    json_text(writer, assign_reason_name(result->reason));
    json_key(writer, "why");
    json_text(writer, why(question));
}

static bool find_of_generation(const struct question *question, uint32_t generation, struct assignment_view *out_view)
{
    const struct catalog_experiment *at = question->call->catalog->experiments[question->index];
    return engine_find_assignment(question->call->engine, question->index,
                                  catalog_generation_versions(at, generation), question->entry->user_id, out_view);
}

static void write_record(struct json_writer *writer, const struct experiment *experiment, uint32_t generation,
                         const struct assignment_view *view)
{
    assert(view->variant < experiment->variant_count);
    json_begin_object(writer);
    write_variant(writer, &experiment->variants[view->variant]);
    json_key(writer, "experiment_version");
    json_uint(writer, view->experiment_version);
    json_key(writer, "generation");
    json_uint(writer, generation);
    json_key(writer, "assigned_at");
    json_time(writer, view->assigned_at_us);
    json_key(writer, "forced");
    json_bool(writer, view->forced);
    json_key(writer, "lsn");
    json_uint(writer, view->lsn);
    json_end_object(writer);
}

/* The record, which wins over everything above it. */
static void write_stored(struct json_writer *writer, const struct question *question)
{
    struct call *call = question->call;
    struct assignment_view stored;
    json_key(writer, "stored");
    if (!find_of_generation(question, question->experiment->generation, &stored)) {
        json_null(writer);
        return;
    }
    const struct experiment *experiment = question->experiment;
    if (stored.variant >= experiment->variant_count) { /* of a variant added since the call came */
        call_refresh_catalog(call);
        experiment = call->catalog->experiments[question->index]->current;
    }
    write_record(writer, experiment, experiment->generation, &stored);
}

/* What the user was given before the experiment was rerandomized, the newest first. */
static void write_past(struct json_writer *writer, const struct question *question)
{
    json_key(writer, "past");
    json_begin_array(writer);
    for (uint32_t generation = question->experiment->generation; generation-- > 1;) {
        struct assignment_view view;
        if (find_of_generation(question, generation, &view)) {
            write_record(writer, question->experiment, generation, &view);
        }
    }
    json_end_array(writer);
}

/* An override goes before every question, and before the record. */
static void override_settle(struct question *question)
{
    const uint32_t variant =
        catalog_find_override(question->call->catalog, question->index, question->entry->user_id);
    question->is_overridden = variant != CATALOG_NONE;
    if (question->is_overridden) {
        question->told.result = (struct assign_result){ASSIGN_OVERRIDE, variant};
    }
}

static void write_override(struct json_writer *writer, const struct question *question)
{
    json_key(writer, "override");
    if (!question->is_overridden) {
        json_null(writer);
        return;
    }
    json_begin_object(writer);
    write_variant(writer, &question->experiment->variants[question->told.result.variant]);
    json_end_object(writer);
}

/* The handlers. */

void handle_explain_get(struct call *call)
{
    const uint32_t index = handler_experiment(call);
    struct entry entry = {.forced_variant = ENTRY_NO_VARIANT, .experiment = index};
    if (index == CATALOG_NONE || !entry_read_path(call, &entry)) {
        return;
    }
    struct question question = {
        .call = call,
        .experiment = call->catalog->experiments[index]->current,
        .index = index,
        .entry = &entry,
    };
    const struct targeting_subject subject = entry_subject(call, &entry);
    assign_explain(question.experiment, &subject, call->received_at_us, false, &question.told);
    layer_settle(&question);
    override_settle(&question);
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    write_head(&writer, question.experiment);
    json_key(&writer, "user_id");
    json_text_bytes(&writer, entry.user_id);
    write_override(&writer, &question);
    write_running(&writer, &question);
    write_holdout(&writer, &question);
    write_targeting(&writer, &question);
    write_layer(&writer, &question);
    write_traffic(&writer, &question);
    write_split(&writer, &question);
    json_key(&writer, "new_user");
    json_begin_object(&writer);
    write_decision(&writer, &question);
    json_end_object(&writer);
    write_past(&writer, &question);
    write_stored(&writer, &question);
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

static void write_evaluation(struct json_writer *writer, struct call *call, uint32_t index, const struct entry *entry)
{
    const struct experiment *experiment = call->catalog->experiments[index]->current;
    struct question question = {.call = call, .experiment = experiment, .index = index, .entry = entry};
    const struct targeting_subject subject = entry_subject(call, entry);
    assign_explain(experiment, &subject, call->received_at_us, true, &question.told);
    override_settle(&question);
    json_begin_object(writer);
    json_key(writer, "user_id");
    json_text_bytes(writer, entry->user_id);
    write_decision(writer, &question);
    json_end_object(writer);
}

static void reply_evaluations(struct call *call, uint32_t index, const struct entry *entries, uint32_t count)
{
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    write_head(&writer, call->catalog->experiments[index]->current);
    json_key(&writer, "evaluations");
    json_begin_array(&writer);
    for (uint32_t i = 0; i < count; i++) {
        write_evaluation(&writer, call, index, &entries[i]);
    }
    json_end_array(&writer);
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

/* {"user_id", ...} by itself, not in a list. */
static bool is_one_user(struct bytes document)
{
    struct pack_cursor cursor = pack_cursor_on(document);
    struct pack_value value;
    uint32_t fields = 0;
    return pack_read_map(&cursor, &fields) && pack_map_find(document, bytes_of_text("user_id"), &value);
}

void handle_evaluate_post(struct call *call)
{
    static const char *const names[] = {NULL};
    struct bytes document;
    struct pack_cursor cursor;
    uint32_t count = 1;
    if (!call_query_only(call, names)) {
        return;
    }
    const uint32_t index = handler_experiment(call);
    if (index == CATALOG_NONE || !call_document(call, &document)) {
        return;
    }
    const bool is_one = is_one_user(document);
    if (!is_one && !entry_enter_users(call, document, &cursor, &count)) {
        return;
    }
    struct entry *entries = arena_take_zeroed(&call->arena, count * sizeof(*entries) + 1);
    if (entries == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    struct field_errors errors = field_errors_in(&call->arena);
    const struct experiment *experiment = call->catalog->experiments[index]->current;
    struct entry_reading reading = {
        .call = call, .experiment = experiment, .errors = &errors, .path = "", .entry = entries};
    if (is_one) {
        entry_read(&reading, document, ENTRY_TEST);
    } else {
        entry_read_users(&cursor, &reading, entries, count, ENTRY_TEST);
    }
    if (entry_check(call, &errors)) {
        reply_evaluations(call, index, entries, count);
    }
}
