/* state_covariate.c: what users did before their assignment, beside what they did after it: for CUPED. Like ratios, the products
 * of the two are in no matrix, so the members' vectors are gone through.
 *
 * Cost         a cache miss or two a member of the experiment; see decision 7.
 */
#include "engine/state_internal.h"
#include "engine/timestamp.h"

struct covariate_scan {
    const struct results_query *query;
    const struct metric *definition;
    uint64_t days_active; /* of the member, within the range */
    int64_t total;
};

static void day_visit(void *context, int32_t day, int64_t value)
{
    struct covariate_scan *scan = context;
    if (day >= scan->query->start_day && day <= scan->query->end_day) {
        scan->days_active++;
        scan->total = (int64_t)((uint64_t)scan->total + (uint64_t)value);
    }
}

static int64_t after_value(const struct covariate_scan *scan)
{
    if (scan->definition->type == METRIC_PROPORTION) {
        return scan->days_active != 0 ? METRIC_UNIT : 0;
    }
    return scan->definition->has_cap && scan->total > scan->definition->cap_upper ? scan->definition->cap_upper : scan->total;
}

static int64_t before_value(const struct metric *definition, struct before_assignment before)
{
    if (definition->type == METRIC_PROPORTION) {
        return before.events != 0 ? METRIC_UNIT : 0;
    }
    return before.value;
}

void state_results_covariate(const struct state *state, const struct results_query *query, uint32_t metric,
                             struct results_data *data)
{
    const uint32_t index = query->metrics[metric];
    const struct metric *definition = state->catalog->metrics[index]->current;
    const struct rollup_experiment *entry = state_experiment(state, query->experiment_index);
    for (uint32_t i = 0; i < data->variant_count; i++) {
        struct metric_sums *sums = &data->variants[i].metrics[metric];
        *sums = (struct metric_sums){.active = sums->active, .events = sums->events, .overflow = sums->overflow};
    }
    for (uint32_t i = 0; i < entry->member_count; i++) {
        const struct enrolment *enrolment = enrolment_at(&state->users, entry->members[i]);
        if (day_of(enrolment->assigned_at_us) > query->end_day) {
            continue; /* no user of the range */
        }
        struct covariate_scan scan = {.query = query, .definition = definition};
        rollup_visit_days(&state->rollup, &state->users, enrolment, index, definition, day_visit, &scan);
        const struct before_assignment before =
            rollup_before(&state->rollup, &state->users, enrolment, index, definition, query->covariate_days);
        const int64_t x = after_value(&scan);
        const int64_t y = before_value(definition, before);
        struct metric_sums *sums = &data->variants[enrolment->variant].metrics[metric];
        sums->sum = (int128)((uint128)sums->sum + (uint128)(int128)x);
        sums->sum_square += value_product(x, x);
        sums->other_sum = (int128)((uint128)sums->other_sum + (uint128)(int128)y);
        sums->other_square += value_product(y, y);
        sums->product = (int128)((uint128)sums->product + value_product(x, y));
    }
}
