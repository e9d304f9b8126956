"""Events: taken in every documented form, counted once by their id, refused one by one, and durable when acknowledged."""
import datetime
import gzip
import itertools
import json
import threading
import time

import pytest
from conftest import check_problem, variant_of
from msgpack import pack

NUMBER = itertools.count(1)
LONG_AGO = "2025-01-01T00:00:00Z"


def event(user="u", kind="conversion", **fields):
    return {"event_id": f"e{next(NUMBER)}", "user_id": user, "event_type": kind, **fields}


def reply(accepted, duplicates=0, rejected=0):
    return {"status": "accepted", "accepted": accepted, "duplicates": duplicates, "rejected": rejected}


def counts(answer):
    return {key: answer[key] for key in ("status", "accepted", "duplicates", "rejected")}


@pytest.fixture
def counter(server):
    """An experiment with one user "u", assigned long ago in "control": how its events count shows in the results."""

    class Counter:
        def __init__(self):
            self.experiment = server.make_experiment()
            self.user = f"counted-{next(NUMBER)}"
            server.force(self.experiment, [(self.user, "control", LONG_AGO)])

        def event(self, kind="purchase", **fields):
            return event(self.user, kind, **{"properties": {"amount": 1}, **fields})

        def read(self):
            """(converted users, purchases, sum of amounts)"""
            metrics = variant_of(server.results(self.experiment), "control")["metrics"]
            return (metrics["conversion_rate"]["count"], metrics["revenue"]["count"], metrics["revenue"]["sum"])

    return Counter()


def test_the_example(server):
    """The documented event is taken, with 202 and the counts."""
    answer = server.post("/events", {
        "event_id": "01J0000000", "user_id": "u1", "event_type": "purchase", "timestamp": "2026-01-01T10:00:00Z",
        "properties": {"amount": 29.99, "currency": "EUR", "items": ["a", "b"]}})
    assert answer.status == 202
    assert answer.json == {**reply(1), "errors": []}


def bodies(events):
    """The same events in each shape and coding."""
    lines = "\n".join(map(json.dumps, events))
    yield "array", json.dumps(events).encode(), "application/json", {}
    yield "envelope", json.dumps({"events": events}).encode(), "application/json", {}
    yield "no content type", json.dumps(events).encode(), None, {}
    yield "charset", json.dumps(events).encode(), "application/json; charset=utf-8", {}
    yield "lines", lines.encode(), "application/x-ndjson", {}
    yield "lines, last one ended", (lines + "\r\n\n").encode(), "application/x-ndjson", {}
    yield "msgpack array", pack(events), "application/msgpack", {}
    yield "msgpack envelope", pack({"events": events}), "application/msgpack", {}
    yield "gzip", gzip.compress(json.dumps(events).encode()), "application/json", {"Content-Encoding": "gzip"}
    yield "gzip lines", gzip.compress(lines.encode()), "application/x-ndjson", {"Content-Encoding": "gzip"}
    yield "gzip msgpack", gzip.compress(pack(events)), "application/msgpack", {"Content-Encoding": "GZIP"}


def test_every_form_means_the_same(server, counter):
    """Array, envelope, lines, msgpack, and gzip of each: the same events, so all after the first are duplicates."""
    events = [counter.event(properties={"amount": 12.34, "currency": "EUR", "deep": {"list": [1, None, True, "ü"]}},
                            timestamp=1767225600000 + i) for i in range(3)]
    for number, (name, body, kind, headers) in enumerate(bodies(events)):
        answer = server.post("/events", body, content_type=kind, headers=headers)
        assert answer.status == 202, (name, answer)
        assert answer.json == {**(reply(3) if number == 0 else reply(0, 3)), "errors": []}, name
    assert counter.read() == (0, 3, 37.02)


def test_single_events_in_every_form(server, counter):
    """A single event without an array around it, as JSON, one line, and msgpack."""
    for body, kind in ((json.dumps(counter.event()).encode(), "application/json"),
                       (json.dumps(counter.event()).encode(), "application/x-ndjson"),
                       (pack(counter.event()), "application/msgpack")):
        assert counts(server.send_events(body, content_type=kind)) == reply(1)
    assert counter.read()[1] == 3


def test_nothing_to_store(server):
    """An empty array is a sender's idle flush: accepted, nothing counted."""
    for body, kind in ((b"[]", "application/json"), (b'{"events": []}', "application/json"), (b"", "application/x-ndjson"),
                       (pack([]), "application/msgpack")):
        answer = server.post("/events", body, content_type=kind)
        assert answer.status == 202 and counts(answer.json) == reply(0), (body, answer)


def test_duplicates(farm):
    """An event id counts once: in one body, across requests, across a restart, a crash, and whatever the order."""
    server = farm.make()
    made = server.make_experiment()
    server.force(made, [("u", "control", LONG_AGO)])
    events = [event(timestamp="2026-02-03T04:05:06Z") for _ in range(3)]
    assert counts(server.send_events([events[0], events[1], events[0], events[0]])) == reply(2, 2)
    assert counts(server.send_events(events)) == reply(1, 2)
    for kill in (False, True):
        server.restart(kill=kill)
        assert counts(server.send_events(events[::-1])) == reply(0, 3)
    results = server.results(made)
    assert results["summary"]["events_counted"] == 3
    assert variant_of(results, "control")["time_series"][-1]["metrics"]["conversion_rate"]["count"] == 1


def test_duplicates_sent_at_once(server, counter):
    """The same batch from several connections at the same time: each event is accepted exactly once in all."""
    events = [counter.event(properties={"amount": 1}, timestamp="2026-01-01T00:00:00Z") for _ in range(200)]
    answers = []

    def send():
        answers.append(server.send_events(events))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(a["accepted"] for a in answers) == 200
    assert sum(a["duplicates"] for a in answers) == 1000
    assert counter.read() == (0, 200, 200)


def test_reused_id_with_another_body(server, counter):
    """An id that comes again with another body: the first counts, the second is a duplicate and is pointed out."""
    first = counter.event(properties={"amount": 10}, timestamp="2026-01-01T00:00:00Z")
    other = dict(first, properties={"amount": 99})
    server.send_events(first)
    answer = server.send_events([counter.event(timestamp="2026-01-01T00:00:00Z"), other])
    assert counts(answer) == reply(1, 1)
    assert [(e["index"], e["code"]) for e in answer["errors"]] == [(1, "event_id_reused")]
    assert server.send_events(first)["errors"] == []
    assert counter.read() == (0, 2, 11)


def test_retry_without_a_timestamp(server, counter):
    """An event without a timestamp is of now; its retry a moment later is the same event, and no reused id."""
    body = counter.event()
    assert "timestamp" not in body
    server.send_events(body)
    time.sleep(0.005)
    assert server.send_events(body) == {**reply(0, 1), "errors": []}
    assert counter.read() == (0, 1, 1)


def test_without_an_id(server, counter):
    """Events without an id each count: the server cannot know a retry."""
    body = {"user_id": counter.user, "event_type": "purchase", "properties": {"amount": 1}}
    assert counts(server.send_events([body, body])) == reply(2)
    assert counts(server.send_events(dict(body, event_id=None))) == reply(1)
    assert counter.read() == (0, 3, 3)


BAD_EVENTS = [
    # what is wrong, the code
    ({"user_id": None}, "wrong_type"), ({"user_id": 5}, "wrong_type"), ({"user_id": ""}, "invalid_user_id"),
    ({"user_id": "x" * 256}, "invalid_user_id"), ({"user_id": "a\nb"}, "invalid_user_id"),
    ({"event_type": ""}, "invalid_event_type"), ({"event_type": "x" * 129}, "invalid_event_type"),
    ({"event_type": ["conversion"]}, "wrong_type"),
    ({"event_id": ""}, "invalid_event_id"), ({"event_id": "x" * 129}, "invalid_event_id"), ({"event_id": 7}, "wrong_type"),
    ({"timestamp": "yesterday"}, "invalid_timestamp"), ({"timestamp": "2026-01-01"}, "invalid_timestamp"),
    ({"timestamp": "2026-01-01T00:00:00"}, "invalid_timestamp"), ({"timestamp": "2026-02-30T00:00:00Z"}, "invalid_timestamp"),
    ({"timestamp": "2026-01-01T25:00:00Z"}, "invalid_timestamp"), ({"timestamp": True}, "invalid_timestamp"),
    ({"timestamp": 1767225600}, "timestamp_too_early"), ({"timestamp": "1999-12-31T23:59:59Z"}, "timestamp_too_early"),
    ({"timestamp": -1}, "timestamp_too_early"), ({"timestamp": "2199-01-01T00:00:00Z"}, "timestamp_in_future"),
    ({"timestamp": 1e300}, "invalid_timestamp"),
    ({"properties": []}, "wrong_type"), ({"properties": "x"}, "wrong_type"),
    ({"properties": {"x": "y" * 40000}}, "properties_too_large"),
    ({"colour": "red"}, "unknown_field"), ({"properties": {"amount": 1e13}, "event_type": "purchase"}, "value_out_of_range"),
]


@pytest.mark.parametrize("coding", ["json", "ndjson", "msgpack"])
def test_bad_events_among_good(server, counter, coding):
    """Each bad event is refused with its index and code; its neighbours count."""
    events = []
    for fault, _ in BAD_EVENTS:
        events += [counter.event(), dict(counter.event(), **fault)]
    events += [counter.event(), 5, "event", None, [counter.event()], counter.event()]
    missing = counter.event()
    del missing["user_id"]
    events += [missing]
    body = {"json": lambda: json.dumps(events).encode(), "ndjson": lambda: "\n".join(map(json.dumps, events)).encode(),
            "msgpack": lambda: pack(events)}[coding]()
    kind = {"json": "application/json", "ndjson": "application/x-ndjson", "msgpack": "application/msgpack"}[coding]
    answer = server.send_events(body, content_type=kind)
    good = len(BAD_EVENTS) + 2
    assert counts(answer) == reply(good, 0, len(events) - good)
    want = [(2 * i + 1, code) for i, (_, code) in enumerate(BAD_EVENTS)]
    at = 2 * len(BAD_EVENTS)
    want += [(at + i, "wrong_type") for i in (1, 2, 3, 4)] + [(at + 6, "required")]
    assert [(e["index"], e["code"]) for e in answer["errors"]] == want
    assert all(e["message"] for e in answer["errors"])
    assert counter.read()[1] == good


@pytest.mark.parametrize("properties", ['{"x": 1e400}', '{"x": 1, "x": 2}', '{"x": ' + "[" * 20 + "]" * 20 + "}"],
                         ids=["number beyond a double", "key twice", "nested too deep"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_what_is_wrong_in_one_event_only(server, counter, properties, kind):
    """JSON by its grammar that assay cannot take in one event's properties: that event is refused, its neighbours count."""
    good = [json.dumps(counter.event()) for _ in range(2)]
    bad = f'{{"user_id": "{counter.user}", "event_type": "purchase", "properties": {properties}}}'
    events = [good[0], bad, good[1]]
    body = "\n".join(events) if kind.endswith("ndjson") else f"[{','.join(events)}]"
    answer = server.send_events(body.encode(), content_type=kind)
    assert counts(answer) == reply(2, 0, 1)
    assert [e["index"] for e in answer["errors"]] == [1]


def test_all_bad(server):
    """No good event at all: 422, with each fault and its index, and nothing stored."""
    answer = server.post("/events", [event(user=""), event(kind="")])
    problem = check_problem(answer, 422, "all_events_rejected")
    assert [(e["index"], e["code"]) for e in problem["errors"]] == [(0, "invalid_user_id"), (1, "invalid_event_type")]
    assert (problem["accepted"], problem["duplicates"], problem["rejected"]) == (0, 0, 2)
    check_problem(server.post("/events", event(user="")), 422, "all_events_rejected")


def test_strict(server, counter):
    """?strict=true: one bad event, and nothing of the request is stored; without bad ones it changes nothing."""
    events = [counter.event(properties={"amount": 1}), counter.event(user_id="")]
    problem = check_problem(server.post("/events?strict=true", events), 422, "events_rejected")
    assert [e["index"] for e in problem["errors"]] == [1]
    assert counter.read() == (0, 0, 0)
    assert counts(server.post("/events?strict=true", events[:1]).json) == reply(1)
    assert counts(server.post("/events?strict=false", events).json) == reply(0, 1, 1)
    assert counter.read() == (0, 1, 1)


@pytest.mark.parametrize("body, kind, code", [
    (b'[{"user_id": "u", "event_type": "t"}, {"user_id": ]', "application/json", "json_syntax"),
    (b'[{"user_id": "u", "event_type": "t"}', "application/json", "json_truncated"),
    (b'[{"user_id": "u", "event_type": "t"}] x', "application/json", "json_trailing"),
    (b'', "application/json", "json_truncated"),
    (b'[{"user_id": "\xff", "event_type": "t"}]', "application/json", "json_utf8"),
    (b'{"user_id": "u", "event_type": "t"}\n{"user_id"', "application/x-ndjson", "json_truncated"),
    (b'{"user_id": "u", "event_type": "t"} {"user_id": "v", "event_type": "t"}', "application/x-ndjson", "json_trailing"),
    (b'\x91\x82', "application/msgpack", "msgpack_syntax"),
    (b'', "application/msgpack", "msgpack_syntax"),
    (pack([]) + b"\xc0", "application/msgpack", "msgpack_syntax"),
])
def test_bodies_that_do_not_parse(server, body, kind, code):
    """A body that is no JSON, NDJSON or msgpack: 400, the byte offset where it is text, and nothing of it stored."""
    before = server.get("/status").json["log"]["durable_lsn"]
    problem = check_problem(server.post("/events", body, content_type=kind), 400, code)
    if kind != "application/msgpack":
        assert isinstance(problem["offset"], int) or "offset" in problem["detail"] or "byte" in problem["detail"], problem
    assert server.get("/status").json["log"]["durable_lsn"] == before


def test_msgpack_must_be_what_json_could_be(server):
    """Binary, infinities, keys that are no text or stand twice: refused, for everything stored is readable as JSON."""
    for properties in ({"x": b"bin"}, {"x": float("inf")}, {"x": float("nan")}, {5: 1}, {"x": {b"k": 1}}):
        answer = server.post("/events", pack([event(), dict(event(), properties=properties)]),
                             content_type="application/msgpack")
        assert answer.status == 202 and counts(answer.json) == reply(1, 0, 1), (properties, answer)
    twice = pack(dict(event(), properties=0))[:-1] + b"\x82\xa1a\x01\xa1a\x02"
    check_problem(server.post("/events", twice, content_type="application/msgpack"), 422, "all_events_rejected")


def test_timestamps(server):
    """RFC 3339 with any offset and epoch milliseconds mean the same instant: it decides what day an event falls on."""
    made = server.make_experiment()
    server.force(made, [("clock", "control", LONG_AGO)])
    same = ["2026-01-01T00:30:00Z", "2026-01-01T01:30:00+01:00", "2025-12-31T19:30:00-05:00", "2026-01-01T00:30:00.000000z",
            "2026-01-01t06:00:00.0+05:30", 1767227400000, 1767227400000.0, "2026-01-01T00:30:00-00:00"]
    answer = server.send_events([event("clock", "purchase", timestamp=t, properties={"amount": 1}) for t in same])
    assert counts(answer) == reply(len(same))
    days = {d["date"]: d["metrics"]["revenue"]["sum"] for d in variant_of(server.results(made), "control")["time_series"]}
    assert days["2026-01-01"] == len(same) and sum(days.values()) == len(same)


def test_future_timestamps(server):
    """Up to 24 hours ahead of the server is taken; further is refused."""
    now = datetime.datetime.now(datetime.timezone.utc)
    ahead = [now + datetime.timedelta(hours=23, minutes=59), now + datetime.timedelta(hours=24, minutes=1)]
    answer = server.send_events([event(timestamp=at.isoformat()) for at in ahead])
    assert counts(answer) == reply(1, 0, 1)
    assert answer["errors"][0]["code"] == "timestamp_in_future" and answer["errors"][0]["index"] == 1
    ms = int(time.time() * 1000)
    answer = server.send_events([event(timestamp=ms + 86_340_000), event(timestamp=ms + 86_460_000)])
    assert counts(answer) == reply(1, 0, 1)


def test_default_timestamp(server, counter):
    """Without a timestamp, or with null, an event is of now."""
    before = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    server.send_events([counter.event(), counter.event(timestamp=None)])
    after = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    series = variant_of(server.results(counter.experiment), "control")["time_series"]
    assert sum(d["metrics"]["revenue"]["count"] for d in series if d["date"] in (before, after)) == 2


def test_limits_of_fields(server):
    """Each field at its limit is taken, in bytes of UTF-8; one more is refused."""
    good = [event("x" * 255), event("é" * 127 + "x"), event(kind="x" * 128), dict(event(), event_id="x" * 128),
            dict(event(), event_id="é" * 64)]
    assert counts(server.send_events(good)) == reply(len(good))
    bad = [event("x" * 256), event("é" * 128), event(kind="x" * 129), dict(event(), event_id="x" * 129),
           dict(event(), event_id="é" * 64 + "x")]
    problem = check_problem(server.post("/events", bad), 422, "all_events_rejected")
    assert problem["rejected"] == len(bad)


def test_limit_of_properties(server):
    """Properties of exactly 32 KB as JSON text are taken; one byte more is refused."""
    frame = len(json.dumps({"x": ""}))
    at_limit = event(properties={"x": "y" * (32 * 1024 - frame)})
    assert len(json.dumps(at_limit["properties"])) == 32 * 1024
    beyond = event(properties={"x": "y" * (32 * 1024 - frame + 1)})
    answer = server.send_events([at_limit, beyond])
    assert counts(answer) == reply(1, 0, 1)
    assert answer["errors"][0]["code"] == "properties_too_large"


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_limit_of_depth(server):
    """JSON is nested 16 deep at most, everything counted; deeper is refused, however deep."""
    assert server.post("/events", {**event(), "properties": {"x": nested(14)}}).status == 202
    check_problem(server.post("/events", {**event(), "properties": {"x": nested(15)}}), 400, "json_depth")
    deep = b'{"user_id": "u", "event_type": "t", "properties": {"x": ' + b"[" * 100000 + b"]" * 100000 + b"}}"
    check_problem(server.post("/events", deep), 400, "json_depth")


def test_limit_of_events(server):
    """10,000 events in a request are taken; 10,001 are refused whole."""
    some = [{"event_id": f"many{i}", "user_id": f"u{i % 100}", "event_type": "view"} for i in range(10001)]
    assert counts(server.send_events(some[:10000])) == reply(10000)
    check_problem(server.post("/events", [dict(e, event_id=e["event_id"] + "x") for e in some]), 413, "too_many_events")
    assert counts(server.send_events([dict(some[0], event_id="many0x")])) == reply(1)


def test_limit_of_the_body(server):
    """A body of 2 MiB is taken; one byte more is 413."""
    body = json.dumps([event()]).encode()
    limit = 2 * 1024 * 1024
    answer = server.post("/events", body + b" " * (limit - len(body)))
    assert answer.status == 202, answer
    check_problem(server.post("/events", body + b" " * (limit - len(body) + 1)), 413, "body_too_large")
    check_problem(server.post("/events", body + b" " * (5 * limit)), 413, "body_too_large")


def test_limit_of_the_unpacked_body(server):
    """A gzip body unpacks to 8 MiB at most; a bomb is 413, half a gzip file and other codings are refused."""
    gz = {"Content-Encoding": "gzip"}
    body = json.dumps([event()]).encode()
    limit = 8 * 1024 * 1024
    assert server.post("/events", gzip.compress(body + b" " * (limit - len(body))), headers=gz).status == 202
    check_problem(server.post("/events", gzip.compress(body + b" " * (limit - len(body) + 1)), headers=gz), 413,
                  "body_too_large")
    check_problem(server.post("/events", gzip.compress(b" " * (300 * 1024 * 1024)), headers=gz), 413, "body_too_large")
    check_problem(server.post("/events", gzip.compress(body)[:-4], headers=gz), 400, "bad_gzip")
    check_problem(server.post("/events", gzip.compress(body) + b"x", headers=gz), 400, "bad_gzip")
    check_problem(server.post("/events", body, headers=gz), 400, "bad_gzip")
    check_problem(server.post("/events", body, headers={"Content-Encoding": "br"}), 415, "unsupported_encoding")


def test_acknowledged_is_visible_and_durable(farm):
    """What 202 acknowledged is in the results within a second, and survives a kill at once after the answer."""
    server = farm.make()
    made = server.make_experiment()
    server.force(made, [("u", "control", LONG_AGO)])
    for round_number in range(3):
        start = time.monotonic()
        server.send_events([event(timestamp="2026-01-01T00:00:00Z") for _ in range(10)])
        server.kill()
        server.start()
        assert server.results(made)["summary"]["events_counted"] == 10 * (round_number + 1)
        assert time.monotonic() - start < 30


def test_counters_conserve(farm):
    """received = counted + duplicate + before assignment + not enrolled + filtered + rejected, and each can be read."""
    server = farm.make()
    made = server.make_experiment(metrics=["conversion_rate"])
    server.force(made, [("in", "control", "2026-01-02T00:00:00Z")])
    counted = [event("in", timestamp="2026-01-03T00:00:00Z") for _ in range(5)]
    events = (counted + counted[:2] + [event("in", timestamp="2026-01-01T00:00:00Z") for _ in range(3)]
              + [event("out") for _ in range(7)] + [event("") for _ in range(4)])
    answer = server.send_events(events)
    assert counts(answer) == reply(15, 2, 4)
    summary = server.results(made)["summary"]
    assert summary["events_counted"] == 5
    assert summary["events_excluded"]["duplicate"] == 2
    assert summary["events_excluded"]["before_assignment"] == 3
    status = server.get("/status").json
    assert status["http"]["events_received"] == 21 and status["http"]["events_rejected"] == 4
    assert status["counts"]["events_duplicate"] == 2
