"""Results: what counts for whom and on which day, against numbers worked out by hand, and against scipy on the raw values."""
import csv
import datetime
import itertools
import json
import random

import pytest
from conftest import check_problem, variant_of, wait_until
from oracle import check_cell, check_comparison, close

NUMBER = itertools.count(1)


def event(user, kind, at, **properties):
    return {"event_id": f"r{next(NUMBER)}", "user_id": user, "event_type": kind, "timestamp": at, "properties": properties}


def day_of(results, variant, date):
    return next(d for d in variant_of(results, variant)["time_series"] if d["date"] == date)


@pytest.fixture(scope="module")
def small(server):
    """Five users, three days. Worked out by hand in the tests below.

        c1  assigned 01-01 00:00   buys 10 on 01-01, 5.50 on 01-02; converts on 01-02 twice
        c2  assigned 01-01 12:00   bought 7 on 01-01 at 11:59:59.999 (before), buys 2 at 12:00 sharp
        c3  assigned 01-03         nothing
        t1  assigned 01-01         buys 20 on 01-02, converts on 01-01 and 01-03; the purchase is sent three times
        t2  assigned 01-02         converts on 01-02; bought 100 on 01-01 (before)
        x   not in the experiment  buys and converts
    """
    made = server.make_experiment("Small")
    server.force(made, [("c1", "control", "2026-01-01T00:00:00Z"), ("c2", "control", "2026-01-01T12:00:00Z"),
                        ("c3", "control", "2026-01-03T08:00:00Z"), ("t1", "treatment", "2026-01-01T00:00:00Z"),
                        ("t2", "treatment", "2026-01-02T00:00:00Z")])
    thrice = event("t1", "purchase", "2026-01-02T10:00:00Z", amount=20)
    server.send_events([
        event("t2", "purchase", "2026-01-01T23:59:59.999Z", amount=100),
        event("c1", "purchase", "2026-01-02T23:59:59.999999Z", amount=5.5),
        event("c1", "purchase", "2026-01-01T00:00:00Z", amount=10),
        event("c1", "conversion", "2026-01-02T00:00:00Z"), event("c1", "conversion", "2026-01-02T00:00:01Z"),
        event("c2", "purchase", "2026-01-01T11:59:59.999Z", amount=7),
        event("c2", "purchase", "2026-01-01T12:00:00Z", amount=2),
        thrice, thrice,
        event("x", "purchase", "2026-01-02T00:00:00Z", amount=1000), event("x", "conversion", "2026-01-02T00:00:00Z"),
    ])
    server.send_events([thrice, event("t1", "conversion", "2026-01-03T00:00:00Z"),
                        event("t1", "conversion", 1767225600000), event("t2", "conversion", "2026-01-02T00:00:00+00:00")])
    return made


def test_totals(server, small):
    """Values, counts and users over all time."""
    results = server.results(small)
    assert results["experiment_id"] == small["id"]
    assert results["as_of"]["complete"] is True and results["as_of"]["experiment_version"] == 1
    assert results["summary"]["total_users"] == 5
    control, treatment = variant_of(results, "control"), variant_of(results, "treatment")
    assert control["users"] == 3 and treatment["users"] == 2
    assert control["is_control"] and not treatment["is_control"]
    assert control["metrics"]["conversion_rate"]["count"] == 1 and treatment["metrics"]["conversion_rate"]["count"] == 2
    check_cell(control["metrics"]["conversion_rate"], [1, 0, 0], True)
    check_cell(treatment["metrics"]["conversion_rate"], [1, 1], True)
    check_cell(control["metrics"]["revenue"], [15.5, 2, 0], False)
    check_cell(treatment["metrics"]["revenue"], [20, 0], False)
    assert control["metrics"]["revenue"]["sum"] == 17.5 and control["metrics"]["revenue"]["count"] == 3
    check_comparison(treatment["metrics"]["revenue"], [15.5, 2, 0], [20, 0], False)
    check_comparison(treatment["metrics"]["conversion_rate"], [1, 0, 0], [1, 1], True)
    assert "vs_control" not in control["metrics"]["revenue"]


def test_exclusions(server, small):
    """What did not count is counted: duplicates, events before the assignment; who is not enrolled is in none of them."""
    summary = server.results(small)["summary"]
    assert summary["events_counted"] == 9
    assert summary["events_excluded"]["before_assignment"] == 2
    assert summary["events_excluded"]["duplicate"] == 2


def test_date_ranges(server, small):
    """start_date and end_date are inclusive UTC days; a user counts from the day of the assignment on."""

    def read(query):
        results = server.results(small, query)
        cells = [(variant_of(results, n)["users"], variant_of(results, n)["metrics"]) for n in ("control", "treatment")]
        return [(users, m["conversion_rate"]["count"], m["revenue"]["sum"]) for users, m in cells]

    assert read("?start_date=2026-01-01&end_date=2026-01-01") == [(2, 0, 12), (1, 1, 0)]
    assert read("?start_date=2026-01-02&end_date=2026-01-02") == [(2, 1, 5.5), (2, 1, 20)]
    assert read("?start_date=2026-01-03&end_date=2026-01-03") == [(3, 0, 0), (2, 1, 0)]
    assert read("?start_date=2026-01-01&end_date=2026-01-02") == [(2, 1, 17.5), (2, 2, 20)]
    assert read("?end_date=2026-01-02") == [(2, 1, 17.5), (2, 2, 20)]
    assert read("?start_date=2026-01-02") == [(3, 1, 5.5), (2, 2, 20)]
    assert read("?start_date=2025-01-01&end_date=2025-12-31") == [(0, 0, 0), (0, 0, 0)]
    assert read("?start_date=2026-02-01&end_date=2026-03-01") == [(3, 0, 0), (2, 0, 0)]


def test_range_of_days_is_over_users_not_over_days(server, small):
    """The variance of a range is that of each user's total in it: adding up the days' sums of squares would be wrong."""
    results = server.results(small, "?start_date=2026-01-01&end_date=2026-01-02&metrics=revenue")
    check_cell(variant_of(results, "control")["metrics"]["revenue"], [15.5, 2], False)


def test_time_series(server, small):
    """Each day: new users, that day's values, and the cumulative ones, which end at the totals."""
    results = server.results(small, "?group_by=day,variant&start_date=2026-01-01&end_date=2026-01-03")
    series = variant_of(results, "control")["time_series"]
    assert [d["date"] for d in series] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert [d["users"] for d in series] == [2, 0, 1]
    assert [d["metrics"]["revenue"]["sum"] for d in series] == [12, 5.5, 0]
    assert [d["metrics"]["revenue"]["count"] for d in series] == [2, 1, 0]
    assert [d["metrics"]["conversion_rate"]["count"] for d in series] == [0, 1, 0]
    cumulative = [d["metrics"]["revenue"]["cumulative"] for d in series]
    assert [c["sample_size"] for c in cumulative] == [2, 2, 3]
    for cell, value in zip(cumulative, (12 / 2, 17.5 / 2, 17.5 / 3), strict=True):
        close(cell["value"], value)
    assert day_of(results, "treatment", "2026-01-03")["metrics"]["conversion_rate"]["count"] == 1
    assert [d["metrics"]["conversion_rate"]["cumulative"]["count"]
            for d in variant_of(results, "treatment")["time_series"]] == [1, 2, 2]
    last, total = cumulative[-1], variant_of(results, "control")["metrics"]["revenue"]
    assert last["value"] == total["value"] and last["confidence_interval"] == total["confidence_interval"]


def test_group_by_variant_leaves_the_days_out(server, small):
    """group_by=variant: no time series; the rest is the same."""
    with_days, without = server.results(small), server.results(small, "?group_by=variant")
    for variant in with_days["variants"]:
        variant.pop("time_series")
    assert without["variants"] == with_days["variants"]


def test_cap(server):
    """A user's total of the range counts as at most the cap; whoever asks for another range gets another total."""
    name = f"capped_{next(NUMBER)}"
    answer = server.post("/metric-definitions", {
        "name": name, "type": "mean", "event_type": name, "property": "amount", "aggregation": "sum",
        "filters": [{"property": "currency", "op": "eq", "value": "EUR"}], "direction": "increase", "window_hours": None,
        "cap": {"upper": 500.0}})
    assert answer.status == 201 and answer.json["cap"] == {"upper": 500.0}, answer
    made = server.make_experiment("Capped", metrics=[name])
    server.force(made, [(u, "control", "2026-01-01T00:00:00Z") for u in ("cap-1", "cap-2", "cap-3")])
    server.send_events([event("cap-1", name, "2026-01-01T01:00:00Z", amount=3, currency="EUR"),
                        event("cap-2", name, "2026-01-01T01:00:00Z", amount=450, currency="EUR"),
                        event("cap-2", name, "2026-01-02T01:00:00Z", amount=450, currency="EUR"),
                        event("cap-1", name, "2026-01-02T01:00:00Z", amount=450, currency="USD")])

    def check():
        results = server.results(made)
        cell = variant_of(results, "control")["metrics"][name]
        assert (cell["sum"], cell["count"], cell["sample_size"]) == (503, 3, 3)
        close(cell["std_dev"], ((3 - 503 / 3) ** 2 + (500 - 503 / 3) ** 2 + (503 / 3) ** 2) ** 0.5 / 2 ** 0.5)
        days = [day_of(results, "control", f"2026-01-0{day}")["metrics"][name] for day in (1, 2)]
        assert [day["sum"] for day in days] == [453, 450]
        for day, total in zip(days, (453, 503)):
            close(day["cumulative"]["value"], total / 3)
        alone = server.results(made, "?start_date=2026-01-02&end_date=2026-01-02")
        assert variant_of(alone, "control")["metrics"][name]["sum"] == 450

    check()
    server.stop()
    server.start()
    check()
    changed = server.request("PATCH", f"/metric-definitions/{name}", {"cap": None})
    assert changed.status == 200 and changed.json["cap"] is None
    assert variant_of(server.results(made), "control")["metrics"][name]["sum"] == 903


def test_csv_says_what_json_says(server, small):
    """A row a variant, metric and day, with the numbers of the JSON; the range's own row has no date."""
    query = "metrics=conversion_rate,revenue"
    results = server.results(small, f"?{query}")
    answer = server.get(f"/experiments/{small['id']}/results?{query}&format=csv")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(answer.body.decode().splitlines()))
    seen = set()
    for row in rows:
        variant = variant_of(results, row["variant"])
        cell = variant["metrics"][row["metric"]]
        if row["date"]:
            cell = day_of(results, row["variant"], row["date"])["metrics"][row["metric"]]
            assert float(row["cumulative_value"]) == cell["cumulative"]["value"]
        else:
            assert int(row["users"]) == variant["users"]
            assert [row["confidence_lower"], row["confidence_upper"]] == [
                "" if bound is None else str(bound) for bound in cell["confidence_interval"] or [None, None]]
        assert int(row["count"]) == cell["count"]
        assert row["value"] == str(cell["value"])
        assert row["sum"] == (str(float(cell["sum"])) if "sum" in cell else "")
        compared = cell.get("vs_control")
        difference = compared and compared["absolute"]["value"]
        assert row["difference"] == ("" if difference is None else str(difference))
        seen.add((row["variant"], row["metric"], row["date"]))
    assert len(seen) == len(rows) == 2 * 2 * (1 + 3)


def test_csv_quotes_names(server):
    """Names with commas, quotes and newlines come back as they were."""
    names = ['a "quoted", name', " plain "]
    made = server.make_experiment("Quoting", variants=[{"name": name} for name in names])
    answer = server.get(f"/experiments/{made['id']}/results?metrics=revenue&format=csv")
    assert [row["variant"] for row in csv.DictReader(answer.body.decode().splitlines(keepends=True))] == names
    check_problem(server.get(f"/experiments/{made['id']}/results?format=xls"), 422, "invalid_value")


def test_metrics_and_confidence(server, small):
    """metrics= chooses, in that order; confidence_level widens the intervals and leaves the p-value."""
    results = {level: server.results(small, f"?metrics=revenue&confidence_level={level}") for level in (0.8, 0.95, 0.99)}
    for level, got in results.items():
        metrics = variant_of(got, "treatment")["metrics"]
        assert list(metrics) == ["revenue"]
        check_cell(metrics["revenue"], [20, 0], False, level)
        check_comparison(metrics["revenue"], [15.5, 2, 0], [20, 0], False, level)
    assert list(variant_of(server.results(small, "?metrics=revenue,conversion_rate"), "control")["metrics"]) == \
        ["revenue", "conversion_rate"]


class Model:
    """What assay should know, kept in plain Python: per user an arm, a time of assignment, and events."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.users = {}
        self.events = []

    def assign(self, count, arms, first, last):
        for number in range(count):
            at = self.random.randrange(first, last)
            self.users[f"m{number}"] = (self.random.choice(arms), at)

    def happen(self, count, first, last):
        names = list(self.users) + ["stranger1", "stranger2"]
        for number in range(count):
            user = self.random.choice(names)
            kind = self.random.choice(["conversion", "purchase", "purchase", "view"])
            body = {"event_id": f"model{number}", "user_id": user, "event_type": kind,
                    "timestamp": self.random.randrange(first, last), "properties": {}}
            if kind == "purchase":
                body["properties"] = {"amount": self.random.randrange(-500, 100000) / 100,
                                      "currency": self.random.choice(["EUR", "USD"])}
            self.events.append(body)

    def values(self, arm, value, first_day, last_day, total=sum):
        """One value a user of the arm who is assigned by the end of last_day: what `total` makes of the events' values."""
        end = (last_day + 1) * 86_400_000
        per_user = {u: [] for u, (a, at) in self.users.items() if a == arm and at < end}
        for e in self.events:
            at = self.users.get(e["user_id"], (None, 0))[1]
            if e["user_id"] in per_user and e["timestamp"] >= at and first_day <= e["timestamp"] // 86_400_000 <= last_day:
                amount = value(e)
                if amount is not None:
                    per_user[e["user_id"]].append((e["timestamp"] // 86_400_000, amount))
        return [total(v) for v in per_user.values()]


def total_amount(values):
    return round(sum(amount for _, amount in values), 6)


METRICS = {
    # name: definition, value of an event, total of a user, is it a proportion?
    "conversion_rate": (None, lambda e: 1 if e["event_type"] == "conversion" else None, lambda v: int(bool(v)), True),
    "revenue": (None, lambda e: e["properties"]["amount"] if e["event_type"] == "purchase" else None, total_amount, False),
    "purchases": ({"type": "mean", "event_type": "purchase", "aggregation": "count"},
                  lambda e: 1 if e["event_type"] == "purchase" else None, total_amount, False),
    "active_days": ({"type": "mean", "event_type": "view", "aggregation": "unique_days"},
                    lambda e: 1 if e["event_type"] == "view" else None, lambda v: len({day for day, _ in v}), False),
    "euros": ({"type": "mean", "event_type": "purchase", "property": "amount", "aggregation": "sum",
               "filters": [{"property": "currency", "op": "eq", "value": "EUR"}]},
              lambda e: e["properties"]["amount"] if e["properties"].get("currency") == "EUR" else None, total_amount, False),
    "viewers": ({"type": "proportion", "event_type": "view"},
                lambda e: 1 if e["event_type"] == "view" else None, lambda v: int(bool(v)), True),
}
FIRST_DAY = 20454  # 2026-01-01
ARMS = ["control", "a", "b"]


def define(server, name):
    answer = server.post("/metric-definitions", {"name": name, **METRICS[name][0]})
    assert answer.status == 201, answer


def check_model(server, made, model, first_day, last_day, level=0.95):
    dates = [(datetime.date(1970, 1, 1) + datetime.timedelta(days=d)).isoformat() for d in (first_day, last_day)]
    query = f"?start_date={dates[0]}&end_date={dates[1]}&metrics={','.join(METRICS)}&confidence_level={level}&group_by=variant"
    results = wait_until(lambda: complete(server, made, query), "the metrics to be filled")
    for name, (_, value, total, is_proportion) in METRICS.items():
        values = {arm: model.values(arm, value, first_day, last_day, total) for arm in ARMS}
        for arm in ARMS:
            cell = variant_of(results, arm)["metrics"][name]
            what = f"{name} of {arm}, {dates[0]} to {dates[1]}"
            check_cell(cell, values[arm], is_proportion, level, what)
            if arm != "control":
                check_comparison(cell, values["control"], values[arm], is_proportion, level, what)


def complete(server, made, query):
    results = server.results(made, query)
    return results if results["as_of"]["complete"] else None


@pytest.fixture(scope="module")
def model():
    """150 users in three arms over five days, 3,000 events over nine."""
    made = Model(1)
    made.assign(150, ARMS, FIRST_DAY * 86_400_000, (FIRST_DAY + 5) * 86_400_000)
    made.happen(3000, (FIRST_DAY - 1) * 86_400_000, (FIRST_DAY + 8) * 86_400_000)
    return made


def import_model(server, model):
    made = server.make_experiment("Model", variants=[{"name": n} for n in ARMS])
    server.force(made, [(user, arm, at) for user, (arm, at) in model.users.items()])
    return made


def send_shuffled(server, model, seed):
    """The model's events in random order and batches, a tenth of them more than once."""
    order = random.Random(seed)
    events = model.events + order.sample(model.events, len(model.events) // 10)
    order.shuffle(events)
    while events:
        size = order.randrange(1, 400)
        server.send_events(events[:size])
        events = events[size:]


@pytest.mark.parametrize("when", ["metrics first", "metrics last", "assignments last"])
def test_against_scipy(farm, model, when):
    """A random experiment, in three orders of definitions, assignments and events: every metric, for ranges of days, is what
    scipy makes of the raw values; a definition or an assignment that comes after the events gets their history."""
    server = farm.make()
    names = [n for n, row in METRICS.items() if row[0]]
    for name in names if when == "metrics first" else []:
        define(server, name)
    if when == "assignments last":
        send_shuffled(server, model, 5)
        for name in names:
            define(server, name)
        made = import_model(server, model)
    else:
        made = import_model(server, model)
        send_shuffled(server, model, 5)
    for name in names if when == "metrics last" else []:
        define(server, name)
    for first, last in ((FIRST_DAY, FIRST_DAY + 8), (FIRST_DAY + 2, FIRST_DAY + 4), (FIRST_DAY + 3, FIRST_DAY + 3)):
        check_model(server, made, model, first, last)
    check_model(server, made, model, FIRST_DAY, FIRST_DAY + 8, 0.99)


def test_order_and_restarts_do_not_matter(farm, model):
    """The same records in another order, with restarts and crashes between, give the same results to the last digit."""
    documents = []
    for seed in (6, 7):
        server = farm.make()
        for name, row in METRICS.items():
            if row[0] and seed == 6:
                define(server, name)
        made = import_model(server, model)
        order = random.Random(seed)
        events = order.sample(model.events, len(model.events))
        for number in range(4):
            server.send_events(events[number::4])
            if seed == 7:
                server.restart(kill=number % 2 == 0)
        for name, row in METRICS.items():
            if row[0] and seed == 7:
                define(server, name)
        query = f"?metrics={','.join(METRICS)}"
        results = wait_until(lambda: complete(server, made, query), "the metrics to be filled")
        for variant in results["variants"]:
            variant.pop("id")
        documents.append(json.dumps([results["variants"], results["statistical_significance"]], sort_keys=True))
    assert documents[0] == documents[1]


def test_restart_changes_nothing(server, small):
    """The same query before and after a stop and a kill gives the same document, but for the time it was asked."""

    def read():
        got = server.results(small)
        got["as_of"].pop("time")
        return got

    before = read()
    for kill in (False, True):
        server.restart(kill=kill)
        assert read() == before


def test_event_before_its_assignment_arrives(server):
    """An event that is sent before its user is assigned counts if its time is at or after the assignment, else not."""
    made = server.make_experiment()
    now = datetime.datetime.now(datetime.timezone.utc)
    later = (now + datetime.timedelta(hours=2)).isoformat()
    earlier = (now - datetime.timedelta(hours=2)).isoformat()
    server.send_events([event("early bird", "purchase", later, amount=3), event("early bird", "purchase", earlier, amount=4)])
    variant = server.get(f"/experiments/{made['id']}/assignment/early%20bird").json["variant"]
    results = server.results(made)
    assert variant_of(results, variant)["metrics"]["revenue"]["sum"] == 3
    assert results["summary"]["events_excluded"]["before_assignment"] == 1


def test_one_event_in_two_experiments(server):
    """A user's event counts in every experiment the user is in."""
    made = [server.make_experiment() for _ in range(2)]
    for experiment in made:
        server.force(experiment, [("both", "control", "2026-01-01T00:00:00Z")])
    server.send_events(event("both", "purchase", "2026-01-05T00:00:00Z", amount=9))
    for experiment in made:
        assert variant_of(server.results(experiment), "control")["metrics"]["revenue"]["sum"] == 9


def test_exact_sums(server):
    """Sums of money are exact: ten cents a thousand times are a hundred, and beyond a double's 53 bits too."""
    made = server.make_experiment()
    server.force(made, [("rich", "control", "2026-01-01T00:00:00Z"), ("poor", "treatment", "2026-01-01T00:00:00Z")])
    at = "2026-01-02T00:00:00Z"
    server.send_events([event("poor", "purchase", at, amount=0.1) for _ in range(1000)])
    server.send_events([event("rich", "purchase", at, amount=4_000_000_000_000), event("rich", "purchase", at, amount=0.000001)])
    body = server.get(f"/experiments/{made['id']}/results?metrics=revenue&group_by=variant").body.decode()
    assert variant_of(json.loads(body), "treatment")["metrics"]["revenue"]["sum"] == 100
    assert '"sum":4000000000000.000001' in body, body


@pytest.mark.parametrize("text, total", [
    ("0.1234567", "0.123457"), ("0.1234564", "0.123456"), ("1e-7", "0"), ("9e-7", "0.000001"), ("12345678901.1234567", "12345678901.123457"),
    ("1234567890123.123456", "1234567890123.123456"), ("-1234567890123.123456", "-1234567890123.123456")])
def test_more_than_six_decimals(server, text, total):
    """A value is the nearest millionth to what was written: exactly so with up to six decimals, or 15 digits."""
    made = server.make_experiment()
    user = f"digits{next(NUMBER)}"
    server.force(made, [(user, "control", "2026-01-01T00:00:00Z")])
    body = (f'{{"user_id": "{user}", "event_type": "purchase", "timestamp": "2026-01-02T00:00:00Z", '
            f'"properties": {{"amount": {text}}}}}')
    server.send_events(body.encode())
    answer = server.get(f"/experiments/{made['id']}/results?metrics=revenue&group_by=variant").body.decode()
    assert f'"sum":{total},' in answer


def test_values_that_are_no_numbers(server):
    """A purchase whose amount is missing, text or null is not revenue; an exponent and a negative amount are."""
    made = server.make_experiment()
    server.force(made, [("odd", "control", "2026-01-01T00:00:00Z")])
    at = "2026-01-02T00:00:00Z"
    for amount in ("12", None, True, [1], {"a": 1}):
        server.send_events(event("odd", "purchase", at, amount=amount))
    server.send_events([event("odd", "purchase", at), event("odd", "purchase", at, amount=1.5e1), event("odd", "purchase", at, amount=-5)])
    cell = variant_of(server.results(made), "control")["metrics"]["revenue"]
    assert (cell["count"], cell["sum"]) == (2, 10)


def test_nobody_and_nothing(server):
    """An experiment without users, and one with a single user: no numbers are made up."""
    made = server.make_experiment()
    results = server.results(made)
    assert results["summary"]["total_users"] == 0 and results["summary"]["status"] == "insufficient_data"
    assert variant_of(results, "control")["metrics"]["conversion_rate"]["value"] is None
    server.force(made, [("single", "control", None)])
    results = server.results(made)
    assert results["summary"]["status"] == "insufficient_data"
    versus = variant_of(results, "treatment")["metrics"]["conversion_rate"]["vs_control"]
    assert versus["p_value"] is None and versus["absolute"]["value"] is None


def test_sample_ratio_mismatch(server):
    """700 against 300 users where the weights say halves: the mismatch is found, and the verdict withheld."""
    made = server.make_experiment()
    server.force(made, [(f"srm{i}", "control" if i < 700 else "treatment", None) for i in range(1000)])
    results = server.results(made)
    assert results["summary"]["status"] == "srm" and results["summary"]["srm"]["ok"] is False
    assert results["summary"]["srm"]["p_value"] < 1e-30
    assert results["statistical_significance"] is None
    assert results["warnings"]


def test_verdict(server):
    """A clear effect is significant under each test; none is not; the verdict names metric, variant and p-value."""
    made = server.make_experiment()
    users = [(f"v{i}", "control" if i % 2 else "treatment", "2026-01-01T00:00:00Z") for i in range(2000)]
    server.force(made, users)
    at = "2026-01-02T00:00:00Z"
    server.send_events([event(u, "conversion", at) for n, (u, arm, _) in enumerate(users) if n % 20 < (8 if arm == "treatment" else 4)])
    for test in ("welch", "sequential", "bayesian"):
        results = server.results(made, f"?test={test}&metrics=conversion_rate")
        verdict = results["statistical_significance"]
        assert results["summary"]["status"] == "significant", test
        assert (verdict["metric"], verdict["variant"]) == ("conversion_rate", "treatment")
        assert verdict["p_value"] < 0.01
    assert server.results(made)["summary"]["test"] == "sequential"
    server.patch(f"/experiments/{made['id']}", {"status": "completed"})
    assert server.results(made)["summary"]["test"] == "welch"


def test_corrections(server):
    """Holm and Benjamini-Hochberg over all comparisons asked for; none leaves the p-values alone."""
    made = server.make_experiment(variants=[{"name": n} for n in ("control", "a", "b")])
    server.force(made, [(f"k{i}", ("control", "a", "b")[i % 3], "2026-01-01T00:00:00Z") for i in range(300)])
    at = "2026-01-02T00:00:00Z"
    server.send_events([event(f"k{i}", "conversion", at) for i in range(300) if i % 10 < 3 + 2 * (i % 3 == 1)]
                       + [event(f"k{i}", "purchase", at, amount=(i * 37) % 11 + i % 3) for i in range(300)])

    def cells(correction):
        results = server.results(made, f"?correction={correction}&group_by=variant")
        return [variant_of(results, v)["metrics"][m]["vs_control"] for v in ("a", "b") for m in ("conversion_rate", "revenue")]

    raw = [c["p_value"] for c in cells("none")]
    assert [c["p_value_adjusted"] for c in cells("none")] == raw
    ranks = sorted(range(4), key=lambda i: raw[i])
    holm, bh = [0.0] * 4, [0.0] * 4
    running = 0.0
    for place, i in enumerate(ranks):
        running = max(running, min(1.0, (4 - place) * raw[i]))
        holm[i] = running
    running = 1.0
    for place, i in reversed(list(enumerate(ranks))):
        running = min(running, 4 * raw[i] / (place + 1))
        bh[i] = running
    for correction, want in (("holm", holm), ("bh", bh)):
        for got, value in zip(cells(correction), want, strict=True):
            close(got["p_value_adjusted"], value, correction)


def test_metric_changes_are_recounted(server):
    """A metric that is changed after the events is as if it had always been so; archived, it is gone from new experiments."""
    name = "changing"
    assert server.post("/metric-definitions", {"name": name, "type": "mean", "event_type": "purchase",
                                               "property": "amount"}).status == 201
    made = server.make_experiment(metrics=[name])
    server.force(made, [("ch", "control", "2026-01-01T00:00:00Z")])
    at = "2026-01-02T00:00:00Z"
    server.send_events([event("ch", "purchase", at, amount=5, tax=1), event("ch", "purchase", at, amount=6, tax=2)])

    def total():
        results = wait_until(lambda: complete(server, made, ""), "the metric to be filled")
        return variant_of(results, "control")["metrics"][name]["sum"]

    assert total() == 11
    answer = server.patch(f"/metric-definitions/{name}", {"property": "tax"})
    assert answer.status == 200 and answer.json["version"] == 2, answer
    assert total() == 3
    answer = server.patch(f"/metric-definitions/{name}", {"filters": [{"property": "tax", "op": "in", "values": [2]}]})
    assert answer.status == 200, answer
    assert total() == 2
    server.restart(kill=True)
    assert total() == 2
    assert server.delete(f"/metric-definitions/{name}").status == 204
    answer = server.post("/experiments", {"name": "x", "variants": [{"name": "a"}, {"name": "b"}], "metrics": [name]})
    check_problem(answer, 422, "unknown_metric")


def test_metric_definitions(server):
    """Metrics are made, read, listed and named once; the two built-in ones are there from the start."""
    body = {"name": "signups", "type": "proportion", "event_type": "signup", "description": "Share who signed up."}
    made = server.post("/metric-definitions", body)
    assert made.status == 201, made
    for field, value in body.items():
        assert made.json[field] == value
    assert server.get("/metric-definitions/signups").json == made.json
    check_problem(server.post("/metric-definitions", body), 409, "name_taken")
    names = [m["name"] for m in server.get("/metric-definitions").json["metric_definitions"]]
    assert {"conversion_rate", "revenue", "signups"} <= set(names)
    page = server.get("/metric-definitions?limit=1").json
    rest = server.get(f"/metric-definitions?cursor={page['next_cursor']}").json
    assert [m["name"] for m in page["metric_definitions"] + rest["metric_definitions"]] == names
    check_problem(server.get("/metric-definitions/none"), 404, "metric_not_found")


def test_power(server):
    """The sample size for a baseline and an effect: scipy's normal quantiles in the textbook formula."""
    from scipy import stats as scipy_stats
    answer = server.get("/power?baseline=0.05&mde=0.1&users_per_day=1000")
    assert answer.status == 200, answer
    z = scipy_stats.norm.ppf(0.975) + scipy_stats.norm.ppf(0.8)
    p, q = 0.05, 0.055
    users = z * z * (p * (1 - p) + q * (1 - q)) / (q - p) ** 2
    assert abs(answer.json["sample_size_per_variant"] - users) <= 1
    mean = server.get("/power?baseline=10&mde=0.05&std_dev=30").json["sample_size_per_variant"]
    assert abs(mean - z * z * 2 * 900 / 0.25) <= 1
