/* state_members.c: what the day-pair matrices cannot answer is added up over the members of the experiment, each by its own
 * vectors: caps and max (no sum of their days), ratios and covariates (products of two totals), retention (days counted from each
 * one's assignment), windows (likewise, by the moment). All exact.
 *
 * Value        A user's total over the days of a range, by the metric's aggregation, then capped; of a proportion or a retention
 *              one unit where there was any event. A ratio has two totals.
 * Series       One walk: a member moves the cumulative sums on its active days only, from its value before to its value after;
 *              in the end they are added up over the days.
 * Cost         two to four cache misses a member, and the days of those who have events; see decision 7.
 */
#include <stdlib.h>

#include "engine/state_walk.h"
#include "engine/timestamp.h"

/* A metric whose totals are taken: the query's own, or one of the two of a ratio. */
struct part {
    uint32_t index;
    const struct metric *definition;
    int64_t cap;
    struct counted_day *days; /* of the member at hand, ascending */
    uint32_t count;
    uint32_t capacity;
};

/* What a part has come to, day by day. */
struct total {
    int64_t value;
    bool any;
};

struct walk {
    const struct state *state;
    const struct results_query *query;
    uint32_t metric; /* place in the query */
    const struct metric *definition;
    struct part parts[2];
    uint32_t part_count;
    uint32_t series_days;
    struct results_data *data;
    struct variant_sums *variant; /* of the member at hand */
    uint128 *magnitudes;          /* by variant */
    bool failed;
};

bool state_needs_members(const struct results_query *query, const struct metric *definition)
{
    const bool has_covariate = query->covariate_days != 0 &&
                               (definition->type == METRIC_MEAN || definition->type == METRIC_PROPORTION);
    return query->members != NULL || definition->has_cap || definition->type == METRIC_RATIO || definition->type == METRIC_RETENTION ||
           metric_keeps_events(definition) || has_covariate;
}

/* Three links of a chain of misses, each so far ahead that the one before it has arrived. */
#define AHEAD 8u

const struct enrolment *state_member(const struct state *state, struct member_list list, uint32_t place)
{
    const uint32_t *members = list.numbers;
    if (place + 3 * AHEAD < list.count) {
        __builtin_prefetch(enrolment_at(&state->users, members[place + 3 * AHEAD]));
        __builtin_prefetch(user_at(&state->users, enrolment_at(&state->users, members[place + 2 * AHEAD])->user));
        const struct user *user = user_at(&state->users, enrolment_at(&state->users, members[place + AHEAD])->user);
        if (user->vectors != 0) {
            __builtin_prefetch(pool_at(&state->rollup.vectors.vectors, user->vectors - 1));
        }
    }
    return enrolment_at(&state->users, members[place]);
}

/* ---- a member's days ---- */

static void day_keep(struct walk *walk, struct part *part, const struct counted_day *day)
{
    if (part->count == part->capacity) {
        const uint32_t capacity = part->capacity == 0 ? 64 : part->capacity * 2;
        struct counted_day *grown = realloc(part->days, capacity * sizeof(*grown));
        if (grown == NULL) {
            walk->failed = true;
            return;
        }
        part->days = grown;
        part->capacity = capacity;
    }
    part->days[part->count++] = *day;
}

struct day_reader {
    struct walk *walk;
    struct part *part;
};

static void day_visit(void *context, const struct counted_day *day)
{
    const struct day_reader *reader = context;
    struct walk *walk = reader->walk;
    const bool in_range = day->day >= walk->query->start_day && day->day <= walk->query->end_day;
    if (in_range || walk->definition->type == METRIC_RETENTION) {
        day_keep(walk, reader->part, day);
    }
}

static void member_read(struct walk *walk, const struct enrolment *enrolment)
{
    walk->variant = &walk->data->variants[enrolment->variant];
    for (uint32_t i = 0; i < walk->part_count; i++) {
        struct part *part = &walk->parts[i];
        struct day_reader reader = {walk, part};
        part->count = 0;
        rollup_visit_days(&walk->state->rollup, &walk->state->users, enrolment, part->index, part->definition, day_visit, &reader);
        for (uint32_t day = 0; day < part->count; day++) {
            walk->magnitudes[enrolment->variant] += part->days[day].magnitude;
            walk->variant->metrics[walk->metric].overflow |= part->days[day].incomplete;
        }
    }
}

/* ---- values ---- */

static void total_add(const struct part *part, struct total *total, int64_t value)
{
    if (part->definition->aggregation == METRIC_MAX) {
        total->value = !total->any || value > total->value ? value : total->value;
    } else {
        total->value = (int64_t)((uint64_t)total->value + (uint64_t)value);
    }
    total->any = true;
}

static int64_t total_value(const struct part *part, const struct total *total)
{
    if (part->definition->type == METRIC_PROPORTION) {
        return total->any ? METRIC_UNIT : 0;
    }
    return total->value < part->cap ? total->value : part->cap;
}

/* Adds a user's values, or takes them away again: all modulo the width. */
static void sums_add(struct metric_sums *sums, int64_t x, int64_t y, bool is_gain)
{
    const uint128 changes[] = {(uint128)(int128)x, value_product(x, x), (uint128)(int128)y, value_product(y, y), value_product(x, y)};
    const uint128 sign = is_gain ? 1 : ~(uint128)0;
    sums->sum = (int128)((uint128)sums->sum + sign * changes[0]);
    sums->sum_square += sign * changes[1];
    sums->other_sum = (int128)((uint128)sums->other_sum + sign * changes[2]);
    sums->other_square += sign * changes[3];
    sums->product = (int128)((uint128)sums->product + sign * changes[4]);
}

/* ---- one member ---- */

struct day_change {
    int64_t before[2];
    int64_t after[2];
    int64_t alone[2]; /* of the day by itself */
    uint32_t events;
    bool is_active;
    bool is_first; /* active day of the member */
};

static void sums_move(struct metric_sums *sums, const struct day_change *change)
{
    sums_add(sums, change->before[0], change->before[1], false);
    sums_add(sums, change->after[0], change->after[1], true);
    sums->active += change->is_first ? 1 : 0;
    sums->events += change->events;
}

static void day_move(struct walk *walk, int32_t day, const struct day_change *change)
{
    sums_move(&walk->variant->metrics[walk->metric], change);
    if (walk->series_days == 0) {
        return;
    }
    const uint32_t place = (uint32_t)(day - walk->variant->days[0].day);
    assert(place < walk->series_days);
    sums_move(&walk->variant->days[place].cumulative[walk->metric], change);
    struct metric_sums *on_day = &walk->variant->days[place].on_day[walk->metric];
    sums_add(on_day, change->alone[0], change->alone[1], true);
    on_day->active += change->is_active ? 1 : 0;
    on_day->events += change->events;
}

/* Goes through the days of all parts in order. A ratio's events are its denominator's. */
static void member_add(struct walk *walk, const struct enrolment *enrolment)
{
    struct total totals[2] = {{0, false}, {0, false}};
    uint32_t at[2] = {0, 0};
    const uint32_t shown = walk->part_count - 1;
    for (;;) {
        int32_t day = INT32_MAX;
        for (uint32_t i = 0; i < walk->part_count; i++) {
            const struct part *part = &walk->parts[i];
            day = at[i] < part->count && part->days[at[i]].day < day ? part->days[at[i]].day : day;
        }
        if (day == INT32_MAX) {
            break;
        }
        struct day_change change = {.events = 0};
        for (uint32_t i = 0; i < walk->part_count; i++) {
            const struct part *part = &walk->parts[i];
            const bool is_there = at[i] < part->count && part->days[at[i]].day == day;
            const struct counted_day *counted = is_there ? &part->days[at[i]++] : NULL;
            change.before[i] = total_value(part, &totals[i]);
            if (is_there && i == shown) {
                change.is_active = true;
                change.is_first = !totals[i].any;
                change.events = counted->events;
            }
            if (is_there) {
                struct total alone = {0, false};
                total_add(part, &alone, counted->value);
                change.alone[i] = total_value(part, &alone);
                total_add(part, &totals[i], counted->value);
            }
            change.after[i] = total_value(part, &totals[i]);
        }
        day_move(walk, day, &change);
    }
    struct metric_sums *sums = &walk->variant->metrics[walk->metric];
    sums->capped += totals[0].value > walk->parts[0].cap ? 1 : 0;
    if (walk->query->covariate_days == 0 || walk->part_count != 1 || day_of(enrolment->assigned_at_us) > walk->query->end_day) {
        return;
    }
    const struct before_assignment before = rollup_before(&walk->state->rollup, &walk->state->users, enrolment, walk->parts[0].index,
                                                          walk->definition, walk->query->covariate_days);
    const int64_t x = total_value(&walk->parts[0], &totals[0]);
    const int64_t y = walk->definition->type != METRIC_PROPORTION ? before.value : before.events != 0 ? METRIC_UNIT : 0;
    sums_add(sums, x, 0, false);
    sums_add(sums, x, y, true);
}

/* ---- retention ---- */

/* The day on which it is settled whether a member came back. */
static int32_t retention_day(const struct metric *definition, const struct enrolment *enrolment)
{
    return day_of(enrolment->assigned_at_us) + (int32_t)definition->to_day;
}

static bool retention_is_settled(const struct results_query *query, int32_t day)
{
    return day < query->today && day >= query->start_day && day <= query->end_day;
}

/* A member counts once, on the last of its days, when they are over. */
static void member_retain(struct walk *walk, const struct enrolment *enrolment)
{
    const int32_t last = retention_day(walk->definition, enrolment);
    const int32_t first = day_of(enrolment->assigned_at_us) + (int32_t)walk->definition->from_day;
    struct day_change change = {.events = 0};
    if (!retention_is_settled(walk->query, last)) {
        return;
    }
    for (uint32_t i = 0; i < walk->parts[0].count; i++) {
        const struct counted_day *day = &walk->parts[0].days[i];
        if (day->day >= first && day->day <= last) {
            change.is_active = true;
            change.events += day->events;
        }
    }
    change.is_first = change.is_active;
    change.after[0] = change.is_active ? METRIC_UNIT : 0;
    change.alone[0] = change.after[0];
    day_move(walk, last, &change);
    walk->variant->metrics[walk->metric].users++;
    if (walk->series_days != 0) {
        const uint32_t place = (uint32_t)(last - walk->variant->days[0].day);
        walk->variant->days[place].on_day[walk->metric].users++;
        walk->variant->days[place].cumulative[walk->metric].users++;
    }
}

/* ---- caps by percentile ---- */

static int total_compare(const void *a, const void *b)
{
    const int64_t left = *(const int64_t *)a;
    const int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* The least total that at least so many of all are not above; 0 where that is less, for users without events have 0. */
static void percentile_cap(struct walk *walk)
{
    const struct member_list members = query_members(walk->state, walk->query);
    struct part *part = &walk->parts[0];
    int64_t *totals = malloc((members.count + 1ull) * sizeof(*totals));
    uint64_t count = 0;
    walk->failed = totals == NULL;
    for (uint32_t i = 0; i < members.count && !walk->failed; i++) {
        const struct enrolment *enrolment = state_member(walk->state, members, i);
        if (day_of(enrolment->assigned_at_us) > walk->query->end_day) {
            continue;
        }
        struct total total = {0, false};
        struct day_reader reader = {walk, part};
        part->count = 0;
        rollup_visit_days(&walk->state->rollup, &walk->state->users, enrolment, part->index, part->definition, day_visit, &reader);
        for (uint32_t day = 0; day < part->count; day++) {
            total_add(part, &total, part->days[day].value);
        }
        if (total.value != 0 || !walk->definition->cap_ignores_zeros) {
            totals[count++] = total.value;
        }
    }
    if (count != 0 && !walk->failed) {
        qsort(totals, count, sizeof(*totals), total_compare);
        const uint128 rank = ((uint128)count * (uint128)walk->definition->cap_percentile + METRIC_UNIT - 1) / METRIC_UNIT;
        const int64_t total = totals[rank == 0 ? 0 : (uint64_t)rank - 1];
        part->cap = total > 0 ? total : 0;
    }
    free(totals);
}

/* ---- the walk ---- */

static void part_set(struct walk *walk, uint32_t index)
{
    walk->parts[walk->part_count++] =
        (struct part){.index = index, .definition = walk->state->catalog->metrics[index]->current, .cap = CAP_NONE};
}

static struct walk walk_make(const struct state *state, const struct results_query *query, uint32_t metric, struct results_data *data)
{
    const uint32_t index = query->metrics[metric];
    struct walk walk = {.state = state, .query = query, .metric = metric, .definition = state->catalog->metrics[index]->current, .data = data};
    if (walk.definition->type != METRIC_RATIO) {
        part_set(&walk, index);
    } else {
        part_set(&walk, catalog_find_metric(state->catalog, walk.definition->numerator));
        part_set(&walk, catalog_find_metric(state->catalog, walk.definition->denominator));
    }
    return walk;
}

struct visit_days {
    member_day_visit *visit;
    void *context;
};

static void days_pass(void *context, const struct counted_day *day)
{
    const struct visit_days *days = context;
    days->visit(days->context, day->day);
}

void state_visit_member_days(const struct state *state, struct member_list members, uint32_t metric, member_day_visit *visit,
                             void *context)
{
    const struct metric *definition = state->catalog->metrics[metric]->current;
    struct visit_days days = {visit, context};
    for (uint32_t i = 0; i < members.count; i++) {
        rollup_visit_days(&state->rollup, &state->users, state_member(state, members, i), metric, definition, days_pass, &days);
    }
}

/* Of metrics with cells these know of values beyond what can be counted exactly. */
static bool part_overflows(const struct walk *walk, uint32_t variant, const struct part *part)
{
    const struct cell_name name = {walk->query->experiment_index, variant, part->index};
    const struct cell *cell = rollup_cell(&walk->state->rollup, &name);
    return cell != NULL && cell->has_values && cell->magnitude > INT64_MAX;
}

static void variant_begin(const struct walk *walk, struct variant_sums *variant)
{
    const bool is_retention = walk->definition->type == METRIC_RETENTION;
    variant->metrics[walk->metric] = (struct metric_sums){.users = is_retention ? 0 : variant->users};
    for (uint32_t i = 0; i < walk->series_days; i++) {
        const uint64_t users = is_retention ? 0 : variant->days[i].users_total;
        variant->days[i].on_day[walk->metric] = (struct metric_sums){.users = users};
        variant->days[i].cumulative[walk->metric] = (struct metric_sums){.users = users};
    }
}

static void variant_end(const struct walk *walk, uint32_t number)
{
    struct variant_sums *variant = &walk->data->variants[number];
    const bool is_retention = walk->definition->type == METRIC_RETENTION;
    bool overflow = variant->metrics[walk->metric].overflow || walk->magnitudes[number] > INT64_MAX;
    for (uint32_t i = 0; i < walk->part_count; i++) {
        overflow = overflow || part_overflows(walk, number, &walk->parts[i]);
    }
    variant->metrics[walk->metric].overflow = overflow;
    for (uint32_t i = 0; i < walk->series_days; i++) {
        struct metric_sums *sums = &variant->days[i].cumulative[walk->metric];
        const struct metric_sums *before = i != 0 ? &variant->days[i - 1].cumulative[walk->metric] : &(struct metric_sums){.users = 0};
        sums->users += is_retention ? before->users : 0;
        sums->active += before->active;
        sums->events += before->events;
        sums->sum = (int128)((uint128)sums->sum + (uint128)before->sum);
        sums->sum_square += before->sum_square;
        sums->other_sum = (int128)((uint128)sums->other_sum + (uint128)before->other_sum);
        sums->other_square += before->other_square;
        sums->product = (int128)((uint128)sums->product + (uint128)before->product);
        sums->overflow = overflow;
        variant->days[i].on_day[walk->metric].overflow = overflow;
    }
}

enum status state_results_members(const struct state *state, const struct results_query *query, uint32_t metric,
                                  struct results_data *data)
{
    struct walk walk = walk_make(state, query, metric, data);
    const struct member_list members = query_members(state, query);
    walk.series_days = query->series ? data->day_count : 0;
    walk.magnitudes = calloc(data->variant_count + 1ull, sizeof(*walk.magnitudes));
    walk.failed = walk.magnitudes == NULL;
    if (walk.definition->cap_percentile != 0 && walk.definition->type == METRIC_MEAN && !walk.failed) {
        percentile_cap(&walk);
    } else if (walk.definition->has_cap && walk.definition->type == METRIC_MEAN) {
        walk.parts[0].cap = walk.definition->cap_upper;
    }
    data->caps[metric] = walk.parts[0].cap;
    for (uint32_t i = 0; i < data->variant_count; i++) {
        variant_begin(&walk, &data->variants[i]);
    }
    for (uint32_t i = 0; i < members.count && !walk.failed; i++) {
        const struct enrolment *enrolment = state_member(state, members, i);
        member_read(&walk, enrolment);
        if (walk.failed) {
            break;
        }
        if (walk.definition->type == METRIC_RETENTION) {
            member_retain(&walk, enrolment);
        } else {
            member_add(&walk, enrolment);
        }
    }
    for (uint32_t i = 0; i < data->variant_count && !walk.failed; i++) {
        variant_end(&walk, i);
    }
    free(walk.magnitudes);
    free(walk.parts[0].days);
    free(walk.parts[1].days);
    return walk.failed ? STATUS_NO_MEMORY : STATUS_OK;
}
