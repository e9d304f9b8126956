"""`assay stats`: summary numbers in, statistics out, against scipy and numpy on the raw values."""
import json
import math
import random
import re
import subprocess
from decimal import Decimal
from fractions import Fraction

import numpy
import pytest
from conftest import ROOT, binary
from oracle import close
from scipy import stats

SEED = 20260101


def ask_lines(lines):
    done = subprocess.run([binary("assay"), "stats"], input="\n".join(lines).encode(), capture_output=True, timeout=60, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def ask(*cases):
    code, answers = ask_lines([json.dumps(case) for case in cases])
    assert code == 0 and len(answers) == len(cases), answers
    return answers


def exact(values):
    """The exact sum of decimals as text."""
    return str(sum(values, Decimal(0)))


def mean_arm(values):
    values = [Decimal(str(v)) for v in values]
    return {"n": len(values), "sum": exact(values), "sum_squares": exact(v * v for v in values)}


def ratio_arm(pairs):
    pairs = [(Decimal(str(x)), Decimal(str(y))) for x, y in pairs]
    return {"n": len(pairs), "numerator_sum": exact(x for x, _ in pairs), "numerator_sum_squares": exact(x * x for x, _ in pairs),
            "denominator_sum": exact(y for _, y in pairs), "denominator_sum_squares": exact(y * y for _, y in pairs),
            "sum_products": exact(x * y for x, y in pairs)}


def compared(answer):
    return answer["variants"][1]["result"]["vs_control"]


def random_values(rng):
    kind = rng.randrange(3)
    size = rng.choice([2, 3, 10, 200, 2000])
    if kind == 0:
        return [round(rng.gauss(100, 15), 6) for _ in range(size)]
    if kind == 1:  # revenue: mostly nothing, now and then a lot
        return [round(rng.lognormvariate(3, 2), 2) if rng.random() < 0.1 else 0 for _ in range(size)]
    return [rng.randrange(-3, 4) for _ in range(size)]


def test_means_against_scipy():
    """Welch's t, its interval and degrees of freedom; the normal p-value; a lift."""
    rng = random.Random(SEED)
    cases = [(random_values(rng), random_values(rng)) for _ in range(150)]
    for (control, treatment), answer in zip(cases, ask(*[{"type": "mean", "variants": [mean_arm(c), mean_arm(t)]} for c, t in cases])):
        mine = compared(answer)
        if numpy.var(control) == 0 and numpy.var(treatment) == 0:
            assert mine["state"] == "zero_variance" and mine["p_value"] is None
            continue
        theirs = stats.ttest_ind(treatment, control, equal_var=False)
        # The oracle works in doubles: give it the digits that cancellation takes from it.
        if not (abs(theirs.statistic) > 1e-9):
            continue
        close(mine["statistic"], theirs.statistic, "t", 1e-7)
        close(mine["p_value"], theirs.pvalue, "p", 1e-9)
        close(mine["z_p_value"], 2 * stats.norm.sf(abs(theirs.statistic)), "z", 1e-9)
        v = [numpy.var(x, ddof=1) / len(x) for x in (control, treatment)]
        degrees = sum(v) ** 2 / sum(a * a / (len(x) - 1) for a, x in zip(v, (control, treatment)))
        half = stats.t.isf(0.025, degrees) * math.sqrt(sum(v))
        difference = float(sum(map(lambda x: Fraction(str(x)), treatment)) / len(treatment)
                           - sum(map(lambda x: Fraction(str(x)), control)) / len(control))
        close(mine["absolute"]["value"], difference, "d", 1e-12)
        for got, want in zip(mine["absolute"]["confidence_interval"], (difference - half, difference + half)):
            close(got, want, "interval", 1e-8 * half)


def test_proportions_against_scipy():
    """The p-value is Welch's of the zeros and ones; Wilson and Newcombe where counts are few."""
    rng = random.Random(SEED + 1)
    cases = []
    for _ in range(100):
        n = [rng.choice([1, 2, 20, 500, 10 ** 6, 10 ** 9]) for _ in range(2)]
        cases.append([(m, rng.choice([0, m, rng.randrange(m + 1), min(m, rng.randrange(12))])) for m in n])
    answers = ask(*[{"type": "proportion", "variants": [{"n": n, "count": str(c)} for n, c in case]} for case in cases])
    for case, answer in zip(cases, answers):
        mine = compared(answer)
        z = stats.norm.isf(0.025)
        bounds = []
        for (n, c), variant in zip(case, answer["variants"]):
            p = c / n
            centre = (p + z * z / 2 / n) / (1 + z * z / n)
            half = z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n) / (1 + z * z / n)
            low, high = (0.0 if c == 0 else centre - half), (1.0 if c == n else centre + half)
            got = variant["result"]["confidence_interval"]
            close(got[0], low, "Wilson", 1e-9 * half)
            close(got[1], high, "Wilson", 1e-9 * half)
            bounds.append((p, low, high))
        (pc, lc, uc), (pt, lt, ut) = bounds
        if mine["method"] == "newcombe":
            assert min(min(c, n - c) for n, c in case) < 10
            want = (pt - pc - math.hypot(pt - lt, uc - pc), pt - pc + math.hypot(ut - pt, pc - lc))
            for got, bound in zip(mine["absolute"]["confidence_interval"], want):
                close(got, bound, "Newcombe", 1e-9)
        v = [c * (n - c) / n / (n - 1) / n if n > 1 else math.nan for n, c in case]
        if any(n == 1 for n, _ in case) or sum(v) == 0:
            assert mine["p_value"] is None
        else:
            degrees = sum(v) ** 2 / sum(a * a / (n - 1) for a, (n, _) in zip(v, case))
            t = (pt - pc) / math.sqrt(sum(v))
            if abs(t) < 30:
                close(mine["p_value"], min(1.0, 2 * stats.t.sf(abs(t), degrees)), "p", 1e-9)
                # t itself carries the rounding of pt - pc: compare where that does not matter


def test_ratios_against_numpy():
    """The delta method: the variance of (x - R y) / mean(y) over users, whatever the scale; the user is the unit."""
    rng = random.Random(SEED + 2)
    for _ in range(100):
        arms = []
        for _ in range(2):
            size = rng.choice([2, 5, 50, 1000])
            pairs = []
            for _ in range(size):
                orders = rng.randrange(0, 5)
                pairs.append((round(orders * rng.uniform(5, 50), 2), orders))
            pairs[0] = (12.5, 1)
            arms.append(pairs)
        (answer,) = ask({"type": "ratio", "variants": [ratio_arm(pairs) for pairs in arms]})
        mine = compared(answer)
        moments = []
        for pairs, variant in zip(arms, answer["variants"]):
            x, y = numpy.array(pairs, dtype=float).T
            r = x.sum() / y.sum()
            v = numpy.var((x - r * y) / y.mean(), ddof=1) / len(x)
            close(variant["result"]["value"], r, "R", 1e-12)
            close(variant["result"]["std_error"], math.sqrt(v), "se", 1e-9)
            moments.append((r, v, len(x)))
        (rc, vc, nc), (rt, vt, nt) = moments
        if vc + vt < 1e-20:
            continue
        degrees = (vc + vt) ** 2 / (vc ** 2 / (nc - 1) + vt ** 2 / (nt - 1))
        t = (rt - rc) / math.sqrt(vc + vt)
        close(mine["p_value"], min(1.0, 2 * stats.t.sf(abs(t), degrees)), "p", 1e-7)
        close(mine["absolute"]["value"], rt - rc, "d", 1e-9)


def test_ratio_is_the_mean_where_all_denominators_are_one():
    values = [[round(random.Random(SEED + i).gauss(10, 3), 3) for i in range(j, 40 + j)] for j in (0, 50)]
    ratio, mean = ask({"type": "ratio", "variants": [ratio_arm([(v, 1) for v in arm]) for arm in values]},
                      {"type": "mean", "variants": [mean_arm(arm) for arm in values]})
    for name in ("p_value", "statistic", "degrees_of_freedom", "z_p_value", "minimum_detectable_effect"):
        close(compared(ratio)[name], compared(mean)[name], name, 1e-9)


def test_ratio_extremes():
    """A ratio that is the same for every user has no variance; without denominators there is no ratio."""
    constant, empty = ask({"type": "ratio", "variants": [ratio_arm([(3, 1), (6, 2), (2.1, 0.7)]), ratio_arm([(4, 1), (8, 2), (0, 0)])]},
                          {"type": "ratio", "variants": [ratio_arm([(0, 0), (0, 0)]), ratio_arm([(1, 1), (2, 2)])]})
    assert compared(constant)["state"] == "zero_variance" and compared(constant)["p_value"] is None
    close(compared(constant)["relative"]["value"], 1 / 3, "lift", 1e-12)
    assert empty["variants"][0]["result"]["state"] == "no_data" and compared(empty)["p_value"] is None


def cuped_arm(pairs):
    pairs = [(Decimal(str(x)), Decimal(str(y))) for x, y in pairs]
    return {**mean_arm([x for x, _ in pairs]), "pre_sum": exact(y for _, y in pairs),
            "pre_sum_squares": exact(y * y for _, y in pairs), "sum_products": exact(x * y for x, y in pairs)}


def test_cuped_is_the_regression():
    """The adjusted difference is the coefficient of the arm in the regression of x on arm and y; its error that of the residuals
    per arm; the lift's error by the delta method, checked by moving each mean a little."""
    rng = random.Random(SEED + 5)
    for _ in range(60):
        arms = []
        for arm in range(2):
            pairs = []
            for _ in range(rng.choice([20, 300])):
                before = rng.choice([0, 0, round(rng.expovariate(0.05), 2)])
                pairs.append((round(max(0, 0.7 * before + rng.gauss(20 + arm, 8)), 2), before))
            arms.append(pairs)
        (answer,) = ask({"type": "mean", "variants": [cuped_arm(pairs) for pairs in arms]})
        mine = compared(answer)
        x = numpy.array([v for arm in arms for v, _ in arm])
        y = numpy.array([v for arm in arms for _, v in arm])
        d = numpy.array([i for i, arm in enumerate(arms) for _ in arm], dtype=float)
        solution = numpy.linalg.lstsq(numpy.column_stack([numpy.ones(len(x)), d, y]), x, rcond=None)[0]
        close(mine["absolute"]["value"], solution[1], "difference", 1e-7)
        close(answer["cuped"]["slope"], solution[2], "slope", 1e-8)
        assert mine["method"] == "cuped"
        slope = solution[2]
        means = [numpy.mean([a - slope * (b - y.mean()) for a, b in arm]) for arm in arms]
        errors = [numpy.var([a - slope * b for a, b in arm], ddof=1) / len(arm) for arm in arms]
        for variant, mean, error in zip(answer["variants"], means, errors):
            close(variant["adjusted"]["value"], mean, "adjusted", 1e-8)
            close(variant["adjusted"]["std_error"], math.sqrt(error), "error", 1e-9)
        close(mine["absolute"]["std_error"], math.sqrt(sum(errors)), "error", 1e-9)
        # The lift: gradient by differences, over the means of (x, y) of both arms.
        vectors = [numpy.array(arm).T for arm in arms]

        def lift(m):
            return ((m[1][0] - slope * m[1][1]) - (m[0][0] - slope * m[0][1])) / m[0][0]
        centre = [list(v.mean(axis=1)) for v in vectors]
        close(mine["relative"]["value"], lift(centre), "lift", 1e-8)
        variance = 0.0
        for i, v in enumerate(vectors):
            gradient = []
            for k in range(2):
                step = 1e-5
                up, down = [list(m) for m in centre], [list(m) for m in centre]
                up[i][k] += step
                down[i][k] -= step
                gradient.append((lift(up) - lift(down)) / (2 * step))
            variance += numpy.array(gradient) @ numpy.cov(v) @ numpy.array(gradient) / v.shape[1]
        degrees = mine["degrees_of_freedom"]
        low, high = mine["relative"]["confidence_interval"]
        assert math.isclose((high - low) / 2, stats.t.isf(0.025, degrees) * math.sqrt(variance), rel_tol=1e-5)
        within = sum(((numpy.array([a for a, _ in arm]) - numpy.mean([a for a, _ in arm])) ** 2).sum() for arm in arms)
        left = sum(((numpy.array([a - slope * b for a, b in arm]) - numpy.mean([a - slope * b for a, b in arm])) ** 2).sum() for arm in arms)
        close(answer["cuped"]["variance_share"], left / within, "share", 1e-8)


def test_cuped_without_a_past_is_the_plain_comparison():
    """A covariate that is the same for all explains nothing: every field is the plain one."""
    rng = random.Random(SEED + 6)
    arms = [[round(rng.gauss(10, 3), 3) for _ in range(50)] for _ in range(2)]
    plain, adjusted = ask({"type": "mean", "variants": [mean_arm(arm) for arm in arms]},
                          {"type": "mean", "variants": [cuped_arm([(v, 0) for v in arm]) for arm in arms]})
    assert compared(plain) == compared(adjusted)
    assert adjusted["cuped"]["slope"] == 0.0
    code, answers = ask_lines([json.dumps({"type": "mean", "variants": [mean_arm(arms[0]), cuped_arm([(1, 1), (2, 2)])]}),
                               json.dumps({"type": "mean", "variants": [{**cuped_arm([(1, 1), (2, 2)]), "sum_products": "1000"},
                                                                        cuped_arm([(1, 1), (2, 2)])]})])
    assert code == 1 and [a["error"]["path"] for a in answers] == ["variants", "variants"]


def test_extremes():
    """One user, no variance, nobody, 10^9 users, p-values far beyond a double's: undefined is null, never 0 or NaN."""
    one, flat, nobody, huge, tiny = ask(
        {"type": "mean", "variants": [{"n": 1, "sum": "5", "sum_squares": "25"}, {"n": 1, "sum": "7", "sum_squares": "49"}]},
        {"type": "mean", "variants": [{"n": 3, "sum": "6", "sum_squares": "12"}, {"n": 4, "sum": "8", "sum_squares": "16"}]},
        {"type": "mean", "variants": [{"n": 0, "sum": "0", "sum_squares": "0"}, {"n": 2, "sum": "1", "sum_squares": "1"}]},
        {"type": "proportion", "variants": [{"n": 10 ** 9, "count": 10 ** 8}, {"n": 10 ** 9, "count": 101 * 10 ** 6}]},
        {"type": "proportion", "variants": [{"n": 4000, "count": 100}, {"n": 4000, "count": 3900}]})
    assert compared(one)["state"] == "insufficient_data" and compared(one)["absolute"]["value"] == 2.0
    assert compared(flat)["state"] == "zero_variance" and compared(flat)["p_value"] is None
    assert compared(nobody)["state"] == "no_data"
    p = [0.1, 0.101]
    z = 0.001 / math.sqrt(sum(q * (1 - q) / (10 ** 9 - 1) for q in p))
    close(compared(huge)["ln_p_value"], math.log(2) + stats.norm.logsf(z), "ln p", abs(stats.norm.logsf(z)) * 1e-5)
    assert compared(tiny)["p_value"] == 0.0 and compared(tiny)["ln_p_value"] < -700


def test_sample_ratio_power_and_families():
    rng = random.Random(SEED + 3)
    for _ in range(30):
        weights = [rng.randrange(1, 5) for _ in range(rng.randrange(2, 6))]
        observed = [int(10000 * w * rng.uniform(0.97, 1.03)) for w in weights]
        expected = [sum(observed) * w / sum(weights) for w in weights]
        (answer,) = ask({"type": "srm", "observed": observed, "weights": weights})
        theirs = stats.chisquare(observed, expected)
        close(answer["srm"]["p_value"], theirs.pvalue, "srm", 1e-9)
        close(answer["srm"]["chi_square"], theirs.statistic, "chi", 1e-9)
        assert answer["srm"]["ok"] is not bool(theirs.pvalue < 0.001)
    (power,) = ask({"type": "power", "baseline": 100, "std_dev": 40, "mde": 0.02, "power": 0.9, "alpha": 0.01, "users_per_day": 500})
    z = stats.norm.isf(0.005) + stats.norm.isf(0.1)
    assert abs(power["sample_size_per_variant"] - 2 * (z * 40 / 2) ** 2) <= 4
    assert power["days"] == math.ceil(power["total_sample_size"] / 500)
    p = [0.01, 0.04, 0.03, None, 0.005]
    holm, bh, none = ask(*[{"type": "adjust", "p_values": p, "correction": c} for c in ("holm", "bh", "none")])
    assert none["p_values_adjusted"] == p
    for got, want in zip(holm["p_values_adjusted"], [0.03, 0.06, 0.06, None, 0.02]):
        assert got is None if want is None else math.isclose(got, want)
    for got, want in zip(bh["p_values_adjusted"], [0.02, 0.04, 0.04, None, 0.02]):
        assert got is None if want is None else math.isclose(got, want)


@pytest.mark.parametrize("case, path", [
    ({"type": "median"}, "type"), ({}, "type"), ({"type": "mean"}, "variants"),
    ({"type": "mean", "variants": [{"n": 1, "sum": 1, "sum_squares": 1}]}, "variants"),
    ({"type": "mean", "variants": [{"n": 1, "sum": 1}, {"n": 1, "sum": 1, "sum_squares": 1}]}, "variants[0].sum_squares"),
    ({"type": "mean", "variants": [{"n": 1, "sum": 1, "sum_squares": 1}, {"n": 1, "sum": "1.0000001", "sum_squares": 1}]}, "variants[1].sum"),
    ({"type": "mean", "variants": [{"n": 1, "sum": "1e3", "sum_squares": 1}, {"n": 1, "sum": 1, "sum_squares": 1}]}, "variants[0].sum"),
    ({"type": "mean", "variants": [{"n": 1.5, "sum": 1, "sum_squares": 1}, {"n": 1, "sum": 1, "sum_squares": 1}]}, "variants[0].n"),
    ({"type": "mean", "variants": [{"n": -1, "sum": 1, "sum_squares": 1}, {"n": 1, "sum": 1, "sum_squares": 1}]}, "variants[0].n"),
    ({"type": "mean", "variants": [{"n": 1, "sum": 1, "sum_squares": "-1"}, {"n": 1, "sum": 1, "sum_squares": 1}]}, "variants[0].sum_squares"),
    ({"type": "mean", "variants": [{"n": 1, "sum": "9" * 60, "sum_squares": 1}, {"n": 1, "sum": 1, "sum_squares": 1}]}, "variants[0].sum"),
    ({"type": "proportion", "variants": [{"n": 5, "count": 1}] * 2, "confidence_level": 1}, "confidence_level"),
    ({"type": "proportion", "variants": [{"n": 5, "count": 1}] * 2, "correction": "bonferroni"}, "correction"),
    ({"type": "proportion", "variants": [{"n": 5, "count": 1}] * 2, "control": 2}, "control"),
    ({"type": "proportion", "variants": [{"n": 5, "count": 1}] * 2, "weights": [1]}, "weights"),
    ({"type": "srm", "observed": [1, 2], "weights": [1]}, "observed"), ({"type": "srm", "observed": [1.5, 2], "weights": [1, 1]}, "observed"),
    ({"type": "power", "mde": 0.1}, "baseline"), ({"type": "power", "baseline": 2, "mde": 0.1}, ""),
    ({"type": "adjust", "p_values": [2]}, "p_values"), ({"type": "adjust", "p_values": []}, "p_values"), ([], "type"), (7, "type")])
def test_faults(case, path):
    """The line names the member; the cases beside it are answered."""
    good = json.dumps({"type": "proportion", "variants": [{"n": 5, "count": 1}] * 2})
    code, answers = ask_lines([good, json.dumps(case), good])
    assert code == 1 and len(answers) == 3
    assert answers[1]["line"] == 2 and answers[1]["error"]["path"] == path and answers[1]["error"]["message"], answers[1]
    assert answers[0] == answers[2] and "variants" in answers[0]


def test_lines_that_are_no_json():
    code, answers = ask_lines(["{", "", '{"type": "adjust", "p_values": [0.5]}', "\x00"])
    assert code == 1 and [("error" in a) for a in answers] == [True, False, True] and answers[2]["line"] == 4
    assert subprocess.run([binary("assay"), "stats", "/nothing/there"], capture_output=True, check=False).returncode == 3
    assert subprocess.run([binary("assay"), "stats", "--what"], capture_output=True, check=False).returncode == 2


def test_documented_examples():
    """The examples of docs/statistics.md give what the page says, as far as it says it."""
    text = (ROOT / "docs" / "statistics.md").read_text()
    examples = re.findall(r"```json\n(\{\"type\".*?)\n```\n\n```json\n(.*?)\n```", text, re.S)
    assert len(examples) >= 4
    for question, wanted in examples:
        (answer,) = ask(json.loads(question))

        def check(want, got, path):
            if isinstance(want, dict):
                for key, value in want.items():
                    check(value, got[key], f"{path}.{key}")
            elif isinstance(want, list):
                assert len(want) == len(got), path
                for i, value in enumerate(want):
                    check(value, got[i], f"{path}[{i}]")
            elif isinstance(want, float):
                assert math.isclose(want, got, rel_tol=1e-3), (path, want, got)
            else:
                assert want == got, (path, want, got)
        check(json.loads(wanted), answer, "")
