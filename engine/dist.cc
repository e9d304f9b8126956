/* dist.cc: the C face of Boost.Math, and the logarithms of tails that Boost does not have.
 *
 * The only C++ of the library. Nothing thrown may reach C: the policy below turns every error of Boost into a value
 * (NaN, infinity, or the best estimate so far), and no function here allocates.
 *
 * Doubles are not promoted to long double: the measured loss is nothing that a p-value could show, and results then
 * do not depend on what a platform calls long double.
 */
#include "engine/dist.h"

#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <boost/math/special_functions/gamma.hpp>
#include <boost/math/special_functions/log1p.hpp>
#include <cmath>
#include <limits>

namespace
{

namespace policies = boost::math::policies;

using quiet = policies::policy<policies::domain_error<policies::ignore_error>,
                               policies::pole_error<policies::ignore_error>,
                               policies::overflow_error<policies::ignore_error>,
                               policies::underflow_error<policies::ignore_error>,
                               policies::denorm_error<policies::ignore_error>,
                               policies::evaluation_error<policies::ignore_error>,
                               policies::rounding_error<policies::ignore_error>,
                               policies::indeterminate_result_error<policies::ignore_error>,
                               policies::promote_float<false>, policies::promote_double<false>>;

constexpr double NOT_A_NUMBER = std::numeric_limits<double>::quiet_NaN();
constexpr double LN_2 = 0.693147180559945309417232121458;
constexpr double PI = 3.14159265358979323846264338328;
constexpr double LN_PI = 1.14472988584940017414342735135;
constexpr double LN_SQRT_2PI = 0.918938533204672741780329736406;
constexpr double SQRT_2 = 1.41421356237309504880168872421;
constexpr double INVERSE_SQRT_2PI = 0.398942280401432677939946059934;

/* From here up the continued fraction of the normal tail converges within its terms; below, erfc is as good. */
constexpr double NORMAL_TAIL_START = 2.0;
constexpr int NORMAL_TAIL_TERMS = 100;

/* Tails below this are near underflow, where logarithms come from continued fractions instead. */
constexpr double TAIL_TINY = 1e-280;

/* The normal's density over its upper tail, z + 1/(z + 2/(z + 3/(z + ...))) (Laplace), evaluated backwards. */
double normal_hazard(double z)
{
    double value = z;
    for (int term = NORMAL_TAIL_TERMS; term >= 1; term--) {
        value = z + term / value;
    }
    return value;
}

/* ln P(T > t) for t far in the tail. With a = degrees/2 and x = degrees/(degrees + t^2) the tail is half of
 * I_x(a, 1/2) = x^a (1-x)^(-1/2) F / (a B(a, 1/2)), F = 2F1(1, 1/2; a+1; -degrees/t^2). Of the linear
 * transformations of 2F1 this one gives Gauss's continued fraction positive coefficients only, small where t is
 * large whatever the degrees: with many degrees it becomes the normal's fraction above. */
double t_ln_upper_far(double t, double degrees)
{
    const int terms = 60;
    double a = 0.5 * degrees;
    double w = degrees / t / t;
    double value = 1.0;
    for (int n = terms; n >= 1; n--) {
        double even = n * (a - 0.5 + n) / ((a + 2 * n - 1) * (a + 2 * n));
        double odd = (0.5 + n) * (a + n) / ((a + 2 * n) * (a + 2 * n + 1));
        value = 1.0 + even * w / (1.0 + odd * w / value);
    }
    double first = 0.5 / (a + 1.0);
    double ln_series = -std::log1p(first * w / value);
    /* Past t = 1e150 the square overflows, and ln(1 + 1/w) is -ln w to the last bit. */
    double ln_inverse_x = w < 1e-100 ? 2.0 * std::log(t) - std::log(degrees) : std::log1p(1.0 / w);
    double ln_beta = std::log(boost::math::tgamma_delta_ratio(a, 0.5, quiet())) + 0.5 * LN_PI;
    return -a * ln_inverse_x + 0.5 * std::log1p(w) + ln_series - ln_beta - std::log(a) - LN_2;
}

/* ln Q(a, x) for x well above a: e^-x x^a / Gamma(a) times Legendre's continued fraction, by Lentz's method. */
double gamma_ln_upper_far(double a, double x)
{
    const int terms_max = 10000;
    double b = x + 1.0 - a;
    double d = 1.0 / b;
    double c = std::numeric_limits<double>::max();
    double fraction = d;
    for (int term = 1; term <= terms_max; term++) {
        double numerator = -term * (term - a);
        b += 2.0;
        d = 1.0 / (b + numerator * d);
        c = b + numerator / c;
        double step = c * d;
        fraction *= step;
        if (std::fabs(step - 1.0) < std::numeric_limits<double>::epsilon()) {
            break;
        }
    }
    return a * std::log(x) - x - boost::math::lgamma(a, quiet()) + std::log(fraction);
}

} // namespace

double dist_normal_density(double z)
{
    /* z*z is rounded, and exp turns its absolute error into a relative one: carry the lost part along. */
    double square = z * z;
    if (std::isinf(square)) {
        return 0.0;
    }
    double lost = std::fma(z, z, -square);
    return INVERSE_SQRT_2PI * std::exp(-0.5 * square) * (1.0 - 0.5 * lost);
}

double dist_normal_upper(double z)
{
    if (z < NORMAL_TAIL_START || std::isnan(z)) {
        return 0.5 * std::erfc(z / SQRT_2);
    }
    return dist_normal_density(z) / normal_hazard(z);
}

double dist_normal_ln_upper(double z)
{
    if (z < 0.0) {
        return std::log1p(-dist_normal_upper(-z));
    }
    if (z < NORMAL_TAIL_START || std::isnan(z)) {
        return std::log(dist_normal_upper(z));
    }
    return -0.5 * z * z - LN_SQRT_2PI - std::log(normal_hazard(z));
}

double dist_normal_loss(double z)
{
    if (z < NORMAL_TAIL_START || std::isnan(z)) {
        return dist_normal_density(z) - z * dist_normal_upper(z);
    }
    /* density (1 - z/hazard), and hazard - z is the rest of the fraction: 1/(z + 2/(z + ...)). */
    double rest = z;
    for (int term = NORMAL_TAIL_TERMS; term >= 2; term--) {
        rest = z + term / rest;
    }
    return dist_normal_density(z) / (z * rest + 1.0);
}

double dist_normal_quantile(double p)
{
    if (!(p >= 0.0 && p <= 1.0)) {
        return NOT_A_NUMBER;
    }
    return boost::math::quantile(boost::math::normal_distribution<double, quiet>(), p);
}

double dist_t_upper(double t, double degrees)
{
    if (std::isnan(t) || !(degrees > 0.0)) {
        return NOT_A_NUMBER;
    }
    if (!(degrees > 1.0) && !(degrees < 1.0)) {
        /* Cauchy. Boost loses digits near t = 0 here, to an arc sine near 1. */
        return std::atan2(1.0, t) / PI;
    }
    if (t > 1e100) {
        return std::exp(t_ln_upper_far(t, degrees));
    }
    boost::math::students_t_distribution<double, quiet> distribution(degrees);
    return boost::math::cdf(boost::math::complement(distribution, t));
}

double dist_t_ln_upper(double t, double degrees)
{
    if (t < 0.0) {
        return std::log1p(-dist_t_upper(-t, degrees));
    }
    double upper = dist_t_upper(t, degrees);
    if (std::isnan(upper) || upper >= TAIL_TINY) {
        return std::log(upper);
    }
    return t_ln_upper_far(t, degrees);
}

double dist_t_quantile_upper(double p, double degrees)
{
    if (!(p > 0.0 && p < 1.0) || !(degrees > 0.0)) {
        return NOT_A_NUMBER;
    }
    boost::math::students_t_distribution<double, quiet> distribution(degrees);
    return boost::math::quantile(boost::math::complement(distribution, p));
}

double dist_chi_square_upper(double x, double degrees)
{
    if (!(x >= 0.0) || !(degrees > 0.0)) {
        return NOT_A_NUMBER;
    }
    return boost::math::gamma_q(0.5 * degrees, 0.5 * x, quiet());
}

double dist_chi_square_ln_upper(double x, double degrees)
{
    double upper = dist_chi_square_upper(x, degrees);
    if (upper > 0.5) {
        return std::log1p(-boost::math::gamma_p(0.5 * degrees, 0.5 * x, quiet()));
    }
    if (std::isnan(upper) || upper >= TAIL_TINY || std::isinf(x)) {
        return std::log(upper);
    }
    return gamma_ln_upper_far(0.5 * degrees, 0.5 * x);
}

double dist_ln_gamma(double x)
{
    return x > 0.0 ? boost::math::lgamma(x, quiet()) : NOT_A_NUMBER;
}

double dist_ln1p_minus(double x)
{
    return boost::math::log1pmx(x, quiet());
}
