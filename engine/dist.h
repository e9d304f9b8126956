/* dist.h: distribution functions that keep their digits in the tails: the C face of Boost.Math (BSL-1.0, headers only).
 *
 * Every function is total over the stated domain and never throws; NaN in gives NaN out, and so does an argument
 * outside the domain, unless a limit is the natural answer. Upper tails are computed as tails, logarithms without
 * passing through a number that underflows. Relative error is below 1e-12, of the logarithms below 1e-14 wherever they
 * are below -1 (docs/statistics.md has the measured figures). Pure; any thread.
 */
#ifndef ASSAY_ENGINE_DIST_H
#define ASSAY_ENGINE_DIST_H

#ifdef __cplusplus
extern "C" {
#endif

double dist_normal_upper(double z);    /* P(Z > z) */
double dist_normal_ln_upper(double z); /* its logarithm, right past z = 38 too */
double dist_normal_density(double z);
double dist_normal_loss(double z);     /* E[max(Z - z, 0)] = density(z) - z * upper(z), free of that cancellation */
double dist_normal_quantile(double p); /* z with P(Z <= z) = p, 0 < p < 1 */
double dist_t_upper(double t, double degrees); /* P(T > t), degrees > 0, real */
double dist_t_ln_upper(double t, double degrees);
double dist_t_quantile_upper(double p, double degrees);    /* t with P(T > t) = p, 0 < p < 1 */
double dist_chi_square_upper(double x, double degrees);    /* P(X > x), x >= 0, degrees > 0 */
double dist_chi_square_ln_upper(double x, double degrees);
double dist_ln_gamma(double x);        /* x > 0 */
double dist_ln1p_minus(double x);      /* ln(1 + x) - x for x > -1, free of that cancellation */

#ifdef __cplusplus
}
#endif

#endif
