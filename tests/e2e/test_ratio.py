"""Ratios: revenue an order, made of two means; against numpy on the users' totals, for any range of days."""
import itertools
import math
import random

import numpy
from conftest import check_problem, variant_of
from oracle import close
from scipy import stats

NUMBER = itertools.count(1)
DAYS = [f"2026-01-0{d}" for d in range(1, 6)]


def define(server, **changes):
    name = f"aov_{next(NUMBER)}"
    body = {"name": name, "type": "ratio",
            "numerator": {"event_type": f"buy_{name}", "property": "amount", "aggregation": "sum",
                          "filters": [{"property": "currency", "op": "eq", "value": "EUR"}]},
            "denominator": {"event_type": f"buy_{name}", "aggregation": "count"}}
    body.update(changes)
    return name, server.post("/metric-definitions", body)


def test_definition(server):
    """Parts described in place become metrics of their own; or they are named."""
    name, made = define(server)
    assert made.status == 201, made
    assert made.json["numerator"] == f"{name}_numerator" and made.json["denominator"] == f"{name}_denominator"
    assert made.json["type"] == "ratio" and made.json["event_type"] is None
    part = server.get(f"/metric-definitions/{name}_numerator").json
    assert (part["type"], part["aggregation"], part["property"]) == ("mean", "sum", "amount")
    assert len(part["filters"]) == 1
    named = server.post("/metric-definitions", {"name": f"{name}_again", "type": "ratio", "numerator": f"{name}_numerator",
                                                "denominator": f"{name}_denominator"})
    assert named.status == 201
    check_problem(define(server, numerator="never_defined")[1], 422, "unknown_metric")
    check_problem(define(server, denominator=name)[1], 422, "unknown_metric")  # a ratio of a ratio
    check_problem(define(server, numerator="conversion_rate")[1], 422, "unknown_metric")  # no mean
    answer = define(server, numerator={"event_type": "x", "aggregation": "sum"}, denominator={"property": "p"})[1]
    assert check_problem(answer, 422, "required")["errors"][0]["path"] == "numerator.property"
    answer = define(server, numerator={"event_type": "x", "name": "mine"})[1]
    assert check_problem(answer, 422, "not_allowed")["errors"][0]["path"] == "numerator.name"
    check_problem(server.post("/metric-definitions", {"name": name, "type": "ratio", "numerator": "revenue",
                                                      "denominator": "revenue"}), 409, "name_taken")
    for change in ({"type": "mean"}, {"event_type": "x"}, {"numerator": None}):
        assert server.request("PATCH", f"/metric-definitions/{name}", change).status == 422, change
    changed = server.request("PATCH", f"/metric-definitions/{name}", {"numerator": "revenue", "direction": "decrease"})
    assert changed.status == 200 and changed.json["numerator"] == "revenue"


def test_against_numpy(farm):
    """Values, errors, p-values, per day and cumulative, before and after a restart."""
    server = farm.make()
    name, made = define(server)
    assert made.status == 201
    experiment = server.make_experiment("Ratio", metrics=[name])
    rng = random.Random(7)
    users = [(f"{variant}-{i}", variant) for variant in ("control", "treatment") for i in range(80)]
    assigned = {user: rng.choice(DAYS[:3]) for user, _ in users}
    server.force(experiment, [(user, variant, f"{assigned[user]}T12:00:00Z") for user, variant in users])
    orders = []
    for user, _ in users:
        for _ in range(rng.choice([0, 0, 1, 2, 5])):
            orders.append((user, rng.choice(DAYS), rng.choice([6, 18]), round(rng.uniform(1, 100), 2),
                           rng.choice(["EUR", "EUR", "USD"])))
    server.send_events([{"event_id": f"o{i}", "user_id": user, "event_type": f"buy_{name}", "timestamp": f"{day}T{hour:02}:00:00Z",
                         "properties": {"amount": amount, "currency": currency}}
                        for i, (user, day, hour, amount, currency) in enumerate(orders)])

    def totals(first, last):
        """Per variant the users' (amount in EUR, orders) from `first` to `last`."""
        found = {"control": [], "treatment": []}
        for user, variant in users:
            if assigned[user] > last:
                continue
            own = [o for o in orders if o[0] == user and first <= o[1] <= last and (o[1], o[2]) >= (assigned[user], 12)]
            found[variant].append((sum(o[3] for o in own if o[4] == "EUR"), len(own)))
        return found

    def moments(pairs):
        x, y = numpy.array(pairs, dtype=float).T
        r = x.sum() / y.sum()
        return r, numpy.var((x - r * y) / y.mean(), ddof=1) / len(x), len(x)

    def check(first, last, query):
        results = server.results(experiment, query)
        found = totals(first, last)
        (rc, vc, nc), (rt, vt, nt) = moments(found["control"]), moments(found["treatment"])
        for variant, (r, v, n) in (("control", (rc, vc, nc)), ("treatment", (rt, vt, nt))):
            cell = variant_of(results, variant)["metrics"][name]
            close(cell["value"], r, "value")
            close(cell["std_error"], math.sqrt(v), "se")
            assert cell["sample_size"] == n
        compared = variant_of(results, "treatment")["metrics"][name]["vs_control"]
        t = (rt - rc) / math.sqrt(vc + vt)
        degrees = (vc + vt) ** 2 / (vc ** 2 / (nc - 1) + vt ** 2 / (nt - 1))
        close(compared["p_value"], 2 * stats.t.sf(abs(t), degrees), "p")
        close(compared["relative"]["value"], (rt - rc) / rc, "lift")
        for day in variant_of(results, "treatment").get("time_series", []):
            seen, alone = totals(first, day["date"])["treatment"], totals(day["date"], day["date"])["treatment"]
            entry = day["metrics"][name]
            if sum(y for _, y in seen):
                close(entry["cumulative"]["value"], moments(seen)[0], "cumulative")
            if sum(y for _, y in alone):
                close(entry["value"], moments(alone)[0], "day")
            else:
                assert entry["value"] is None
        return results

    def check_all():
        check(DAYS[0], DAYS[4], "")
        check(DAYS[1], DAYS[3], f"?start_date={DAYS[1]}&end_date={DAYS[3]}")
    check_all()
    server.stop()
    server.start()
    check_all()
    text = server.get(f"/experiments/{experiment['id']}/results?format=csv").body.decode()
    assert f",{name}," in text


def test_no_denominator(server):
    """Nobody has ordered: no ratio, null, and a warning."""
    name, _ = define(server)
    made = server.make_experiment("Nobody", metrics=[name])
    server.force(made, [("n1", "control", "2026-01-01T00:00:00Z"), ("n2", "treatment", "2026-01-01T00:00:00Z")])
    results = server.results(made)
    cell = variant_of(results, "control")["metrics"][name]
    assert cell["value"] is None and cell["state"] == "no_data"
    assert any(f"{name}_denominator" in warning for warning in results["warnings"])
