/* state_ratio.c: ratios of two metrics. The products of a user's two totals are in no matrix, so the members' own vectors are
 * gone through, as for caps, and give exact sums.
 *
 * Cost         three or four cache misses for each member of the experiment, and the days of those who have events; see
 *              decision 7.
 */
#include <stdlib.h>

#include "engine/state_internal.h"

struct ratio_day {
    int32_t day;
    int64_t numerator;
    int64_t denominator;
};

struct ratio_scan {
    const struct results_query *query;
    uint32_t metric; /* place in the query */
    uint32_t day_count;
    struct variant_sums *variant; /* of the member at hand */
    struct ratio_day *days;       /* of the member, ascending */
    uint32_t count;
    uint32_t capacity;
    uint32_t at; /* where the next denominator belongs, or later */
    bool failed;
};

static struct ratio_day *day_insert(struct ratio_scan *scan, uint32_t place, int32_t day)
{
    if (scan->count == scan->capacity) {
        const uint32_t capacity = scan->capacity == 0 ? 64 : scan->capacity * 2;
        struct ratio_day *grown = realloc(scan->days, capacity * sizeof(*grown));
        if (grown == NULL) {
            scan->failed = true;
            return NULL;
        }
        scan->days = grown;
        scan->capacity = capacity;
    }
    memmove(&scan->days[place + 1], &scan->days[place], (scan->count - place) * sizeof(*scan->days));
    scan->days[place] = (struct ratio_day){.day = day};
    scan->count++;
    return &scan->days[place];
}

static bool in_range(const struct ratio_scan *scan, int32_t day)
{
    return day >= scan->query->start_day && day <= scan->query->end_day && !scan->failed;
}

static void numerator_visit(void *context, int32_t day, int64_t value)
{
    struct ratio_scan *scan = context;
    struct ratio_day *entry = in_range(scan, day) ? day_insert(scan, scan->count, day) : NULL;
    if (entry != NULL) {
        entry->numerator = value;
    }
}

static void denominator_visit(void *context, int32_t day, int64_t value)
{
    struct ratio_scan *scan = context;
    while (scan->at < scan->count && scan->days[scan->at].day < day) {
        scan->at++;
    }
    if (!in_range(scan, day)) {
        return;
    }
    const bool is_there = scan->at < scan->count && scan->days[scan->at].day == day;
    struct ratio_day *entry = is_there ? &scan->days[scan->at] : day_insert(scan, scan->at, day);
    if (entry != NULL) {
        entry->denominator = value;
    }
}

/* Adds a user's totals, or takes them away again: all modulo the width. */
static void sums_add(struct metric_sums *sums, int64_t x, int64_t y, bool is_gain)
{
    const uint128 changes[] = {(uint128)(int128)x, value_product(x, x), (uint128)(int128)y, value_product(y, y), value_product(x, y)};
    uint128 totals[] = {(uint128)sums->sum, sums->sum_square, (uint128)sums->other_sum, sums->other_square,
                        (uint128)sums->product};
    for (size_t i = 0; i < COUNT_OF(totals); i++) {
        totals[i] = is_gain ? totals[i] + changes[i] : totals[i] - changes[i];
    }
    sums->sum = (int128)totals[0];
    sums->sum_square = totals[1];
    sums->other_sum = (int128)totals[2];
    sums->other_square = totals[3];
    sums->product = (int128)totals[4];
}

/* The member's days move the range's totals, and in a series the days from then on: here only the first of them. */
static void member_add(struct ratio_scan *scan)
{
    int64_t x = 0;
    int64_t y = 0;
    for (uint32_t i = 0; i < scan->count; i++) {
        const struct ratio_day *day = &scan->days[i];
        const int64_t x_after = (int64_t)((uint64_t)x + (uint64_t)day->numerator);
        const int64_t y_after = (int64_t)((uint64_t)y + (uint64_t)day->denominator);
        sums_add(&scan->variant->metrics[scan->metric], x, y, false);
        sums_add(&scan->variant->metrics[scan->metric], x_after, y_after, true);
        if (scan->day_count != 0) {
            const uint32_t place = (uint32_t)(day->day - scan->variant->days[0].day);
            assert(place < scan->day_count);
            sums_add(&scan->variant->days[place].cumulative[scan->metric], x, y, false);
            sums_add(&scan->variant->days[place].cumulative[scan->metric], x_after, y_after, true);
            sums_add(&scan->variant->days[place].on_day[scan->metric], day->numerator, day->denominator, true);
        }
        x = x_after;
        y = y_after;
    }
}

/* Whom and how often stays as it was put there; what they add up to begins at 0. */
static void sums_clear(struct metric_sums *sums, bool overflow)
{
    *sums = (struct metric_sums){.active = sums->active, .events = sums->events, .overflow = overflow};
}

static void variant_clear(const struct ratio_scan *scan, struct variant_sums *variant, bool overflow)
{
    sums_clear(&variant->metrics[scan->metric], overflow);
    for (uint32_t i = 0; i < scan->day_count; i++) {
        sums_clear(&variant->days[i].on_day[scan->metric], overflow);
        sums_clear(&variant->days[i].cumulative[scan->metric], overflow);
    }
}

static void series_add_up(const struct ratio_scan *scan, const struct variant_sums *variant)
{
    for (uint32_t i = 1; i < scan->day_count; i++) {
        const struct metric_sums *before = &variant->days[i - 1].cumulative[scan->metric];
        struct metric_sums *sums = &variant->days[i].cumulative[scan->metric];
        sums->sum = (int128)((uint128)sums->sum + (uint128)before->sum);
        sums->sum_square += before->sum_square;
        sums->other_sum = (int128)((uint128)sums->other_sum + (uint128)before->other_sum);
        sums->other_square += before->other_square;
        sums->product = (int128)((uint128)sums->product + (uint128)before->product);
    }
}

static bool part_overflows(const struct state *state, uint32_t experiment, uint32_t variant, uint32_t metric)
{
    const struct cell_name name = {experiment, variant, metric};
    const struct cell *cell = rollup_cell(&state->rollup, &name);
    struct metric_sums sums = {0};
    if (cell != NULL) {
        cell_sum(cell, INT32_MIN, INT32_MAX, &sums);
    }
    return sums.overflow;
}

enum status state_results_ratio(const struct state *state, const struct results_query *query, uint32_t metric,
                                struct results_data *data)
{
    const struct metric *definition = state->catalog->metrics[query->metrics[metric]]->current;
    const uint32_t numerator = catalog_find_metric(state->catalog, definition->numerator);
    const uint32_t denominator = catalog_find_metric(state->catalog, definition->denominator);
    struct ratio_scan scan = {
        .query = query, .metric = metric, .day_count = query->series ? data->day_count : 0};
    const struct rollup_experiment *entry = state_experiment(state, query->experiment_index);
    for (uint32_t i = 0; i < data->variant_count; i++) {
        variant_clear(&scan, &data->variants[i],
                      part_overflows(state, query->experiment_index, i, numerator) ||
                          part_overflows(state, query->experiment_index, i, denominator));
    }
    for (uint32_t i = 0; i < entry->member_count && !scan.failed; i++) {
        const struct enrolment *enrolment = enrolment_at(&state->users, entry->members[i]);
        scan.variant = &data->variants[enrolment->variant];
        scan.count = 0;
        scan.at = 0;
        rollup_visit_days(&state->rollup, &state->users, enrolment, numerator,
                          state->catalog->metrics[numerator]->current, numerator_visit, &scan);
        rollup_visit_days(&state->rollup, &state->users, enrolment, denominator,
                          state->catalog->metrics[denominator]->current, denominator_visit, &scan);
        member_add(&scan);
    }
    for (uint32_t i = 0; i < data->variant_count; i++) {
        series_add_up(&scan, &data->variants[i]);
    }
    free(scan.days);
    return scan.failed ? STATUS_NO_MEMORY : STATUS_OK;
}
