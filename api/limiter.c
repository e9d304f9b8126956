/* limiter.c: see limiter.h. */
#include "api/limiter.h"

#define SECOND_US 1000000ll

bool limiter_admit(atomic_int_least64_t *paid_until_us, uint64_t rate, uint64_t burst, int64_t now_us, int64_t *out_wait_s)
{
    const int64_t cost_us = SECOND_US / (int64_t)rate > 0 ? SECOND_US / (int64_t)rate : 1;
    const int64_t reach_us = (int64_t)burst * cost_us;
    int64_t paid = atomic_load_explicit(paid_until_us, memory_order_relaxed);
    for (;;) {
        /* A word far ahead is of a clock that was put back. */
        const int64_t from = paid < now_us || paid > now_us + 2 * reach_us ? now_us : paid;
        const int64_t next = from + cost_us;
        if (next - now_us > reach_us) {
            *out_wait_s = (next - now_us - reach_us + SECOND_US - 1) / SECOND_US;
            return false;
        }
        if (atomic_compare_exchange_weak_explicit(paid_until_us, &paid, next, memory_order_relaxed, memory_order_relaxed)) {
            return true;
        }
    }
}
