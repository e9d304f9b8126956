/* tally.c: see tally.h. */
#include "engine/tally.h"

static const uint32_t bounds[TALLY_BOUNDS] = {1,   2,    5,    10,   20,    50,    100,  200,
                                              500, 1000, 2000, 5000, 10000, 20000, 50000};

static void counter_add(_Atomic uint64_t *counter, uint64_t amount)
{
    /* One writer, so no locked instruction is needed. */
    const uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + amount, memory_order_relaxed);
}

void tally_add(struct tally *tally, uint64_t value, uint32_t unit)
{
    size_t slot = 0;
    while (slot < TALLY_BOUNDS && value > (uint64_t)bounds[slot] * unit) {
        slot++;
    }
    counter_add(&tally->counts[slot], 1);
    counter_add(&tally->sum, value);
}

uint64_t tally_bound(size_t slot)
{
    assert(slot < TALLY_BOUNDS);
    return bounds[slot];
}

void tally_read(const struct tally *tally, struct tally_view *view)
{
    for (size_t i = 0; i < TALLY_SLOTS; i++) {
        view->counts[i] += atomic_load_explicit(&tally->counts[i], memory_order_relaxed);
    }
    view->sum += atomic_load_explicit(&tally->sum, memory_order_relaxed);
}

uint64_t tally_count(const struct tally_view *view)
{
    uint64_t count = 0;
    for (size_t i = 0; i < TALLY_SLOTS; i++) {
        count += view->counts[i];
    }
    return count;
}
