"""Retention, quantiles, max, windows and caps by percentile: against numpy on the users' own events, after a restart and a kill too."""
import datetime
import itertools
import math
import random

import numpy
from conftest import check_problem, variant_of
from oracle import close
from scipy import stats

NUMBER = itertools.count(1)
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)
Z = 1.959963984540054


def stamp(moment):
    return moment.isoformat().replace("+00:00", "Z")


def definitions(event):
    mean = {"type": "mean", "event_type": event}
    return {
        "retained": {"type": "retention", "event_type": event, "from_day": 1, "to_day": 3},
        "largest": {**mean, "aggregation": "max", "property": "amount"},
        "soon": {**mean, "aggregation": "sum", "property": "amount", "window_hours": 36},
        "converted_soon": {"type": "proportion", "event_type": event, "window_hours": 36},
        "winsorised": {**mean, "aggregation": "sum", "property": "amount", "cap": {"percentile": 0.9}},
        "p70": {"type": "quantile", "event_type": event, "property": "amount", "quantile": 0.7},
    }


class World:
    """Users of two variants, assigned over three days, and what they bought over eight."""

    def __init__(self, server, seed):
        self.event = f"bought_{next(NUMBER)}"
        self.names = {}
        for short, body in definitions(self.event).items():
            name = f"{short}_{self.event}"
            self.names[short] = name
            made = server.post("/metric-definitions", {"name": name, **body})
            assert made.status == 201, made
            assert body.items() <= made.json.items() or short == "winsorised", made.json
        self.experiment = server.make_experiment("Types " + self.event, metrics=list(self.names.values()))
        rng = random.Random(seed)
        self.users = [(f"{self.event}-{i}", ("control", "treatment")[i % 2], START + rng.randrange(72) * HOUR) for i in range(400)]
        self.events = []
        for user, variant, _ in self.users:
            level = rng.lognormvariate(2.5 if variant == "control" else 2.7, 0.6)
            for _ in range(rng.choice([0, 1, 2, 4, 9])):
                self.events.append((user, START + rng.randrange(8 * 24) * HOUR, round(level * rng.lognormvariate(0, 0.5), 2)))
        half = len(self.events) // 2
        self.send(server, 0, half)  # some of it before the assignments are known
        server.force(self.experiment, [(user, variant, stamp(at)) for user, variant, at in self.users])
        self.send(server, half, len(self.events))

    def send(self, server, first, last):
        server.send_events([{"event_id": f"{self.event}-{i}", "user_id": user, "event_type": self.event, "timestamp": stamp(at),
                             "properties": {"amount": amount}}
                            for i, (user, at, amount) in enumerate(self.events) if first <= i < last])

    def of(self, variant):
        """(assigned at, [(moment, amount), ...] since) of each user."""
        own = {user: [] for user, v, _ in self.users if v == variant}
        begun = {user: at for user, v, at in self.users if v == variant}
        for user, at, amount in self.events:
            if user in own and at >= begun[user]:
                own[user].append((at, amount))
        return [(begun[user], own[user]) for user in own]


def mean_check(cell, values, name):
    close(cell["value"], numpy.mean(values), name)
    close(cell["std_error"], numpy.std(values, ddof=1) / math.sqrt(len(values)), name + " error")
    assert cell["sample_size"] == len(values), name


def quantile_of(users, q):
    """The quantile and its error: order statistics, widened by the design effect."""
    values = sorted(amount for _, own in users for _, amount in own)
    n = len(values)
    reach = Z * math.sqrt(n * q * (1 - q))
    at = lambda rank: values[min(max(int(rank) - 1, 0), n - 1)]
    value = at(math.ceil(n * q))
    independent = (at(math.ceil(n * q + reach)) - at(math.floor(n * q - reach))) / (2 * Z)
    x = numpy.array([sum(amount <= value for _, amount in own) for _, own in users], dtype=float)
    y = numpy.array([len(own) for _, own in users], dtype=float)
    r = x.sum() / y.sum()
    share = numpy.var((x - r * y) / y.mean(), ddof=1) / len(users)
    return value, independent * math.sqrt(share / (q * (1 - q) / n))


def check(server, world):
    results = server.results(world.experiment)
    totals = {v: [sum(a for _, a in own) for _, own in world.of(v)] for v in ("control", "treatment")}
    positive = sorted(t for v in totals.values() for t in v if t != 0)
    cap = positive[math.ceil(len(positive) * 0.9) - 1]
    for variant in ("control", "treatment"):
        users = world.of(variant)
        cell = {short: variant_of(results, variant)["metrics"][name] for short, name in world.names.items()}
        came = [any(1 <= (at.date() - begun.date()).days <= 3 for at, _ in own) for begun, own in users]
        assert cell["retained"]["count"] == sum(came) and cell["retained"]["sample_size"] == len(users)
        close(cell["retained"]["value"], numpy.mean(came), "retained")
        mean_check(cell["largest"], [max((a for _, a in own), default=0) for _, own in users], "largest")
        mean_check(cell["soon"], [sum(a for at, a in own if at < begun + 36 * HOUR) for begun, own in users], "soon")
        soon = [any(at < begun + 36 * HOUR for at, _ in own) for begun, own in users]
        assert cell["converted_soon"]["count"] == sum(soon)
        mean_check(cell["winsorised"], [min(t, cap) for t in totals[variant]], "winsorised")
        close(cell["winsorised"]["cap"]["upper"], cap, "cap")
        assert cell["winsorised"]["cap"]["users"] == sum(t > cap for t in totals[variant])
        value, error = quantile_of(users, 0.7)
        close(cell["p70"]["value"], value, "quantile")
        close(cell["p70"]["std_error"], error, "quantile's error")
        assert cell["p70"]["count"] == sum(len(own) for _, own in users)
    (c, ce), (t, te) = (quantile_of(world.of(v), 0.7) for v in ("control", "treatment"))
    compared = variant_of(results, "treatment")["metrics"][world.names["p70"]]["vs_control"]
    close(compared["absolute"]["value"], t - c, "difference")
    n = len(world.users) / 2
    degrees = (ce ** 2 + te ** 2) ** 2 / (ce ** 4 / (n - 1) + te ** 4 / (n - 1))
    close(compared["p_value"], 2 * stats.t.sf(abs(t - c) / math.hypot(ce, te), degrees), "p")
    return results


def check_series(results, world):
    """A day's retention is that of the users whose days ended on it, and the sum so far is the whole in the end."""
    days = variant_of(results, "control")["time_series"]
    users = world.of("control")
    for day in days:
        done = [(b, own) for b, own in users if (b + 3 * DAY).date().isoformat() <= day["date"]]
        entry = day["metrics"][world.names["retained"]]["cumulative"]
        assert entry["sample_size"] == len(done), day["date"]
        values = sorted(a for _, own in users for at, a in own if at.date().isoformat() <= day["date"])
        if values:
            close(day["metrics"][world.names["p70"]]["cumulative"]["value"], values[math.ceil(len(values) * 0.7) - 1], "p70 so far")
    for name in world.names.values():
        close(days[-1]["metrics"][name]["cumulative"]["value"], variant_of(results, "control")["metrics"][name]["value"], name)


def test_against_numpy(farm):
    server = farm.make()
    world = World(server, 11)
    before = check(server, world)
    check_series(before, world)
    server.kill()
    server.start()
    after = check(server, world)
    assert after["variants"] == before["variants"]
    server.stop()
    server.start()
    assert check(server, world)["variants"] == before["variants"]


def test_retention_waits_for_its_days(farm):
    """Who came today cannot have come back on the third day: not counted, not held against the variant."""
    server = farm.make()
    assert server.post("/metric-definitions", {"name": "back", "type": "retention", "event_type": "open", "to_day": 2}).status == 201
    made = server.make_experiment("Waiting", metrics=["back"])
    now = datetime.datetime.now(datetime.timezone.utc)
    old = stamp(now - 5 * DAY)
    server.force(made, [("a", "control", old), ("b", "control", old), ("c", "control", stamp(now - HOUR)), ("d", "treatment", old)])
    server.send_events([{"user_id": "a", "event_type": "open", "timestamp": stamp(now - 4 * DAY)},
                        {"user_id": "c", "event_type": "open", "timestamp": stamp(now)},
                        {"user_id": "d", "event_type": "open", "timestamp": stamp(now - 2 * DAY)}])  # too late
    results = server.results(made)
    control = variant_of(results, "control")
    assert control["users"] == 3
    assert (control["metrics"]["back"]["count"], control["metrics"]["back"]["sample_size"]) == (1, 2)
    assert variant_of(results, "treatment")["metrics"]["back"]["count"] == 0


def test_a_definition_that_changes_its_kind(farm):
    """A sum becomes a sum within a window, then a quantile, then a plain sum again: always as if it had been so from the start."""
    server = farm.make()
    body = {"name": "spend", "type": "mean", "event_type": "pay", "property": "amount", "aggregation": "sum"}
    assert server.post("/metric-definitions", body).status == 201
    made = server.make_experiment("Changing", metrics=["spend"])
    server.force(made, [("x", "control", "2026-01-01T10:00:00Z"), ("y", "treatment", "2026-01-01T10:00:00Z")])
    server.send_events([{"user_id": "x", "event_type": "pay", "timestamp": f"2026-01-0{day}T{hour}:00:00Z", "properties": {"amount": amount}}
                        for day, hour, amount in ((1, "09", 1), (1, "11", 10), (1, "12", 20), (2, "11", 40))])
    value = lambda: variant_of(server.results(made), "control")["metrics"]["spend"]["value"]
    assert value() == 70
    change = lambda patch: server.request("PATCH", "/metric-definitions/spend", patch)
    assert change({"window_hours": 25}).status == 200 and value() == 30
    assert change({"aggregation": "max"}).status == 200 and value() == 20
    assert change({"type": "quantile", "aggregation": None, "quantile": 0.9, "window_hours": None}).status == 200
    assert value() == 40
    check_problem(change({"type": "mean"}), 422, "not_allowed")
    server.kill()
    server.start()
    assert value() == 40
    assert change({"type": "mean", "quantile": None}).status == 200 and value() == 70
