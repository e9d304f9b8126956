/* limiter.h: so many a second, and some at once: the generic cell rate algorithm (ITU-T I.371), one word of state.
 *
 * The word is the moment at which all that was admitted will have been paid for. Any thread.
 */
#ifndef ASSAY_API_LIMITER_H
#define ASSAY_API_LIMITER_H

#include <stdatomic.h>

#include "engine/base.h"

/* May one more come at this moment? rate: a second, at least 1. burst: how many may come at once after a quiet time. Where not,
 * *out_wait_s says when to come again, in whole seconds. */
bool limiter_admit(atomic_int_least64_t *paid_until_us, uint64_t rate, uint64_t burst, int64_t now_us, int64_t *out_wait_s);

#endif
