#!/usr/bin/python3
"""Reference cases for engine/stats.c and engine/dist.cc, written to tests/data/stats_cases.csv.

    /usr/bin/python3 tests/oracle/stats_cases.py                    write the cases
    /usr/bin/python3 tests/oracle/stats_cases.py --measure LIB.so   relative errors of the distribution functions

Needs Debian's python3-mpmath, python3-scipy, python3-statsmodels. The numbers come from exact fractions and mpmath at
50 digits, by definitions (integrals, textbook equations solved as they stand) and not by the rearrangements that the C
code uses to survive in doubles. Wherever scipy or statsmodels can answer the same question, they are asked too, and a
disagreement stops the run: see agree().
"""
import ctypes
import math
import os
import random
import sys
import warnings
from fractions import Fraction

import mpmath as mp
import numpy
from scipy import optimize, stats
from statsmodels.stats import multitest
from statsmodels.stats import proportion as sm_proportion
from statsmodels.stats import weightstats

mp.mp.dps = 50
NAN = mp.nan
MILLION = 10**6
agreements = 0


def real(value):
    """A fraction, integer or double, exactly, as a 50-digit number."""
    if isinstance(value, Fraction):
        return mp.mpf(value.numerator) / value.denominator
    return mp.mpf(value)


def agree(ours, theirs, tolerance=1e-9):
    """Two independent answers to one question."""
    global agreements
    ours, theirs = float(ours), float(theirs)
    if not abs(ours - theirs) <= tolerance * max(abs(ours), abs(theirs)):
        raise SystemExit(f"oracles disagree: {ours!r} {theirs!r}")
    agreements += 1


# ---------------------------------------------------------------------------------------------- distributions


def normal_upper(z):
    return mp.erfc(mp.mpf(z) / mp.sqrt(2)) / 2


def normal_density(z):
    return mp.npdf(z)


def normal_quantile_upper(p):
    """z with P(Z > z) = p, by Newton on the logarithm of the tail."""
    p = mp.mpf(p)
    if p > 0.5:
        return -normal_quantile_upper(1 - p)
    z = mp.mpf(float(stats.norm.isf(float(p))))
    for _ in range(6):
        z += (mp.log(normal_upper(z)) - mp.log(p)) * normal_upper(z) / normal_density(z)
    return z


def t_density(t, degrees):
    t, v = mp.mpf(t), mp.mpf(degrees)
    ln_constant = mp.loggamma((v + 1) / 2) - mp.loggamma(v / 2) - mp.log(v * mp.pi) / 2
    return mp.exp(ln_constant - (v + 1) / 2 * mp.log1p(t * t / v))


def t_upper_beta(t, degrees):
    t, v = mp.mpf(t), mp.mpf(degrees)
    return mp.betainc(v / 2, mp.mpf(1) / 2, 0, v / (v + t * t), regularized=True) / 2


def t_upper_integral(t, degrees):
    """The density integrated from t on, in units of the length over which it decays there."""
    t, v = mp.mpf(t), mp.mpf(degrees)
    scale = min(mp.mpf(1), (v + t * t) / ((v + 1) * t)) if t > 0 else mp.mpf(1)
    here = mp.log1p(t * t / v)

    def relative_density(u):
        s = t + scale * u
        return mp.exp(-(v + 1) / 2 * (mp.log1p(s * s / v) - here))

    points = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 1024]
    return t_density(t, v) * scale * mp.quad(relative_density, points)


def t_upper(t, degrees):
    t, v = mp.mpf(t), mp.mpf(degrees)
    if t < 0:
        return 1 - t_upper(-t, v)
    return t_upper_beta(t, v) if v < 2000 else t_upper_integral(t, v)


def t_quantile_upper(p, degrees):
    p, v = mp.mpf(p), mp.mpf(degrees)
    if p > 0.5:
        return -t_quantile_upper(1 - p, v)
    t = mp.mpf(float(stats.t.isf(float(p), float(v))))
    for _ in range(12):
        upper = t_upper(t, v)
        step = (mp.log(upper) - mp.log(p)) * upper / t_density(t, v)
        t += step
        if abs(step) < abs(t) * mp.mpf(10) ** -25:
            break
    else:
        raise SystemExit(f"t quantile does not settle: {p} {v}")
    return t


def chi_square_upper(x, degrees):
    return mp.gammainc(mp.mpf(degrees) / 2, mp.mpf(x) / 2, regularized=True)


# ---------------------------------------------------------------------------------------------- one arm


class Arm:
    """Sums of one arm, as integers in millionths (kind mean) or counts (kind proportion)."""

    def __init__(self, kind, users, total, square=0):
        self.kind, self.users, self.total, self.square = kind, users, total, square
        assert abs(total) < 2**127 and square < 2**128 - 1, "beyond the sums of struct stats_arm"
        scale = MILLION if kind == "mean" else 1
        square = square if kind == "mean" else total
        self.mean = Fraction(total, users * scale) if users else None
        self.variance = None  # sample variance, n-1
        if users > 1:
            spread = Fraction(square) - Fraction(total) ** 2 / users
            assert spread >= 0, "impossible sums"
            self.variance = spread / (users - 1) / scale**2

    @staticmethod
    def of_values(values):
        """From values in millionths."""
        return Arm("mean", len(values), sum(values), sum(v * v for v in values))

    def times(self, k):
        return Arm("mean", self.users, self.total * k, self.square * k * k)

    def of_mean(self):
        """Variance of the mean."""
        return self.variance / self.users

    def csv(self):
        return [self.users, self.total, self.square]


def wilson(arm, confidence):
    """Both roots of (p - x)^2 = z^2 x (1-x) / n, by the quadratic formula at 50 digits."""
    z2 = normal_quantile_upper((1 - mp.mpf(confidence)) / 2) ** 2
    n, p = arm.users, real(arm.mean)
    a, b, c = 1 + z2 / n, -(2 * p + z2 / n), p * p
    root = mp.sqrt(b * b - 4 * a * c)
    lower = mp.mpf(0) if arm.total == 0 else (-b - root) / (2 * a)
    upper = mp.mpf(1) if arm.total == arm.users else (-b + root) / (2 * a)
    if 10 <= arm.total <= arm.users - 10 and arm.users < 10**7:
        theirs = sm_proportion.proportion_confint(arm.total, arm.users, 1 - confidence, "wilson")
        agree(lower, theirs[0])
        agree(upper, theirs[1])
    return lower, upper


def estimate(arm, confidence):
    """state, value, std_dev, std_error, lower, upper"""
    if arm.users == 0:
        return ["no_data"] + [NAN] * 5
    interval = wilson(arm, confidence) if arm.kind == "proportion" else (NAN, NAN)
    if arm.users == 1:
        return ["insufficient_data", real(arm.mean), NAN, NAN, *interval]
    std_dev, std_error = mp.sqrt(real(arm.variance)), mp.sqrt(real(arm.of_mean()))
    if arm.kind == "mean" and arm.variance == 0:
        return ["zero_variance", real(arm.mean), std_dev, std_error, NAN, NAN]
    if arm.kind == "mean":
        half = t_quantile_upper((1 - mp.mpf(confidence)) / 2, arm.users - 1) * std_error
        interval = real(arm.mean) - half, real(arm.mean) + half
        theirs = stats.t.interval(confidence, arm.users - 1, float(arm.mean), float(std_error))
        if half > abs(interval[0]) * mp.mpf("1e-6"):
            agree(half, (theirs[1] - theirs[0]) / 2, 1e-7)
    return ["ok", real(arm.mean), std_dev, std_error, *interval]


# ---------------------------------------------------------------------------------------------- two arms

COMPARISON_FIELDS = (
    "state difference std_error degrees lower upper welch_lower welch_upper statistic p ln_p lift_state lift lift_lower"
    " lift_upper sequential_half sequential_p ln_e chance loss credible_lower credible_upper mde method"
).split()


def ask_libraries(control, treatment, confidence, row):
    """scipy's and statsmodels' Welch, from the moments, where doubles hold them."""
    arms = control, treatment
    if any(a.variance == 0 for a in arms) or row["p"] < mp.mpf("1e-290"):
        return
    scale = max(abs(float(a.mean)) for a in arms) / math.sqrt(float(max(a.variance for a in arms)))
    if scale > 1e3 or abs(row["statistic"]) < 1e-4:
        return
    test = stats.ttest_ind_from_stats(
        float(treatment.mean), math.sqrt(treatment.variance), treatment.users,
        float(control.mean), math.sqrt(control.variance), control.users, equal_var=False,
    )
    agree(row["statistic"], test.statistic, 1e-9)
    agree(row["p"], test.pvalue, 1e-7)
    if max(a.users for a in arms) <= 20000 and control.kind == "proportion":
        # The 0/1 values themselves, as an analyst would feed them.
        raw = [numpy.repeat([1.0, 0.0], [a.total, a.users - a.total]) for a in (treatment, control)]
        test = stats.ttest_ind(*raw, equal_var=False)
        agree(row["p"], test.pvalue, 1e-7)
        means = weightstats.CompareMeans.from_data(*raw)
        lower, upper = means.tconfint_diff(1 - confidence, usevar="unequal")
        agree(row["welch_lower"], lower, 1e-7)
        agree(row["welch_upper"], upper, 1e-7)
        agree(row["degrees"], means.dof_satt())


def welch(control, treatment, confidence, row):
    d = real(treatment.mean - control.mean)
    vc, vt = control.of_mean(), treatment.of_mean()
    degrees = real((vc + vt) ** 2 / (vc**2 / (control.users - 1) + vt**2 / (treatment.users - 1)))
    error = mp.sqrt(real(vc + vt))
    critical = t_quantile_upper((1 - mp.mpf(confidence)) / 2, degrees)
    upper = t_upper(abs(d / error), degrees)
    row.update(
        std_error=error, degrees=degrees, statistic=d / error, p=2 * upper, ln_p=mp.log(2 * upper),
        welch_lower=d - critical * error, welch_upper=d + critical * error,
    )
    ask_libraries(control, treatment, confidence, row)
    return critical


def newcombe(control, treatment, confidence):
    d = real(treatment.mean - control.mean)
    lc, uc = wilson(control, confidence)
    lt, ut = wilson(treatment, confidence)
    pc, pt = real(control.mean), real(treatment.mean)
    lower = d - mp.sqrt((pt - lt) ** 2 + (uc - pc) ** 2)
    upper = d + mp.sqrt((ut - pt) ** 2 + (pc - lc) ** 2)
    if 0 < control.total < control.users and 0 < treatment.total < treatment.users:
        theirs = sm_proportion.confint_proportions_2indep(
            treatment.total, treatment.users, control.total, control.users, method="newcomb",
            alpha=1 - confidence)
        agree(lower, theirs[0], 1e-8)
        agree(upper, theirs[1], 1e-8)
    return lower, upper


def fieller(control, treatment, critical):
    """Where (m_T - x m_C)^2 = k^2 (v_T + x^2 v_C): the textbook quadratic, safe at 50 digits. None if unbounded."""
    mc, mt, vc, vt = (real(x) for x in (control.mean, treatment.mean, control.of_mean(), treatment.of_mean()))
    k2 = critical**2
    a, b, c = mc**2 - k2 * vc, -2 * mt * mc, mt**2 - k2 * vt
    if a <= 0:
        return None
    root = mp.sqrt(b * b - 4 * a * c)
    lower, upper = (-b - root) / (2 * a) - 1, (-b + root) / (2 * a) - 1
    return (lower, upper) if mc > 0 else (-upper, -lower)


def bayes(control, treatment, confidence, prior, row):
    mc, mt, vc, vt = (real(x) for x in (control.mean, treatment.mean, control.of_mean(), treatment.of_mean()))
    variance = vt / mc**2 + vc * mt**2 / mc**4
    if variance == 0:
        return
    precision = 1 / variance + 1 / mp.mpf(prior) ** 2
    mean, deviation = row["lift"] / variance / precision, 1 / mp.sqrt(precision)
    z = mean / deviation
    k = normal_quantile_upper((1 - mp.mpf(confidence)) / 2)
    if abs(z) < 60:
        with mp.workdps(60 + int(z * z / 2)):  # digits enough for the subtraction below
            loss = deviation * (normal_density(z) - z * normal_upper(z))
    else:
        loss = max(-mean, mp.mpf(0))  # the rest is below 1e-780 of the deviation
    row.update(chance=normal_upper(-z), loss=loss,
               credible_lower=mean - k * deviation, credible_upper=mean + k * deviation)
    if abs(z) < 5:
        loss = stats.norm.expect(lambda x: max(-x, 0), loc=float(mean), scale=float(deviation),
                                 lb=float(mean - 12 * deviation), ub=min(0, float(mean + 12 * deviation)))
        agree(row["loss"], loss, 1e-6)


def minimum_effect(control, treatment, confidence, power):
    """The positive L with L^2 = k^2 (variance of the lift if the truth were L), the control's variance in both arms."""
    if control.variance == 0:
        return NAN
    k = normal_quantile_upper((1 - mp.mpf(confidence)) / 2) + normal_quantile_upper(1 - mp.mpf(power))
    unit = k * k * real(control.variance / control.mean**2)
    if unit / control.users >= 1:
        return NAN
    # (1 - A) L^2 - 2 A L - (A + B) = 0 with A, B = unit over the users of control, treatment
    shared = unit / control.users
    a, b, c = 1 - shared, -2 * shared, -shared - unit / treatment.users
    effect = (-b + mp.sqrt(b * b - 4 * a * c)) / (2 * a)
    variance = shared * (1 + effect) ** 2 + unit / treatment.users
    agree(effect, mp.sqrt(variance), 1e-12)
    return effect


def sequence(row, users, confidence, total):
    alpha = 1 - mp.mpf(confidence)
    rho2 = (-2 * mp.log(alpha) + mp.log(1 - 2 * mp.log(alpha))) / mp.mpf(total)
    grown = users * rho2 + 1
    half = row["std_error"] * mp.sqrt((1 + 1 / (users * rho2)) * mp.log(grown / alpha**2))
    ln_e = users * rho2 / grown * row["statistic"] ** 2 / 2 - mp.log(grown) / 2
    row.update(sequential_half=half, ln_e=ln_e, sequential_p=min(mp.mpf(1), mp.exp(-ln_e)))


def compare(control, treatment, confidence=0.95, total=10000, prior=0.3, power=0.8):
    row = {name: NAN for name in COMPARISON_FIELDS}
    row.update(state="no_data", lift_state="no_data", method="welch")
    arms = control, treatment
    if any(a.users == 0 for a in arms):
        return row
    row["difference"] = real(treatment.mean - control.mean)
    few = control.kind == "proportion" and any(min(a.total, a.users - a.total) < 10 for a in arms)
    if few:
        row["method"] = "newcombe"
        row["lower"], row["upper"] = newcombe(control, treatment, confidence)
    if control.mean != 0:
        row["lift"] = real((treatment.mean - control.mean) / abs(control.mean))
    if any(a.users == 1 for a in arms):
        row["state"] = row["lift_state"] = "insufficient_data"
        return row
    if control.variance == 0 and treatment.variance == 0:
        row["state"] = "zero_variance"
        row["std_error"] = mp.mpf(0)
        row["lift_state"] = "baseline_zero" if control.mean == 0 else "zero_variance"
        return row
    row["state"] = "ok"
    critical = welch(control, treatment, confidence, row)
    if not few:
        row["lower"], row["upper"] = row["welch_lower"], row["welch_upper"]
    sequence(row, control.users + treatment.users, confidence, total)
    if control.mean == 0:
        row["lift_state"] = "baseline_zero"
        return row
    row["mde"] = minimum_effect(control, treatment, confidence, power)
    bayes(control, treatment, confidence, prior, row)
    if treatment.mean == 0 and treatment.variance == 0:
        row["lift_state"] = "zero_variance"
        return row
    interval = fieller(control, treatment, critical)
    row["lift_state"] = "baseline_noisy" if interval is None else "ok"
    if interval:
        row["lift_lower"], row["lift_upper"] = interval
    return row


# ---------------------------------------------------------------------------------------------- sample ratio


def sample_ratio(users, weights):
    """state, chi_square, degrees, p, ln_p, sequential_p, ln_bayes_factor, ok"""
    arms = [(o, Fraction(w)) for o, w in zip(users, weights) if w > 0]
    n, weight = sum(o for o, _ in arms), sum(w for _, w in arms)
    if n == 0 or not arms:
        return ["no_data"] + [NAN] * 6 + [1]
    shares = [w / weight for _, w in arms]
    counts = [o for o, _ in arms]
    chi = real(sum((o - n * s) ** 2 / (n * s) for o, s in zip(counts, shares)))
    degrees = len(arms) - 1
    mass = Fraction(10000)
    ln_factor = mp.loggamma(real(mass)) - mp.loggamma(real(mass + n))
    for o, s in zip(counts, shares):
        ln_factor += mp.loggamma(real(mass * s + o)) - mp.loggamma(real(mass * s)) - o * mp.log(real(s))
    if len(arms) == 1:
        return ["insufficient_data", chi, 0, NAN, NAN, NAN, NAN, 1]
    sequential = [min(mp.mpf(1), mp.exp(-ln_factor)), ln_factor]
    if min(n * s for s in shares) < 5:
        return ["insufficient_data", chi, degrees, NAN, NAN, *sequential, 1]
    p = chi_square_upper(chi, degrees)
    if p > 1e-250 and chi > 1e-3:
        theirs = stats.chisquare(counts, [float(n * s) for s in shares])
        agree(chi, theirs.statistic, 1e-8)
        agree(p, theirs.pvalue, 1e-7)
    return ["ok", chi, degrees, p, mp.log(p), *sequential, int(p >= 0.001)]


# ---------------------------------------------------------------------------------------------- sample size


def sample_size(kind, baseline, std_dev, effect, power, alpha, variants):
    """The least n whose normal power, unpooled, reaches `power`: n such that effect/se = z_alpha + z_power."""
    k = normal_quantile_upper(mp.mpf(alpha) / (variants - 1) / 2) + normal_quantile_upper(1 - mp.mpf(power))
    b, e = Fraction(baseline), Fraction(effect)
    if kind == "proportion":
        other = b * (1 + e)
        variance = real(b * (1 - b) + other * (1 - other))
    else:
        variance = 2 * real(Fraction(std_dev) ** 2)
    exact = k * k * variance / real(b * e) ** 2
    if exact < 10**6:
        def short_of(n):
            d, error = abs(float(b * e)), math.sqrt(float(variance) / n)
            return stats.norm.sf(stats.norm.isf(alpha / (variants - 1) / 2) - d / error) - power
        agree(exact, optimize.brentq(short_of, 1e-9, 1e9, xtol=1e-9, rtol=1e-12), 1e-7)
    return max(2, int(mp.ceil(exact)))


# ---------------------------------------------------------------------------------------------- the cases


def text(value):
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if mp.isnan(value):
        return "nan"
    return "0" if abs(value) < mp.mpf("1e-330") else mp.nstr(value, 20)  # no double is smaller than 4.9e-324


def write(out, *cells):
    out.write(",".join(text(c) for c in cells) + "\n")


def distribution_points(rng):
    """function, arguments; doubles."""
    for z in [-40.0, -8.0, -2.5, -1e-9, 0.0, 1e-300, 0.5, 1.0, 1.9599, 1.99999, 2.0, 3.0, 5.5, 8.3, 20.0, 30.0, 37.5]:
        yield "normal_upper", z
        yield "normal_ln_upper", z
        yield "normal_density", z
        yield "normal_loss", z
    for z in [38.6, 100.0, 1e3, 1e6, 1e12]:
        yield "normal_ln_upper", z
    for p in [1e-300, 1e-100, 1e-20, 1e-9, 0.001, 0.0249999999, 0.2, 0.5, 0.75, 0.975, 0.9999, 1 - 2.0**-40]:
        yield "normal_quantile", p
    degrees = [1.0, 1.5, 2.0, 3.7, 9.0, 30.25, 99.5, 1000.0, 1999.9, 4321.0, 1e5, 3.3e6, 1e9, 2e9]
    for v in degrees:
        for t in [-3.0, 0.0, 1e-8, 0.3, 1.0, 1.96, 4.0, 9.5, 30.0, 37.0]:
            yield "t_upper", t, v
            yield "t_ln_upper", t, v
        for t in [45.0, 1e3, 1e5]:
            yield "t_ln_upper", t, v
        for p in [1e-12, 1e-4, 0.005, 0.025, 0.05, 0.3, 0.975]:
            yield "t_quantile_upper", p, v
    for v in [1.0, 1.5, 3.0, 12.25]:
        yield "t_ln_upper", 1e120, v
        yield "t_ln_upper", 1e160, v
    for k in [1.0, 2.0, 3.0, 7.0, 63.0]:
        for x in [0.0, 1e-10, 0.2, 1.0, 3.84, 10.8, 60.0, 400.0, 1250.0]:
            yield "chi_square_upper", x, k
            yield "chi_square_ln_upper", x, k
        for x in [1500.0, 1e5, 1e9]:
            yield "chi_square_ln_upper", x, k
    for x in [1e-5, 0.3, 1.0, 1.5, 2.0, 10.0, 1e4, 1e9]:
        yield "ln_gamma", x
    for x in [-0.999, -0.5, -1e-6, 0.0, 1e-12, 1e-4, 0.3, 2.0, 1e9]:
        yield "ln1p_minus", x
    for _ in range(60):
        v = 10 ** rng.uniform(0, 9.3)
        yield "t_upper", rng.uniform(0, 30), v
        yield "t_quantile_upper", 10 ** rng.uniform(-8, -0.4), v


def distribution(name, *arguments):
    x = mp.mpf(arguments[0])
    v = mp.mpf(arguments[1]) if len(arguments) > 1 else None
    with mp.workdps(50 + (int(min(x * x, 1e4)) if name == "normal_loss" else 0)):
        return {
            "normal_upper": lambda: normal_upper(x),
            # Past z = 1e6 erfc itself is out of mpmath's reach: density/z times the asymptotic series.
            "normal_ln_upper": lambda: mp.log(normal_upper(x)) if x < 1e5 else (
                -x * x / 2 - mp.log(2 * mp.pi) / 2 - mp.log(x)
                + mp.log(1 - x**-2 + 3 * x**-4 - 15 * x**-6 + 105 * x**-8)),
            "normal_density": lambda: normal_density(x),
            "normal_loss": lambda: normal_density(x) - x * normal_upper(x),
            "normal_quantile": lambda: -normal_quantile_upper(x),
            "t_upper": lambda: t_upper(x, v),
            "t_ln_upper": lambda: mp.log(t_upper(x, v)),
            "t_quantile_upper": lambda: t_quantile_upper(x, v),
            "chi_square_upper": lambda: chi_square_upper(x, v),
            "chi_square_ln_upper": lambda: mp.log(chi_square_upper(x, v)) if x > v else (
                mp.log1p(-mp.gammainc(v / 2, 0, x / 2, regularized=True))),
            "ln_gamma": lambda: mp.loggamma(x),
            "ln1p_minus": lambda: mp.log1p(x) - x,
        }[name]()


def skewed(rng, users, share, scale):
    """Revenue: most users 0, the others log-normal, in millionths."""
    return [int(rng.lognormvariate(0, 1) * scale * MILLION) if rng.random() < share else 0 for _ in range(users)]


def proportion_arms():
    pairs = [
        ((100, 10), (100, 10)), ((100, 10), (100, 20)), ((1000, 100), (1000, 130)), ((50000, 2500), (50000, 2600)),
        ((50000, 2500), (25000, 1300)), ((10000, 500), (10000, 550)), ((500, 10), (500, 13)), ((9000, 180), (1000, 30)),
        ((100, 0), (100, 0)), ((100, 100), (100, 100)), ((100, 0), (100, 100)), ((100, 0), (100, 7)), ((100, 7), (100, 0)),
        ((100, 100), (100, 93)), ((100, 93), (100, 100)), ((100, 3), (100, 9)), ((100, 95), (100, 99)), ((4, 2), (5, 1)),
        ((2, 1), (2, 1)), ((3, 0), (2, 2)), ((1, 0), (10, 5)), ((10, 5), (1, 1)), ((1, 1), (1, 0)), ((0, 0), (10, 3)),
        ((10, 3), (0, 0)), ((0, 0), (0, 0)), ((1000, 0), (1000, 50)), ((1000, 50), (1000, 0)), ((10**6, 1), (10**6, 3)),
        ((10**9, 50 * 10**6), (10**9, 50 * 10**6)), ((10**9, 50000000), (10**9, 50000001)),
        ((10**9, 50000000), (10**9, 50020000)), ((10**9, 50000000), (10**9, 51000000)), ((10**9, 999999990), (10**9, 999999970)),
        ((4 * 10**9, 4 * 10**8), (4 * 10**9, 400150000)), ((2**40, 2**39), (2**40, 2**39 + 2**21)),
        ((10**9, 12), (10**9, 31)), ((20000, 1000), (20000, 2130)), ((100000, 10000), (100000, 15340)),
        ((100000, 10000), (100000, 20000)), ((10**6, 10**5), (10**6, 2 * 10**5)), ((250, 30), (7000, 910)),
        ((1000, 12), (1000, 18)), ((20, 10), (20, 10)), ((30, 10), (30, 20)), ((64, 32), (10**6, 400000)),
        ((10, 3), (10, 9)), ((263, 81), (148, 15)), ((20, 0), (29, 1)), ((7, 3), (10**9, 5 * 10**8)), ((100000, 99000), (100000, 99130)), ((15000, 7000), (15000, 9650)),
    ]
    for control, treatment in pairs:
        yield Arm("proportion", *control), Arm("proportion", *treatment)


def mean_arms(rng):
    def equal(users, value, extra=0):
        """users of one value, the last raised by extra"""
        return Arm("mean", users, users * value + extra, (users - 1) * value**2 + (value + extra) ** 2)

    yield Arm.of_values([v * MILLION for v in [1, 2, 3, 4, 5]]), Arm.of_values([v * MILLION for v in [2, 4, 6, 8, 10]])
    yield Arm.of_values([29990000, 0, 0, 0]), Arm.of_values([0, 0, 29990000, 49990000])
    yield Arm.of_values([1, 2]), Arm.of_values([2, 3])
    yield Arm.of_values([-5 * MILLION, -3 * MILLION, -4 * MILLION]), Arm.of_values([-2 * MILLION, -1 * MILLION, 500000, 0])
    yield Arm.of_values([-MILLION, MILLION]), Arm.of_values([MILLION, 2 * MILLION, 4 * MILLION])  # baseline exactly 0
    yield Arm.of_values([-MILLION, MILLION + 1, 0]), Arm.of_values([MILLION, 2 * MILLION, 4 * MILLION])  # noisy baseline
    yield Arm.of_values([0] * 50), Arm.of_values([0] * 50)
    yield Arm.of_values([0] * 50), Arm.of_values([0] * 49 + [10 * MILLION])
    yield Arm.of_values([0] * 49 + [10 * MILLION]), Arm.of_values([0] * 50)
    yield Arm.of_values([5 * MILLION] * 50), Arm.of_values([5 * MILLION] * 60)
    yield Arm.of_values([5 * MILLION] * 50), Arm.of_values([6 * MILLION] * 60)
    yield Arm.of_values([5 * MILLION] * 50), Arm.of_values([5 * MILLION, 6 * MILLION, 7 * MILLION])
    yield Arm.of_values([MILLION]), Arm.of_values([MILLION, 2 * MILLION])
    yield Arm.of_values([MILLION, 2 * MILLION]), Arm.of_values([MILLION])
    yield Arm.of_values([]), Arm.of_values([1, 2, 3])
    yield Arm.of_values([1, 2, 3]), Arm.of_values([])
    # Large means with small spread: doubles lose the variance, and the difference.
    base = 10**6 * MILLION
    yield (Arm.of_values([base + rng.choice([-1, 1]) * MILLION for _ in range(1000)]),
           Arm.of_values([base + rng.choice([-1, 1]) * MILLION + 90000 for _ in range(1000)]))
    yield equal(10**9, 5 * 10**14, 1), equal(10**9 // 4, 5 * 10**14 - 1, 1000)
    # The edge of the 128-bit sums: 2^32 users of the largest value that leaves Q below 2^128.
    yield equal(2**32, 2**47, 5), equal(2**32, 2**47 + 1, -3)
    yield equal(2**33, -(2**47), 5), equal(2**32, 2**47 + 1, -3)
    yield Arm("mean", 2, 2 * 9 * 10**18 - 1, (9 * 10**18) ** 2 + (9 * 10**18 - 1) ** 2), Arm.of_values([-9 * 10**18, 1])
    # 1e9 users with plausible revenue
    for lift in [0, 1, 5, 2000, 400000]:
        n, value = 10**9, 30 * MILLION
        buyers = n // 20
        yield (Arm("mean", n, buyers * value, buyers * value**2 * 3),
               Arm("mean", n, buyers * value + lift * 10**9, buyers * value**2 * 3 + 17))
    # p from ordinary through 1e-300 to far below underflow, few and many degrees
    for users, shift in [(5, 10**4), (12, 10**9), (30, 10**6), (30, 10**12), (400, 6 * 10**6), (400, 10**8), (1000, 1890000),
                         (1000, 1895000), (5000, 700000), (5000, 710000), (10**6, 52000), (10**6, 53000), (10**6, 10**6),
                         (10**9, 1660), (10**9, 10**6)]:
        # half at -1, half at +1 (in whole units), around 10
        half = users // 2
        values = [9 * MILLION] * half + [11 * MILLION] * (users - half) if users <= 5000 else None
        if values:
            yield Arm.of_values(values), Arm.of_values([v + shift for v in values])
        else:
            yield (Arm("mean", users, half * 20 * MILLION, half * (81 + 121) * MILLION**2),
                   Arm("mean", users, half * 20 * MILLION + users * shift,
                       half * (81 + 121) * MILLION**2 + 2 * shift * half * 20 * MILLION + users * shift**2))
    for users, other, share, scale in [(40, 60, 0.3, 20), (200, 200, 0.1, 30), (200, 220, 0.5, 1), (1000, 900, 0.05, 50),
                                       (1000, 100, 0.2, 5), (3000, 3000, 0.03, 80), (5000, 5000, 0.2, 12), (20, 20, 1, 1e6)]:
        for factor in [1.0, 1.1, 3.0]:
            yield Arm.of_values(skewed(rng, users, share, scale)), Arm.of_values(skewed(rng, other, share, scale * factor))
    for _ in range(12):  # signed values, any sign of the baseline
        n, m = rng.randint(2, 60), rng.randint(2, 60)
        at = rng.choice([-30, -3, 0, 3, 30])
        yield (Arm.of_values([int(rng.gauss(at, 5) * MILLION) for _ in range(n)]),
               Arm.of_values([int(rng.gauss(at, 9) * MILLION) for _ in range(m)]))


def sample_ratio_cases():
    yield [50000, 50000], [0.5, 0.5]
    yield [50000, 50600], [0.5, 0.5]
    yield [50000, 51000], [0.5, 0.5]
    yield [0, 100], [0.5, 0.5]
    yield [0, 100000], [0.5, 0.5]
    yield [100, 0, 120], [0.5, 0.0, 0.5]
    yield [100, 55, 120], [0.5, 0.0, 0.5]
    yield [0, 0], [0.5, 0.5]
    yield [0, 7], [0.5, 0.0]
    yield [12, 7], [1.0, 0.0]
    yield [3, 4], [0.5, 0.5]
    yield [5, 5], [0.5, 0.5]
    yield [3, 9, 11], [0.1, 0.45, 0.45]
    yield [821, 1587], [0.334, 0.666]
    yield [821588, 815482], [0.5, 0.5]
    yield [4000, 2000, 2010], [0.5, 0.25, 0.25]
    yield [40, 20, 30], [2.0, 1.0, 1.0]
    yield [500000000, 500000000], [0.5, 0.5]
    yield [500000000, 500030000], [0.5, 0.5]
    yield [500000000, 500100000], [0.5, 0.5]
    yield [500000000, 501000000], [0.5, 0.5]
    yield [10**9, 10**9 + 10**6, 10**9 - 10**6], [1 / 3, 1 / 3, 1 / 3]
    yield [10**9, 10], [0.999999999, 0.000000001]
    yield [1000000, 113], [0.9999, 0.0001]
    yield [10**6, 2, 10**6], [0.499995, 0.00001, 0.499995]
    yield [1, 0], [0.5, 0.5]
    yield [100] * 64, [1 / 64] * 64
    yield [100 + (i * 37) % 23 for i in range(64)], [1 / 64] * 64
    yield [1000 + 300 * (i % 2) for i in range(64)], [1 / 64] * 64
    yield [990, 1010, 30], [0.49, 0.49, 0.02]
    yield [26700, 24300], [0.5, 0.5]


def adjust_cases(rng):
    nan = float("nan")
    yield [0.01]
    yield [0.01, 0.02, 0.03, 0.04]
    yield [0.04, 0.03, 0.02, 0.01]
    yield [0.5, 0.5, 0.5]
    yield [0.001, 0.04, 0.04, 0.9]
    yield [nan, 0.02, nan, 0.01]
    yield [nan]
    yield [nan, nan]
    yield [0.0, 1.0, 0.2]
    yield [1e-300, 1e-299, 0.7, nan, 0.049]
    for count in [5, 8, 16, 33, 64]:
        yield [10 ** rng.uniform(-6, 0) if rng.random() > 0.1 else nan for _ in range(count)]


def adjusted(values, method):
    kept = [v for v in values if not math.isnan(v)]
    if not kept:
        return values
    m = len(kept)
    order = sorted(range(m), key=lambda i: kept[i])
    result = [0.0] * m
    for rank, index in enumerate(order):
        if method == "holm":
            result[index] = max(min(Fraction(1), (m - j) * Fraction(kept[order[j]])) for j in range(rank + 1))
        else:
            result[index] = min(min(Fraction(1), m * Fraction(kept[order[j]]) / (j + 1)) for j in range(rank, m))
    theirs = multitest.multipletests(kept, method="holm" if method == "holm" else "fdr_bh")[1]
    for ours, other in zip(result, theirs):
        agree(ours, other)
    iterator = iter(result)
    return [v if math.isnan(v) else real(next(iterator)) for v in values]


def sample_size_cases():
    for baseline, effect in [(0.05, 0.05), (0.05, -0.05), (0.1, 0.1), (0.01, 0.02), (0.5, 0.01), (0.2, 0.5), (0.9, 0.1),
                             (0.001, 0.001), (0.3, -0.9)]:
        for power, alpha, variants in [(0.8, 0.05, 2), (0.9, 0.01, 2), (0.8, 0.05, 4)]:
            yield "proportion", baseline, 0.0, effect, power, alpha, variants
    for baseline, std_dev, effect in [(10.0, 30.0, 0.05), (-4.0, 9.0, 0.1), (1e6, 2.5, 1e-6), (1.0, 0.001, 0.5), (3.5, 80.0, -0.01)]:
        for power, alpha, variants in [(0.8, 0.05, 2), (0.95, 0.001, 3)]:
            yield "mean", baseline, std_dev, effect, power, alpha, variants


HEADER = """\
# Written by tests/oracle/stats_cases.py; not by hand. One case a line, the first cell says which kind:
# dist,FUNCTION,ARGUMENT,SECOND ARGUMENT,VALUE
# arm,KIND,USERS,SUM,SUM SQUARE,CONFIDENCE,state,value,std_dev,std_error,lower,upper
# compare,KIND,CONTROL USERS,SUM,SUM SQUARE,TREATMENT USERS,SUM,SUM SQUARE,CONFIDENCE,TOTAL,PRIOR,POWER,{fields}
# srm,ARMS,USERS...,WEIGHTS...,state,chi_square,degrees,p,ln_p,sequential_p,ln_bayes_factor,ok
# adjust,COUNT,P...,HOLM...,BH...
# size,KIND,BASELINE,STD DEV,EFFECT,POWER,ALPHA,VARIANTS,users
"""


def write_all(out):
    rng = random.Random(20240607)
    out.write(HEADER.format(fields=",".join(COMPARISON_FIELDS)))
    for name, *arguments in distribution_points(rng):
        write(out, "dist", name, *(arguments + [0.0])[:2], distribution(name, *arguments))
    pairs = list(proportion_arms()) + list(mean_arms(rng))
    seen = set()
    for pair in pairs:
        for arm in pair:
            key = (arm.kind, *arm.csv())
            if key not in seen:
                seen.add(key)
                for confidence in [0.95] if len(seen) % 3 else [0.8, 0.9999]:
                    write(out, "arm", arm.kind, *arm.csv(), confidence, *estimate(arm, confidence))
    for number, (control, treatment) in enumerate(pairs):
        settings = [(0.95, 10000.0, 0.3, 0.8)]
        if number % 2 == 0:
            settings.append([(0.99, 5e8, 0.05, 0.9), (0.8, 500.0, 1.0, 0.8)][number // 2 % 2])
        for setting in settings:
            row = compare(control, treatment, *setting)
            write(out, "compare", control.kind, *control.csv(), *treatment.csv(), *setting, *row.values())
    for users, weights in sample_ratio_cases():
        write(out, "srm", len(users), *users, *weights, *sample_ratio(users, weights))
    for values in adjust_cases(rng):
        write(out, "adjust", len(values), *values, *adjusted(values, "holm"), *adjusted(values, "bh"))
    for case in sample_size_cases():
        write(out, "size", *case, sample_size(*case))


def measure(path):
    """The largest relative error of every function of engine/dist.h, over a grid much denser than the cases."""
    library = ctypes.CDLL(path)
    rng = random.Random(7)
    points = list(distribution_points(rng))
    for _ in range(400):
        z = rng.uniform(-5, 37)
        points += [(name, z) for name in ("normal_upper", "normal_ln_upper", "normal_density", "normal_loss")]
        points.append(("normal_quantile", 10 ** rng.uniform(-300, -0.31)))
        v = 10 ** rng.uniform(0, 9.3)
        points += [("t_upper", rng.uniform(0, 37), v), ("t_ln_upper", 10 ** rng.uniform(0, 4), v)]
        points.append(("t_quantile_upper", 10 ** rng.uniform(-12, -0.31), v))
        x, k = 10 ** rng.uniform(-3, 3.1), float(rng.randint(1, 63))
        points += [("chi_square_upper", x, k), ("chi_square_ln_upper", x * 10, k)]
        points += [("ln_gamma", 10 ** rng.uniform(-5, 10)), ("ln1p_minus", rng.uniform(-0.99, 3))]
    worst, count = {}, {}
    for name, *arguments in points:
        function = getattr(library, "dist_" + name)
        function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double] * len(arguments)
        want, got = distribution(name, *arguments), mp.mpf(function(*arguments))
        if abs(want) < mp.mpf("1e-307"):
            continue
        error = float(abs(got - want) / abs(want))
        count[name] = count.get(name, 0) + 1
        if error > worst.get(name, (-1,))[0]:
            worst[name] = error, arguments
    for name, (error, arguments) in worst.items():
        print(f"{name:20} {error:8.1e}  worst at {arguments}  of {count[name]} points")


def main():
    warnings.simplefilter("ignore")
    if len(sys.argv) == 3 and sys.argv[1] == "--measure":
        measure(sys.argv[2])
        return
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "stats_cases.csv")
    with open(path + ".new", "w", encoding="ascii") as out:
        write_all(out)
    os.replace(path + ".new", path)
    print(f"{agreements} numbers cross-checked with scipy and statsmodels")


if __name__ == "__main__":
    main()
