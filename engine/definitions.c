/* definitions.c: experiments: the table of their fields, their life cycle, and what holds between fields.
 *
 * Whatever a client sends becomes a draft, the draft is written as a document, and the experiment handed out is read back
 * from that document: there is one way in, so what was accepted is what a restart will read. */
#include "engine/definitions.h"

#include <stdlib.h>

#include "engine/definition_document.h"

#define ARENA_SLACK            1024u /* lists of an average experiment, beside its document */
#define SCRATCH_SIZE           4096u
#define IDEMPOTENCY_KEY_MAX    255u
#define SLUG_FALLBACK          "experiment"
#define EXPERIMENT_ROW(member) FIELD_MEMBER(struct experiment, member)

/* ---- Life cycle ---- */

static const char *const status_names[] = {
    [EXPERIMENT_DRAFT] = "draft",       [EXPERIMENT_RUNNING] = "running",
    [EXPERIMENT_PAUSED] = "paused",     [EXPERIMENT_COMPLETED] = "completed",
    [EXPERIMENT_ARCHIVED] = "archived",
};

static_assert(COUNT_OF(status_names) == EXPERIMENT_STATUS_END, "each status has its name");
static_assert(sizeof(enum experiment_status) == sizeof(uint32_t),
              "field_kind_choice reads 32 bits");

#define STATUS_BIT(status) (1u << (status))

/* Where each status may go, beside staying. */
static const uint32_t status_moves[] = {
    [EXPERIMENT_DRAFT] = STATUS_BIT(EXPERIMENT_RUNNING) | STATUS_BIT(EXPERIMENT_ARCHIVED),
    [EXPERIMENT_RUNNING] = STATUS_BIT(EXPERIMENT_PAUSED) | STATUS_BIT(EXPERIMENT_COMPLETED),
    [EXPERIMENT_PAUSED] = STATUS_BIT(EXPERIMENT_RUNNING) | STATUS_BIT(EXPERIMENT_COMPLETED),
    [EXPERIMENT_COMPLETED] = STATUS_BIT(EXPERIMENT_ARCHIVED),
    [EXPERIMENT_ARCHIVED] = 0,
};

static_assert(COUNT_OF(status_moves) == EXPERIMENT_STATUS_END, "each status has its moves");

const char *experiment_status_name(enum experiment_status status)
{
    assert((uint32_t)status < EXPERIMENT_STATUS_END);
    return status_names[status];
}

enum status experiment_status_parse(struct bytes text, enum experiment_status *out_status)
{
    for (uint32_t i = 0; i < EXPERIMENT_STATUS_END; i++) {
        if (bytes_equal_text(text, status_names[i])) {
            *out_status = (enum experiment_status)i;
            return STATUS_OK;
        }
    }
    return STATUS_INVALID;
}

bool experiment_status_may_follow(enum experiment_status from, enum experiment_status to)
{
    assert((uint32_t)from < EXPERIMENT_STATUS_END && (uint32_t)to < EXPERIMENT_STATUS_END);
    return from == to || (status_moves[from] & STATUS_BIT(to)) != 0;
}

/* ---- Fields ---- */

static bool name_is_among(const struct bytes *names, uint32_t count, struct bytes name)
{
    for (uint32_t i = 0; i < count; i++) {
        if (name.size > 0 && bytes_equal(names[i], name)) {
            return true;
        }
    }
    return false;
}

static void metrics_read(struct reading *reading, const struct field_row *row,
                         const struct field *field, void *member)
{
    static const struct field_row metric_row = {.name = "", .least = 1, .most = LIMIT_KEY};
    struct experiment *experiment = member;
    struct field_list list;
    struct field element;
    if (!field_list_enter(reading, field, row->least, row->most, &list)) {
        return;
    }
    struct bytes *names = arena_take_zeroed(reading->arena, sizeof(*names) * (list.count + 1));
    if (names == NULL) {
        reading->no_memory = true;
        return;
    }
    for (uint32_t i = 0; field_list_next(reading, &list, &element); i++) {
        field_kind_word.read(reading, &metric_row, &element, &names[i]);
        if (name_is_among(names, i, names[i])) {
            field_fault(reading, &element, "not_unique", "is in the list already");
        }
    }
    experiment->metrics = names;
    experiment->metric_count = list.count;
}

static void metrics_write(struct pack_writer *writer, const struct field_row *row,
                          const void *member)
{
    const struct experiment *experiment = member;
    (void)row;
    pack_array(writer, experiment->metric_count);
    for (uint32_t i = 0; i < experiment->metric_count; i++) {
        pack_text(writer, experiment->metrics[i]);
    }
}

static void targeting_read(struct reading *reading, const struct field_row *row,
                           const struct field *field, void *member)
{
    (void)row;
    const char *path = field_path(reading, field);
    enum status status = path == NULL ? STATUS_NO_MEMORY
                                      : targeting_decode(field->encoded, path, reading->arena,
                                                         reading->errors, member);
    reading->no_memory = reading->no_memory || status == STATUS_NO_MEMORY;
}

static void targeting_write(struct pack_writer *writer, const struct field_row *row,
                            const void *member)
{
    const struct targeting *targeting = member;
    (void)row;
    if (targeting->document.size == 0) {
        pack_nil(writer);
    } else {
        pack_raw(writer, targeting->document);
    }
}

/* A header's bytes: nobody promised that they are UTF-8. */
static void idempotency_key_read(struct reading *reading, const struct field_row *row,
                                 const struct field *field, void *member)
{
    struct pack_cursor cursor = pack_cursor_on(field->encoded);
    struct bytes key;
    if (!pack_read_bin(&cursor, &key) || key.size > row->most) {
        field_fault(reading, field, "wrong_type", "must be at most %u bytes", row->most);
        return;
    }
    memcpy(member, &key, sizeof(key));
}

static void idempotency_key_write(struct pack_writer *writer, const struct field_row *row,
                                  const void *member)
{
    struct bytes key;
    (void)row;
    memcpy(&key, member, sizeof(key));
    if (key.size == 0) {
        pack_nil(writer);
    } else {
        pack_bin(writer, key);
    }
}

struct holdout_fields {
    struct bytes name;
    double share;
};

static const struct field_row holdout_rows[] = {
    {.name = "name", .kind = &field_kind_name, .access = FIELD_GIVEN, .is_required = true, FIELD_MEMBER(struct holdout_fields, name), .least = 1, .most = LIMIT_KEY},
    {.name = "share", .kind = &field_kind_fraction, .access = FIELD_GIVEN, .is_required = true, FIELD_MEMBER(struct holdout_fields, share)},
};

static void holdout_read(struct reading *reading, const struct field_row *row, const struct field *field, void *member)
{
    struct experiment *experiment = member;
    struct holdout_fields fields = {{NULL, 0}, 0};
    const uint32_t faults = reading->errors->count;
    (void)row;
    (void)document_read(reading, holdout_rows, COUNT_OF(holdout_rows), field, NULL, &fields);
    if (reading->errors->count == faults) {
        experiment->holdout = fields.name;
        experiment->holdout_share = fields.share;
    }
}

static void holdout_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    const struct experiment *experiment = member;
    (void)row;
    if (experiment->holdout.size == 0) {
        pack_nil(writer);
        return;
    }
    pack_map(writer, 2);
    pack_text_z(writer, "name");
    pack_text(writer, experiment->holdout);
    pack_text_z(writer, "share");
    pack_double(writer, experiment->holdout_share);
}

#define RAMP_ROW(member) FIELD_MEMBER(struct ramp_step, member)

static const struct field_row ramp_rows[] = {
    {.name = "at", .kind = &field_kind_instant, .access = FIELD_GIVEN, .is_required = true, RAMP_ROW(at_us)},
    {.name = "traffic_allocation", .kind = &field_kind_fraction, .access = FIELD_GIVEN, .is_required = true, RAMP_ROW(traffic_allocation)},
};

static void ramp_read(struct reading *reading, const struct field_row *row, const struct field *field, void *member)
{
    struct experiment *experiment = member;
    struct field_list list;
    struct field element;
    if (!field_list_enter(reading, field, 0, row->most, &list)) {
        return;
    }
    const uint32_t faults = reading->errors->count;
    struct ramp_step *steps = arena_take_zeroed(reading->arena, sizeof(*steps) * (list.count + 1));
    if (steps == NULL) {
        reading->no_memory = true;
        return;
    }
    for (uint32_t i = 0; field_list_next(reading, &list, &element); i++) {
        (void)document_read(reading, ramp_rows, COUNT_OF(ramp_rows), &element, NULL, &steps[i]);
    }
    if (reading->errors->count == faults) {
        experiment->ramp = steps;
        experiment->ramp_count = list.count;
    }
}

static void ramp_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    const struct experiment *experiment = member;
    (void)row;
    pack_array(writer, experiment->ramp_count);
    for (uint32_t i = 0; i < experiment->ramp_count; i++) {
        document_write(writer, ramp_rows, COUNT_OF(ramp_rows), &experiment->ramp[i]);
    }
}

static const struct field_kind kind_ramp = {ramp_read, ramp_write, NULL};
static const struct field_kind kind_holdout = {holdout_read, holdout_write, NULL};
static const struct field_kind kind_idempotency_key = {idempotency_key_read, idempotency_key_write,
                                                       NULL};
static const struct field_kind kind_metrics = {metrics_read, metrics_write, NULL};
static const struct field_kind kind_targeting = {targeting_read, targeting_write, NULL};

static const char *const action_names[] = {
    [GUARDRAIL_ACTION_NONE] = "none",
    [GUARDRAIL_ACTION_PAUSE] = "pause",
    [GUARDRAIL_ACTION_CONTROL_ONLY] = "control_only",
};

const char *guardrail_action_name(enum guardrail_action action)
{
    return action_names[action];
}

static const struct field_choices action_choices = {action_names, COUNT_OF(action_names), NULL};
static const struct field_choices status_choices = {status_names, EXPERIMENT_STATUS_END, NULL};

enum experiment_row {
    ROW_ID,
    ROW_KEY,
    ROW_NAME,
    ROW_DESCRIPTION,
    ROW_VERSION,
    ROW_STATUS,
    ROW_VARIANTS,
    ROW_TARGETING,
    ROW_TRAFFIC,
    ROW_RAMP,
    ROW_LAYER,
    ROW_LAYER_START,
    ROW_HOLDOUT,
    ROW_SALT,
    ROW_GENERATION,
    ROW_GENERATION_VERSION,
    ROW_RANDOMIZED_AT,
    ROW_START_AT,
    ROW_END_AT,
    ROW_METRICS,
    ROW_GUARDRAIL_ACTION,
    ROW_BREACHED_METRIC,
    ROW_BREACHED_VARIANT,
    ROW_BREACHED_AT,
    ROW_GUARDRAIL_BREACH,
    ROW_CREATED_AT,
    ROW_UPDATED_AT,
    ROW_STARTED_AT,
    ROW_ENDED_AT,
    ROW_EFFECTIVE_STATUS,
    ROW_EFFECTIVE_TRAFFIC,
    ROW_AUTHOR,
    ROW_IDEMPOTENCY_KEY,
    ROW_IDEMPOTENCY_DIGEST,
    ROW_END,
};

// clang-format off
static const struct field_row experiment_rows[] = {
    [ROW_ID] = {"id", &field_kind_uuid, FIELD_OURS, .is_required = true, EXPERIMENT_ROW(id)},
    [ROW_KEY] = {"key", &field_kind_key, FIELD_FIXED, EXPERIMENT_ROW(key), .least = 1, .most = LIMIT_KEY},
    [ROW_NAME] = {"name", &field_kind_name, FIELD_GIVEN, .is_required = true, EXPERIMENT_ROW(name), .least = 1, .most = LIMIT_NAME},
    [ROW_DESCRIPTION] = {"description", &field_kind_prose, FIELD_GIVEN, EXPERIMENT_ROW(description), .most = LIMIT_DESCRIPTION},
    [ROW_VERSION] = {"version", &field_kind_version, FIELD_OURS, .is_required = true, EXPERIMENT_ROW(version)},
    [ROW_STATUS] = {"status", &field_kind_choice, FIELD_GIVEN, EXPERIMENT_ROW(status), .choices = &status_choices},
    [ROW_VARIANTS] = {"variants", &field_kind_variants, FIELD_GIVEN, .is_required = true},
    [ROW_TARGETING] = {"targeting", &kind_targeting, FIELD_GIVEN, EXPERIMENT_ROW(targeting)},
    [ROW_TRAFFIC] = {"traffic_allocation", &field_kind_fraction, FIELD_GIVEN, EXPERIMENT_ROW(traffic_allocation)},
    [ROW_RAMP] = {"ramp", &kind_ramp, FIELD_GIVEN, .most = LIMIT_RAMP_STEPS},
    [ROW_LAYER] = {"layer", &field_kind_name, FIELD_GIVEN, EXPERIMENT_ROW(layer), .least = 1, .most = LIMIT_KEY},
    [ROW_LAYER_START] = {"layer_start", &field_kind_fraction, FIELD_HIDDEN, EXPERIMENT_ROW(layer_start)},
    [ROW_HOLDOUT] = {"holdout", &kind_holdout, FIELD_GIVEN},
    [ROW_SALT] = {"salt", &field_kind_natural, FIELD_OURS, .is_required = true, EXPERIMENT_ROW(salt)},
    [ROW_GENERATION] = {"generation", &field_kind_version, FIELD_OURS, EXPERIMENT_ROW(generation)},
    [ROW_GENERATION_VERSION] = {"generation_version", &field_kind_version, FIELD_HIDDEN, EXPERIMENT_ROW(generation_version)},
    [ROW_RANDOMIZED_AT] = {"randomized_at", &field_kind_instant, FIELD_OURS, EXPERIMENT_ROW(randomized_at_us)},
    [ROW_START_AT] = {"start_at", &field_kind_instant, FIELD_GIVEN, EXPERIMENT_ROW(start_at_us)},
    [ROW_END_AT] = {"end_at", &field_kind_instant, FIELD_GIVEN, EXPERIMENT_ROW(end_at_us)},
    [ROW_METRICS] = {"metrics", &kind_metrics, FIELD_GIVEN, .most = LIMIT_EXPERIMENT_METRICS},
    [ROW_GUARDRAIL_ACTION] = {"guardrail_action", &field_kind_choice, FIELD_GIVEN, EXPERIMENT_ROW(guardrail_action), .choices = &action_choices},
    [ROW_BREACHED_METRIC] = {"breached_metric", &field_kind_name, FIELD_HIDDEN, EXPERIMENT_ROW(breached_metric), .least = 1, .most = LIMIT_NAME},
    [ROW_BREACHED_VARIANT] = {"breached_variant", &field_kind_name, FIELD_HIDDEN, EXPERIMENT_ROW(breached_variant), .least = 1, .most = LIMIT_NAME},
    [ROW_BREACHED_AT] = {"breached_at", &field_kind_instant, FIELD_HIDDEN, EXPERIMENT_ROW(breached_at_us)},
    [ROW_GUARDRAIL_BREACH] = {"guardrail_breach", NULL, FIELD_SHOWN},
    [ROW_CREATED_AT] = {"created_at", &field_kind_instant, FIELD_OURS, .is_required = true, EXPERIMENT_ROW(created_at_us)},
    [ROW_UPDATED_AT] = {"updated_at", &field_kind_instant, FIELD_OURS, .is_required = true, EXPERIMENT_ROW(updated_at_us)},
    [ROW_STARTED_AT] = {"started_at", &field_kind_instant, FIELD_OURS, EXPERIMENT_ROW(started_at_us)},
    [ROW_ENDED_AT] = {"ended_at", &field_kind_instant, FIELD_OURS, EXPERIMENT_ROW(ended_at_us)},
    [ROW_EFFECTIVE_STATUS] = {"effective_status", NULL, FIELD_SHOWN},
    [ROW_EFFECTIVE_TRAFFIC] = {"effective_traffic_allocation", NULL, FIELD_SHOWN},
    [ROW_AUTHOR] = {"author", &field_kind_uuid, FIELD_OURS, .is_required = true, EXPERIMENT_ROW(author)},
    [ROW_IDEMPOTENCY_KEY] = {"idempotency_key", &kind_idempotency_key, FIELD_HIDDEN, EXPERIMENT_ROW(idempotency_key), .most = IDEMPOTENCY_KEY_MAX},
    [ROW_IDEMPOTENCY_DIGEST] = {"idempotency_digest", &field_kind_uuid, FIELD_HIDDEN, EXPERIMENT_ROW(idempotency_digest)},
};
// clang-format on

static_assert(COUNT_OF(experiment_rows) == ROW_END, "each row has its place");

/* ---- Stored form ---- */

void experiment_free(struct experiment *experiment)
{
    if (experiment != NULL) {
        arena_deinit(&experiment->arena);
        free(experiment);
    }
}

static void schedule_check(struct reading *reading, const struct experiment *experiment)
{
    static const struct field end_at = {.parent = "", .name = "end_at"};
    if (experiment->end_at_us != 0 && experiment->end_at_us <= experiment->start_at_us) {
        field_fault(reading, &end_at, "out_of_range", "must be after start_at");
    }
}

/* A ramp only ever adds users: who is let in at one time is at every later one. */
static void ramp_check(struct reading *reading, const struct experiment *experiment)
{
    for (uint32_t i = 0; i < experiment->ramp_count; i++) {
        const struct ramp_step *step = &experiment->ramp[i];
        const double least = i == 0 ? experiment->traffic_allocation : step[-1].traffic_allocation;
        if (i > 0 && step->at_us <= step[-1].at_us) {
            field_error_add(reading->errors, "out_of_range", "must be after the step before", "ramp[%u].at", i);
        }
        if (step->traffic_allocation < least) {
            field_error_add(reading->errors, "out_of_range",
                            "must not be below the step before, or below traffic_allocation: a ramp only adds users",
                            "ramp[%u].traffic_allocation", i);
        }
    }
}

double experiment_allocation_at(const struct experiment *experiment, int64_t at_us)
{
    double allocation = experiment->traffic_allocation;
    for (uint32_t i = 0; i < experiment->ramp_count && experiment->ramp[i].at_us <= at_us; i++) {
        allocation = experiment->ramp[i].traffic_allocation;
    }
    return allocation;
}

/* Documents of before there were generations do not name one. */
static void generation_default(struct experiment *experiment)
{
    if (experiment->generation == 0) {
        experiment->generation = 1;
        experiment->generation_version = 1;
    }
}

/* What is read borrows from the experiment's own copy of the document. */
static enum status experiment_load(struct experiment *experiment, struct bytes document,
                                   struct arena *scratch)
{
    struct field_errors errors = field_errors_in(scratch);
    struct reading reading = {.arena = &experiment->arena, .errors = &errors, .is_stored = true};
    struct field field;
    const char *copy = arena_copy(&experiment->arena, document);
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    experiment->document = bytes_of(copy, document.size);
    if (!document_check(&reading, experiment->document, &field)) {
        return STATUS_DAMAGED;
    }
    struct experiment_draft draft = {.experiment = *experiment};
    (void)document_read(&reading, experiment_rows, ROW_END, &field, NULL, &draft);
    if (errors.count == 0) {
        variants_settle(&reading, &draft, NULL, NULL, NULL, NULL);
        schedule_check(&reading, &draft.experiment);
        ramp_check(&reading, &draft.experiment);
        generation_default(&draft.experiment);
    }
    /* The arena moved on in *experiment while the draft was read. */
    draft.experiment.arena = experiment->arena;
    *experiment = draft.experiment;
    enum status status = reading_status(&reading);
    return status == STATUS_INVALID ? STATUS_DAMAGED : status;
}

enum status experiment_decode(struct bytes document, struct experiment **out_experiment)
{
    struct arena scratch;
    struct experiment *experiment = calloc(1, sizeof(*experiment));
    if (experiment == NULL) {
        return STATUS_NO_MEMORY;
    }
    arena_init(&experiment->arena, document.size + ARENA_SLACK);
    arena_init(&scratch, SCRATCH_SIZE);
    enum status status = experiment_load(experiment, document, &scratch);
    arena_deinit(&scratch);
    if (status != STATUS_OK) {
        experiment_free(experiment);
        return status;
    }
    *out_experiment = experiment;
    return STATUS_OK;
}

/* Writes what is wholly checked, and reads it back. */
static enum status experiment_seal(const struct experiment *experiment, size_t capacity,
                                   struct experiment **out_experiment)
{
    uint8_t *owned = NULL;
    size_t size = 0;
    enum status status =
        document_encode(experiment_rows, ROW_END, experiment, capacity, &owned, &size);
    if (status != STATUS_OK) {
        return status;
    }
    status = experiment_decode(bytes_of(owned, size), out_experiment);
    free(owned);
    return status;
}

static enum status experiment_seal_draft(struct reading *reading, const struct experiment *draft,
                                         struct experiment **out_experiment)
{
    static const struct field whole = {.parent = "", .name = ""};
    enum status status =
        experiment_seal(draft, LIMIT_DEFINITION - DOCUMENT_RESERVE, out_experiment);
    if (status == STATUS_TOO_LARGE) {
        field_fault(reading, &whole, "out_of_range",
                    "is too large: a definition may have %u bytes in all",
                    LIMIT_DEFINITION - DOCUMENT_RESERVE);
        return STATUS_INVALID;
    }
    assert(status != STATUS_DAMAGED); /* what we write is what we read */
    return status;
}

/* ---- Create and patch ---- */

/* Puts the defaults that are not zero. `open`: the rows that a client left out, or set to null. */
static void experiment_defaults(struct reading *reading, uint64_t open,
                                struct experiment *experiment)
{
    static const char *const metric_names[] = {"conversion_rate", "revenue"};
    if (presence_has(open, ROW_STATUS)) {
        experiment->status = EXPERIMENT_RUNNING;
    }
    if (presence_has(open, ROW_TRAFFIC)) {
        experiment->traffic_allocation = 1;
    }
    if (!presence_has(open, ROW_METRICS)) {
        return;
    }
    struct bytes *metrics = arena_take(reading->arena, sizeof(*metrics) * COUNT_OF(metric_names));
    if (metrics == NULL) {
        reading->no_memory = true;
        return;
    }
    for (uint32_t i = 0; i < COUNT_OF(metric_names); i++) {
        metrics[i] = bytes_of_text(metric_names[i]);
    }
    experiment->metrics = metrics;
    experiment->metric_count = COUNT_OF(metric_names);
}

static const struct field status_field = {.parent = "", .name = "status"};

static void status_stamp(struct experiment *experiment, int64_t now_us)
{
    if (experiment->status == EXPERIMENT_RUNNING && experiment->started_at_us == 0) {
        experiment->started_at_us = now_us;
    }
    if (experiment->status == EXPERIMENT_COMPLETED && experiment->ended_at_us == 0) {
        experiment->ended_at_us = now_us;
    }
}

static void status_check_new(struct reading *reading, const struct experiment *experiment)
{
    if (experiment->status != EXPERIMENT_DRAFT && experiment->status != EXPERIMENT_RUNNING) {
        field_fault(reading, &status_field, "out_of_range",
                    "must be draft or running for a new experiment");
    }
}

static bool status_check_move(struct reading *reading, enum experiment_status from,
                              enum experiment_status to)
{
    char allowed[128];
    size_t size = 0;
    if (experiment_status_may_follow(from, to)) {
        return true;
    }
    for (uint32_t i = 0; i < EXPERIMENT_STATUS_END; i++) {
        const char *name = status_names[i];
        if (i == (uint32_t)from || !experiment_status_may_follow(from, (enum experiment_status)i)) {
            continue;
        }
        const char *separator = size > 0 ? ", " : "";
        assert(size + strlen(separator) + strlen(name) < sizeof(allowed));
        memcpy(allowed + size, separator, strlen(separator));
        size += strlen(separator);
        memcpy(allowed + size, name, strlen(name));
        size += strlen(name);
    }
    allowed[size] = '\0';
    field_fault(reading, &status_field, "status_move", "cannot go from %s to %s; allowed: %s",
                status_names[from], status_names[to], size > 0 ? allowed : "none");
    return false;
}

enum status experiment_create(struct bytes document, const struct definition_context *context,
                              const uint8_t random[64], struct field_errors *errors,
                              struct experiment **out_experiment)
{
    struct reading reading = {.arena = errors->arena, .errors = errors};
    struct experiment_draft draft = {0};
    struct field field;
    if (!document_check(&reading, document, &field)) {
        return reading_status(&reading);
    }
    struct presence presence =
        document_read(&reading, experiment_rows, ROW_END, &field, NULL, &draft);
    struct experiment *experiment = &draft.experiment;
    experiment_defaults(&reading, ~presence.set, experiment);
    if (presence_has(presence.set, ROW_VARIANTS)) {
        variants_settle(&reading, &draft, NULL, NULL, context, random);
    }
    schedule_check(&reading, experiment);
    ramp_check(&reading, experiment);
    status_check_new(&reading, experiment);
    enum status status = reading_status(&reading);
    if (status != STATUS_OK) {
        return status;
    }
    experiment->id = context->id;
    experiment->version = context->version;
    experiment->author = context->author;
    experiment->salt = load_u64(random);
    experiment->generation = 1;
    experiment->generation_version = 1;
    experiment->created_at_us = context->now_us;
    experiment->updated_at_us = context->now_us;
    status_stamp(experiment, context->now_us);
    return experiment_seal_draft(&reading, experiment, out_experiment);
}

/* Users are spread over a layer when they are assigned: an experiment that has begun can leave it, not enter one. */
static void layer_check(struct reading *reading, const struct experiment *current,
                        const struct experiment *experiment)
{
    static const struct field layer = {.parent = "", .name = "layer"};
    if (current->status != EXPERIMENT_DRAFT && experiment->layer.size != 0 &&
        !bytes_equal(current->layer, experiment->layer)) {
        field_fault(reading, &layer, "immutable", "can be entered in a draft only");
    }
}

enum status experiment_patch(const struct experiment *current, struct bytes patch,
                             const uint64_t *variant_users,
                             const struct definition_context *context, const uint8_t random[64],
                             struct field_errors *errors, struct experiment **out_experiment)
{
    struct reading reading = {.arena = errors->arena, .errors = errors};
    struct experiment_draft draft = {.experiment = *current};
    struct experiment *experiment = &draft.experiment;
    struct field field;
    if (!document_check(&reading, patch, &field)) {
        return reading_status(&reading);
    }
    struct presence presence =
        document_read(&reading, experiment_rows, ROW_END, &field, current, &draft);
    if (presence_has(presence.null, ROW_STATUS)) {
        field_fault(&reading, &status_field, "wrong_type", "cannot be null");
    }
    experiment_defaults(&reading, presence.null, experiment);
    if (presence_has(presence.null, ROW_HOLDOUT)) {
        experiment->holdout = bytes_of(NULL, 0);
        experiment->holdout_share = 0;
    }
    if (presence_has(presence.null, ROW_RAMP)) {
        experiment->ramp_count = 0;
    }
    if (presence_has(presence.set | presence.null, ROW_STATUS) || presence_has(presence.set | presence.null, ROW_GUARDRAIL_ACTION)) {
        experiment->breached_metric = bytes_of(NULL, 0); /* somebody has decided: the next breach is a new one */
        experiment->breached_variant = bytes_of(NULL, 0);
        experiment->breached_at_us = 0;
    }
    if (presence_has(presence.set, ROW_VARIANTS)) {
        variants_settle(&reading, &draft, current, variant_users, context, random);
    }
    schedule_check(&reading, experiment);
    ramp_check(&reading, experiment);
    layer_check(&reading, current, experiment);
    enum status status = reading_status(&reading);
    bool may_move = presence_has(presence.null, ROW_STATUS) ||
                    status_check_move(&reading, current->status, experiment->status);
    if (status != STATUS_OK || !may_move) {
        return status != STATUS_OK ? status : STATUS_CONFLICT;
    }
    experiment->version = context->version;
    experiment->author = context->author;
    experiment->updated_at_us = context->now_us;
    status_stamp(experiment, context->now_us);
    return experiment_seal_draft(&reading, experiment, out_experiment);
}

enum status experiment_rerandomize(const struct experiment *current, const struct definition_context *context,
                                   const uint8_t random[64], struct experiment **out_experiment)
{
    struct experiment next = *current;
    assert(current->status == EXPERIMENT_RUNNING || current->status == EXPERIMENT_PAUSED);
    next.version = context->version;
    next.author = context->author;
    next.updated_at_us = context->now_us;
    next.salt = load_u64(random);
    next.generation = current->generation + 1;
    next.generation_version = context->version;
    next.randomized_at_us = context->now_us;
    return experiment_seal(&next, (size_t)LIMIT_DEFINITION, out_experiment);
}

enum status experiment_breach(const struct experiment *current, const struct definition_context *context, struct bytes metric,
                              struct bytes variant, struct experiment **out_experiment)
{
    struct experiment next = *current;
    struct variant variants[LIMIT_VARIANTS];
    assert(current->status == EXPERIMENT_RUNNING && current->guardrail_action != GUARDRAIL_ACTION_NONE);
    next.version = context->version;
    next.author = context->author;
    next.updated_at_us = context->now_us;
    next.breached_metric = metric;
    next.breached_variant = variant;
    next.breached_at_us = context->now_us;
    if (current->guardrail_action == GUARDRAIL_ACTION_PAUSE) {
        next.status = EXPERIMENT_PAUSED;
    } else {
        memcpy(variants, current->variants, current->variant_count * sizeof(variants[0]));
        for (uint32_t i = 0; i < current->variant_count; i++) {
            variants[i].weight = i == current->control ? 1.0 : 0.0;
        }
        next.variants = variants;
    }
    return experiment_seal(&next, (size_t)LIMIT_DEFINITION, out_experiment);
}

enum status experiment_finish(const struct experiment *experiment,
                              const struct experiment_place *place,
                              struct experiment **out_experiment)
{
    struct experiment finished = *experiment;
    finished.key = place->key;
    finished.layer_start = place->layer_start;
    finished.idempotency_key = place->idempotency_key;
    if (place->idempotency_key.size > 0) {
        finished.idempotency_digest = place->idempotency_digest;
    }
    enum status status = experiment_seal(&finished, (size_t)LIMIT_DEFINITION, out_experiment);
    /* Only the key and the idempotency key are new: the caller's to mend. */
    return status == STATUS_DAMAGED ? STATUS_INVALID : status;
}

/* ---- Slug ---- */

void experiment_slug(struct bytes name, char *out_slug, size_t capacity)
{
    struct uuid uuid;
    assert(capacity > strlen(SLUG_FALLBACK));
    size_t most = size_min(capacity - 1, LIMIT_KEY);
    size_t size = 0;
    bool is_gap = false;
    for (size_t i = 0; i < name.size; i++) {
        uint8_t byte = name.data[i];
        byte = byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte - 'A' + 'a') : byte;
        bool is_kept = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
        if (!is_kept) {
            is_gap = size > 0;
            continue;
        }
        if (size + (is_gap ? 2 : 1) > most) {
            break;
        }
        if (is_gap) {
            out_slug[size++] = '-';
        }
        out_slug[size++] = (char)byte;
        is_gap = false;
    }
    out_slug[size] = '\0';
    /* A key must not look like an id, even where the name is one. */
    if (size == 0 || uuid_parse(bytes_of(out_slug, size), &uuid) == STATUS_OK) {
        memcpy(out_slug, SLUG_FALLBACK, sizeof(SLUG_FALLBACK));
    }
}
