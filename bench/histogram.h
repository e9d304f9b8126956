/* histogram.h: how long things took, kept to three significant digits in a fixed amount of memory.
 *
 * Values       Nanoseconds, from 0 to about 73 minutes; longer ones land in the last slot, and max stays exact.
 * Slots        Below 2048 every value has its own. Above, each doubling of the value is cut into 1024 equal slots, so a
 *              slot is never wider than 1/1024 of its values.
 * Percentiles  are the upper end of the slot: an answer is never better than what was measured, and worse by less than
 *              0.1 %.
 * Merging      adds slot to slot and is exact: the parts of a run, in any order, give the histogram of the whole.
 * Threads      One owner. Each load thread fills its own, and they are merged once it has ended.
 */
#ifndef ASSAY_BENCH_HISTOGRAM_H
#define ASSAY_BENCH_HISTOGRAM_H

#include "engine/base.h"

struct histogram {
    uint64_t *counts; /* HISTOGRAM_SLOTS of them */
    uint64_t count;
    uint64_t min; /* UINT64_MAX while empty */
    uint64_t max;
    uint128 sum;
};

MUST_USE enum status histogram_init(struct histogram *histogram);
void histogram_deinit(struct histogram *histogram); /* zeroed memory is fine */
void histogram_record(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *target, const struct histogram *source);
void histogram_reset(struct histogram *histogram);
/* The least value that `percent` (0 to 100) of the records do not exceed. 0 when empty. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);
double histogram_mean(const struct histogram *histogram); /* 0 when empty */

#endif
