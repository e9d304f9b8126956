"""The statistics of results, computed once more with scipy from raw values: one number per user, zeros included."""
import math

import numpy
from scipy import stats

TOLERANCE = 1e-9


def close(got, want, what="", absolute=1e-15):
    """Equal to 1e-9 of the value."""
    assert got is not None, f"{what}: got null, expected {want}"
    assert math.isclose(got, want, rel_tol=TOLERANCE, abs_tol=absolute), f"{what}: got {got!r}, expected {want!r}"


def close_interval(got, want, what=""):
    """Equal to 1e-9 of the interval's width: a bound near 0 has the error of the quantile times the standard error."""
    assert got is not None, f"{what}: got null, expected {want}"
    for side, (one, other) in enumerate(zip(got, want, strict=True)):
        close(one, other, f"{what}[{side}]", TOLERANCE * (want[1] - want[0]))


def t_quantile(level, freedom):
    """The two-sided critical value. scipy 1.10 has it to 1e-9 only; a step of Newton's makes it as good as its tail is."""
    tail = (1 - level) / 2
    value = stats.t.isf(tail, freedom)
    return value + (stats.t.sf(value, freedom) - tail) / stats.t.pdf(value, freedom)


def welch(control, treatment, level=0.95):
    """Difference of the means, its interval, and Welch's p-value."""
    a, b = numpy.asarray(control, float), numpy.asarray(treatment, float)
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    freedom = (va + vb) ** 2 / (va ** 2 / (len(a) - 1) + vb ** 2 / (len(b) - 1))
    difference = b.mean() - a.mean()
    reach = t_quantile(level, freedom) * math.sqrt(va + vb)
    if va > 0 and vb > 0:
        p_value = stats.ttest_ind(b, a, equal_var=False).pvalue
    else:  # scipy warns where an arm has no variance, though the formula holds
        p_value = 2 * stats.t.sf(abs(difference) / math.sqrt(va + vb), freedom)
    return difference, (difference - reach, difference + reach), p_value


def mean_interval(values, level=0.95):
    values = numpy.asarray(values, float)
    reach = t_quantile(level, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return values.mean() - reach, values.mean() + reach


def wilson_interval(count, users, level=0.95):
    interval = stats.binomtest(int(count), int(users)).proportion_ci(level, "wilson")
    return interval.low, interval.high


def check_cell(cell, values, is_proportion, level=0.95, what=""):
    """A variant's own numbers. values: one a user (0 or 1 for a proportion)."""
    assert cell["sample_size"] == len(values), what
    close(cell["value"], float(numpy.mean(values)), f"{what} value")
    if is_proportion:
        assert cell["count"] == sum(values), what
        close_interval(cell["confidence_interval"], wilson_interval(sum(values), len(values), level), f"{what} interval")
    elif numpy.var(values) > 0:
        close_interval(cell["confidence_interval"], mean_interval(values, level), f"{what} interval")
    if numpy.var(values) > 0:
        close(cell["std_error"], float(numpy.std(values, ddof=1)) / math.sqrt(len(values)), f"{what} std_error")


def check_comparison(cell, control, treatment, is_proportion, level=0.95, what=""):
    """What is said against the control."""
    versus = cell["vs_control"]
    difference, interval, p_value = welch(control, treatment, level)
    close(versus["absolute"]["value"], difference, f"{what} difference", 1e-12)
    close(versus["p_value"], p_value, f"{what} p-value")
    few = is_proportion and min(sum(control), sum(treatment), len(control) - sum(control), len(treatment) - sum(treatment)) < 10
    if not few:  # few conversions have Newcombe's interval
        close_interval(versus["absolute"]["confidence_interval"], interval, f"{what} interval of the difference")
    if sum(control):
        close(versus["relative"]["value"], difference / abs(float(numpy.mean(control))), f"{what} lift", 1e-12)
