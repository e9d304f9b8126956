/* stats_cuped.c: comparisons that are adjusted by what the users did before; see stats.h. docs/statistics.md has the formulas. */
#include "engine/stats_internal.h"

#include "engine/dist.h"

/* Centred sums of one arm in whole units: of x, of y, and of both. */
struct centred {
    double xx;
    double yy;
    double xy;
};

static bool centred_of(const struct stats_arm *arm, struct centred *out)
{
    const double scale = MILLIONTHS_PER_UNIT * MILLIONTHS_PER_UNIT * (double)(arm->users != 0 ? arm->users : 1);
    if (!stats_square_spread(arm->sum_square, arm->sum, arm->users, &out->xx) ||
        !stats_square_spread(arm->other_square, arm->other_sum, arm->users, &out->yy)) {
        return false;
    }
    out->xy = stats_cross_spread(arm);
    if (fabs(out->xy) > sqrt(out->xx) * sqrt(out->yy) * (1.0 + 1e-12)) {
        return false; /* no users have these sums */
    }
    out->xx /= scale;
    out->yy /= scale;
    out->xy /= scale;
    return true;
}

/* The covariate of an arm as a value of its own. */
static struct stats_arm covariate_of(const struct stats_arm *arm)
{
    return (struct stats_arm){.users = arm->users, .sum = arm->other_sum, .sum_square = arm->other_square};
}

enum stats_state stats_cuped_of(const struct stats_arm *arms, size_t count, size_t control, struct stats_cuped *out_cuped)
{
    const struct stats_options options = stats_options_default();
    const struct stats_arm baseline = covariate_of(&arms[control]);
    struct centred sum = {0, 0, 0};
    double users = 0.0;
    double others = 0.0;
    *out_cuped = (struct stats_cuped){.variance_share = NAN, .mean_of_covariate = NAN, .covariate_p_value = NAN};
    for (size_t i = 0; i < count; i++) {
        struct centred own;
        if (!centred_of(&arms[i], &own)) {
            return STATS_OVERFLOW;
        }
        sum = (struct centred){sum.xx + own.xx, sum.yy + own.yy, sum.xy + own.xy};
        users += (double)arms[i].users;
        others += (double)arms[i].other_sum / MILLIONTHS_PER_UNIT;
        const struct stats_arm covariate = covariate_of(&arms[i]);
        double p = NAN;
        if (i != control) {
            p = stats_compare(STATS_MEAN, &baseline, &covariate, &options).p_value;
        }
        out_cuped->covariate_p_value = isnan(p) ? out_cuped->covariate_p_value : fmin(p, out_cuped->covariate_p_value);
    }
    if (!(users > 0.0)) {
        return STATS_NO_DATA;
    }
    out_cuped->mean_of_covariate = others / users;
    out_cuped->slope = sum.yy > 0.0 ? sum.xy / sum.yy : 0.0;
    if (sum.xx > 0.0) {
        out_cuped->variance_share = fmax(0.0, (sum.xx - out_cuped->slope * sum.xy) / sum.xx);
    }
    return STATS_OK;
}

/* Of x - slope (y - mean of y over all). Where the covariate explains nothing it is the plain one, digit for digit. */
static struct moments cuped_moments(const struct stats_arm *arm, const struct stats_cuped *cuped)
{
    struct moments moments = stats_moments_of(STATS_MEAN, arm);
    struct centred own;
    if (moments.state == STATS_NO_DATA || moments.state == STATS_OVERFLOW || !(fabs(cuped->slope) > 0.0)) {
        return moments;
    }
    if (!centred_of(arm, &own)) {
        moments.state = STATS_OVERFLOW;
        return moments;
    }
    const double mean_of_covariate = (double)arm->other_sum / moments.users / MILLIONTHS_PER_UNIT;
    moments.mean -= cuped->slope * (mean_of_covariate - cuped->mean_of_covariate);
    moments.mean_is_zero = false;
    if (moments.state == STATS_OK) {
        const double positive = own.xx + cuped->slope * cuped->slope * own.yy;
        const double spread = positive - 2.0 * cuped->slope * own.xy;
        moments.variance = spread > positive * 4e-15 ? spread / (moments.users - 1.0) : 0.0;
        moments.variance_of_mean = moments.variance / moments.users;
    }
    return moments;
}

struct stats_estimate stats_estimate_cuped(const struct stats_arm *arm, const struct stats_cuped *cuped,
                                           double confidence_level)
{
    const struct moments moments = cuped_moments(arm, cuped);
    struct stats_estimate estimate = {.state = moments.state,
                                      .value = moments.mean,
                                      .std_dev = sqrt(moments.variance),
                                      .std_error = sqrt(moments.variance_of_mean),
                                      .interval = STATS_INTERVAL_NONE};
    if (moments.state == STATS_OK && moments.variance > 0.0) {
        const double half = dist_t_quantile_upper(0.5 * (1.0 - confidence_level), moments.users - 1.0) * estimate.std_error;
        estimate.interval = (struct interval){moments.mean - half, moments.mean + half};
    } else if (moments.state == STATS_OK) {
        estimate.state = STATS_ZERO_VARIANCE;
    }
    return estimate;
}

/* Variance of the lift d/m over the control's plain mean m: the gradient over (x_T, y_T, x_C, y_C) is
 * (1, -slope, -(m + d)/m, slope)/m. The adjusted means' centring cancels in d, but would not in a lift over an adjusted mean. */
static double cuped_lift_variance(const struct stats_arm *control, const struct moments *changed, const struct stats_cuped *cuped,
                                  double mean, double difference)
{
    struct centred own;
    if (!centred_of(control, &own)) {
        return NAN;
    }
    const double users = (double)control->users;
    const double growth = (mean + difference) / mean;
    const double spread =
        growth * growth * own.xx - 2.0 * growth * cuped->slope * own.xy + cuped->slope * cuped->slope * own.yy;
    return (changed->variance_of_mean + fmax(0.0, spread) / (users - 1.0) / users) / (mean * mean);
}

static void compare_lift_cuped(const struct stats_arm *control, const struct moments *baseline, const struct moments *changed,
                               const struct stats_cuped *cuped, double critical, const struct stats_options *options,
                               struct stats_comparison *comparison)
{
    const double mean = (double)control->sum / baseline->users / MILLIONTHS_PER_UNIT;
    if (control->sum == 0) {
        comparison->lift_state = STATS_BASELINE_ZERO;
        return;
    }
    comparison->lift = comparison->difference / fabs(mean);
    const double variance = cuped_lift_variance(control, changed, cuped, mean, comparison->difference);
    struct moments scaled = *baseline;
    scaled.mean = mean;
    comparison->minimum_detectable_effect = stats_minimum_detectable_effect(&scaled, changed, options);
    if (!(variance > 0.0)) {
        comparison->lift_state = STATS_ZERO_VARIANCE;
        return;
    }
    const double prior = options->prior_lift_std_dev * options->prior_lift_std_dev;
    const double weight = prior / (variance + prior);
    const double posterior = comparison->lift * weight;
    const double std_dev = sqrt(variance * weight);
    const double half_posterior = -dist_normal_quantile(0.5 * (1.0 - options->confidence_level)) * std_dev;
    comparison->chance_to_win = dist_normal_upper(-posterior / std_dev);
    comparison->expected_loss = std_dev * dist_normal_loss(posterior / std_dev);
    comparison->credible_interval = (struct interval){posterior - half_posterior, posterior + half_posterior};
    const double control_half = critical * sqrt(stats_moments_of(STATS_MEAN, control).variance_of_mean);
    if (fabs(mean) <= control_half) {
        comparison->lift_state = STATS_BASELINE_NOISY;
        return;
    }
    const double half = critical * sqrt(variance);
    comparison->lift_interval = (struct interval){comparison->lift - half, comparison->lift + half};
    comparison->lift_state = STATS_OK;
}

struct stats_comparison stats_compare_cuped(const struct stats_arm *control, const struct stats_arm *treatment,
                                            const struct stats_cuped *cuped, const struct stats_options *options)
{
    const struct moments baseline = cuped_moments(control, cuped);
    const struct moments changed = cuped_moments(treatment, cuped);
    if (!(fabs(cuped->slope) > 0.0)) {
        return stats_compare(STATS_MEAN, control, treatment, options);
    }
    struct stats_comparison comparison = stats_comparison_undefined();
    comparison.state = stats_comparison_state(&baseline, &changed);
    comparison.lift_state = comparison.state;
    comparison.interval_method = "cuped";
    if (comparison.state == STATS_OVERFLOW || comparison.state == STATS_NO_DATA) {
        return comparison;
    }
    comparison.difference = changed.mean - baseline.mean;
    comparison.difference_std_error = sqrt(baseline.variance_of_mean + changed.variance_of_mean);
    if (comparison.state != STATS_OK) {
        return comparison;
    }
    const double tail = 0.5 * (1.0 - options->confidence_level);
    const double critical = stats_compare_difference(&baseline, &changed, tail, &comparison);
    comparison.difference_interval = comparison.welch_interval;
    compare_lift_cuped(control, &baseline, &changed, cuped, critical, options, &comparison);
    stats_compare_sequential(baseline.users + changed.users, options, &comparison);
    comparison.sequential_ready = stats_sequence_ready(STATS_MEAN, control, treatment);
    return comparison;
}
