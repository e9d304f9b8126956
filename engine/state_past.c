/* state_past.c: late facts: assignments applied after events that they make count, and metrics defined or changed after
 * their events. Both are repaired by reading the log again, and end in the same state as if everything had been known
 * from the start.
 *
 * Cost: one reading of the log a block that has such assignments, and one a metric whose event type has been seen.
 */
#include <stdlib.h>

#include "engine/arena.h"
#include "engine/state_internal.h"
#include "engine/timestamp.h"

bool duplicate_cursor_is(struct duplicate_cursor *cursor, uint64_t lsn)
{
    while (cursor->at < cursor->duplicates->count) {
        const uint64_t duplicate = *(const uint64_t *)pool_at(cursor->duplicates, cursor->at);
        if (duplicate >= lsn) {
            return duplicate == lsn;
        }
        cursor->at++;
    }
    return false;
}

/* Decodes the record where it is an event that counts at all. STATUS_END: it is none. */
static enum status counting_event(struct duplicate_cursor *duplicates, const struct record *record,
                                  struct event *out_event)
{
    if (record->kind != RECORD_EVENT || duplicate_cursor_is(duplicates, record->lsn)) {
        return STATUS_END;
    }
    return event_decode(record, out_event);
}

/* ---- assignments after their events ---- */

/* |value| added up, for one pending enrolment and metric. */
struct magnitude {
    uint32_t metric;
    uint128 sum;
    struct magnitude *next;
};

struct past {
    struct state *state;
    struct duplicate_cursor duplicates;
    struct magnitude **magnitudes; /* by place in state->pending */
    struct arena arena;
};

static uint32_t pending_place(const struct state *state, uint32_t enrolment)
{
    uint32_t low = 0;
    uint32_t high = state->pending_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (state->pending[middle] < enrolment) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    assert(low < state->pending_count && state->pending[low] == enrolment);
    return low;
}

static enum status magnitude_add(struct past *past, uint32_t place, uint32_t metric, int64_t value)
{
    struct magnitude *entry = past->magnitudes[place];
    while (entry != NULL && entry->metric != metric) {
        entry = entry->next;
    }
    if (entry == NULL) {
        entry = arena_take_zeroed(&past->arena, sizeof(*entry));
        if (entry == NULL) {
            return STATUS_NO_MEMORY;
        }
        entry->metric = metric;
        entry->next = past->magnitudes[place];
        past->magnitudes[place] = entry;
    }
    entry->sum += magnitude_of(value);
    return STATUS_OK;
}

/* One event of the past as a pending enrolment sees it. */
static enum status past_event(struct past *past, uint32_t number, const struct event *event)
{
    struct state *state = past->state;
    struct enrolment *enrolment = enrolment_at(&state->users, number);
    const bool before = event->timestamp_us < enrolment->assigned_at_us;
    const bool same_day = day_of(event->timestamp_us) == day_of(enrolment->assigned_at_us);
    const uint32_t *metrics = NULL;
    const uint32_t count = catalog_metrics_of_event(state->catalog, event->event_type, &metrics);
    bool matches = false;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
        int64_t value = 0;
        const struct metric *metric = state->catalog->metrics[metrics[i]]->current;
        if (!metric_value(metric, event->properties, &value)) {
            continue;
        }
        matches = true;
        if (metric_keeps_events(metric)) {
            continue; /* its vector knows what came before */
        }
        if (!before) {
            status = magnitude_add(past, pending_place(state, number), metrics[i], value);
        } else if (same_day) {
            status = boundary_add(&state->rollup.vectors, enrolment, metrics[i], value);
        }
    }
    struct rollup_experiment *experiment = state_experiment(state, enrolment->experiment);
    enrolment->before += before ? 1 : 0;
    experiment->before += before ? 1 : 0;
    enrolment->counted += !before && matches ? 1 : 0;
    experiment->counted += !before && matches ? 1 : 0;
    return status;
}

static enum status past_visit(void *context, const struct record *record)
{
    struct past *past = context;
    struct state *state = past->state;
    struct event event;
    enum status status = counting_event(&past->duplicates, record, &event);
    if (status != STATUS_OK) {
        return status == STATUS_END ? STATUS_OK : status;
    }
    const uint32_t user = user_find(&state->users, event.user_id, user_hash(&state->users, event.user_id));
    if (user == INDEX_NONE || !user_at(&state->users, user)->pending || state_is_erased(state, record, &event)) {
        return STATUS_OK;
    }
    uint32_t at = atomic_load_explicit(&user_at(&state->users, user)->enrolments, memory_order_relaxed);
    while (at != 0 && status == STATUS_OK) {
        if (enrolment_at(&state->users, at - 1)->pending) {
            status = past_event(past, at - 1, &event);
        }
        at = enrolment_at(&state->users, at - 1)->next;
    }
    return status;
}

/* The past is known: into the cells with it. */
static enum status past_finish(struct past *past, uint32_t place)
{
    struct state *state = past->state;
    struct enrolment *enrolment = enrolment_at(&state->users, state->pending[place]);
    enum status status = STATUS_OK;
    for (const struct magnitude *entry = past->magnitudes[place]; entry != NULL && status == STATUS_OK;
         entry = entry->next) {
        status = rollup_add_past(&state->rollup, &state->users, enrolment, entry->metric,
                                 state->catalog->metrics[entry->metric]->current, entry->sum);
    }
    enrolment->pending = false;
    user_at(&state->users, enrolment->user)->pending = false;
    return status;
}

enum status state_settle(struct state *state)
{
    if (state->pending_count == 0) {
        return STATUS_OK;
    }
    struct past past = {.state = state, .duplicates = {&state->duplicates, 0}};
    arena_init(&past.arena, 64 * 1024);
    past.magnitudes = calloc(state->pending_count, sizeof(struct magnitude *));
    enum status status = past.magnitudes != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < state->pending_count && status == STATUS_OK; i++) {
        status = state_touch_user(state, enrolment_at(&state->users, state->pending[i])->user);
    }
    if (status == STATUS_OK) {
        status = state->options.history.scan(state->options.history.context, state->next_lsn, past_visit, &past);
    }
    for (uint32_t i = 0; i < state->pending_count && status == STATUS_OK; i++) {
        status = past_finish(&past, i);
    }
    state->pending_count = 0;
    free(past.magnitudes);
    arena_deinit(&past.arena);
    return status;
}

/* ---- metrics after their events ---- */

struct redo {
    struct state *state;
    struct duplicate_cursor duplicates;
    const struct catalog *before;
    const struct catalog *after;
    uint32_t metric;
};

static bool event_matches(const struct catalog *catalog, const struct event *event)
{
    const uint32_t *metrics = NULL;
    const uint32_t count = catalog_metrics_of_event(catalog, event->event_type, &metrics);
    int64_t value = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (metric_value(catalog->metrics[metrics[i]]->current, event->properties, &value)) {
            return true;
        }
    }
    return false;
}

/* An event that fed no metric and now does, or the other way round, moves between "counted" and "filtered". */
static void redo_counted(struct state *state, const struct user *user, int64_t timestamp_us, bool counts_now)
{
    uint32_t at = atomic_load_explicit(&user->enrolments, memory_order_relaxed);
    while (at != 0) {
        struct enrolment *enrolment = enrolment_at(&state->users, at - 1);
        if (timestamp_us >= enrolment->assigned_at_us && rollup_is_current(&state->rollup, enrolment)) {
            enrolment->counted += counts_now ? 1u : UINT32_MAX; /* modulo: one less */
            state_experiment(state, enrolment->experiment)->counted += counts_now ? 1u : UINT64_MAX;
        }
        at = enrolment->next;
    }
}

static enum status redo_visit(void *context, const struct record *record)
{
    struct redo *redo = context;
    struct state *state = redo->state;
    struct event event;
    enum status status = counting_event(&redo->duplicates, record, &event);
    if (status != STATUS_OK) {
        return status == STATUS_END ? STATUS_OK : status;
    }
    const struct metric *metric = redo->after->metrics[redo->metric]->current;
    const bool counts_before = event_matches(redo->before, &event);
    const bool counts_after = event_matches(redo->after, &event);
    int64_t value = 0;
    const bool feeds = bytes_equal(metric->event_type, event.event_type) &&
                       metric_value(metric, event.properties, &value);
    if ((!feeds && counts_before == counts_after) || state_is_erased(state, record, &event)) {
        return STATUS_OK;
    }
    const uint32_t user = user_find(&state->users, event.user_id, user_hash(&state->users, event.user_id));
    assert(user != INDEX_NONE);
    status = state_touch_user(state, user);
    if (status != STATUS_OK) {
        return status;
    }
    if (counts_before != counts_after) {
        redo_counted(state, user_at(&state->users, user), event.timestamp_us, counts_after);
    }
    if (feeds) {
        status = rollup_add(&state->rollup, &state->users, user, redo->metric, metric, event.timestamp_us, value);
    }
    return status;
}

enum status state_redo_metric(struct state *state, const struct catalog *before, const struct catalog *after,
                              uint32_t metric, uint64_t end_lsn)
{
    assert(state->pending_count == 0);
    const struct metric *now = after->metrics[metric]->current;
    const struct metric *was = metric < before->metric_count ? before->metrics[metric]->current : NULL;
    const bool had_events = was != NULL && state_may_have_seen_type(state, was->event_type);
    if (!had_events && !state_may_have_seen_type(state, now->event_type)) {
        return STATUS_OK;
    }
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < state->users.users.count && status == STATUS_OK && had_events; i++) {
        if (vector_find(&state->rollup.vectors, user_at(&state->users, i), metric) != NULL) {
            status = state_touch_user(state, i);
        }
    }
    if (status == STATUS_OK && had_events) {
        status = rollup_clear_metric(&state->rollup, &state->users, metric, metric_keeps_events(now));
    }
    struct redo redo = {state, {&state->duplicates, 0}, before, after, metric};
    if (status == STATUS_OK) {
        status = state->options.history.scan(state->options.history.context, end_lsn, redo_visit, &redo);
    }
    return status;
}
