/* state_results.c: the sums of one experiment for a range of days, copied out of the rollups. */
#include "engine/state_walk.h"
#include "engine/timestamp.h"

/* The days that have anything to show: of users or of events, within the range asked for. */
struct day_range {
    int32_t first;
    int32_t last; /* first > last: none */
};

static void range_include(struct day_range *range, int32_t day, const struct results_query *query)
{
    if (day < query->start_day || day > query->end_day) {
        return;
    }
    if (range->first > range->last) {
        *range = (struct day_range){day, day};
        return;
    }
    range->first = day < range->first ? day : range->first;
    range->last = day > range->last ? day : range->last;
}

struct range_visit {
    struct day_range *range;
    const struct results_query *query;
};

static void range_visit_day(void *context, int32_t day)
{
    const struct range_visit *visit = context;
    range_include(visit->range, day, visit->query);
}

/* Does the metric's cell know its days? */
static bool has_cells(const struct metric *definition)
{
    return definition->type != METRIC_RATIO && definition->type != METRIC_RETENTION && !metric_keeps_events(definition);
}

static void range_include_cell(struct day_range *range, const struct state *state, const struct results_query *query,
                               uint32_t variant, uint32_t metric)
{
    const struct cell_name name = {query->experiment_index, variant, metric};
    const struct cell *cell = rollup_cell(&state->rollup, &name);
    for (uint32_t i = 0; cell != NULL && i < cell->day_count; i++) {
        range_include(range, cell->days[i], query);
    }
}

/* Days with events of one metric: from the cells, or where it has none from the members. */
static void range_include_metric(struct day_range *range, const struct state *state, const struct results_query *query,
                                 uint32_t variants, uint32_t metric)
{
    struct range_visit visit = {range, query};
    if (!has_cells(state->catalog->metrics[metric]->current)) {
        state_visit_member_days(state, query_members(state, query), metric, range_visit_day, &visit);
        return;
    }
    for (uint32_t i = 0; i < variants; i++) {
        range_include_cell(range, state, query, i, metric);
    }
}

/* A retention is settled so many days after the users came. */
static void range_include_retention(struct day_range *range, const struct state *state, const struct results_query *query,
                                    uint32_t variants, const struct metric *definition)
{
    for (uint32_t i = 0; i < variants; i++) {
        const struct arm *arm = rollup_arm(&state->rollup, query->experiment_index, i);
        for (uint32_t j = 0; j < arm->day_count; j++) {
            const int32_t day = arm->days[j] + (int32_t)definition->to_day;
            if (day < query->today) {
                range_include(range, day, query);
            }
        }
    }
}

static struct day_range range_of(const struct state *state, const struct results_query *query, uint32_t variants)
{
    struct day_range range = {0, -1};
    for (uint32_t i = 0; i < variants; i++) {
        const struct arm *arm = rollup_arm(&state->rollup, query->experiment_index, i);
        for (uint32_t j = 0; j < arm->day_count; j++) {
            range_include(&range, arm->days[j], query);
        }
    }
    for (uint32_t i = 0; i < query->metric_count; i++) {
        const struct metric *definition = state->catalog->metrics[query->metrics[i]]->current;
        if (definition->type == METRIC_RETENTION) {
            range_include_retention(&range, state, query, variants, definition);
        } else if (definition->type == METRIC_RATIO) {
            range_include_metric(&range, state, query, variants, catalog_find_metric(state->catalog, definition->numerator));
            range_include_metric(&range, state, query, variants, catalog_find_metric(state->catalog, definition->denominator));
        } else {
            range_include_metric(&range, state, query, variants, query->metrics[i]);
        }
    }
    return range;
}

static uint64_t users_until(const struct arm *arm, int64_t day)
{
    uint64_t users = 0;
    for (uint32_t i = 0; i < arm->day_count && arm->days[i] <= day; i++) {
        users += arm->day_users[i];
    }
    return users;
}

static uint64_t members_until(const struct state *state, const struct results_query *query, uint32_t variant)
{
    uint64_t users = 0;
    for (uint32_t i = 0; i < query->member_count; i++) {
        const struct enrolment *enrolment = enrolment_at(&state->users, query->members[i]);
        users += enrolment->variant == variant && day_of(enrolment->assigned_at_us) <= query->end_day ? 1 : 0;
    }
    return users;
}

/* Days with their users, and room for the sums: the metrics' arrays of one day lie side by side. */
static enum status days_make(const struct arm *arm, struct day_range range, uint32_t day_count, uint32_t metric_count,
                             struct arena *arena, struct variant_sums *variant)
{
    variant->days = arena_take_zeroed(arena, day_count * sizeof(*variant->days));
    struct metric_sums *sums = arena_take_zeroed(arena, day_count * metric_count * 2ull * sizeof(*sums));
    if (variant->days == NULL || sums == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < day_count; i++) {
        struct day_sums *day = &variant->days[i];
        day->day = range.first + (int32_t)i;
        day->users_total = users_until(arm, day->day);
        day->users = day->users_total - users_until(arm, (int64_t)day->day - 1);
        day->on_day = sums + (size_t)i * metric_count * 2;
        day->cumulative = day->on_day + metric_count;
    }
    return STATUS_OK;
}

static enum status series_fill(const struct cell *cell, uint32_t metric, struct arena *arena,
                               struct variant_sums *variant, uint32_t day_count)
{
    struct metric_sums *on_day = arena_take_zeroed(arena, day_count * sizeof(*on_day));
    struct metric_sums *cumulative = arena_take_zeroed(arena, day_count * sizeof(*cumulative));
    if (on_day == NULL || cumulative == NULL) {
        return STATUS_NO_MEMORY;
    }
    if (cell != NULL) {
        cell_series(cell, variant->days[0].day, day_count, on_day, cumulative);
    }
    for (uint32_t i = 0; i < day_count; i++) {
        variant->days[i].on_day[metric] = on_day[i];
        variant->days[i].cumulative[metric] = cumulative[i];
        variant->days[i].on_day[metric].users = variant->days[i].users_total;
        variant->days[i].cumulative[metric].users = variant->days[i].users_total;
    }
    return STATUS_OK;
}

static enum status variant_fill(const struct state *state, const struct results_query *query, uint32_t number,
                                struct day_range range, struct arena *arena, struct results_data *data)
{
    struct variant_sums *variant = &data->variants[number];
    const struct arm *arm = rollup_arm(&state->rollup, query->experiment_index, number);
    assert(query->members == NULL || !query->series);
    const uint32_t day_count = query->series ? data->day_count : 0;
    variant->users = query->members != NULL ? members_until(state, query, number) : users_until(arm, query->end_day);
    variant->metrics = arena_take_zeroed(arena, (query->metric_count + 1ull) * sizeof(*variant->metrics));
    if (variant->metrics == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status = STATUS_OK;
    if (day_count != 0) {
        status = days_make(arm, range, day_count, query->metric_count, arena, variant);
    }
    for (uint32_t i = 0; i < query->metric_count && status == STATUS_OK; i++) {
        const struct cell_name name = {query->experiment_index, number, query->metrics[i]};
        const struct cell *cell = rollup_cell(&state->rollup, &name);
        if (cell != NULL) {
            cell_sum(cell, query->start_day, query->end_day, &variant->metrics[i]);
        }
        variant->metrics[i].users = variant->users;
        if (day_count != 0) {
            status = series_fill(cell, i, arena, variant, day_count);
        }
    }
    return status;
}

/* The counts of events, of some of the members. */
static void data_count_events(const struct state *state, const struct results_query *query, struct results_data *data)
{
    data->events_counted = 0;
    data->events_before_assignment = 0;
    data->events_duplicate = 0;
    data->events_filtered = 0;
    for (uint32_t i = 0; i < query->member_count; i++) {
        const struct enrolment *enrolment = enrolment_at(&state->users, query->members[i]);
        const struct user *user = user_at(&state->users, enrolment->user);
        data->events_counted += enrolment->counted;
        data->events_before_assignment += enrolment->before;
        data->events_duplicate += user->duplicates;
        data->events_filtered += user->events - enrolment->counted - enrolment->before;
    }
}

enum status state_results(const struct state *state, const struct results_query *query, struct arena *arena,
                          struct results_data *out_data)
{
    assert(state->pending_count == 0);
    if (query->experiment_index >= state->catalog->experiment_count) {
        return STATUS_NOT_FOUND;
    }
    const struct experiment *experiment = state->catalog->experiments[query->experiment_index]->current;
    const struct day_range range = range_of(state, query, experiment->variant_count);
    const struct rollup_experiment *entry = state_experiment(state, query->experiment_index);
    struct results_data data = {.lsn = state->next_lsn,
                                .experiment_version = experiment->version,
                                .first_version = entry->first_version,
                                .variant_count = experiment->variant_count,
                                .day_count = range.first > range.last ? 0 : (uint32_t)(range.last - range.first + 1),
                                .first_day = range.first,
                                .events_counted = entry->counted,
                                .events_before_assignment = entry->before,
                                .events_filtered = entry->events - entry->before - entry->counted,
                                .events_duplicate = entry->duplicates};
    if (query->members != NULL) {
        data_count_events(state, query, &data);
    }
    data.variants = arena_take_zeroed(arena, data.variant_count * sizeof(*data.variants));
    data.caps = arena_take(arena, (query->metric_count + 1ull) * sizeof(*data.caps));
    enum status status = data.variants != NULL && data.caps != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < query->metric_count && status == STATUS_OK; i++) {
        data.caps[i] = CAP_NONE;
    }
    for (uint32_t i = 0; i < data.variant_count && status == STATUS_OK; i++) {
        status = variant_fill(state, query, i, range, arena, &data);
    }
    for (uint32_t i = 0; i < query->metric_count && status == STATUS_OK; i++) {
        const struct metric *definition = state->catalog->metrics[query->metrics[i]]->current;
        if (definition->type == METRIC_QUANTILE) {
            status = state_results_quantile(state, query, i, &data);
        } else if (state_needs_members(query, definition)) {
            status = state_results_members(state, query, i, &data);
        }
    }
    if (status == STATUS_OK) {
        *out_data = data;
    }
    return status;
}
