/* stats_internal.h: what stats.c and stats_cuped.c share. Nobody else includes it. */
#ifndef ASSAY_ENGINE_STATS_INTERNAL_H
#define ASSAY_ENGINE_STATS_INTERNAL_H

#include <math.h>

#include "engine/stats.h"

#define MILLIONTHS_PER_UNIT 1e6
#define STATS_INTERVAL_NONE ((struct interval){NAN, NAN})

/* One arm's value that is compared, whatever the kind. */
struct moments {
    enum stats_state state; /* OK, NO_DATA, INSUFFICIENT_DATA or OVERFLOW */
    bool mean_is_zero;
    double users;
    double mean;
    double variance;         /* of x: sample variance, n-1 */
    double variance_of_mean; /* variance / users */
};

/* n*Q - S^2 of x, or false if no users can have these sums. */
bool stats_square_spread(uint128 sum_square, int128 sum, uint64_t users, double *out_spread);
/* n*P - S_x S_y, rounded once. */
double stats_cross_spread(const struct stats_arm *arm);
struct moments stats_moments_of(enum stats_kind kind, const struct stats_arm *arm);
/* All numbers NaN. */
struct stats_comparison stats_comparison_undefined(void);
/* Fills everything about the absolute difference but the difference itself and its error, which are there; returns the
 * critical value of t. */
double stats_compare_difference(const struct moments *control, const struct moments *treatment, double tail,
    struct stats_comparison *comparison);
double stats_minimum_detectable_effect(const struct moments *control, const struct moments *treatment,
    const struct stats_options *options);
/* The confidence sequence around the difference. */
void stats_compare_sequential(double users, const struct stats_options *options,
    struct stats_comparison *comparison);
enum stats_state stats_comparison_state(const struct moments *control, const struct moments *treatment);
/* Are there users enough for the sequence to decide? */
bool stats_sequence_ready(enum stats_kind kind, const struct stats_arm *control,
    const struct stats_arm *treatment);

#endif
