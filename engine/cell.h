/* cell.h: the sums over the users of one variant for one metric, from which any range of days is answered. What they mean,
 * and how they are kept up, is in rollup.h.
 *
 * Cost         days^2 numbers; a query adds up those of its range.
 * Threads      One.
 */
#ifndef ASSAY_ENGINE_CELL_H
#define ASSAY_ENGINE_CELL_H

#include "engine/base.h"
#include "engine/state.h"

struct cell {
    uint32_t day_count;
    uint32_t day_capacity;
    int32_t *days;      /* by slot: a day's slot is its order of first appearance */
    int32_t base_day;
    uint32_t span;      /* days from base_day on that slot_of covers */
    uint32_t *slot_of;  /* by day - base_day: slot + 1, or 0 */
    uint64_t *events;   /* by slot */
    uint64_t *first;    /* by slot */
    uint128 *sums;      /* by slot; NULL for proportions */
    uint64_t *follows;  /* by pair of slots: cell_pair() */
    uint128 *products;  /* by pair of slots; NULL for proportions */
    uint128 magnitude;
    bool has_values;
    bool dirty;
};

/* Both orders of two slots share one place: of a pair the earlier day is always the previous one. */
static inline uint64_t cell_pair(uint32_t a, uint32_t b)
{
    const uint64_t high = a > b ? a : b;
    const uint64_t low = a > b ? b : a;
    return high * (high + 1) / 2 + low;
}

/* A slot for a day, found or made. */
MUST_USE enum status cell_slot_make(struct cell *cell, int32_t day, uint32_t *out_slot);
void cell_free(struct cell *cell); /* NULL is fine */
uint64_t cell_memory(const struct cell *cell);
/* Slot of a day, or UINT32_MAX. */
uint32_t cell_slot(const struct cell *cell, int32_t day);
/* Sums over a range of days, both ends included. */
void cell_sum(const struct cell *cell, int32_t first_day, int32_t last_day, struct metric_sums *out_sums);
/* For each of `count` days from first_day on: that day alone, and the range from first_day to it. O(days^2) in all. */
void cell_series(const struct cell *cell, int32_t first_day, uint32_t count, struct metric_sums *on_day,
                 struct metric_sums *cumulative);

#endif
