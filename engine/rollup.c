/* rollup.c: vectors, boundaries and arms, and how one event moves them and the cells. See rollup.h. */
#include "engine/rollup.h"

#include <stdlib.h>

#include "engine/timestamp.h"

enum status rollup_init(struct rollup *rollup)
{
    memset(rollup, 0, sizeof(*rollup));
    return vectors_init(&rollup->vectors);
}

void rollup_deinit(struct rollup *rollup)
{
    vectors_deinit(&rollup->vectors);
    for (uint32_t i = 0; i < rollup->experiment_count; i++) {
        struct rollup_experiment *experiment = &rollup->experiments[i];
        for (uint32_t j = 0; j < experiment->arm_count; j++) {
            struct arm *arm = &experiment->arms[j];
            for (uint32_t k = 0; k < arm->cell_count; k++) {
                cell_free(arm->cells[k]);
            }
            free(arm->cells);
            free(arm->days);
            free(arm->day_users);
        }
        free(experiment->arms);
        free(experiment->members);
        free(experiment->past_members);
    }
    free(rollup->experiments);
    free(rollup->changed);
    memset(rollup, 0, sizeof(*rollup));
}

enum status rollup_grow(struct rollup *rollup, uint32_t experiment, uint32_t variants)
{
    if (experiment >= rollup->experiment_count) {
        const uint32_t count = experiment + 1;
        struct rollup_experiment *grown = realloc(rollup->experiments, count * sizeof(*grown));
        if (grown == NULL) {
            return STATUS_NO_MEMORY;
        }
        memset(grown + rollup->experiment_count, 0, (count - rollup->experiment_count) * sizeof(*grown));
        rollup->experiments = grown;
        rollup->experiment_count = count;
    }
    struct rollup_experiment *entry = &rollup->experiments[experiment];
    if (variants > entry->arm_count) {
        struct arm *arms = realloc(entry->arms, variants * sizeof(*arms));
        if (arms == NULL) {
            return STATUS_NO_MEMORY;
        }
        memset(arms + entry->arm_count, 0, (variants - entry->arm_count) * sizeof(*arms));
        entry->arms = arms;
        entry->arm_count = variants;
    }
    return STATUS_OK;
}

static enum status changed_add(struct rollup *rollup, const struct cell_name *name)
{
    if (rollup->changed_count == rollup->changed_capacity) {
        const uint32_t capacity = rollup->changed_capacity == 0 ? 64 : rollup->changed_capacity * 2;
        struct cell_name *grown = realloc(rollup->changed, capacity * sizeof(*grown));
        if (grown == NULL) {
            return STATUS_NO_MEMORY;
        }
        rollup->changed = grown;
        rollup->changed_capacity = capacity;
    }
    rollup->changed[rollup->changed_count++] = *name;
    return STATUS_OK;
}

/* ---- arms ---- */

const struct arm *rollup_arm(const struct rollup *rollup, uint32_t experiment, uint32_t variant)
{
    if (experiment >= rollup->experiment_count || variant >= rollup->experiments[experiment].arm_count) {
        return NULL;
    }
    return &rollup->experiments[experiment].arms[variant];
}

static struct arm *arm_at(struct rollup *rollup, uint32_t experiment, uint32_t variant)
{
    assert(experiment < rollup->experiment_count && variant < rollup->experiments[experiment].arm_count);
    return &rollup->experiments[experiment].arms[variant];
}

enum status arm_add_users(struct arm *arm, int32_t day, uint64_t users)
{
    uint32_t place = arm->day_count;
    while (place > 0 && arm->days[place - 1] >= day) {
        place--;
    }
    if (place == arm->day_count || arm->days[place] != day) {
        if (arm->day_count == arm->day_capacity) {
            const uint32_t capacity = arm->day_capacity == 0 ? 8 : arm->day_capacity * 2;
            int32_t *days = realloc(arm->days, capacity * sizeof(*days));
            uint64_t *day_users = days != NULL ? realloc(arm->day_users, capacity * sizeof(*day_users)) : NULL;
            arm->days = days != NULL ? days : arm->days;
            if (day_users == NULL) {
                return STATUS_NO_MEMORY;
            }
            arm->day_users = day_users;
            arm->day_capacity = capacity;
        }
        memmove(arm->days + place + 1, arm->days + place, (arm->day_count - place) * sizeof(*arm->days));
        memmove(arm->day_users + place + 1, arm->day_users + place,
                (arm->day_count - place) * sizeof(*arm->day_users));
        arm->days[place] = day;
        arm->day_users[place] = 0;
        arm->day_count++;
    }
    arm->day_users[place] += users;
    arm->users += users;
    return STATUS_OK;
}

void rollup_note_version(struct rollup_experiment *experiment, uint32_t version)
{
    if (experiment->first_version == 0 || version < experiment->first_version) {
        experiment->first_version = version;
    }
}

enum status rollup_enrol(struct rollup *rollup, const struct users *users, uint32_t enrolment)
{
    const struct enrolment *added = enrolment_at(users, enrolment);
    struct rollup_experiment *experiment = &rollup->experiments[added->experiment];
    if (experiment->member_count == experiment->member_capacity) {
        const uint32_t capacity = experiment->member_capacity == 0 ? 64 : experiment->member_capacity * 2;
        uint32_t *members = realloc(experiment->members, capacity * sizeof(*members));
        if (members == NULL) {
            return STATUS_NO_MEMORY;
        }
        experiment->members = members;
        experiment->member_capacity = capacity;
    }
    experiment->members[experiment->member_count++] = enrolment;
    rollup_note_version(experiment, added->version);
    struct arm *arm = arm_at(rollup, added->experiment, added->variant);
    enum status status = arm_add_users(arm, day_of(added->assigned_at_us), 1);
    if (status == STATUS_OK && !arm->dirty) {
        arm->dirty = true;
        status = changed_add(rollup, &(struct cell_name){added->experiment, added->variant, ROLLUP_ARM});
    }
    return status;
}

/* ---- cells ---- */

const struct cell *rollup_cell(const struct rollup *rollup, const struct cell_name *name)
{
    const struct arm *arm = rollup_arm(rollup, name->experiment, name->variant);
    return arm != NULL && name->metric < arm->cell_count ? arm->cells[name->metric] : NULL;
}

enum status rollup_cell_make(struct rollup *rollup, const struct cell_name *name, bool has_values,
                             struct cell **out_cell)
{
    struct arm *arm = arm_at(rollup, name->experiment, name->variant);
    if (name->metric >= arm->cell_count) {
        const uint32_t count = name->metric + 1;
        struct cell **cells = realloc(arm->cells, count * sizeof(*cells));
        if (cells == NULL) {
            return STATUS_NO_MEMORY;
        }
        memset(cells + arm->cell_count, 0, (count - arm->cell_count) * sizeof(*cells));
        arm->cells = cells;
        arm->cell_count = count;
    }
    if (arm->cells[name->metric] == NULL) {
        arm->cells[name->metric] = calloc(1, sizeof(struct cell));
        if (arm->cells[name->metric] == NULL) {
            return STATUS_NO_MEMORY;
        }
        arm->cells[name->metric]->has_values = has_values;
    }
    *out_cell = arm->cells[name->metric];
    return STATUS_OK;
}

static enum status cell_for_change(struct rollup *rollup, const struct cell_name *name,
                                   const struct metric *definition, struct cell **out_cell)
{
    enum status status = rollup_cell_make(rollup, name, definition->type == METRIC_MEAN, out_cell);
    if (status == STATUS_OK && !(*out_cell)->dirty) {
        (*out_cell)->dirty = true;
        status = changed_add(rollup, name);
    }
    return status;
}

/* ---- what an enrolment sees of a vector ---- */

/* A vector from one enrolment's point of view: days before the assignment's are out, the boundary is taken off. */
struct view {
    const struct metric *definition;
    const struct vector_day *days;
    uint32_t count;
    uint32_t first; /* place of the first day that can count */
    int32_t assigned_day;
    uint32_t boundary_count;
    int64_t boundary_sum;
};

static struct view view_make(const struct rollup *rollup, const struct vector *vector,
                             const struct enrolment *enrolment, const struct metric *definition)
{
    struct view view = {.definition = definition,
                        .days = vector_days(&rollup->vectors, vector),
                        .count = vector->count,
                        .assigned_day = day_of(enrolment->assigned_at_us)};
    view.first = vector_day_place(view.days, view.count, view.assigned_day);
    const struct boundary *boundary = boundary_find(&rollup->vectors, enrolment, vector->metric);
    if (boundary != NULL) {
        view.boundary_count = boundary->count;
        view.boundary_sum = boundary->sum;
    }
    return view;
}

static uint32_t view_events(const struct view *view, uint32_t place)
{
    const struct vector_day *day = &view->days[place];
    return day->day == view->assigned_day ? day->count - view->boundary_count : day->count;
}

static int64_t view_value(const struct view *view, uint32_t place)
{
    const struct vector_day *day = &view->days[place];
    if (view->definition->aggregation == METRIC_UNIQUE_DAYS) {
        return view_events(view, place) != 0 ? METRIC_UNIT : 0;
    }
    const int64_t off = day->day == view->assigned_day ? view->boundary_sum : 0;
    return (int64_t)((uint64_t)day->sum - (uint64_t)off);
}

static uint128 product(int64_t a, int64_t b)
{
    return (uint128)((int128)a * b);
}

/* The user becomes active on `day` between the active days next to it. */
static void cell_activate(struct cell *cell, const struct view *view, uint32_t place, uint32_t slot)
{
    const int32_t day = cell->days[slot];
    uint32_t previous = UINT32_MAX;
    for (uint32_t i = place; i-- > view->first;) {
        if (view_events(view, i) != 0) {
            previous = cell_slot(cell, view->days[i].day);
            break;
        }
    }
    uint32_t next = UINT32_MAX;
    for (uint32_t i = place; i < view->count; i++) {
        if (view->days[i].day > day && view_events(view, i) != 0) {
            next = cell_slot(cell, view->days[i].day);
            break;
        }
    }
    if (next != UINT32_MAX) {
        uint64_t *gap = previous != UINT32_MAX ? &cell->follows[cell_pair(previous, next)] : &cell->first[next];
        (*gap)--;
        cell->follows[cell_pair(slot, next)]++;
    }
    uint64_t *reached = previous != UINT32_MAX ? &cell->follows[cell_pair(previous, slot)] : &cell->first[slot];
    (*reached)++;
}

/* One event of `value` on `day` (at `place` in the view, which does not hold it yet) into a cell. */
static enum status cell_count(struct cell *cell, const struct view *view, uint32_t place, int32_t day, int64_t value)
{
    uint32_t slot = 0;
    const enum status status = cell_slot_make(cell, day, &slot);
    if (status != STATUS_OK) {
        return status;
    }
    const bool present = place < view->count && view->days[place].day == day;
    const uint32_t events = present ? view_events(view, place) : 0;
    cell->events[slot]++;
    if (events == 0) {
        cell_activate(cell, view, place, slot);
    }
    if (!cell->has_values) {
        return STATUS_OK;
    }
    cell->magnitude += magnitude_of(value);
    if (view->definition->aggregation == METRIC_UNIQUE_DAYS) {
        value = events == 0 ? METRIC_UNIT : 0;
    }
    cell->sums[slot] += product(value, 1);
    const int64_t own = present ? view_value(view, place) : 0;
    const uint128 cross = product(own, value);
    cell->products[cell_pair(slot, slot)] += cross + cross + product(value, value);
    for (uint32_t i = view->first; i < view->count; i++) {
        if (view->days[i].day != day && view_events(view, i) != 0) {
            const uint32_t other = cell_slot(cell, view->days[i].day);
            const uint128 pair = product(view_value(view, i), value);
            cell->products[cell_pair(other, slot)] += pair;
        }
    }
    return STATUS_OK;
}

/* The event as one enrolment sees it: counted, part of the boundary, or before it. */
static enum status enrolment_count(struct rollup *rollup, struct enrolment *enrolment, const struct vector *vector,
                                   const struct metric *definition, int64_t timestamp_us, int64_t value)
{
    const int32_t day = day_of(timestamp_us);
    if (timestamp_us < enrolment->assigned_at_us) {
        if (day != day_of(enrolment->assigned_at_us)) {
            return STATUS_OK;
        }
        return boundary_add(&rollup->vectors, enrolment, vector->metric, value);
    }
    const struct cell_name name = {enrolment->experiment, enrolment->variant, vector->metric};
    struct cell *cell = NULL;
    const enum status status = cell_for_change(rollup, &name, definition, &cell);
    if (status != STATUS_OK) {
        return status;
    }
    const struct view view = view_make(rollup, vector, enrolment, definition);
    return cell_count(cell, &view, vector_day_place(view.days, view.count, day), day, value);
}

enum status rollup_add(struct rollup *rollup, const struct users *users, uint32_t user_number, uint32_t metric,
                       const struct metric *definition, int64_t timestamp_us, int64_t value)
{
    struct user *user = user_at(users, user_number);
    struct vector *vector = vector_find(&rollup->vectors, user, metric);
    enum status status = STATUS_OK;
    if (vector == NULL) {
        status = vector_make(&rollup->vectors, user, metric, metric_keeps_events(definition), 0, &vector);
    }
    if (status == STATUS_OK && vector->has_events) {
        return vector_keep(&rollup->vectors, vector, timestamp_us, value);
    }
    uint32_t at = atomic_load_explicit(&user->enrolments, memory_order_relaxed);
    while (at != 0 && status == STATUS_OK) {
        struct enrolment *enrolment = enrolment_at(users, at - 1);
        if (!enrolment->pending && rollup_is_current(rollup, enrolment)) {
            status = enrolment_count(rollup, enrolment, vector, definition, timestamp_us, value);
        }
        at = enrolment->next;
    }
    if (status != STATUS_OK) {
        return status;
    }
    const int32_t day = day_of(timestamp_us);
    struct vector_day *days = vector_days(&rollup->vectors, vector);
    const uint32_t place = vector_day_place(days, vector->count, day);
    if (place == vector->count || days[place].day != day) {
        status = vector_insert(&rollup->vectors, vector, place);
        if (status != STATUS_OK) {
            return status;
        }
        days = vector_days(&rollup->vectors, vector);
        days[place] = (struct vector_day){.day = day};
    }
    const uint64_t sum = (uint64_t)days[place].sum + (uint64_t)value;
    vector->is_mixed |= value < 0 || (int64_t)sum < 0;
    days[place].count++;
    days[place].sum = (int64_t)sum;
    return STATUS_OK;
}

const struct vector_event *rollup_counted_events(const struct rollup *rollup, const struct users *users,
                                                 const struct enrolment *enrolment, uint32_t metric,
                                                 const struct metric *definition, uint32_t *out_count)
{
    const struct vector *vector = vector_find(&rollup->vectors, user_at(users, enrolment->user), metric);
    *out_count = 0;
    if (vector == NULL) {
        return NULL;
    }
    const struct vector_event *events = vector_events(&rollup->vectors, vector);
    const int64_t window_us = (int64_t)definition->window_hours * MICROSECONDS_PER_HOUR;
    const uint32_t first = vector_event_place(events, vector->count, enrolment->assigned_at_us, INT64_MIN);
    const uint32_t end = window_us != 0 ? vector_event_place(events, vector->count, enrolment->assigned_at_us + window_us, INT64_MIN)
                                        : vector->count;
    *out_count = end - first;
    return events + first;
}

/* One more event into its day, by the metric's aggregation. */
static void day_take(struct counted_day *day, const struct metric *definition, int64_t value)
{
    day->magnitude += magnitude_of(value);
    if (definition->aggregation == METRIC_UNIQUE_DAYS) {
        day->value = METRIC_UNIT;
    } else if (definition->aggregation == METRIC_MAX) {
        day->value = day->events == 0 || value > day->value ? value : day->value;
    } else {
        day->value = (int64_t)((uint64_t)day->value + (uint64_t)value);
    }
    day->events++;
}

/* The days of `count` events. */
static void visit_event_days(const struct vector_event *events, uint32_t count, const struct metric *definition, bool incomplete,
                             counted_day_visit *visit, void *context)
{
    for (uint32_t i = 0; i < count;) {
        struct counted_day day = {.day = day_of(events[i].timestamp_us), .incomplete = incomplete};
        while (i < count && day_of(events[i].timestamp_us) == day.day) {
            day_take(&day, definition, events[i++].value);
        }
        visit(context, &day);
    }
}

void rollup_visit_days(const struct rollup *rollup, const struct users *users, const struct enrolment *enrolment,
                       uint32_t metric, const struct metric *definition, counted_day_visit *visit, void *context)
{
    const struct vector *vector = vector_find(&rollup->vectors, user_at(users, enrolment->user), metric);
    if (vector == NULL) {
        return;
    }
    if (vector->has_events) {
        uint32_t count = 0;
        const struct vector_event *events = rollup_counted_events(rollup, users, enrolment, metric, definition, &count);
        visit_event_days(events, count, definition, vector->count == LIMIT_KEPT_EVENTS, visit, context);
        return;
    }
    const struct view view = view_make(rollup, vector, enrolment, definition);
    for (uint32_t i = view.first; i < view.count; i++) {
        const uint32_t events = view_events(&view, i);
        if (events != 0) {
            visit(context, &(struct counted_day){.day = view.days[i].day, .events = events, .value = view_value(&view, i)});
        }
    }
}

/* Adds up days before an assignment. */
struct before_sum {
    const struct metric *definition;
    struct before_assignment before;
};

static void before_visit(void *context, const struct counted_day *day)
{
    struct before_sum *sum = context;
    if (sum->definition->aggregation == METRIC_MAX) {
        const bool is_first = sum->before.events == 0;
        sum->before.value = is_first || day->value > sum->before.value ? day->value : sum->before.value;
    } else {
        sum->before.value = (int64_t)((uint64_t)sum->before.value + (uint64_t)day->value);
    }
    sum->before.events += day->events;
}

static struct before_assignment before_of_events(const struct rollup *rollup, const struct vector *vector,
                                                 const struct enrolment *enrolment, const struct metric *definition, uint32_t days)
{
    const struct vector_event *events = vector_events(&rollup->vectors, vector);
    const int64_t from_us = ((int64_t)day_of(enrolment->assigned_at_us) - days) * MICROSECONDS_PER_DAY;
    const uint32_t first = vector_event_place(events, vector->count, from_us, INT64_MIN);
    const uint32_t end = vector_event_place(events, vector->count, enrolment->assigned_at_us, INT64_MIN);
    struct before_sum sum = {.definition = definition};
    visit_event_days(events + first, end - first, definition, false, before_visit, &sum);
    return sum.before;
}

struct before_assignment rollup_before(const struct rollup *rollup, const struct users *users,
                                       const struct enrolment *enrolment, uint32_t metric, const struct metric *definition,
                                       uint32_t days)
{
    const struct vector *vector = vector_find(&rollup->vectors, user_at(users, enrolment->user), metric);
    if (vector == NULL) {
        return (struct before_assignment){0, 0};
    }
    if (vector->has_events) {
        return before_of_events(rollup, vector, enrolment, definition, days);
    }
    const struct view view = view_make(rollup, vector, enrolment, definition);
    struct before_assignment before = {.events = view.boundary_count};
    uint64_t sum = (uint64_t)view.boundary_sum;
    uint64_t active = view.boundary_count != 0 ? 1 : 0;
    for (uint32_t i = view.first; i-- > 0 && view.days[i].day >= view.assigned_day - (int64_t)days;) {
        before.events += view.days[i].count;
        sum += (uint64_t)view.days[i].sum;
        active++;
    }
    before.value = definition->aggregation == METRIC_UNIQUE_DAYS ? (int64_t)(active * (uint64_t)METRIC_UNIT) : (int64_t)sum;
    return before;
}

/* All that an enrolment counts of a metric into its cell, or out of it: times is 1 or -1, modulo 2^128. */
static enum status cell_move(struct rollup *rollup, const struct enrolment *enrolment, const struct vector *vector,
                             const struct metric *definition, uint128 magnitude, uint128 times)
{
    const struct view view = view_make(rollup, vector, enrolment, definition);
    struct cell *cell = NULL;
    uint32_t previous = UINT32_MAX;
    for (uint32_t i = view.first; i < view.count; i++) {
        const uint32_t events = view_events(&view, i);
        if (events == 0) {
            continue;
        }
        const struct cell_name name = {enrolment->experiment, enrolment->variant, vector->metric};
        uint32_t slot = 0;
        enum status status = cell_for_change(rollup, &name, definition, &cell);
        if (status == STATUS_OK) {
            status = cell_slot_make(cell, view.days[i].day, &slot);
        }
        if (status != STATUS_OK) {
            return status;
        }
        cell->events[slot] += events * (uint64_t)times;
        uint64_t *reached = previous != UINT32_MAX ? &cell->follows[cell_pair(previous, slot)] : &cell->first[slot];
        *reached += (uint64_t)times;
        previous = slot;
        for (uint32_t j = view.first; j <= i && cell->has_values; j++) {
            if (view_events(&view, j) != 0) {
                const uint32_t other = cell_slot(cell, view.days[j].day);
                const uint128 pair = product(view_value(&view, j), view_value(&view, i));
                cell->products[cell_pair(other, slot)] += pair * times;
            }
        }
        if (cell->has_values) {
            cell->sums[slot] += product(view_value(&view, i), 1) * times;
        }
    }
    if (cell != NULL && cell->has_values) {
        cell->magnitude += magnitude * times;
    }
    return STATUS_OK;
}

enum status rollup_add_past(struct rollup *rollup, const struct users *users, const struct enrolment *enrolment,
                            uint32_t metric, const struct metric *definition, uint128 magnitude)
{
    const struct vector *vector = vector_find(&rollup->vectors, user_at(users, enrolment->user), metric);
    return vector != NULL ? cell_move(rollup, enrolment, vector, definition, magnitude, 1) : STATUS_OK;
}

/* ---- taking a user out ---- */

/* Of what the enrolment counts; right only where the vector is not mixed. */
static uint128 view_magnitude(const struct view *view)
{
    uint128 magnitude = 0;
    for (uint32_t i = view->first; i < view->count; i++) {
        const int64_t off = view->days[i].day == view->assigned_day ? view->boundary_sum : 0;
        magnitude += (uint64_t)view->days[i].sum - (uint64_t)off;
    }
    return magnitude;
}

/* A cell that counts nothing any more is as if it had never been. */
static void cell_drop_empty(struct arm *arm, uint32_t metric)
{
    const struct cell *cell = arm->cells[metric];
    for (uint32_t i = 0; i < cell->day_count; i++) {
        if (cell->events[i] != 0) {
            return;
        }
    }
    cell_free(arm->cells[metric]);
    arm->cells[metric] = NULL;
}

enum status rollup_subtract(struct rollup *rollup, const struct users *users, const struct enrolment *enrolment,
                            const struct vector *vector, const struct metric *definition, const uint128 *magnitude)
{
    assert(!vector->has_events && enrolment->user < users->users.count);
    const struct view view = view_make(rollup, vector, enrolment, definition);
    const enum status status =
        cell_move(rollup, enrolment, vector, definition, magnitude != NULL ? *magnitude : view_magnitude(&view), (uint128)-1);
    struct arm *arm = arm_at(rollup, enrolment->experiment, enrolment->variant);
    if (status == STATUS_OK && vector->metric < arm->cell_count && arm->cells[vector->metric] != NULL) {
        cell_drop_empty(arm, vector->metric);
    }
    return status;
}

static void arm_remove_user(struct arm *arm, int32_t day)
{
    uint32_t place = 0;
    while (arm->days[place] != day) {
        place++;
        assert(place < arm->day_count);
    }
    arm->users--;
    if (--arm->day_users[place] != 0) {
        return;
    }
    arm->day_count--;
    memmove(arm->days + place, arm->days + place + 1, (arm->day_count - place) * sizeof(*arm->days));
    memmove(arm->day_users + place, arm->day_users + place + 1, (arm->day_count - place) * sizeof(*arm->day_users));
}

/* Members are in the order of their records. */
static void member_remove(const struct users *users, uint32_t *members, uint32_t *count, const struct enrolment *enrolment)
{
    uint32_t low = 0;
    uint32_t high = *count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (enrolment_at(users, members[middle])->lsn < enrolment->lsn) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    assert(low < *count && enrolment_at(users, members[low]) == enrolment);
    (*count)--;
    memmove(members + low, members + low + 1, (*count - low) * sizeof(*members));
}

enum status rollup_withdraw(struct rollup *rollup, const struct users *users, const struct enrolment *enrolment)
{
    struct rollup_experiment *experiment = &rollup->experiments[enrolment->experiment];
    if (!rollup_is_current(rollup, enrolment)) {
        member_remove(users, experiment->past_members, &experiment->past_member_count, enrolment);
        return STATUS_OK;
    }
    member_remove(users, experiment->members, &experiment->member_count, enrolment);
    if (enrolment->version == experiment->first_version) {
        experiment->first_version = 0;
        for (uint32_t i = 0; i < experiment->member_count; i++) {
            rollup_note_version(experiment, enrolment_at(users, experiment->members[i])->version);
        }
    }
    struct arm *arm = arm_at(rollup, enrolment->experiment, enrolment->variant);
    arm_remove_user(arm, day_of(enrolment->assigned_at_us));
    if (arm->dirty) {
        return STATUS_OK;
    }
    arm->dirty = true;
    return changed_add(rollup, &(struct cell_name){enrolment->experiment, enrolment->variant, ROLLUP_ARM});
}

enum status rollup_clear_metric(struct rollup *rollup, const struct users *users, uint32_t metric, bool keeps_events)
{
    for (uint32_t i = 0; i < users->users.count; i++) {
        struct user *user = user_at(users, i);
        struct vector *vector = vector_find(&rollup->vectors, user, metric);
        if (vector != NULL) {
            vector_clear(&rollup->vectors, vector, keeps_events);
        }
    }
    for (uint32_t i = 0; i < users->enrolments.count; i++) {
        struct boundary *boundary = boundary_find(&rollup->vectors, enrolment_at(users, i), metric);
        if (boundary != NULL) {
            boundary->count = 0;
            boundary->sum = 0;
        }
    }
    for (uint32_t i = 0; i < rollup->experiment_count; i++) {
        for (uint32_t j = 0; j < rollup->experiments[i].arm_count; j++) {
            struct arm *arm = &rollup->experiments[i].arms[j];
            if (metric >= arm->cell_count || arm->cells[metric] == NULL) {
                continue;
            }
            const bool was_dirty = arm->cells[metric]->dirty;
            cell_free(arm->cells[metric]);
            arm->cells[metric] = NULL;
            const enum status status =
                was_dirty ? STATUS_OK : changed_add(rollup, &(struct cell_name){i, j, metric});
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

/* Empties an arm; what was exported of it is exported again, as nothing. */
static enum status arm_clear(struct rollup *rollup, uint32_t experiment, uint32_t variant)
{
    struct arm *arm = arm_at(rollup, experiment, variant);
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < arm->cell_count && status == STATUS_OK; i++) {
        if (arm->cells[i] == NULL) {
            continue;
        }
        const bool was_dirty = arm->cells[i]->dirty;
        cell_free(arm->cells[i]);
        arm->cells[i] = NULL;
        status = was_dirty ? STATUS_OK : changed_add(rollup, &(struct cell_name){experiment, variant, i});
    }
    if (arm->day_count != 0 && !arm->dirty && status == STATUS_OK) {
        arm->dirty = true;
        status = changed_add(rollup, &(struct cell_name){experiment, variant, ROLLUP_ARM});
    }
    arm->users = 0;
    arm->day_count = 0;
    return status;
}

/* Members of generations follow on each other in the log, so history only grows at its end. */
static enum status members_retire(struct rollup_experiment *entry)
{
    const uint32_t count = entry->past_member_count + entry->member_count;
    if (count > entry->past_member_capacity) {
        uint32_t *grown = realloc(entry->past_members, count * sizeof(*grown));
        if (grown == NULL) {
            return STATUS_NO_MEMORY;
        }
        entry->past_members = grown;
        entry->past_member_capacity = count;
    }
    if (entry->member_count != 0) {
        memcpy(entry->past_members + entry->past_member_count, entry->members,
               entry->member_count * sizeof(*entry->members));
    }
    entry->past_member_count = count;
    entry->member_count = 0;
    return STATUS_OK;
}

enum status rollup_retire(struct rollup *rollup, uint32_t experiment, uint32_t from_version)
{
    struct rollup_experiment *entry = &rollup->experiments[experiment];
    enum status status = members_retire(entry);
    for (uint32_t i = 0; i < entry->arm_count && status == STATUS_OK; i++) {
        status = arm_clear(rollup, experiment, i);
    }
    entry->from_version = from_version;
    entry->first_version = 0;
    entry->events = 0;
    entry->duplicates = 0;
    entry->before = 0;
    entry->counted = 0;
    return status;
}

uint64_t rollup_memory(const struct rollup *rollup)
{
    uint64_t bytes = vectors_memory(&rollup->vectors);
    for (uint32_t i = 0; i < rollup->experiment_count; i++) {
        const struct rollup_experiment *experiment = &rollup->experiments[i];
        bytes += ((uint64_t)experiment->member_capacity + experiment->past_member_capacity) * sizeof(uint32_t);
        for (uint32_t j = 0; j < experiment->arm_count; j++) {
            for (uint32_t k = 0; k < experiment->arms[j].cell_count; k++) {
                bytes += experiment->arms[j].cells[k] != NULL ? cell_memory(experiment->arms[j].cells[k]) : 0;
            }
        }
    }
    return bytes;
}
