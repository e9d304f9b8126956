/* tally.h: how many of which size: a histogram that costs its writer a few instructions, and no lock.
 *
 * Slots     In steps of 1, 2, 5, 10, 20, ... 50,000 times the tally's unit, each up to and with its bound; one more for what is
 *           larger.
 * Threads   One writer. Any thread may read at any time; what it reads is whole numbers, each a little older or newer than
 *           the other.
 */
#ifndef ASSAY_ENGINE_TALLY_H
#define ASSAY_ENGINE_TALLY_H

#include <stdatomic.h>

#include "engine/base.h"

#define TALLY_BOUNDS 15
#define TALLY_SLOTS  (TALLY_BOUNDS + 1)

/* For durations: the bounds are then 50 us, 100 us, 250 us, 500 us, ... 2.5 s. */
#define TALLY_UNIT_US 50u

struct tally {
    _Atomic uint64_t counts[TALLY_SLOTS];
    _Atomic uint64_t sum;
};

/* What was read of one tally, or of several with the same unit. */
struct tally_view {
    uint64_t counts[TALLY_SLOTS];
    uint64_t sum; /* of the values themselves */
};

/* Zeroed memory is an empty tally. */
void tally_add(struct tally *tally, uint64_t value, uint32_t unit);
/* The bound of a slot below TALLY_BOUNDS, in units. */
uint64_t tally_bound(size_t slot);
/* Adds what is there to a view. */
void tally_read(const struct tally *tally, struct tally_view *view);
uint64_t tally_count(const struct tally_view *view);

#endif
