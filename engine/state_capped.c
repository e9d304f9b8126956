/* state_capped.c: metrics with a cap. A capped total is no sum of its days, so the day-pair matrices cannot tell its square:
 * the members' own vectors are gone through instead, and give exact sums as well.
 *
 * Cost         a cache miss or two for each member of the experiment, and the days of those who have events. Decision 7
 *              says why, and what would change it.
 */
#include "engine/state_internal.h"

struct capped_scan {
    const struct results_query *query;
    const struct metric *definition;
    uint32_t metric; /* place in the query */
    uint32_t day_count;
    struct variant_sums *variant; /* of the member at hand */
    int64_t total;                /* of the member, so far */
};

static int64_t capped(const struct metric *definition, int64_t total)
{
    return total < definition->cap_upper ? total : definition->cap_upper;
}

/* A member's capped total was `before` and is `after`. */
static void sums_move(struct metric_sums *sums, int64_t before, int64_t after)
{
    sums->sum = (int128)((uint128)sums->sum + (uint128)((int128)after - before));
    sums->sum_square += value_product(after, after) - value_product(before, before);
}

/* A day moves the range's total, and in a series the days from then on: here only the first, series_add_up() the rest. */
static void day_visit(void *context, int32_t day, int64_t value)
{
    struct capped_scan *scan = context;
    if (day < scan->query->start_day || day > scan->query->end_day) {
        return;
    }
    const int64_t before = capped(scan->definition, scan->total);
    scan->total = (int64_t)((uint64_t)scan->total + (uint64_t)value);
    const int64_t after = capped(scan->definition, scan->total);
    sums_move(&scan->variant->metrics[scan->metric], before, after);
    if (scan->day_count != 0) {
        const uint32_t place = (uint32_t)(day - scan->variant->days[0].day);
        assert(place < scan->day_count);
        sums_move(&scan->variant->days[place].cumulative[scan->metric], before, after);
        sums_move(&scan->variant->days[place].on_day[scan->metric], 0, capped(scan->definition, value));
    }
}

static void sums_clear(struct metric_sums *sums)
{
    sums->sum = 0;
    sums->sum_square = 0;
}

static void variant_clear(const struct capped_scan *scan, struct variant_sums *variant)
{
    sums_clear(&variant->metrics[scan->metric]);
    for (uint32_t i = 0; i < scan->day_count; i++) {
        sums_clear(&variant->days[i].on_day[scan->metric]);
        sums_clear(&variant->days[i].cumulative[scan->metric]);
    }
}

static void series_add_up(const struct capped_scan *scan, const struct variant_sums *variant)
{
    for (uint32_t i = 1; i < scan->day_count; i++) {
        const struct metric_sums *before = &variant->days[i - 1].cumulative[scan->metric];
        struct metric_sums *sums = &variant->days[i].cumulative[scan->metric];
        sums->sum = (int128)((uint128)sums->sum + (uint128)before->sum);
        sums->sum_square += before->sum_square;
    }
}

void state_results_cap(const struct state *state, const struct results_query *query, uint32_t metric,
                       struct results_data *data)
{
    struct capped_scan scan = {.query = query,
                               .definition = state->catalog->metrics[query->metrics[metric]]->current,
                               .metric = metric,
                               .day_count = query->series ? data->day_count : 0};
    const struct rollup_experiment *entry = state_experiment(state, query->experiment_index);
    for (uint32_t i = 0; i < data->variant_count; i++) {
        variant_clear(&scan, &data->variants[i]);
    }
    for (uint32_t i = 0; i < entry->member_count; i++) {
        const struct enrolment *enrolment = enrolment_at(&state->users, entry->members[i]);
        scan.variant = &data->variants[enrolment->variant];
        scan.total = 0;
        rollup_visit_days(&state->rollup, &state->users, enrolment, query->metrics[metric], scan.definition, day_visit,
                          &scan);
    }
    for (uint32_t i = 0; i < data->variant_count; i++) {
        series_add_up(&scan, &data->variants[i]);
    }
}
