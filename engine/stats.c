/* stats.c: from exact sums to estimates, tests and intervals.
 *
 * Reading order: wide integers, moments of an arm, one arm, two arms (difference, lift, sequence, posterior, power),
 * sample ratio, families of p-values, sample size; CUPED is in stats_cuped.c. docs/statistics.md has the formulas and where they come from; the
 * comments here say only why one is written in the form it is.
 */
#include "engine/stats_internal.h"

#include "engine/dist.h"

#include <math.h>

/* Newcombe's interval replaces Welch's below this many conversions, or others, in an arm. */
#define CONVERSIONS_MIN_FOR_WELCH 10

/* The confidence sequence is asymptotic: no verdict before an arm has this many users, or converters and others. */
#define SEQUENCE_USERS_MIN       50
#define SEQUENCE_CONVERSIONS_MIN 25

#define SAMPLE_RATIO_EXPECTED_MIN 5.0
#define SAMPLE_RATIO_P_ALARM      0.001
/* Weight of the Dirichlet prior, in users: how close to the planned weights the alternative is thought to be. */
#define SAMPLE_RATIO_PRIOR_USERS 10000.0

#define HALF_LN_2PI 0.91893853320467274178

const char *stats_state_name(enum stats_state state)
{
    static const char *const names[] = {
        [STATS_OK] = "ok",
        [STATS_NO_DATA] = "no_data",
        [STATS_INSUFFICIENT_DATA] = "insufficient_data",
        [STATS_ZERO_VARIANCE] = "zero_variance",
        [STATS_BASELINE_ZERO] = "baseline_zero",
        [STATS_BASELINE_NOISY] = "baseline_noisy",
        [STATS_OVERFLOW] = "overflow",
    };
    static_assert(COUNT_OF(names) == STATS_OVERFLOW + 1, "every state has a name");
    assert(state < COUNT_OF(names));
    return names[state];
}

/* ---- Wide integers: 256 bits, low limb first. The largest, (2^127)^2, leaves room to add ---- */

struct wide {
    uint64_t limb[4];
};

static struct wide wide_multiply(uint128 a, uint128 b)
{
    const uint64_t a_limb[2] = {(uint64_t)a, (uint64_t)(a >> 64)};
    const uint64_t b_limb[2] = {(uint64_t)b, (uint64_t)(b >> 64)};
    struct wide product = {{0}};
    for (size_t i = 0; i < 2; i++) {
        uint64_t carry = 0;
        for (size_t j = 0; j < 2; j++) {
            uint128 step = (uint128)a_limb[i] * b_limb[j] + product.limb[i + j] + carry;
            product.limb[i + j] = (uint64_t)step;
            carry = (uint64_t)(step >> 64);
        }
        product.limb[i + 2] = carry;
    }
    return product;
}

static bool wide_less(const struct wide *a, const struct wide *b)
{
    for (size_t i = 4; i-- > 0;) {
        if (a->limb[i] != b->limb[i]) {
            return a->limb[i] < b->limb[i];
        }
    }
    return false;
}

static struct wide wide_add(const struct wide *a, const struct wide *b)
{
    struct wide sum;
    uint64_t carry = 0;
    for (size_t i = 0; i < 4; i++) {
        uint128 step = (uint128)a->limb[i] + b->limb[i] + carry;
        sum.limb[i] = (uint64_t)step;
        carry = (uint64_t)(step >> 64);
    }
    assert(carry == 0);
    return sum;
}

static struct wide wide_subtract(const struct wide *a, const struct wide *b)
{
    assert(!wide_less(a, b));
    struct wide difference;
    uint64_t borrow = 0;
    for (size_t i = 0; i < 4; i++) {
        uint128 step = (uint128)a->limb[i] - b->limb[i] - borrow;
        difference.limb[i] = (uint64_t)step;
        borrow = (uint64_t)(step >> 64) & 1;
    }
    return difference;
}

/* Rounds once: whatever lies below the 64 leading bits only has to be remembered as "more than nothing". */
static double wide_to_double(const struct wide *value)
{
    int top = 3;
    while (top > 0 && value->limb[top] == 0) {
        top--;
    }
    if (top == 0) {
        return (double)value->limb[0];
    }
    int shift = __builtin_clzll(value->limb[top]);
    uint128 pair = ((uint128)value->limb[top] << 64 | value->limb[top - 1]) << shift;
    bool rest = (uint64_t)pair != 0;
    for (int i = 0; i < top - 1; i++) {
        rest = rest || value->limb[i] != 0;
    }
    uint64_t leading = (uint64_t)(pair >> 64) | (rest ? 1 : 0);
    return ldexp((double)leading, 64 * top - shift);
}

static uint128 magnitude(int128 value)
{
    return value < 0 ? -(uint128)value : (uint128)value;
}

/* left - right, each with its sign, rounded once. */
static double signed_difference(const struct wide *left, bool left_negative, const struct wide *right, bool right_negative)
{
    double sign = left_negative ? -1.0 : 1.0;
    struct wide result;
    if (left_negative != right_negative) {
        result = wide_add(left, right);
    } else if (wide_less(left, right)) {
        result = wide_subtract(right, left);
        sign = -sign;
    } else {
        result = wide_subtract(left, right);
    }
    return sign * wide_to_double(&result);
}

/* a*m - b*n, rounded once. Two means may agree in all the digits of a double and still differ. */
static double cross_difference(int128 a, uint64_t m, int128 b, uint64_t n)
{
    const struct wide left = wide_multiply(magnitude(a), m);
    const struct wide right = wide_multiply(magnitude(b), n);
    return signed_difference(&left, a < 0, &right, b < 0);
}

/* ---- The moments of one arm ---- */

static double unit_of(enum stats_kind kind)
{
    return kind == STATS_MEAN ? MILLIONTHS_PER_UNIT : 1.0; /* of a ratio they cancel */
}

/* n*Q - S^2 of x, or false if no users can have these sums. */
bool stats_square_spread(uint128 sum_square, int128 sum, uint64_t users, double *out_spread)
{
    if (sum_square == STATS_SUM_SQUARE_OVERFLOW) {
        return false;
    }
    struct wide squares = wide_multiply(sum_square, users);
    struct wide square = wide_multiply(magnitude(sum), magnitude(sum));
    if (wide_less(&squares, &square)) {
        return false;
    }
    struct wide spread = wide_subtract(&squares, &square);
    *out_spread = wide_to_double(&spread);
    return true;
}

/* The same of x, whatever the kind. A proportion has Q = S, since 0 and 1 are their own squares. */
static bool spread_of(enum stats_kind kind, const struct stats_arm *arm, double *out_spread)
{
    if (kind == STATS_PROPORTION) {
        if (arm->sum < 0 || arm->sum > (int128)arm->users) {
            return false;
        }
        *out_spread = (double)((uint128)arm->sum * (arm->users - (uint64_t)arm->sum));
        return true;
    }
    return stats_square_spread(arm->sum_square, arm->sum, arm->users, out_spread);
}

/* n*P - S_x S_y, rounded once. */
double stats_cross_spread(const struct stats_arm *arm)
{
    const struct wide left = wide_multiply(magnitude(arm->product), arm->users);
    const struct wide right = wide_multiply(magnitude(arm->sum), magnitude(arm->other_sum));
    return signed_difference(&left, arm->product < 0, &right, (arm->sum < 0) != (arm->other_sum < 0));
}

/* The delta method: the variance of R is that of the mean of (x - R y) / mean(y). With n*Q - S^2 and the like exact, what is
 * left to cancel is one sum of three terms; below what their rounding can make it is 0 (x = R y for every user). */
static struct moments ratio_moments(const struct stats_arm *arm)
{
    struct moments moments = {.users = (double)arm->users,
                              .mean_is_zero = arm->sum == 0,
                              .mean = NAN,
                              .variance = NAN,
                              .variance_of_mean = NAN};
    double spread_x;
    double spread_y;
    if (!stats_square_spread(arm->sum_square, arm->sum, arm->users, &spread_x) ||
        !stats_square_spread(arm->other_square, arm->other_sum, arm->users, &spread_y)) {
        moments.state = STATS_OVERFLOW;
        return moments;
    }
    const double cross = stats_cross_spread(arm);
    if (fabs(cross) > sqrt(spread_x) * sqrt(spread_y) * (1.0 + 1e-12)) {
        moments.state = STATS_OVERFLOW; /* no users have these sums */
        return moments;
    }
    if (arm->users == 0 || arm->other_sum == 0) {
        moments.state = STATS_NO_DATA;
        return moments;
    }
    moments.mean = (double)arm->sum / (double)arm->other_sum;
    if (arm->users == 1) {
        moments.state = STATS_INSUFFICIENT_DATA;
        return moments;
    }
    const double positive = spread_x + moments.mean * moments.mean * spread_y;
    const double spread = positive - 2.0 * moments.mean * cross;
    const double mean_y = (double)arm->other_sum / moments.users;
    const double pairs = moments.users * (moments.users - 1.0);
    moments.state = STATS_OK;
    moments.variance = spread > positive * 4e-15 ? spread / pairs / mean_y / mean_y : 0.0;
    moments.variance_of_mean = moments.variance / moments.users;
    return moments;
}

/* The distance of the two ranks gives the error as if the events were independent; the design effect, the variance of the share of
 * events up to the quantile (a ratio over users) to what it then would be, makes it one over users. */
static struct moments quantile_moments(const struct stats_arm *arm)
{
    struct moments moments = ratio_moments(arm);
    const double p = arm->probability;
    if (moments.state == STATS_NO_DATA || moments.state == STATS_OVERFLOW) {
        return moments;
    }
    const double events = (double)arm->other_sum / MILLIONTHS_PER_UNIT;
    const double design_effect = moments.variance_of_mean * events / (p * (1.0 - p));
    const double error = (double)(arm->quantile_upper - arm->quantile_lower) / MILLIONTHS_PER_UNIT / (2.0 * STATS_QUANTILE_Z);
    const double events_least = STATS_QUANTILE_Z * STATS_QUANTILE_Z * fmax(p, 1.0 - p) / fmin(p, 1.0 - p);
    moments.mean = (double)arm->quantile / MILLIONTHS_PER_UNIT;
    moments.mean_is_zero = arm->quantile == 0;
    moments.variance_of_mean = error * error * design_effect;
    moments.variance = moments.variance_of_mean * moments.users;
    if (events <= events_least || !(moments.variance_of_mean > 0.0)) {
        moments.state = STATS_INSUFFICIENT_DATA; /* ranks beyond the values, or one value at both: no error can be told */
        moments.variance = NAN;
        moments.variance_of_mean = NAN;
    }
    return moments;
}

struct moments stats_moments_of(enum stats_kind kind, const struct stats_arm *arm)
{
    if (kind == STATS_QUANTILE) {
        return quantile_moments(arm);
    }
    if (kind == STATS_RATIO) {
        return ratio_moments(arm);
    }
    struct moments moments = {.users = (double)arm->users,
                              .mean_is_zero = arm->sum == 0,
                              .mean = NAN,
                              .variance = NAN,
                              .variance_of_mean = NAN};
    double spread;
    if (!spread_of(kind, arm, &spread)) {
        moments.state = STATS_OVERFLOW;
        return moments;
    }
    if (arm->users == 0) {
        moments.state = STATS_NO_DATA;
        return moments;
    }
    moments.mean = (double)arm->sum / moments.users / unit_of(kind);
    if (arm->users == 1) {
        moments.state = STATS_INSUFFICIENT_DATA;
        return moments;
    }
    double pairs = (double)((uint128)arm->users * (arm->users - 1));
    moments.state = STATS_OK;
    moments.variance = spread / pairs / unit_of(kind) / unit_of(kind);
    moments.variance_of_mean = moments.variance / moments.users;
    return moments;
}

/* ---- One arm ---- */

/* Wilson's score interval. Its upper bound for x is one minus its lower bound for n - x, and each is taken from the
 * product of the roots rather than their difference, so that bounds near 0 and near 1 keep their digits. */
static double wilson_lower(uint64_t successes, uint64_t users, double z)
{
    if (successes == 0) {
        return 0.0; /* exactly, which rounding would miss */
    }
    double n = (double)users;
    double p = (double)successes / n;
    double variance = p * ((double)(users - successes) / n) / n;
    double root = z * sqrt(variance + z * z / (4.0 * n * n));
    return p * p / (p + z * z / (2.0 * n) + root);
}

static double wilson_upper(uint64_t successes, uint64_t users, double z)
{
    if (successes == users) {
        return 1.0;
    }
    double n = (double)users;
    double p = (double)successes / n;
    double variance = p * ((double)(users - successes) / n) / n;
    double root = z * sqrt(variance + z * z / (4.0 * n * n));
    return (p + z * z / (2.0 * n) + root) / (1.0 + z * z / n);
}

static struct interval wilson_interval(const struct stats_arm *arm, double z)
{
    uint64_t successes = (uint64_t)arm->sum;
    return (struct interval){wilson_lower(successes, arm->users, z),
                             wilson_upper(successes, arm->users, z)};
}

struct stats_estimate stats_estimate_arm(enum stats_kind kind, const struct stats_arm *arm,
                                         double confidence_level)
{
    assert(confidence_level > 0.0 && confidence_level < 1.0);
    double tail = 0.5 * (1.0 - confidence_level);
    struct moments moments = stats_moments_of(kind, arm);
    struct stats_estimate estimate = {.state = moments.state,
                                      .value = moments.mean,
                                      .std_dev = sqrt(moments.variance),
                                      .std_error = sqrt(moments.variance_of_mean),
                                      .interval = STATS_INTERVAL_NONE};
    if (moments.state == STATS_NO_DATA || moments.state == STATS_OVERFLOW) {
        return estimate;
    }
    if (kind == STATS_PROPORTION) {
        estimate.interval = wilson_interval(arm, -dist_normal_quantile(tail));
        return estimate;
    }
    if (moments.state == STATS_OK && moments.variance > 0.0) {
        double half = dist_t_quantile_upper(tail, moments.users - 1.0) * estimate.std_error;
        estimate.interval = (struct interval){moments.mean - half, moments.mean + half};
    } else if (moments.state == STATS_OK) {
        /* An interval of no width would claim a certainty that some equal values do not give. */
        estimate.state = STATS_ZERO_VARIANCE;
    }
    return estimate;
}

/* ---- Two arms ---- */

struct stats_options stats_options_default(void)
{
    return (struct stats_options){.confidence_level = 0.95,
                                  .sequential_total = 10000.0,
                                  .prior_lift_std_dev = 0.3,
                                  .power = 0.8};
}

struct stats_comparison stats_comparison_undefined(void)
{
    return (struct stats_comparison){.state = STATS_NO_DATA,
                                     .difference = NAN,
                                     .difference_std_error = NAN,
                                     .degrees_of_freedom = NAN,
                                     .difference_interval = STATS_INTERVAL_NONE,
                                     .welch_interval = STATS_INTERVAL_NONE,
                                     .statistic = NAN,
                                     .p_value = NAN,
                                     .ln_p_value = NAN,
                                     .z_p_value = NAN,
                                     .lift_state = STATS_NO_DATA,
                                     .lift = NAN,
                                     .lift_interval = STATS_INTERVAL_NONE,
                                     .sequential_half_width = NAN,
                                     .sequential_interval = STATS_INTERVAL_NONE,
                                     .sequential_p_value = NAN,
                                     .sequential_ln_e = NAN,
                                     .chance_to_win = NAN,
                                     .expected_loss = NAN,
                                     .credible_interval = STATS_INTERVAL_NONE,
                                     .minimum_detectable_effect = NAN,
                                     .interval_method = "welch"};
}

/* The smaller of converted and other users, over both arms. */
static uint64_t rarest_count(const struct stats_arm *control, const struct stats_arm *treatment)
{
    uint64_t count = UINT64_MAX;
    const struct stats_arm *arms[] = {control, treatment};
    for (size_t i = 0; i < COUNT_OF(arms); i++) {
        uint64_t converted = (uint64_t)arms[i]->sum;
        uint64_t others = arms[i]->users - converted;
        count = converted < count ? converted : count;
        count = others < count ? others : count;
    }
    return count;
}

static struct interval newcombe_interval(const struct stats_arm *control,
                                         const struct stats_arm *treatment, double difference,
                                         double z)
{
    struct interval control_bounds = wilson_interval(control, z);
    struct interval treatment_bounds = wilson_interval(treatment, z);
    double p_control = (double)control->sum / (double)control->users;
    double p_treatment = (double)treatment->sum / (double)treatment->users;
    double down = hypot(p_treatment - treatment_bounds.lower, control_bounds.upper - p_control);
    double up = hypot(treatment_bounds.upper - p_treatment, p_control - control_bounds.lower);
    return (struct interval){difference - down, difference + up};
}

/* Fills everything about the absolute difference and returns the critical value of t. */
double stats_compare_difference(const struct moments *control, const struct moments *treatment,
                                 double tail, struct stats_comparison *comparison)
{
    double variance = control->variance_of_mean + treatment->variance_of_mean;
    double share_control = control->variance_of_mean / variance;
    double share_treatment = treatment->variance_of_mean / variance;
    double degrees = 1.0 / (share_control * share_control / (control->users - 1.0) +
                            share_treatment * share_treatment / (treatment->users - 1.0));
    double critical = dist_t_quantile_upper(tail, degrees);
    double half = critical * comparison->difference_std_error;
    double statistic = comparison->difference / comparison->difference_std_error;

    comparison->degrees_of_freedom = degrees;
    comparison->welch_interval =
        (struct interval){comparison->difference - half, comparison->difference + half};
    comparison->statistic = statistic;
    comparison->p_value = fmin(1.0, 2.0 * dist_t_upper(fabs(statistic), degrees));
    comparison->z_p_value = fmin(1.0, 2.0 * dist_normal_upper(fabs(statistic)));
    comparison->ln_p_value = fmin(0.0, M_LN2 + dist_t_ln_upper(fabs(statistic), degrees));
    return critical;
}

/* Fieller's set for the lift L: (d - L m_C)^2 <= k^2 (v_T + (1+L)^2 v_C), that is a L^2 - 2 b L + c <= 0.
 * Solving for L and not for the ratio 1 + L keeps the digits of small lifts, and c has exactly the sign that says
 * whether the interval of the difference excludes 0: the two never contradict each other. The discriminant is
 * written as a sum of positive terms; b^2 - a c cancels. NaN where a <= 0: the control's mean may then be 0. */
static struct interval fieller_interval(const struct moments *control,
                                        const struct moments *treatment, double difference,
                                        double half_width, double critical)
{
    double control_half = critical * sqrt(control->variance_of_mean);
    double a = (fabs(control->mean) - control_half) * (fabs(control->mean) + control_half);
    if (!(a > 0.0)) {
        return STATS_INTERVAL_NONE;
    }
    double b = difference * control->mean + control_half * control_half;
    double c = (fabs(difference) - half_width) * (fabs(difference) + half_width);
    double mean_square = treatment->mean * treatment->mean;
    double root =
        critical * sqrt(treatment->variance_of_mean * a + mean_square * control->variance_of_mean);
    double far = b < 0.0 ? b - root : b + root;
    double first = far / a;
    double second = c / far;
    struct interval interval = {fmin(first, second), fmax(first, second)};
    if (control->mean < 0.0) {
        /* The lift is relative to |control|. */
        interval = (struct interval){-interval.upper, -interval.lower};
    }
    return interval;
}

/* Normal posterior of the lift under the prior N(0, prior^2), from the delta method's variance. */
static void compare_posterior(const struct moments *control, const struct moments *treatment,
                              const struct stats_options *options,
                              struct stats_comparison *comparison)
{
    double ratio = treatment->mean / control->mean;
    double variance = (treatment->variance_of_mean + control->variance_of_mean * ratio * ratio) /
                      (control->mean * control->mean);
    if (!(variance > 0.0)) {
        return; /* the treatment is 0 throughout: the delta method sees no variance where there is some */
    }
    double prior = options->prior_lift_std_dev * options->prior_lift_std_dev;
    double mean = comparison->lift * (prior / (variance + prior));
    double std_dev = sqrt(variance * (prior / (variance + prior)));
    double half = -dist_normal_quantile(0.5 * (1.0 - options->confidence_level)) * std_dev;
    comparison->chance_to_win = dist_normal_upper(-mean / std_dev);
    comparison->expected_loss = std_dev * dist_normal_loss(mean / std_dev);
    comparison->credible_interval = (struct interval){mean - half, mean + half};
}

/* The lift L that the test would find with the wanted power if both arms had the control's variance:
 * L^2 = k^2 Var(lift), where the variance grows with L itself. */
double stats_minimum_detectable_effect(const struct moments *control,
                                        const struct moments *treatment,
                                        const struct stats_options *options)
{
    double k = -dist_normal_quantile(0.5 * (1.0 - options->confidence_level)) +
               dist_normal_quantile(options->power);
    double unit = k * k * control->variance / (control->mean * control->mean);
    double a = unit / control->users;
    double b = unit / treatment->users;
    if (!(unit > 0.0) || !(a < 1.0)) {
        return NAN;
    }
    return (a + sqrt(a * a + (1.0 - a) * (a + b))) / (1.0 - a);
}

static void compare_lift(const struct moments *control, const struct moments *treatment,
                         double critical, const struct stats_options *options,
                         struct stats_comparison *comparison)
{
    if (control->mean_is_zero) {
        comparison->lift_state = STATS_BASELINE_ZERO;
        return;
    }
    comparison->minimum_detectable_effect = stats_minimum_detectable_effect(control, treatment, options);
    compare_posterior(control, treatment, options, comparison);
    if (treatment->mean_is_zero && !(treatment->variance > 0.0)) {
        /* The lift is -1 and Fieller's interval shrinks to that point, which would claim certainty. */
        comparison->lift_state = STATS_ZERO_VARIANCE;
        return;
    }
    double half = critical * comparison->difference_std_error;
    comparison->lift_interval =
        fieller_interval(control, treatment, comparison->difference, half, critical);
    comparison->lift_state =
        isnan(comparison->lift_interval.lower) ? STATS_BASELINE_NOISY : STATS_OK;
}

/* The asymptotic confidence sequence (normal mixture). Its width is tuned to be tightest near N* users. */
void stats_compare_sequential(double users, const struct stats_options *options,
                               struct stats_comparison *comparison)
{
    double alpha = 1.0 - options->confidence_level;
    double ln_alpha = log(alpha);
    double rho_square = (-2.0 * ln_alpha + log1p(-2.0 * ln_alpha)) / options->sequential_total;
    double information = users * rho_square;
    double ln_growth = log1p(information);
    double radius = sqrt((1.0 + 1.0 / information) * (ln_growth - 2.0 * ln_alpha));
    double half = comparison->difference_std_error * radius;
    double z = comparison->statistic;
    comparison->sequential_half_width = half;
    comparison->sequential_interval =
        (struct interval){comparison->difference - half, comparison->difference + half};
    comparison->sequential_ln_e = 0.5 * (information / (1.0 + information) * z * z - ln_growth);
    comparison->sequential_p_value = fmin(1.0, exp(-comparison->sequential_ln_e));
}

enum stats_state stats_comparison_state(const struct moments *control,
                                         const struct moments *treatment)
{
    static const enum stats_state worst_first[] = {STATS_OVERFLOW, STATS_NO_DATA,
                                                   STATS_INSUFFICIENT_DATA};

    for (size_t i = 0; i < COUNT_OF(worst_first); i++) {
        if (control->state == worst_first[i] || treatment->state == worst_first[i]) {
            return worst_first[i];
        }
    }
    return control->variance > 0.0 || treatment->variance > 0.0 ? STATS_OK : STATS_ZERO_VARIANCE;
}

bool stats_sequence_ready(enum stats_kind kind, const struct stats_arm *control,
                           const struct stats_arm *treatment)
{
    if (control->users < SEQUENCE_USERS_MIN || treatment->users < SEQUENCE_USERS_MIN) {
        return false;
    }
    return kind != STATS_PROPORTION || rarest_count(control, treatment) >= SEQUENCE_CONVERSIONS_MIN;
}

/* What needs no variance: the difference, its lift, and for few conversions the interval from Wilson's. */
static void compare_values(enum stats_kind kind, const struct stats_arm *control,
                           const struct stats_arm *treatment, const struct moments *baseline,
                           const struct moments *changed, double tail, struct stats_comparison *comparison)
{
    if (kind == STATS_RATIO || kind == STATS_QUANTILE) {
        comparison->difference = changed->mean - baseline->mean;
    } else {
        double users = (double)((uint128)control->users * treatment->users);
        double numerator =
            cross_difference(treatment->sum, control->users, control->sum, treatment->users);
        comparison->difference = numerator / users / unit_of(kind);
    }
    if (!baseline->mean_is_zero) {
        comparison->lift = comparison->difference / fabs(baseline->mean);
    }
    if (kind == STATS_PROPORTION && rarest_count(control, treatment) < CONVERSIONS_MIN_FOR_WELCH) {
        double z = -dist_normal_quantile(tail);
        comparison->interval_method = "newcombe";
        comparison->difference_interval =
            newcombe_interval(control, treatment, comparison->difference, z);
    }
}

struct stats_comparison stats_compare(enum stats_kind kind, const struct stats_arm *control,
                                      const struct stats_arm *treatment,
                                      const struct stats_options *options)
{
    assert(options->confidence_level > 0.0 && options->confidence_level < 1.0);
    assert(options->sequential_total > 0.0 && options->prior_lift_std_dev > 0.0);
    assert(options->power > 0.0 && options->power < 1.0);
    double tail = 0.5 * (1.0 - options->confidence_level);
    struct moments baseline = stats_moments_of(kind, control);
    struct moments changed = stats_moments_of(kind, treatment);
    struct stats_comparison comparison = stats_comparison_undefined();
    comparison.state = stats_comparison_state(&baseline, &changed);
    comparison.lift_state = comparison.state;
    if (comparison.state == STATS_OVERFLOW || comparison.state == STATS_NO_DATA) {
        return comparison;
    }
    compare_values(kind, control, treatment, &baseline, &changed, tail, &comparison);
    comparison.difference_std_error = sqrt(baseline.variance_of_mean + changed.variance_of_mean);
    if (comparison.state != STATS_OK) {
        if (comparison.state == STATS_ZERO_VARIANCE && baseline.mean_is_zero) {
            comparison.lift_state = STATS_BASELINE_ZERO;
        }
        return comparison;
    }
    double critical = stats_compare_difference(&baseline, &changed, tail, &comparison);
    if (isnan(comparison.difference_interval.lower)) {
        comparison.difference_interval = comparison.welch_interval;
    }
    compare_lift(&baseline, &changed, critical, options, &comparison);
    stats_compare_sequential(baseline.users + changed.users, options, &comparison);
    comparison.sequential_ready = stats_sequence_ready(kind, control, treatment);
    return comparison;
}

/* ---- Sample ratio ---- */

/* ln Gamma(x) less Stirling's formula for it. */
static double stirling_error(double x)
{
    if (x < 16.0) {
        return dist_ln_gamma(x) - ((x - 0.5) * log(x) - x + HALF_LN_2PI);
    }
    double y = 1.0 / (x * x);
    double series = 1.0 / 1260 - y * (1.0 / 1680 - y / 1188);
    return (1.0 / 12 - y * (1.0 / 360 - y * series)) / x;
}

/* r ln r - r + 1, which is small and positive near r = 1. `excess` is r - 1 with its digits. */
static double divergence(double ratio, double excess)
{
    if (fabs(excess) > 0.5) {
        return ratio * log(ratio) - excess;
    }
    return ratio * dist_ln1p_minus(excess) + excess * excess;
}

/* Log Bayes factor of "the arms' shares are Dirichlet around the weights" against "they are the weights". The
 * textbook sum of ln Gammas loses its digits at 1e9 users; here Stirling's leading terms are cancelled by hand,
 * which leaves a sum of positive divergences, a few logarithms, and Stirling errors. */
static double sample_ratio_ln_bayes_factor(const uint64_t *users, const double *weights,
                                           size_t arms, double total_users, double total_weight)
{
    double prior = SAMPLE_RATIO_PRIOR_USERS;
    double posterior = prior + total_users;
    double sum = 0.5 * log(posterior / prior) - stirling_error(posterior) + stirling_error(prior);
    for (size_t i = 0; i < arms; i++) {
        if (!(weights[i] > 0.0)) {
            continue;
        }
        double share = weights[i] / total_weight;
        double observed = (double)users[i];
        double before = prior * share;
        double after = before + observed;
        double planned = posterior * share;
        double excess = (observed - total_users * share) / planned;
        sum += planned * divergence(after / planned, excess) - 0.5 * log(after / before) +
               stirling_error(after) - stirling_error(before);
    }
    return sum;
}

struct stats_srm stats_sample_ratio(const uint64_t *users, const double *weights, size_t arms)
{
    struct stats_srm srm = {.state = STATS_NO_DATA,
                            .chi_square = NAN,
                            .degrees_of_freedom = NAN,
                            .p_value = NAN,
                            .ln_p_value = NAN,
                            .sequential_p_value = NAN,
                            .sequential_ln_bayes_factor = NAN,
                            .ok = true};
    double total_users = 0.0;
    double total_weight = 0.0;
    size_t open_arms = 0;
    for (size_t i = 0; i < arms; i++) {
        if (weights[i] > 0.0) {
            total_users += (double)users[i];
            total_weight += weights[i];
            open_arms++;
        }
    }
    if (open_arms == 0 || !(total_users > 0.0)) {
        return srm;
    }
    double expected_min = INFINITY;
    srm.chi_square = 0.0;
    for (size_t i = 0; i < arms; i++) {
        if (weights[i] > 0.0) {
            double expected = total_users * (weights[i] / total_weight);
            double excess = (double)users[i] - expected;
            srm.chi_square += excess * excess / expected;
            expected_min = fmin(expected_min, expected);
        }
    }
    srm.degrees_of_freedom = (double)(open_arms - 1);
    srm.state = STATS_INSUFFICIENT_DATA;
    if (open_arms < 2) {
        return srm;
    }
    srm.sequential_ln_bayes_factor =
        sample_ratio_ln_bayes_factor(users, weights, arms, total_users, total_weight);
    srm.sequential_p_value = fmin(1.0, exp(-srm.sequential_ln_bayes_factor));
    if (expected_min < SAMPLE_RATIO_EXPECTED_MIN) {
        return srm;
    }
    srm.state = STATS_OK;
    srm.p_value = dist_chi_square_upper(srm.chi_square, srm.degrees_of_freedom);
    srm.ln_p_value = dist_chi_square_ln_upper(srm.chi_square, srm.degrees_of_freedom);
    srm.ok = !(srm.p_value < SAMPLE_RATIO_P_ALARM);
    return srm;
}

/* ---- Families of p-values ---- */

/* By p-value, then by place, so that equal p-values keep their order. */
static bool sorts_before(const double *p_values, size_t a, size_t b)
{
    if (p_values[a] < p_values[b] || p_values[a] > p_values[b]) {
        return p_values[a] < p_values[b];
    }
    return a < b;
}

static void heap_sink(const double *p_values, size_t *heap, size_t count, size_t at)
{
    while (2 * at + 1 < count) {
        size_t child = 2 * at + 1;
        if (child + 1 < count && sorts_before(p_values, heap[child], heap[child + 1])) {
            child++;
        }
        if (!sorts_before(p_values, heap[at], heap[child])) {
            return;
        }
        size_t swapped = heap[at];
        heap[at] = heap[child];
        heap[child] = swapped;
        at = child;
    }
}

/* Heapsort: qsort may allocate. */
static void sort_by_p_value(const double *p_values, size_t *indexes, size_t count)
{
    for (size_t at = count / 2; at-- > 0;) {
        heap_sink(p_values, indexes, count, at);
    }
    for (size_t left = count; left-- > 1;) {
        size_t largest = indexes[0];
        indexes[0] = indexes[left];
        indexes[left] = largest;
        heap_sink(p_values, indexes, left, 0);
    }
}

static void adjust_holm(const double *p_values, const size_t *sorted, size_t count,
                        double *out_adjusted)
{
    double running = 0.0;
    for (size_t i = 0; i < count; i++) {
        running = fmax(running, fmin(1.0, (double)(count - i) * p_values[sorted[i]]));
        out_adjusted[sorted[i]] = running;
    }
}

static void adjust_bh(const double *p_values, const size_t *sorted, size_t count,
                      double *out_adjusted)
{
    double running = 1.0;
    for (size_t i = count; i-- > 0;) {
        /* In this order of operations the factor of the largest p-value is exactly 1. */
        double factor = (double)count / (double)(i + 1);
        running = fmin(running, factor * p_values[sorted[i]]);
        out_adjusted[sorted[i]] = running;
    }
}

void stats_adjust(enum stats_correction correction, const double *p_values, size_t count,
                  size_t *scratch, double *out_adjusted)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (isnan(p_values[i])) {
            out_adjusted[i] = NAN;
        } else {
            scratch[kept++] = i;
        }
    }
    sort_by_p_value(p_values, scratch, kept);
    switch (correction) {
    case STATS_CORRECTION_NONE:
        for (size_t i = 0; i < kept; i++) {
            out_adjusted[scratch[i]] = p_values[scratch[i]];
        }
        return;
    case STATS_CORRECTION_HOLM:
        adjust_holm(p_values, scratch, kept, out_adjusted);
        return;
    case STATS_CORRECTION_BH:
        adjust_bh(p_values, scratch, kept, out_adjusted);
        return;
    }
}

/* ---- Sample size ---- */

/* The sum of both arms' variances of one user's value if the effect is real. False outside what makes sense. */
static bool variances_to_detect(const struct stats_power_question *question, double *out_variances)
{
    if (question->kind == STATS_MEAN) {
        *out_variances = 2.0 * question->std_dev * question->std_dev;
        return isfinite(question->baseline) && *out_variances > 0.0 && isfinite(*out_variances);
    }
    double before = question->baseline;
    double after = before * (1.0 + question->effect);
    *out_variances = before * (1.0 - before) + after * (1.0 - after);
    return before > 0.0 && before < 1.0 && after > 0.0 && after < 1.0;
}

enum status stats_sample_size(const struct stats_power_question *question,
                              uint64_t *out_users_per_arm)
{
    const double users_max = 9007199254740992.0; /* 2^53: beyond it a double cannot count users */
    double variances;
    double delta = question->baseline * question->effect;
    bool valid = variances_to_detect(question, &variances) && question->variants >= 2 &&
                 question->power > 0.0 && question->power < 1.0 && question->alpha > 0.0 &&
                 question->alpha < 1.0 && isfinite(delta) && fabs(delta) > 0.0;
    if (!valid) {
        return STATUS_INVALID;
    }
    double alpha = question->alpha / (double)(question->variants - 1);
    double k = -dist_normal_quantile(0.5 * alpha) + dist_normal_quantile(question->power);
    if (!(k > 0.0)) {
        return STATUS_INVALID; /* less power asked for than a test of no effect has */
    }
    double ratio = k / delta;
    double users = ceil(ratio * ratio * variances);
    if (!(users <= users_max)) {
        return STATUS_TOO_LARGE;
    }
    *out_users_per_arm = users < 2.0 ? 2 : (uint64_t)users;
    return STATUS_OK;
}
