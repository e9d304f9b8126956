/* histogram.c: slots by the leading bits of the value.
 *
 * A value of 2048 or more has its highest set bit at 11 or above. Shifted right until 11 bits are left, it is a number
 * in [1024, 2048): that is the slot within its doubling, and the shift says which doubling.
 */
#include "bench/histogram.h"

#include <math.h>
#include <stdlib.h>

#define SLOT_BITS        10u
#define SLOTS_A_DOUBLING (UINT64_C(1) << SLOT_BITS)
#define LINEAR_SLOTS     (2 * SLOTS_A_DOUBLING)
#define VALUE_BITS       42u
#define HISTOGRAM_SLOTS  (LINEAR_SLOTS + (VALUE_BITS - SLOT_BITS - 1) * SLOTS_A_DOUBLING)

static_assert(SLOTS_A_DOUBLING >= 1000,
              "three significant digits need a thousand slots a doubling");

static size_t slot_of(uint64_t value)
{
    const uint64_t largest = (UINT64_C(1) << VALUE_BITS) - 1;
    if (value > largest) {
        value = largest;
    }
    if (value < LINEAR_SLOTS) {
        return (size_t)value;
    }
    const unsigned highest_bit = 63u - (unsigned)__builtin_clzll(value);
    const unsigned shift = highest_bit - SLOT_BITS;
    const size_t slot = LINEAR_SLOTS + (size_t)(shift - 1) * SLOTS_A_DOUBLING +
                        (size_t)(value >> shift) - SLOTS_A_DOUBLING;
    assert(slot < HISTOGRAM_SLOTS);
    return slot;
}

static uint64_t slot_upper_end(size_t slot)
{
    if (slot < LINEAR_SLOTS) {
        return slot;
    }
    const size_t above = slot - LINEAR_SLOTS;
    const unsigned shift = (unsigned)(above / SLOTS_A_DOUBLING) + 1;
    const uint64_t leading = above % SLOTS_A_DOUBLING + SLOTS_A_DOUBLING;
    return ((leading + 1) << shift) - 1;
}

enum status histogram_init(struct histogram *histogram)
{
    *histogram = (struct histogram){.min = UINT64_MAX};
    histogram->counts = calloc(HISTOGRAM_SLOTS, sizeof(histogram->counts[0]));
    return histogram->counts != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void histogram_deinit(struct histogram *histogram)
{
    free(histogram->counts);
    *histogram = (struct histogram){.min = UINT64_MAX};
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->counts[slot_of(value)] += 1;
    histogram->count += 1;
    histogram->sum += value;
    histogram->min = value < histogram->min ? value : histogram->min;
    histogram->max = value > histogram->max ? value : histogram->max;
}

void histogram_merge(struct histogram *target, const struct histogram *source)
{
    for (size_t slot = 0; slot < HISTOGRAM_SLOTS; slot++) {
        target->counts[slot] += source->counts[slot];
    }
    target->count += source->count;
    target->sum += source->sum;
    target->min = source->min < target->min ? source->min : target->min;
    target->max = source->max > target->max ? source->max : target->max;
}

void histogram_reset(struct histogram *histogram)
{
    memset(histogram->counts, 0, HISTOGRAM_SLOTS * sizeof(histogram->counts[0]));
    histogram->count = 0;
    histogram->sum = 0;
    histogram->min = UINT64_MAX;
    histogram->max = 0;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    assert(percent >= 0.0 && percent <= 100.0);
    if (histogram->count == 0) {
        return 0;
    }
    /* 99.9 % of 1000 is 999 records; without the small step back, rounding makes it 1000. */
    const double rank_exact = ceil(percent * (double)histogram->count / 100.0 - 1e-6);
    const uint64_t rank = rank_exact < 1.0 ? 1 : (uint64_t)rank_exact;
    uint64_t seen = 0;
    for (size_t slot = 0; slot < HISTOGRAM_SLOTS - 1; slot++) {
        seen += histogram->counts[slot];
        if (seen >= rank) {
            const uint64_t upper = slot_upper_end(slot);
            return upper < histogram->max ? upper : histogram->max;
        }
    }
    return histogram->max; /* the last slot has no upper end */
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count == 0 ? 0.0 : (double)histogram->sum / (double)histogram->count;
}
