/* state_quantile.c: quantiles of the values of all events of a variant's users, by sorting them, and what their error needs: the
 * values at the ranks that bound the quantile, and of each user the events up to it.
 *
 * Definition   The least value that at least q of all events are not above.
 * Cost         16 bytes an event of the range, n log n; a series looks at all of them once a day of it. At most
 *              LIMIT_QUANTILE_VALUES. docs/statistics.md has the formulas.
 */
#include <math.h>
#include <stdlib.h>

#include "engine/state_walk.h"
#include "engine/stats.h"
#include "engine/timestamp.h"

struct sample {
    int64_t value;
    int32_t day;
};

struct samples {
    struct sample *items;
    uint64_t count;
    uint64_t capacity;
};

static int sample_compare(const void *a, const void *b)
{
    const struct sample *left = a;
    const struct sample *right = b;
    return (left->value > right->value) - (left->value < right->value);
}

static enum status sample_add(struct samples *samples, int64_t value, int32_t day)
{
    if (samples->count == LIMIT_QUANTILE_VALUES) {
        return STATUS_TOO_LARGE;
    }
    if (samples->count == samples->capacity) {
        const uint64_t capacity = samples->capacity == 0 ? 1024 : samples->capacity * 2;
        struct sample *grown = realloc(samples->items, capacity * sizeof(*grown));
        if (grown == NULL) {
            return STATUS_NO_MEMORY;
        }
        samples->items = grown;
        samples->capacity = capacity;
    }
    samples->items[samples->count++] = (struct sample){value, day};
    return STATUS_OK;
}

struct quantile_walk {
    const struct state *state;
    const struct results_query *query;
    uint32_t metric; /* place in the query */
    const struct metric *definition;
};

/* The events of a member within the range. */
static const struct vector_event *member_events(const struct quantile_walk *walk, const struct enrolment *enrolment, uint32_t *out_count)
{
    uint32_t count = 0;
    const struct vector_event *events = rollup_counted_events(&walk->state->rollup, &walk->state->users, enrolment,
                                                              walk->query->metrics[walk->metric], walk->definition, &count);
    while (count > 0 && day_of(events->timestamp_us) < walk->query->start_day) {
        events++;
        count--;
    }
    while (count > 0 && day_of(events[count - 1].timestamp_us) > walk->query->end_day) {
        count--;
    }
    *out_count = count;
    return events;
}

static bool is_incomplete(const struct quantile_walk *walk, const struct enrolment *enrolment)
{
    const struct vector *vector =
        vector_find(&walk->state->rollup.vectors, user_at(&walk->state->users, enrolment->user), walk->query->metrics[walk->metric]);
    return vector != NULL && vector->count == LIMIT_KEPT_EVENTS;
}

static enum status variant_gather(const struct quantile_walk *walk, uint32_t variant, struct metric_sums *sums, struct samples *samples)
{
    const struct member_list members = query_members(walk->state, walk->query);
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < members.count && status == STATUS_OK; i++) {
        const struct enrolment *enrolment = state_member(walk->state, members, i);
        if (enrolment->variant != variant) {
            continue;
        }
        uint32_t count = 0;
        const struct vector_event *events = member_events(walk, enrolment, &count);
        for (uint32_t j = 0; j < count && status == STATUS_OK; j++) {
            status = sample_add(samples, events[j].value, day_of(events[j].timestamp_us));
        }
        sums->active += count != 0 ? 1 : 0;
        sums->events += count;
        sums->overflow |= is_incomplete(walk, enrolment);
    }
    return status;
}

/* The place of a rank from 1, kept within the values there are. */
static uint64_t place_of(double rank, uint64_t count)
{
    const double place = rank < 1.0 ? 0.0 : rank - 1.0;
    return place >= (double)count ? count - 1 : (uint64_t)place;
}

/* The k-th (from 0) of the samples on the days asked for; they are in the order of their values. */
static int64_t sample_at(const struct samples *samples, int32_t first_day, int32_t last_day, uint64_t place)
{
    for (uint64_t i = 0; i < samples->count; i++) {
        const bool is_in = samples->items[i].day >= first_day && samples->items[i].day <= last_day;
        if (is_in && place-- == 0) {
            return samples->items[i].value;
        }
    }
    return 0;
}

static void series_fill(const struct quantile_walk *walk, const struct samples *samples, struct variant_sums *variant, uint32_t day_count)
{
    uint64_t until = 0;
    for (uint32_t i = 0; i < day_count; i++) {
        struct day_sums *day = &variant->days[i];
        uint64_t on_day = 0;
        for (uint64_t j = 0; j < samples->count; j++) {
            on_day += samples->items[j].day == day->day ? 1 : 0;
        }
        until += on_day;
        const uint64_t place = on_day != 0 ? place_of(ceil(walk->definition->quantile * (double)on_day), on_day) : 0;
        const uint64_t place_until = until != 0 ? place_of(ceil(walk->definition->quantile * (double)until), until) : 0;
        day->on_day[walk->metric] = (struct metric_sums){.users = day->users_total, .events = on_day};
        day->cumulative[walk->metric] = (struct metric_sums){.users = day->users_total, .events = until};
        day->on_day[walk->metric].quantile = sample_at(samples, day->day, day->day, place);
        day->cumulative[walk->metric].quantile = sample_at(samples, INT32_MIN, day->day, place_until);
    }
}

/* Each user's events up to the quantile, and all of them. */
static void shares_fill(const struct quantile_walk *walk, uint32_t variant, struct metric_sums *sums)
{
    const struct member_list members = query_members(walk->state, walk->query);
    for (uint32_t i = 0; i < members.count; i++) {
        const struct enrolment *enrolment = state_member(walk->state, members, i);
        if (enrolment->variant != variant) {
            continue;
        }
        uint32_t count = 0;
        const struct vector_event *events = member_events(walk, enrolment, &count);
        int64_t below = 0;
        for (uint32_t j = 0; j < count; j++) {
            below += events[j].value <= sums->quantile ? METRIC_UNIT : 0;
        }
        const int64_t all = count * METRIC_UNIT;
        sums->sum += below;
        sums->sum_square += value_product(below, below);
        sums->other_sum += all;
        sums->other_square += value_product(all, all);
        sums->product = (int128)((uint128)sums->product + value_product(below, all));
    }
}

static enum status variant_fill(const struct quantile_walk *walk, uint32_t number, struct results_data *data)
{
    struct variant_sums *variant = &data->variants[number];
    struct metric_sums *sums = &variant->metrics[walk->metric];
    struct samples samples = {0};
    *sums = (struct metric_sums){.users = variant->users};
    const enum status status = variant_gather(walk, number, sums, &samples);
    if (status == STATUS_OK && samples.count != 0) {
        qsort(samples.items, samples.count, sizeof(*samples.items), sample_compare);
        const double n = (double)samples.count;
        const double q = walk->definition->quantile;
        const double reach = STATS_QUANTILE_Z * sqrt(n * q * (1.0 - q));
        sums->quantile = samples.items[place_of(ceil(n * q), samples.count)].value;
        sums->quantile_lower = samples.items[place_of(floor(n * q - reach), samples.count)].value;
        sums->quantile_upper = samples.items[place_of(ceil(n * q + reach), samples.count)].value;
        shares_fill(walk, number, sums);
    }
    if (status == STATUS_OK && walk->query->series) {
        series_fill(walk, &samples, variant, data->day_count);
    }
    free(samples.items);
    return status;
}

enum status state_results_quantile(const struct state *state, const struct results_query *query, uint32_t metric,
                                   struct results_data *data)
{
    const struct quantile_walk walk = {state, query, metric, state->catalog->metrics[query->metrics[metric]]->current};
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < data->variant_count && status == STATUS_OK; i++) {
        status = variant_fill(&walk, i, data);
    }
    return status;
}
