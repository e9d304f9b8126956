"""CUPED on the server: what users did before their assignment, taken from the log that is there anyway, against a regression."""
import random

import numpy
import pytest
from conftest import check_problem, variant_of
from oracle import close


@pytest.fixture(scope="module")
def world(server):
    """Users who bought before as they buy after, assigned at noon of the 20th; some events on that day before noon."""
    assert server.post("/metric-definitions", {"name": "cuped_spend", "type": "mean", "event_type": "cuped_buy", "property": "amount"}).status == 201
    assert server.post("/metric-definitions", {"name": "cuped_capped", "type": "mean", "event_type": "cuped_buy", "property": "amount",
                                               "cap": {"upper": 40}}).status == 201
    assert server.post("/metric-definitions", {"name": "cuped_buyers", "type": "proportion", "event_type": "cuped_buy"}).status == 201
    made = server.make_experiment("Cuped", metrics=["cuped_spend", "cuped_capped", "cuped_buyers"])
    rng = random.Random(11)
    users, events = [], []
    for i in range(400):
        variant = "control" if i % 2 else "treatment"
        user = f"cuped-{i}"
        taste = rng.choice([0, 0, 10, 30])
        own = {"before": [], "long_ago": [], "after": []}
        for when, day in (("long_ago", "2026-01-03T10"), ("before", "2026-01-12T10"), ("before", "2026-01-20T11"),
                          ("after", "2026-01-20T12"), ("after", "2026-01-22T10")):
            if taste and rng.random() < 0.7:
                amount = round(max(0.01, rng.gauss(taste + (3 if variant == "treatment" and when == "after" else 0), 4)), 2)
                own[when].append(amount)
                events.append({"event_id": f"c{len(events)}", "user_id": user, "event_type": "cuped_buy",
                               "timestamp": f"{day}:00:00Z", "properties": {"amount": amount}})
        users.append((user, variant, own))
    rng.shuffle(events)
    server.send_events(events)
    server.force(made, [(user, variant, "2026-01-20T12:00:00Z") for user, variant, _ in users])
    return made, users


def regression(pairs):
    """Of x on arm and y: the arm's coefficient and the slope."""
    x = numpy.array([a for arm in pairs for a, _ in arm])
    y = numpy.array([b for arm in pairs for _, b in arm])
    d = numpy.array([i for i, arm in enumerate(pairs) for _ in arm], dtype=float)
    return numpy.linalg.lstsq(numpy.column_stack([numpy.ones(len(x)), d, y]), x, rcond=None)[0][1:]


def pairs_of(users, after, before):
    return [[(after(own), before(own)) for _, variant, own in users if variant == wanted] for wanted in ("control", "treatment")]


def check(server, made, metric, query, pairs):
    results = server.results(made, f"?metrics={metric}&cuped=true{query}")
    coefficient, slope = regression(pairs)
    cell = variant_of(results, "treatment")["metrics"][metric]
    close(cell["vs_control"]["absolute"]["value"], coefficient, "difference", 1e-8)
    close(results["cuped"]["metrics"][metric]["slope"], slope, "slope", 1e-8)
    assert cell["vs_control"]["method"] == "cuped"
    plain = server.results(made, f"?metrics={metric}")
    unadjusted = variant_of(plain, "treatment")["metrics"][metric]
    assert plain["cuped"] is None and "adjusted" not in unadjusted
    assert cell["value"] == unadjusted["value"], "the plain mean stays"
    assert cell["vs_control"]["absolute"]["std_error"] < unadjusted["vs_control"]["absolute"]["std_error"]
    return results


def test_means_proportions_and_caps(server, world):
    made, users = world
    check(server, made, "cuped_spend", "", pairs_of(users, lambda own: sum(own["after"]), lambda own: sum(own["before"])))
    check(server, made, "cuped_capped", "", pairs_of(users, lambda own: min(40, sum(own["after"])), lambda own: sum(own["before"])))
    check(server, made, "cuped_buyers", "", pairs_of(users, lambda own: float(bool(own["after"])), lambda own: float(bool(own["before"]))))
    results = check(server, made, "cuped_spend", "&cuped_days=60",
                    pairs_of(users, lambda own: sum(own["after"]), lambda own: sum(own["before"] + own["long_ago"])))
    assert results["cuped"]["days"] == 60
    assert not any("differed before" in warning for warning in results["warnings"])


def test_survives_a_restart(server, world):
    made, _ = world
    query = "?cuped=true"
    before = server.results(made, query)
    server.stop()
    server.start()
    after = server.results(made, query)
    assert before["variants"] == after["variants"] and before["cuped"] == after["cuped"]


def test_warnings_and_faults(server, world):
    """Without a past nothing is adjusted and it is said; arms that differed before are pointed out."""
    made = server.make_experiment("No past", metrics=["cuped_spend"])
    server.force(made, [(f"new-{i}", "control" if i % 2 else "treatment", "2026-01-01T00:00:00Z") for i in range(100)])
    results = server.results(made, "?cuped=true")
    assert any("not adjusted by cuped" in warning for warning in results["warnings"])
    assert results["cuped"]["metrics"]["cuped_spend"] is None
    biased = server.make_experiment("Biased", metrics=["cuped_spend"])
    server.send_events([{"event_id": f"b{i}", "user_id": f"biased-{i}", "event_type": "cuped_buy", "timestamp": "2026-02-01T00:00:00Z",
                         "properties": {"amount": (50 if i % 2 else 5) + i % 7}} for i in range(200)])
    server.force(biased, [(f"biased-{i}", "control" if i % 2 else "treatment", "2026-02-05T00:00:00Z") for i in range(200)])
    server.send_events([{"event_id": f"a{i}", "user_id": f"biased-{i}", "event_type": "cuped_buy", "timestamp": "2026-02-06T00:00:00Z",
                         "properties": {"amount": 10 + i % 7}} for i in range(200)])
    assert any("differed before" in warning for warning in server.results(biased, "?cuped=true")["warnings"])
    for query in ("cuped=maybe", "cuped_days=0", "cuped_days=91", "cuped_days=x"):
        assert server.get(f"/experiments/{made['id']}/results?{query}").status == 422, query
    check_problem(server.get(f"/experiments/{made['id']}/results?cuped=maybe"), 422, "invalid_value")
