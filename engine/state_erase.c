/* state_erase.c: taking a user out of the state, as if none of the user's records had ever been in the log. See erasure.h.
 *
 * What stays, because it says nothing of a person: the fingerprints of the events' ids, so that a retry that is still under way
 * does not bring an event back; how many records there were of each type of event; and the user's number, without an id.
 *
 * Cost: what the user did, plus a search and a move in the list of each experiment's members. Only where a metric takes negative
 * values, and the user has some, the log is read: the sums do not tell the magnitudes.
 */
#include <stdlib.h>

#include "engine/state_internal.h"

bool state_is_erased(const struct state *state, const struct record *record, const struct event *event)
{
    return state->catalog->erasures != NULL && record->lsn < erasures_find_user(state->catalog->erasures, event->user_id);
}

void state_user_traces(const struct state *state, struct bytes user_id, struct user_traces *out_traces)
{
    *out_traces = (struct user_traces){.user_hash = user_hash(&state->users, user_id)};
    const uint32_t number = user_find(&state->users, user_id, out_traces->user_hash);
    if (number == INDEX_NONE) {
        return;
    }
    const struct user *user = user_at(&state->users, number);
    out_traces->events = (uint64_t)user->events + user->duplicates;
    for (uint32_t at = atomic_load_explicit(&user->enrolments, memory_order_relaxed); at != 0;) {
        out_traces->assignments++;
        at = enrolment_at(&state->users, at - 1)->next;
    }
}

/* ---- magnitudes that only the log knows ---- */

/* |value| of what one enrolment counts of one metric, added up. */
struct magnitude {
    const struct enrolment *enrolment;
    uint32_t metric;
    uint128 sum;
};

struct magnitudes {
    const struct state *state;
    const struct erasure *erasure;
    uint64_t from_lsn; /* what lies before it was another person's, erased earlier */
    struct duplicate_cursor duplicates;
    struct magnitude *items;
    uint32_t count;
};

static bool magnitude_is_open(const struct state *state, const struct enrolment *enrolment, const struct vector *vector)
{
    return vector->is_mixed && !vector->has_events && vector->count != 0 && rollup_is_current(&state->rollup, enrolment);
}

/* Calls visit for each pair of the user's enrolments and vectors. */
static enum status pairs_walk(struct state *state, const struct user *user,
                              enum status (*visit)(struct state *state, const struct enrolment *enrolment,
                                                   const struct vector *vector, void *context),
                              void *context)
{
    enum status status = STATUS_OK;
    for (uint32_t at = atomic_load_explicit(&user->enrolments, memory_order_relaxed); at != 0;) {
        const struct enrolment *enrolment = enrolment_at(&state->users, at - 1);
        for (uint32_t v = user->vectors; v != 0 && status == STATUS_OK;) {
            const struct vector *vector = pool_at(&state->rollup.vectors.vectors, v - 1);
            status = visit(state, enrolment, vector, context);
            v = vector->next;
        }
        at = enrolment->next;
    }
    return status;
}

static enum status magnitude_note(struct state *state, const struct enrolment *enrolment, const struct vector *vector, void *context)
{
    struct magnitudes *magnitudes = context;
    if (!magnitude_is_open(state, enrolment, vector)) {
        return STATUS_OK;
    }
    struct magnitude *grown = realloc(magnitudes->items, (magnitudes->count + 1ull) * sizeof(*grown));
    if (grown == NULL) {
        return STATUS_NO_MEMORY;
    }
    magnitudes->items = grown;
    grown[magnitudes->count++] = (struct magnitude){enrolment, vector->metric, 0};
    return STATUS_OK;
}

static enum status magnitude_visit(void *context, const struct record *record)
{
    struct magnitudes *magnitudes = context;
    const struct state *state = magnitudes->state;
    struct event event;
    if (record->kind != RECORD_EVENT || record->lsn < magnitudes->from_lsn ||
        duplicate_cursor_is(&magnitudes->duplicates, record->lsn)) {
        return STATUS_OK;
    }
    const enum status status = event_decode(record, &event);
    if (status != STATUS_OK || user_print_order(user_print_of(event.user_id), magnitudes->erasure->user) != 0) {
        return status;
    }
    for (uint32_t i = 0; i < magnitudes->count; i++) {
        struct magnitude *item = &magnitudes->items[i];
        const struct metric *metric = state->catalog->metrics[item->metric]->current;
        int64_t value = 0;
        if (event.timestamp_us >= item->enrolment->assigned_at_us && bytes_equal(metric->event_type, event.event_type) &&
            metric_value(metric, event.properties, &value)) {
            item->sum += magnitude_of(value);
        }
    }
    return STATUS_OK;
}

static enum status magnitudes_read(struct state *state, const struct user *user, struct magnitudes *magnitudes)
{
    const uint64_t before = erasures_find_user(state->catalog->erasures, user_id(user));
    magnitudes->from_lsn = before;
    const enum status status = pairs_walk(state, user, magnitude_note, magnitudes);
    if (status != STATUS_OK || magnitudes->count == 0) {
        return status;
    }
    return state->options.history.scan(state->options.history.context, magnitudes->erasure->lsn, magnitude_visit, magnitudes);
}

/* ---- the user ---- */

static enum status pair_subtract(struct state *state, const struct enrolment *enrolment, const struct vector *vector, void *context)
{
    const struct magnitudes *magnitudes = context;
    const uint128 *magnitude = NULL;
    for (uint32_t i = 0; i < magnitudes->count; i++) {
        const struct magnitude *item = &magnitudes->items[i];
        if (item->enrolment == enrolment && item->metric == vector->metric) {
            magnitude = &item->sum;
        }
    }
    if (vector->has_events || !rollup_is_current(&state->rollup, enrolment)) {
        return STATUS_OK;
    }
    return rollup_subtract(&state->rollup, &state->users, enrolment, vector,
                           state->catalog->metrics[vector->metric]->current, magnitude);
}

static enum status enrolments_withdraw(struct state *state, const struct user *user)
{
    enum status status = STATUS_OK;
    for (uint32_t at = atomic_load_explicit(&user->enrolments, memory_order_relaxed); at != 0 && status == STATUS_OK;) {
        struct enrolment *enrolment = enrolment_at(&state->users, at - 1);
        struct rollup_experiment *experiment = state_experiment(state, enrolment->experiment);
        if (rollup_is_current(&state->rollup, enrolment)) {
            experiment->events -= user->events;
            experiment->duplicates -= user->duplicates;
            experiment->before -= enrolment->before;
            experiment->counted -= enrolment->counted;
        }
        status = rollup_withdraw(&state->rollup, &state->users, enrolment);
        attributes_drop(&state->attributes, enrolment->profile);
        state->totals.assignments--;
        at = enrolment->next;
    }
    return status;
}

static enum status user_take_out(struct state *state, const struct erasure *erasure)
{
    const uint32_t number = user_find_print(&state->users, erasure->user, erasure->user_hash);
    if (number == INDEX_NONE) {
        return STATUS_OK; /* never heard of, which is as good */
    }
    const struct user *user = user_at(&state->users, number);
    struct magnitudes magnitudes = {.state = state, .erasure = erasure, .duplicates = {&state->duplicates, 0}};
    enum status status = state_touch_user(state, number);
    if (status == STATUS_OK) {
        status = magnitudes_read(state, user, &magnitudes);
    }
    if (status == STATUS_OK) {
        status = pairs_walk(state, user, pair_subtract, &magnitudes);
    }
    if (status == STATUS_OK) {
        status = enrolments_withdraw(state, user);
    }
    for (uint32_t at = user->vectors; at != 0;) {
        struct vector *vector = pool_at(&state->rollup.vectors.vectors, at - 1);
        vector_clear(&state->rollup.vectors, vector, false);
        at = vector->next;
    }
    user_erase(&state->users, number);
    free(magnitudes.items);
    return status;
}

/* ---- the catalog ---- */

/* The user's override in the experiment, or NULL. */
static const struct override *override_of(const struct overrides *overrides, const struct erasure *erasure)
{
    for (uint32_t i = 0; overrides != NULL && i < overrides->count; i++) {
        if (user_print_order(user_print_of(overrides->items[i].user_id), erasure->user) == 0) {
            return &overrides->items[i];
        }
    }
    return NULL;
}

/* Publishes the catalog without the user's override in one experiment. */
static enum status override_remove(struct state *state, uint32_t experiment, const struct erasure *erasure)
{
    const struct overrides *current = state->catalog->experiments[experiment]->overrides;
    const struct override *there = override_of(current, erasure);
    if (there == NULL) {
        return STATUS_OK;
    }
    const struct definition_context context = {.id = current->experiment_id,
                                               .version = current->version + 1,
                                               .author = erasure->author,
                                               .now_us = erasure->erased_at_us};
    struct overrides *next = NULL;
    enum status status = overrides_change(current, &context, there->user_id, NULL, &next);
    struct catalog *catalog = status == STATUS_OK ? catalog_with_overrides(state->catalog, experiment, next) : NULL;
    if (status == STATUS_OK && catalog == NULL) {
        return STATUS_NO_MEMORY;
    }
    if (status == STATUS_OK) {
        state_publish_catalog(state, catalog);
    }
    return status;
}

enum status state_apply_erasure(struct state *state, const struct definition *definition, uint64_t lsn, bool past, bool *out_applied)
{
    struct erasure erasure;
    enum status status = erasure_decode(definition, &erasure);
    erasure.lsn = lsn;
    if (status == STATUS_OK && past) {
        assert(state->pending_count == 0);
        status = user_take_out(state, &erasure);
    }
    for (uint32_t i = 0; i < state->catalog->experiment_count && status == STATUS_OK; i++) {
        status = override_remove(state, i, &erasure);
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct catalog *without = catalog_without_user(state->catalog, &erasure);
    struct catalog *catalog = without != NULL ? catalog_with_erasure(without, &erasure) : NULL;
    catalog_unref(without);
    if (catalog == NULL) {
        return STATUS_NO_MEMORY;
    }
    state_publish_catalog(state, catalog);
    *out_applied = true;
    return STATUS_OK;
}
