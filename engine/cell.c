/* cell.c: the matrices of one (experiment, variant, metric): days, growth, sums over a range. See cell.h. */
#include <stdlib.h>

#include "engine/cell.h"

uint32_t cell_slot(const struct cell *cell, int32_t day)
{
    const int64_t offset = (int64_t)day - cell->base_day;
    if (offset < 0 || offset >= cell->span) {
        return UINT32_MAX;
    }
    return cell->slot_of[offset] - 1; /* 0 becomes UINT32_MAX */
}

/* Makes slot_of cover a day, with room to spare on that side. */
static enum status span_cover(struct cell *cell, int32_t day)
{
    const uint32_t spare = 32;
    int32_t base = cell->base_day;
    int64_t end = (int64_t)cell->base_day + cell->span;
    if (cell->span != 0 && day >= base && day < end) {
        return STATUS_OK;
    }
    if (cell->span == 0) {
        base = day;
        end = day;
    }
    if (day < base) {
        base = day - (int32_t)spare;
    } else {
        end = (int64_t)day + spare;
    }
    uint32_t *slot_of = calloc((size_t)(end - base), sizeof(*slot_of));
    if (slot_of == NULL) {
        return STATUS_NO_MEMORY;
    }
    if (cell->span != 0) {
        memcpy(slot_of + (cell->base_day - base), cell->slot_of, cell->span * sizeof(*slot_of));
    }
    free(cell->slot_of);
    cell->slot_of = slot_of;
    cell->base_day = base;
    cell->span = (uint32_t)(end - base);
    return STATUS_OK;
}

/* Grows an array to `count` zeroed elements; keeps the old one where memory is out. */
static bool array_grow(void *array_pointer, uint64_t old_count, uint64_t count, size_t element)
{
    void *old = NULL;
    memcpy(&old, array_pointer, sizeof(old));
    uint8_t *grown = realloc(old, count * element);
    if (grown == NULL) {
        return false;
    }
    memset(grown + old_count * element, 0, (count - old_count) * element);
    memcpy(array_pointer, &grown, sizeof(grown));
    return true;
}

static enum status capacity_grow(struct cell *cell)
{
    const uint32_t old = cell->day_capacity;
    const uint32_t capacity = old == 0 ? 4 : old * 2;
    const uint64_t old_pairs = old == 0 ? 0 : cell_pair(old - 1, old - 1) + 1;
    const uint64_t pairs = cell_pair(capacity - 1, capacity - 1) + 1;
    bool grown = array_grow(&cell->days, old, capacity, sizeof(*cell->days)) &&
                 array_grow(&cell->events, old, capacity, sizeof(*cell->events)) &&
                 array_grow(&cell->first, old, capacity, sizeof(*cell->first)) &&
                 array_grow(&cell->follows, old_pairs, pairs, sizeof(*cell->follows));
    if (grown && cell->has_values) {
        grown = array_grow(&cell->sums, old, capacity, sizeof(*cell->sums)) &&
                array_grow(&cell->products, old_pairs, pairs, sizeof(*cell->products));
    }
    if (!grown) {
        return STATUS_NO_MEMORY;
    }
    cell->day_capacity = capacity;
    return STATUS_OK;
}

enum status cell_slot_make(struct cell *cell, int32_t day, uint32_t *out_slot)
{
    const uint32_t slot = cell_slot(cell, day);
    if (slot != UINT32_MAX) {
        *out_slot = slot;
        return STATUS_OK;
    }
    enum status status = span_cover(cell, day);
    if (status == STATUS_OK && cell->day_count == cell->day_capacity) {
        status = capacity_grow(cell);
    }
    if (status != STATUS_OK) {
        return status;
    }
    cell->days[cell->day_count] = day;
    cell->slot_of[day - cell->base_day] = cell->day_count + 1;
    *out_slot = cell->day_count++;
    return STATUS_OK;
}

void cell_free(struct cell *cell)
{
    if (cell != NULL) {
        free(cell->days);
        free(cell->slot_of);
        free(cell->events);
        free(cell->first);
        free(cell->sums);
        free(cell->follows);
        free(cell->products);
        free(cell);
    }
}

uint64_t cell_memory(const struct cell *cell)
{
    const uint64_t pairs = cell->day_capacity == 0 ? 0 : cell_pair(cell->day_capacity - 1, cell->day_capacity - 1) + 1;
    const uint64_t value_bytes = cell->has_values ? sizeof(uint128) : 0;
    return sizeof(*cell) + cell->span * sizeof(uint32_t) + cell->day_capacity * (20 + value_bytes) +
           pairs * (sizeof(uint64_t) + value_bytes);
}

/* The first slot at or after *day within the span; *day moves to it. UINT32_MAX at the end. */
static uint32_t slot_from(const struct cell *cell, int64_t *day)
{
    const int64_t end = (int64_t)cell->base_day + cell->span;
    if (*day < cell->base_day) {
        *day = cell->base_day;
    }
    for (; *day < end; (*day)++) {
        const uint32_t slot = cell->slot_of[*day - cell->base_day];
        if (slot != 0) {
            return slot - 1;
        }
    }
    return UINT32_MAX;
}

/* Active on the day of `slot`, with their previous active day before `first_day` or never. */
static uint64_t active_new(const struct cell *cell, uint32_t slot, int64_t first_day)
{
    uint64_t users = cell->first[slot];
    for (uint32_t previous = 0; previous < cell->day_count; previous++) {
        if (cell->days[previous] < first_day) {
            users += cell->follows[cell_pair(previous, slot)];
        }
    }
    return users;
}

/* What the day of `slot` adds to the sum of squares of a range that began on first_day. */
static uint128 square_new(const struct cell *cell, uint32_t slot, int64_t first_day)
{
    uint128 cross = 0;
    for (uint32_t earlier = 0; earlier < cell->day_count; earlier++) {
        if (cell->days[earlier] >= first_day && cell->days[earlier] < cell->days[slot]) {
            cross += cell->products[cell_pair(earlier, slot)];
        }
    }
    return cell->products[cell_pair(slot, slot)] + 2 * cross;
}

/* Adds one more day, later than all before it, to the sums of the range that began on first_day. */
static void range_extend(const struct cell *cell, uint32_t slot, int64_t first_day, struct metric_sums *sums)
{
    sums->events += cell->events[slot];
    sums->active += active_new(cell, slot, first_day);
    if (cell->has_values) {
        sums->sum += (int128)cell->sums[slot];
        sums->sum_square += square_new(cell, slot, first_day);
    }
}

void cell_sum(const struct cell *cell, int32_t first_day, int32_t last_day, struct metric_sums *out_sums)
{
    struct metric_sums sums = {.overflow = cell->magnitude >> 63 != 0};
    int64_t day = first_day;
    for (uint32_t slot = slot_from(cell, &day); slot != UINT32_MAX && day <= last_day; slot = slot_from(cell, &day)) {
        range_extend(cell, slot, first_day, &sums);
        day++;
    }
    *out_sums = sums;
}

void cell_series(const struct cell *cell, int32_t first_day, uint32_t count, struct metric_sums *on_day,
                 struct metric_sums *cumulative)
{
    const bool overflow = cell->magnitude >> 63 != 0;
    struct metric_sums running = {.overflow = overflow};
    for (uint32_t i = 0; i < count; i++) {
        const int32_t day = first_day + (int32_t)i;
        const uint32_t slot = cell_slot(cell, day);
        on_day[i] = (struct metric_sums){.overflow = overflow};
        if (slot != UINT32_MAX) {
            range_extend(cell, slot, day, &on_day[i]);
            range_extend(cell, slot, first_day, &running);
        }
        cumulative[i] = running;
    }
}
