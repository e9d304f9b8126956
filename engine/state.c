/* state.c: applying records. See state.h; late facts are in state_past.c. */
#include <stdlib.h>

#include "engine/layer.h"
#include "engine/state_internal.h"
#include "engine/timestamp.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum status list_append(uint32_t **list, uint32_t *count, uint32_t *capacity, uint32_t number)
{
    if (*count == *capacity) {
        const uint32_t grown_capacity = *capacity == 0 ? 256 : *capacity * 2;
        uint32_t *grown = realloc(*list, grown_capacity * sizeof(*grown));
        if (grown == NULL) {
            return STATUS_NO_MEMORY;
        }
        *list = grown;
        *capacity = grown_capacity;
    }
    (*list)[(*count)++] = number;
    return STATUS_OK;
}

enum status state_open(const struct state_options *options, struct state **out_state)
{
    struct state *state = calloc(1, sizeof(*state));
    if (state == NULL) {
        return STATUS_NO_MEMORY;
    }
    state->options = *options;
    state->next_lsn = 1;
    state->epoch = 1;
    pthread_mutex_init(&state->catalog_mutex, NULL);
    state->catalog = catalog_empty();
    enum status status = state->catalog != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    if (status == STATUS_OK) {
        status = users_init(&state->users, options->hash_seed);
    }
    if (status == STATUS_OK) {
        status = event_ids_init(&state->event_ids);
    }
    if (status == STATUS_OK) {
        status = pool_init(&state->duplicates, sizeof(uint64_t));
    }
    if (status == STATUS_OK) {
        status = rollup_init(&state->rollup);
    }
    if (status == STATUS_OK) {
        status = attributes_init(&state->attributes);
    }
    if (status == STATUS_OK) {
        status = index_table_init(&state->type_table, false);
    }
    if (status == STATUS_OK) {
        *out_state = state;
        state = NULL; /* moved to the caller */
    }
    state_close(state);
    return status;
}

void state_close(struct state *state)
{
    if (state == NULL) {
        return;
    }
    catalog_unref(state->catalog);
    users_deinit(&state->users);
    event_ids_deinit(&state->event_ids);
    pool_deinit(&state->duplicates);
    rollup_deinit(&state->rollup);
    attributes_deinit(&state->attributes);
    index_table_deinit(&state->type_table);
    for (uint32_t i = 0; i < state->type_count; i++) {
        free((void *)(uintptr_t)state->types[i].name.data);
    }
    free(state->types);
    for (uint32_t i = 0; i < state->definition_count; i++) {
        free((void *)(uintptr_t)state->definitions[i].payload.data);
    }
    free(state->definitions);
    free(state->pending);
    free(state->dirty[1].numbers);
    free(state->dirty[2].numbers);
    row_writer_close(state->export);
    state_sets_deinit(state);
    pthread_mutex_destroy(&state->catalog_mutex);
    free(state);
}

uint64_t state_next_lsn(const struct state *state)
{
    return state->next_lsn;
}

const struct catalog *state_catalog(const struct state *state)
{
    struct state *shared = (struct state *)(uintptr_t)state; /* the mutex is not part of the value */
    pthread_mutex_lock(&shared->catalog_mutex);
    const struct catalog *catalog = catalog_ref(shared->catalog);
    pthread_mutex_unlock(&shared->catalog_mutex);
    return catalog;
}

uint64_t state_catalog_generation(const struct state *state)
{
    return atomic_load_explicit(&state->catalog_generation, memory_order_acquire);
}

void state_publish_catalog(struct state *state, struct catalog *catalog)
{
    pthread_mutex_lock(&state->catalog_mutex);
    struct catalog *old = state->catalog;
    state->catalog = catalog;
    atomic_store_explicit(&state->catalog_generation, catalog->generation, memory_order_release);
    pthread_mutex_unlock(&state->catalog_mutex);
    catalog_unref(old);
}

enum status state_touch_user(struct state *state, uint32_t user_number)
{
    struct user *user = user_at(&state->users, user_number);
    if (user->dirty == state->epoch) {
        return STATUS_OK;
    }
    enum status status = STATUS_OK;
    if (user->dirty != 0 && state->export != NULL) {
        status = row_emit_user(state->export, state, user_number);
    }
    user->dirty = state->epoch;
    struct user_list *list = &state->dirty[state->epoch];
    return status == STATUS_OK ? list_append(&list->numbers, &list->count, &list->capacity, user_number) : status;
}

static uint32_t type_find(const struct state *state, struct bytes name, uint64_t hash)
{
    struct index_probe probe = index_probe_start(&state->type_table, hash);
    uint32_t at = index_probe_next(&probe);
    while (at != INDEX_NONE && !bytes_equal(state->types[at].name, name)) {
        at = index_probe_next(&probe);
    }
    return at;
}

bool state_may_have_seen_type(const struct state *state, struct bytes name)
{
    return state->type_count == LIMIT_EVENT_TYPES || type_find(state, name, XXH3_64bits(name.data, name.size)) != INDEX_NONE;
}

enum status state_see_type(struct state *state, struct bytes name, uint64_t events)
{
    const uint64_t hash = XXH3_64bits(name.data, name.size);
    const uint32_t at = type_find(state, name, hash);
    if (at != INDEX_NONE) {
        state->types[at].events += events;
        return STATUS_OK;
    }
    if (state->type_count == LIMIT_EVENT_TYPES) {
        return STATUS_OK;
    }
    struct seen_type *types = realloc(state->types, (state->type_count + 1ull) * sizeof(*types));
    uint8_t *copy = types != NULL ? malloc(name.size) : NULL;
    state->types = types != NULL ? types : state->types;
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(copy, name.data, name.size);
    types[state->type_count] = (struct seen_type){bytes_of(copy, name.size), events};
    return index_table_insert(&state->type_table, hash, state->type_count++);
}

/* ---- definitions ---- */

static enum status definition_keep(struct state *state, const struct record *record)
{
    if (state->definition_count == state->definition_capacity) {
        const uint32_t capacity = state->definition_capacity == 0 ? 64 : state->definition_capacity * 2;
        struct applied_definition *grown = realloc(state->definitions, capacity * sizeof(*grown));
        if (grown == NULL) {
            return STATUS_NO_MEMORY;
        }
        state->definitions = grown;
        state->definition_capacity = capacity;
    }
    uint8_t *copy = malloc(record->payload.size);
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(copy, record->payload.data, record->payload.size);
    state->definitions[state->definition_count++] = (struct applied_definition){
        record->lsn, record->kind, record->version, bytes_of(copy, record->payload.size)};
    return STATUS_OK;
}

static enum status apply_experiment(struct state *state, const struct definition *definition, bool *out_applied)
{
    struct experiment *experiment = NULL;
    enum status status = experiment_decode(definition->document, &experiment);
    if (status != STATUS_OK) {
        return status;
    }
    const uint32_t at = catalog_find_experiment(state->catalog, &definition->id);
    const uint32_t with_key = catalog_find_experiment_key(state->catalog, experiment->key);
    const uint32_t version = at != CATALOG_NONE ? state->catalog->experiments[at]->current->version : 0;
    const bool full = at == CATALOG_NONE && state->catalog->experiment_count >= LIMIT_EXPERIMENTS;
    if (definition->version != version + 1 || with_key != at || full || !layer_fits(state->catalog, experiment)) {
        experiment_free(experiment);
        *out_applied = false;
        return STATUS_OK;
    }
    const uint32_t variants = experiment->variant_count;
    const bool is_drawn_anew = at != CATALOG_NONE && experiment->generation_version == definition->version;
    struct catalog *catalog = catalog_with_experiment(state->catalog, experiment);
    if (catalog == NULL) {
        return STATUS_NO_MEMORY;
    }
    state_publish_catalog(state, catalog);
    *out_applied = true;
    status = rollup_grow(&state->rollup, at != CATALOG_NONE ? at : catalog->experiment_count - 1, variants);
    return status == STATUS_OK && is_drawn_anew ? rollup_retire(&state->rollup, at, definition->version) : status;
}

/* Of a ratio: both parts are metrics, and no ratios. */
static bool metric_parts_exist(const struct catalog *catalog, const struct metric *metric)
{
    const struct bytes names[] = {metric->numerator, metric->denominator};
    for (size_t i = 0; i < COUNT_OF(names) && metric->type == METRIC_RATIO; i++) {
        const uint32_t at = catalog_find_metric(catalog, names[i]);
        if (at == CATALOG_NONE || catalog->metrics[at]->current->type == METRIC_RATIO) {
            return false;
        }
    }
    return true;
}

static enum status apply_metric(struct state *state, const struct definition *definition, uint64_t lsn, bool past,
                                bool *out_applied)
{
    struct metric *metric = NULL;
    enum status status = metric_decode(definition->document, &metric);
    if (status != STATUS_OK) {
        return status;
    }
    const uint32_t at = catalog_find_metric(state->catalog, metric->name);
    const struct metric *current = at != CATALOG_NONE ? state->catalog->metrics[at]->current : NULL;
    const bool fits = current != NULL
                          ? definition->version == current->version + 1 && uuid_equal(&definition->id, &current->id) &&
                                (current->type == METRIC_RATIO) == (metric->type == METRIC_RATIO)
                          : definition->version == 1 && state->catalog->metric_count < LIMIT_METRICS;
    if (!fits || !metric_parts_exist(state->catalog, metric)) {
        metric_free(metric);
        *out_applied = false;
        return STATUS_OK;
    }
    const struct catalog *before = catalog_ref(state->catalog);
    struct catalog *catalog = catalog_with_metric(state->catalog, metric);
    status = catalog != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    if (status == STATUS_OK) {
        state_publish_catalog(state, catalog);
        *out_applied = true;
        if (past) {
            status = state_redo_metric(state, before, catalog, at != CATALOG_NONE ? at : catalog->metric_count - 1, lsn);
        }
    }
    catalog_unref(before);
    return status;
}

static enum status apply_token(struct state *state, const struct definition *definition, bool *out_applied)
{
    struct token *token = NULL;
    const enum status status = token_decode(definition->document, &token);
    if (status != STATUS_OK) {
        return status;
    }
    const uint32_t at = catalog_find_token(state->catalog, &definition->id);
    const uint32_t version = at != CATALOG_NONE ? state->catalog->tokens[at]->current->version : 0;
    const bool full = at == CATALOG_NONE && state->catalog->token_count >= LIMIT_TOKENS;
    if (definition->version != version + 1 || full) {
        token_free(token);
        *out_applied = false;
        return STATUS_OK;
    }
    struct catalog *catalog = catalog_with_token(state->catalog, token);
    if (catalog == NULL) {
        return STATUS_NO_MEMORY;
    }
    state_publish_catalog(state, catalog);
    *out_applied = true;
    return STATUS_OK;
}

static enum status apply_overrides(struct state *state, const struct definition *definition, bool *out_applied)
{
    struct overrides *overrides = NULL;
    const enum status status = overrides_decode(definition->document, &overrides);
    if (status != STATUS_OK) {
        return status;
    }
    const uint32_t at = catalog_find_experiment(state->catalog, &definition->id);
    const struct overrides *current = at != CATALOG_NONE ? state->catalog->experiments[at]->overrides : NULL;
    if (at == CATALOG_NONE || definition->version != (current != NULL ? current->version : 0) + 1) {
        overrides_free(overrides);
        *out_applied = false;
        return STATUS_OK;
    }
    struct catalog *catalog = catalog_with_overrides(state->catalog, at, overrides);
    if (catalog == NULL) {
        return STATUS_NO_MEMORY;
    }
    state_publish_catalog(state, catalog);
    *out_applied = true;
    return STATUS_OK;
}

enum status state_apply_definition(struct state *state, const struct record *record, bool past, bool *out_applied)
{
    struct definition definition;
    enum status status = definition_decode(record, &definition);
    if (status != STATUS_OK) {
        return status;
    }
    if (record->kind == RECORD_EXPERIMENT) {
        status = apply_experiment(state, &definition, out_applied);
    } else if (record->kind == RECORD_METRIC) {
        status = apply_metric(state, &definition, record->lsn, past, out_applied);
    } else if (record->kind == RECORD_OVERRIDES) {
        status = apply_overrides(state, &definition, out_applied);
    } else if (record->kind == RECORD_ERASURE) {
        status = state_apply_erasure(state, &definition, record->lsn, past, out_applied);
    } else {
        status = apply_token(state, &definition, out_applied);
    }
    return status == STATUS_OK && *out_applied ? definition_keep(state, record) : status;
}

/* ---- assignments ---- */

/* What the user did before the assignment was applied. Where all of it is older than the assignment it can be told from
 * the vectors; else the log has to be read again. */
static enum status enrolment_take_past(struct state *state, uint32_t number)
{
    struct enrolment *enrolment = enrolment_at(&state->users, number);
    struct user *user = user_at(&state->users, enrolment->user);
    if (user->last_timestamp_us >= enrolment->assigned_at_us) {
        enrolment->pending = true;
        user->pending = true;
        return list_append(&state->pending, &state->pending_count, &state->pending_capacity, number);
    }
    enrolment->before = user->events;
    state_experiment(state, enrolment->experiment)->before += user->events;
    const int32_t day = day_of(enrolment->assigned_at_us);
    enum status status = STATUS_OK;
    for (uint32_t at = user->vectors; at != 0 && status == STATUS_OK;) {
        const struct vector *vector = pool_at(&state->rollup.vectors.vectors, at - 1);
        const struct vector_day *days = vector_days(&state->rollup.vectors, vector);
        const bool has_days = vector->count != 0 && !vector->has_events;
        if (has_days && days[vector->count - 1].day == day) {
            const struct vector_day *last = &days[vector->count - 1];
            status = boundary_set(&state->rollup.vectors, enrolment, vector->metric, last->count, last->sum);
        }
        at = vector->next;
    }
    return status;
}

/* Is the user in another experiment of the layer that still runs? Slices keep users apart until one shrinks. */
static bool layer_is_taken(const struct state *state, uint32_t user_number, const struct experiment *experiment)
{
    uint32_t at = atomic_load_explicit(&user_at(&state->users, user_number)->enrolments, memory_order_relaxed);
    while (at != 0) {
        const struct enrolment *enrolment = enrolment_at(&state->users, at - 1);
        const struct experiment *other = state->catalog->experiments[enrolment->experiment]->current;
        if (layer_is_held(other) && bytes_equal(other->layer, experiment->layer) &&
            rollup_is_current(&state->rollup, enrolment)) {
            return true;
        }
        at = enrolment->next;
    }
    return false;
}

static enum status apply_assignment(struct state *state, const struct record *record, uint8_t *outcome)
{
    struct assignment assignment;
    enum status status = assignment_decode(record, &assignment);
    if (status != STATUS_OK) {
        return status;
    }
    const uint32_t experiment = catalog_find_experiment(state->catalog, &assignment.experiment_id);
    if (experiment == CATALOG_NONE ||
        assignment.variant >= state->catalog->experiments[experiment]->current->variant_count) {
        return STATUS_DAMAGED; /* the log holds definitions before what refers to them */
    }
    uint32_t user_number = 0;
    const uint64_t hash = user_hash(&state->users, assignment.user_id);
    status = user_find_or_add(&state->users, assignment.user_id, hash, &user_number);
    if (status == STATUS_OK) {
        status = state_touch_user(state, user_number); /* it may be new, even where the assignment is superseded */
    }
    if (status != STATUS_OK) {
        return status;
    }
    const struct experiment *definition = state->catalog->experiments[experiment]->current;
    const uint32_t from_version = definition->generation_version;
    if (assignment.experiment_version < from_version ||
        enrolment_find(&state->users, user_number, experiment, from_version, UINT32_MAX) != NULL ||
        (!assignment.forced && definition->layer.size != 0 && layer_is_taken(state, user_number, definition))) {
        *outcome = OUTCOME_SUPERSEDED;
        return STATUS_OK;
    }
    uint32_t profile = 0;
    status = attributes_take(&state->attributes, assignment.attributes, &profile);
    if (status != STATUS_OK) {
        return status;
    }
    const struct enrolment enrolment = {.experiment = experiment,
                                        .version = assignment.experiment_version,
                                        .variant = (uint16_t)assignment.variant,
                                        .forced = assignment.forced,
                                        .assigned_at_us = assignment.assigned_at_us,
                                        .lsn = record->lsn,
                                        .user = user_number,
                                        .profile = profile};
    uint32_t number = 0;
    status = enrolment_add(&state->users, &enrolment, &number);
    if (status == STATUS_OK) {
        status = rollup_enrol(&state->rollup, &state->users, number);
    }
    if (status == STATUS_OK) {
        const struct user *user = user_at(&state->users, user_number);
        struct rollup_experiment *entry = state_experiment(state, experiment);
        entry->events += user->events;
        entry->duplicates += user->duplicates;
        state->totals.assignments++;
        status = enrolment_take_past(state, number);
    }
    return status;
}

/* ---- events ---- */

/* An event decoded ahead of its turn, and what it will touch on its way into the cache. A lone lookup is a chain of
 * misses (slot, user, vector); a batch walks all its chains at once, a link a pass. */
struct prepared_event {
    struct event event;
    uint64_t user_hash;
    struct event_print print;
};

static enum status event_prepare(const struct state *state, const struct record *record, struct prepared_event *out)
{
    const enum status status = event_decode(record, &out->event);
    if (status != STATUS_OK) {
        return status;
    }
    out->user_hash = user_hash(&state->users, out->event.user_id);
    index_prefetch(&state->users.table, out->user_hash);
    if (out->event.event_id.size != 0) {
        out->print = event_print_of(out->event.event_id, state->options.hash_seed);
        event_ids_prefetch(&state->event_ids, out->print);
    }
    return STATUS_OK;
}

/* Elements of pools may lie across two cache lines. */
static void prefetch_whole(const void *element, size_t size)
{
    __builtin_prefetch(element, 1);
    __builtin_prefetch((const uint8_t *)element + size - 1, 1);
}

/* The second link: the users and fingerprints that the slots point at. */
static void event_prefetch_user(const struct state *state, const struct prepared_event *prepared)
{
    const uint32_t user = index_guess(&state->users.table, prepared->user_hash);
    if (user != INDEX_NONE) {
        __builtin_prefetch(user_at(&state->users, user), 1);
    }
    if (prepared->event.event_id.size != 0) {
        const uint32_t seen = index_guess(&state->event_ids.table, prepared->print.high);
        if (seen != INDEX_NONE) {
            __builtin_prefetch(pool_at(&state->event_ids.prints, seen));
        }
    }
}

static void prefetch_vector(const struct state *state, uint32_t vector)
{
    if (vector != 0) {
        __builtin_prefetch(pool_at(&state->rollup.vectors.vectors, vector - 1), 1);
    }
}

/* The fourth: the second vector (a purchase often feeds two metrics) and the first one's days. */
static void event_prefetch_days(const struct state *state, const struct prepared_event *prepared)
{
    const uint32_t number = index_guess(&state->users.table, prepared->user_hash);
    const struct user *user = number != INDEX_NONE ? user_at(&state->users, number) : NULL;
    if (user != NULL && user->vectors != 0) {
        const struct vector *vector = pool_at(&state->rollup.vectors.vectors, user->vectors - 1);
        prefetch_vector(state, vector->next);
        __builtin_prefetch(vector_days(&state->rollup.vectors, vector), 1);
    }
}

/* The third: the user's vectors and enrolments. */
static void event_prefetch_vectors(const struct state *state, const struct prepared_event *prepared)
{
    const uint32_t number = index_guess(&state->users.table, prepared->user_hash);
    if (number == INDEX_NONE) {
        return;
    }
    const struct user *user = user_at(&state->users, number);
    prefetch_vector(state, user->vectors);
    const uint32_t enrolment = atomic_load_explicit(&user->enrolments, memory_order_relaxed);
    if (enrolment != 0) {
        prefetch_whole(enrolment_at(&state->users, enrolment - 1), sizeof(struct enrolment));
    }
}

/* What a retry repeats: all but the timestamp, which the server may have put. */
static uint32_t body_hash(const struct event *event)
{
    const uint64_t user = XXH3_64bits(event->user_id.data, event->user_id.size);
    const uint64_t type = XXH3_64bits_withSeed(event->event_type.data, event->event_type.size, user);
    return (uint32_t)XXH3_64bits_withSeed(event->properties.data, event->properties.size, type);
}

enum status state_feed_metrics(struct state *state, const struct event *event, uint32_t user, bool *out_matches)
{
    const uint32_t *metrics = NULL;
    const uint32_t count = catalog_metrics_of_event(state->catalog, event->event_type, &metrics);
    enum status status = STATUS_OK;
    *out_matches = false;
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
        const struct metric *metric = state->catalog->metrics[metrics[i]]->current;
        int64_t value = 0;
        if (metric_value(metric, event->properties, &value)) {
            *out_matches = true;
            status = rollup_add(&state->rollup, &state->users, user, metrics[i], metric, event->timestamp_us, value);
        }
    }
    return status;
}

/* Counts the event for each experiment of its user: before the assignment, counted, or (the rest) filtered. */
static void event_classify(struct state *state, const struct user *user, int64_t timestamp_us, bool matches)
{
    uint32_t at = atomic_load_explicit(&user->enrolments, memory_order_relaxed);
    while (at != 0) {
        struct enrolment *enrolment = enrolment_at(&state->users, at - 1);
        struct rollup_experiment *experiment = state_experiment(state, enrolment->experiment);
        if (enrolment->version < experiment->from_version) {
            at = enrolment->next;
            continue;
        }
        experiment->events++;
        if (!enrolment->pending && timestamp_us < enrolment->assigned_at_us) {
            enrolment->before++;
            experiment->before++;
        } else if (!enrolment->pending && matches) {
            enrolment->counted++;
            experiment->counted++;
        }
        at = enrolment->next;
    }
}

static enum status event_is_duplicate(struct state *state, const struct prepared_event *prepared, uint64_t lsn,
                                      uint32_t user_number, uint8_t *outcome)
{
    enum event_ids_answer answer = EVENT_ID_NEW;
    enum status status = event_ids_add(&state->event_ids, prepared->print, body_hash(&prepared->event), &answer);
    if (status != STATUS_OK || answer == EVENT_ID_NEW) {
        return status;
    }
    *outcome = answer == EVENT_ID_SEEN ? OUTCOME_DUPLICATE : OUTCOME_DUPLICATE_MISMATCH;
    state->totals.events_duplicate++;
    state->totals.events_mismatched += answer == EVENT_ID_SEEN_OTHER_BODY ? 1 : 0;
    struct user *user = user_at(&state->users, user_number);
    user->duplicates++;
    for (uint32_t at = atomic_load_explicit(&user->enrolments, memory_order_relaxed); at != 0;) {
        const struct enrolment *enrolment = enrolment_at(&state->users, at - 1);
        state_experiment(state, enrolment->experiment)->duplicates += rollup_is_current(&state->rollup, enrolment) ? 1 : 0;
        at = enrolment->next;
    }
    uint32_t number = 0;
    status = pool_append(&state->duplicates, &number);
    if (status == STATUS_OK) {
        *(uint64_t *)pool_at(&state->duplicates, number) = lsn;
    }
    return status;
}

static enum status apply_event(struct state *state, uint64_t lsn, const struct prepared_event *prepared,
                               uint8_t *outcome)
{
    const struct event *event = &prepared->event;
    uint32_t user_number = 0;
    enum status status = user_find_or_add(&state->users, event->user_id, prepared->user_hash, &user_number);
    state->totals.events++;
    if (status == STATUS_OK) {
        status = state_touch_user(state, user_number);
    }
    if (status == STATUS_OK && event->event_id.size != 0) {
        status = event_is_duplicate(state, prepared, lsn, user_number, outcome);
    }
    if (status != STATUS_OK || *outcome != OUTCOME_APPLIED) {
        return status;
    }
    status = state_see_type(state, event->event_type, 1);
    if (status != STATUS_OK) {
        return status;
    }
    struct user *user = user_at(&state->users, user_number);
    user->events++;
    if (event->timestamp_us > user->last_timestamp_us) {
        user->last_timestamp_us = event->timestamp_us;
    }
    bool matches = false;
    status = state_feed_metrics(state, event, user_number, &matches);
    event_classify(state, user, event->timestamp_us, matches);
    return status;
}

static enum status apply_definition_record(struct state *state, const struct record *record, uint8_t *outcome)
{
    /* A definition changes what the pending past means: finish that first. */
    enum status status = state_settle(state);
    bool applied = false;
    if (status == STATUS_OK) {
        status = state_apply_definition(state, record, true, &applied);
    }
    *outcome = applied ? OUTCOME_APPLIED : OUTCOME_SUPERSEDED;
    return status;
}

static enum status batch_prepare(const struct state *state, const struct record *records, size_t count,
                                 struct prepared_event *prepared)
{
    for (size_t i = 0; i < count; i++) {
        prepared[i].event.event_id.size = 0;
        prepared[i].user_hash = 0;
        const enum status status =
            records[i].kind == RECORD_EVENT ? event_prepare(state, &records[i], &prepared[i]) : STATUS_OK;
        if (status != STATUS_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < count && count > 1; i++) {
        event_prefetch_user(state, &prepared[i]);
    }
    for (size_t i = 0; i < count && count > 1; i++) {
        event_prefetch_vectors(state, &prepared[i]);
    }
    for (size_t i = 0; i < count && count > 1; i++) {
        event_prefetch_days(state, &prepared[i]);
    }
    return STATUS_OK;
}

enum status state_apply(struct state *state, const struct record *records, size_t count, uint8_t *outcomes)
{
    assert(count <= STATE_BATCH);
    struct prepared_event prepared[STATE_BATCH];
    const enum status prepared_status = batch_prepare(state, records, count, prepared);
    if (prepared_status != STATUS_OK) {
        return prepared_status;
    }
    for (size_t i = 0; i < count; i++) {
        const struct record *record = &records[i];
        assert(record->lsn == state->next_lsn);
        uint8_t outcome = OUTCOME_APPLIED;
        enum status status = STATUS_OK;
        switch (record->kind) {
        case RECORD_EVENT:
            status = apply_event(state, record->lsn, &prepared[i], &outcome);
            break;
        case RECORD_ASSIGNMENT:
            status = apply_assignment(state, record, &outcome);
            break;
        case RECORD_EXPERIMENT:
        case RECORD_METRIC:
        case RECORD_TOKEN:
        case RECORD_OVERRIDES:
        case RECORD_ERASURE:
            status = apply_definition_record(state, record, &outcome);
            break;
        case RECORD_USER_SET:
            status = state_apply_user_set(state, record, &outcome);
            break;
        }
        if (status != STATUS_OK) {
            return status;
        }
        state->next_lsn++;
        if (outcomes != NULL) {
            outcomes[i] = outcome;
        }
    }
    return STATUS_OK;
}

/* ---- questions ---- */

static struct assignment_view view_of(const struct enrolment *enrolment)
{
    return (struct assignment_view){.variant = enrolment->variant,
                                    .experiment_version = enrolment->version,
                                    .assigned_at_us = enrolment->assigned_at_us,
                                    .lsn = enrolment->lsn,
                                    .forced = enrolment->forced};
}

bool state_find_assignment(const struct state *state, uint32_t experiment_index, struct version_range versions,
                           struct bytes user_id, struct assignment_view *out_assignment)
{
    const uint32_t user = user_find(&state->users, user_id, user_hash(&state->users, user_id));
    const struct enrolment *enrolment =
        user != INDEX_NONE ? enrolment_find(&state->users, user, experiment_index, versions.first, versions.last) : NULL;
    if (enrolment == NULL) {
        return false;
    }
    *out_assignment = view_of(enrolment);
    return true;
}

uint32_t state_list_members(const struct state *state, uint32_t experiment_index, struct version_range versions,
                            uint32_t variant, uint64_t cursor, struct member *members, uint32_t limit,
                            uint64_t *out_cursor)
{
    *out_cursor = 0;
    if (experiment_index >= state->rollup.experiment_count) {
        return 0;
    }
    const struct rollup_experiment *experiment = state_experiment(state, experiment_index);
    const bool is_current = versions.last >= experiment->from_version;
    const uint32_t *numbers = is_current ? experiment->members : experiment->past_members;
    const uint32_t number_count = is_current ? experiment->member_count : experiment->past_member_count;
    uint32_t count = 0;
    uint64_t at = cursor;
    for (; at < number_count && count < limit; at++) {
        const struct enrolment *enrolment = enrolment_at(&state->users, numbers[at]);
        if ((variant == UINT32_MAX || enrolment->variant == variant) && enrolment->version >= versions.first &&
            enrolment->version <= versions.last) {
            const struct user *user = user_at(&state->users, enrolment->user);
            members[count++] = (struct member){user_id(user), view_of(enrolment)};
        }
    }
    *out_cursor = at < number_count ? at : 0;
    return count;
}

uint32_t state_list_definitions(const struct state *state, uint64_t cursor, struct record *records, uint32_t limit)
{
    uint32_t count = 0;
    for (uint64_t at = cursor; at < state->definition_count && count < limit; at++) {
        const struct applied_definition *definition = &state->definitions[at];
        records[count++] = (struct record){.lsn = definition->lsn,
                                           .kind = definition->kind,
                                           .version = definition->version,
                                           .payload = definition->payload};
    }
    return count;
}

uint64_t state_variant_users(const struct state *state, uint32_t experiment_index, uint32_t variant)
{
    const struct arm *arm = rollup_arm(&state->rollup, experiment_index, variant);
    return arm != NULL ? arm->users : 0;
}

void state_totals(const struct state *state, struct state_totals *out_totals)
{
    *out_totals = state->totals;
    out_totals->users = state->users.users.count - state->users.erased;
}

uint64_t state_memory(const struct state *state)
{
    return users_memory(&state->users) + event_ids_memory(&state->event_ids) + pool_memory(&state->duplicates) +
           rollup_memory(&state->rollup) + attributes_memory(&state->attributes) +
           state_sets_memory(state);
}
