/* stats.h: what the numbers mean. Pure functions of integers and options: no allocation, I/O, globals, clock; any thread.
 *
 * Formulas, assumptions, sources and worked examples: docs/statistics.md.
 *
 * Inputs       are exact: users, and sums of per-user values in millionths (first and second moments as 128-bit
 *              integers). Doubles appear only after the exact subtraction n*Q - S^2.
 * Undefined    numbers are NaN in the structs (and null in JSON), never 0 or 1; `state` says why.
 * Tails        are computed as tails, with their logarithm beside them: never 1 - cdf.
 */
#ifndef ASSAY_ENGINE_STATS_H
#define ASSAY_ENGINE_STATS_H

#include "engine/base.h"

enum stats_state {
    STATS_OK,
    STATS_NO_DATA,           /* an arm has no users */
    STATS_INSUFFICIENT_DATA, /* fewer than two users in an arm: no variance */
    STATS_ZERO_VARIANCE,     /* both arms constant: no test (lift: the treatment is 0 throughout, no interval) */
    STATS_BASELINE_ZERO,     /* the control's mean is 0: no relative lift (the difference is fine) */
    STATS_BASELINE_NOISY,    /* the control's mean cannot be told from 0: the lift has a value and no interval */
    STATS_OVERFLOW,          /* the sums left the range that is exact, or no set of users has them */
};

/* "ok", "no_data", ... */
const char *stats_state_name(enum stats_state state);

struct interval {
    double lower;
    double upper;
};

/* The exact sums of one arm over the users assigned to it, those without events included.
 * For a proportion x is 1 or 0 per user and sum is the count of converted users. */
struct stats_arm {
    uint64_t users;
    int128 sum;         /* of x, in millionths (proportion: whole counts) */
    uint128 sum_square; /* of x*x, in millionths squared (proportion: not used); or the mark below */
    /* Of a second value y of each user, in millionths: a ratio's denominator, or the covariate of CUPED. */
    int128 other_sum;
    uint128 other_square; /* of y*y */
    int128 product;       /* of x*y */
    /* Of a quantile: x and y are the user's events up to it and in all, a unit each. */
    double probability;   /* above 0 and below 1 */
    int64_t quantile;     /* millionths, and the values at the ranks n p -+ STATS_QUANTILE_Z sqrt(n p (1-p)) */
    int64_t quantile_lower;
    int64_t quantile_upper;
};

#define STATS_QUANTILE_Z 1.959963984540054

/* What a rollup stores as sum_square when the true one does not fit: the answer is then STATS_OVERFLOW. */
#define STATS_SUM_SQUARE_OVERFLOW (~(uint128)0)

enum stats_kind {
    STATS_PROPORTION,
    STATS_MEAN,
    STATS_QUANTILE, /* of the values of all events; the user is the unit all the same */
    STATS_RATIO, /* sum of x / sum of y; the user is the unit all the same. NO_DATA also where the y add up to 0 */
};

/* One arm on its own. Values in whole units (29.99, not 29990000). */
struct stats_estimate {
    enum stats_state state;
    double value;     /* mean of x */
    double std_dev;   /* of x: sample standard deviation (n-1), for a proportion too: one variance everywhere; of a ratio,
                         of (x - R y) / mean(y) */
    double std_error; /* of value; std errors of two arms add in squares to the difference's */
    struct interval interval; /* mean: t with users-1 degrees (NaN if constant); proportion: Wilson */
};

/* 0 < confidence_level < 1: asserted, here and below. */

struct stats_estimate stats_estimate_arm(enum stats_kind kind, const struct stats_arm *arm, double confidence_level);

struct stats_options {
    double confidence_level;   /* 0.95 */
    double sequential_total;   /* N*: planned total users of a comparison, fixed when the experiment starts: 10000 */
    double prior_lift_std_dev; /* normal prior on the relative lift, mean 0: 0.3 */
    double power;              /* for the minimum detectable effect: 0.8 */
};

struct stats_options stats_options_default(void);

/* Treatment against control. */
struct stats_comparison {
    enum stats_state state;
    double difference;
    double difference_std_error;
    double degrees_of_freedom;           /* Welch-Satterthwaite */
    struct interval difference_interval; /* Welch; proportions with few counts: Newcombe (see interval_method) */
    struct interval welch_interval;      /* always Welch: excludes 0 exactly when p_value <= 1 - confidence_level */
    double statistic;                    /* t */
    double p_value;                      /* two-sided, Welch's t on the absolute difference */
    double ln_p_value;                   /* right where p_value underflows to 0 */
    double z_p_value;                    /* of the same statistic by the normal distribution */
    enum stats_state lift_state;
    double lift;                         /* difference / |control| */
    struct interval lift_interval;       /* Fieller, excludes 0 exactly when p_value does; NaN where unbounded */
    double sequential_half_width;        /* of the difference */
    struct interval sequential_interval; /* always-valid, of the difference */
    double sequential_p_value;           /* always-valid at this look */
    double sequential_ln_e;              /* its e-value's logarithm: keep the maximum over looks */
    bool sequential_ready;               /* enough data for the sequence's asymptotics: no verdict before */
    double chance_to_win;                /* Bayesian: P(lift > 0) */
    double expected_loss;                /* of shipping the treatment, in lift */
    struct interval credible_interval;   /* of the lift */
    double minimum_detectable_effect;    /* relative lift detectable now with options->power; NaN where none */
    const char *interval_method;         /* "welch" or "newcombe" */
};

struct stats_comparison stats_compare(enum stats_kind kind, const struct stats_arm *control,
                                      const struct stats_arm *treatment, const struct stats_options *options);

/* CUPED: the same comparison of means, with what the users did before (y) taken off as far as it explains what they did after.
 * The slope is the one within arms, so the difference is that of the regression of x on arm and y.
 * The lift is over the control's plain mean, its interval by the delta method ("cuped" in interval_method). */
struct stats_cuped {
    double slope;              /* 0 where y has no variance: then the adjusted comparison is the plain one */
    double mean_of_covariate;  /* over all arms */
    double variance_share;     /* of the plain variance within arms that is left, 0 to 1; NaN without any */
    double covariate_p_value;  /* do the arms of the least p-value differ in y, by Welch? They should not */
};

/* Over all arms of an experiment; control: its place among them. STATS_OVERFLOW where the sums are of no users. */
enum stats_state stats_cuped_of(const struct stats_arm *arms, size_t count, size_t control, struct stats_cuped *out_cuped);
struct stats_comparison stats_compare_cuped(const struct stats_arm *control, const struct stats_arm *treatment,
                                            const struct stats_cuped *cuped, const struct stats_options *options);
/* The mean of an arm as adjusted. */
struct stats_estimate stats_estimate_cuped(const struct stats_arm *arm, const struct stats_cuped *cuped,
                                           double confidence_level);

/* Sample-ratio mismatch: chi-square of observed users against the weights; arms of weight 0 are left out of sum and
 * degrees alike, arms with weight and no users stay in. */
struct stats_srm {
    enum stats_state state; /* NO_DATA; INSUFFICIENT_DATA below 5 expected users in an arm */
    double chi_square;
    double degrees_of_freedom;
    double p_value;
    double ln_p_value;
    double sequential_p_value;       /* Dirichlet-multinomial: may be looked at as often as wished */
    double sequential_ln_bayes_factor; /* its logarithm: keep the maximum over looks */
    bool ok;                         /* not (p_value < 0.001); true where there is no p-value */
};

struct stats_srm stats_sample_ratio(const uint64_t *users, const double *weights, size_t arms);

enum stats_correction {
    STATS_CORRECTION_NONE,
    STATS_CORRECTION_HOLM,
    STATS_CORRECTION_BH,
};

/* Adjusts the p-values of a family; NaN entries leave the family and stay NaN. `scratch` holds `count` indexes;
 * out_adjusted may be p_values. */
void stats_adjust(enum stats_correction correction, const double *p_values, size_t count, size_t *scratch,
                  double *out_adjusted);

/* Users an arm to detect a difference. */
struct stats_power_question {
    enum stats_kind kind;
    double baseline;     /* proportion in (0,1), or mean */
    double std_dev;      /* mean: of one user's value */
    double effect;       /* relative lift to detect, 0.05 is +5 % */
    double power;        /* 0.8 */
    double alpha;        /* 0.05, two-sided */
    uint32_t variants;   /* arms, control included, all of one size; alpha is shared over the variants-1 comparisons */
};

/* STATUS_INVALID outside the ranges above, STATUS_TOO_LARGE beyond 2^53 users. */
MUST_USE enum status stats_sample_size(const struct stats_power_question *question, uint64_t *out_users_per_arm);

#endif
