"""Experiments as OpenFeature flags (OFREP 0.3): what goes over the wire, and what real clients, unmodified, make of it.

The clients come from their registries by tests/clients/: npm for JavaScript, PyPI for Python, Maven for Java. Their tests are skipped,
with the reason, where node, npm, java, mvn or the registries are not there; those of the wire always run.
"""

import http.client
import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from clients import run_java, run_node, run_python, start_node

FLAGS = "/ofrep/v1/evaluate/flags"
VALUES = {"boolean": True, "string": "hello", "integer": 3, "float": 3.0, "fraction": 2.5, "object": {"color": "blue", "size": 3}}
DEFAULTS = {"boolean": False, "string": "default", "integer": -1, "float": -1.5, "fraction": -1.5, "object": {"default": True}}


@pytest.fixture(scope="module")
def flags(server):
    """One experiment a type of value, all of whose users get `on`; one without values; one for users of the plan `pro`."""
    def on(key, value, **fields):
        variants = [{"name": "off", "weight": 0.0}, {"name": "on", "weight": 1.0}]
        if value is not None:
            variants[1]["value"] = value
        return server.make_experiment(key, key=key, variants=variants, **fields)
    made = {key: on(key, value) for key, value in VALUES.items()}
    made["name"] = on("name", None)
    made["pro"] = on("pro", True, targeting={"rules": [{"attribute": "plan", "op": "eq", "value": "pro"}]})
    made["draft"] = on("draft", True, status="draft")
    return made


@pytest.fixture(scope="module")
def token(server):
    """What an application has: it may ask for assignments and nothing else."""
    return server.make_token("assign")["token"]


def evaluate(server, key, context, **options):
    return server.post(f"{FLAGS}/{key}" if key is not None else FLAGS, {"context": context}, **options)


def one_way(all_of_them, nobody):
    """A change of weights."""
    return {"variants": [{"name": all_of_them, "weight": 1.0}, {"name": nobody, "weight": 0.0}]}


def check_error(answer, status, error_code, key=None):
    """An error as every client can read it: a JSON object with all that any of them looks for."""
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json
    assert body["errorCode"] == error_code and body["errorDetails"] and body["metadata"] == {}, answer
    assert body.get("key") == key, answer
    return answer


# The wire.


def test_an_evaluation_is_a_flag(server, flags, token):
    """value, variant and reason of each type; integers stay integers and floats floats, to the byte."""
    for key, value in VALUES.items():
        answer = evaluate(server, key, {"targetingKey": "wire"}, token=token)
        assert answer.status == 200, answer
        assert answer.json == {"key": key, "value": value, "reason": "SPLIT", "variant": "on", "metadata": {}}
        assert answer.headers["ETag"] is None
    assert b'"value":3,' in evaluate(server, "integer", {"targetingKey": "wire"}).body
    assert b'"value":3.0,' in evaluate(server, "float", {"targetingKey": "wire"}).body
    assert evaluate(server, "name", {"targetingKey": "wire"}).json["value"] == "on"
    by_id = evaluate(server, flags["string"]["id"], {"targetingKey": "wire"}).json
    assert by_id["key"] == flags["string"]["id"] and by_id["value"] == "hello"


def test_an_evaluation_is_an_assignment(server):
    """It is stored with its attributes as any other is, sticks though weights change, and its user's events count."""
    made = server.make_experiment(key="sticky")
    users = [f"sticky-{i}" for i in range(40)]
    first = {u: evaluate(server, "sticky", {"targetingKey": u, "plan": "pro"}).json for u in users}
    assert {f["variant"] for f in first.values()} == {"control", "treatment"}
    assert server.patch("/experiments/sticky", one_way("control", "treatment")).status == 200
    for user, flag in first.items():
        assert evaluate(server, "sticky", {"targetingKey": user, "plan": "free"}).json == flag
        stored = server.get(f"/experiments/sticky/assignment/{user}?enroll=false").json
        assert stored["variant"] == flag["variant"] and stored["new"] is False
    listed = server.get("/experiments/sticky/assignments?limit=500").json["assignments"]
    assert {a["user_id"] for a in listed} == set(users)
    server.send_events([{"user_id": u, "event_type": "conversion"} for u in users])
    assert server.results(made)["summary"]["total_users"] == len(users)
    assert sum(v["metrics"]["conversion_rate"]["count"] for v in server.results(made)["variants"]) == len(users)


def test_who_is_not_in_gets_the_default_of_the_code(server, flags):
    """No `value`, but variant and reason; the experiment's rules see the context."""
    def flag(key, context):
        answer = evaluate(server, key, context)
        assert answer.status == 200, answer
        return answer.json
    assert flag("pro", {"targetingKey": "out", "plan": "free"}) == {"key": "pro", "reason": "DEFAULT", "variant": "", "metadata": {}}
    assert flag("draft", {"targetingKey": "out"}) == {"key": "draft", "reason": "DISABLED", "variant": "", "metadata": {}}
    assert flag("pro", {"targetingKey": "in", "plan": "pro"})["reason"] == "TARGETING_MATCH"
    assert flag("pro", {"targetingKey": "in", "plan": "free"})["reason"] == "SPLIT"  # in for good, but no match
    server.make_experiment(key="none", traffic_allocation=0.0)
    assert flag("none", {"targetingKey": "out"})["reason"] == "DEFAULT"


def test_a_stopped_experiment_keeps_its_answers(server):
    """Who has a variant keeps the value, by reason STATIC; nobody new comes in."""
    made = server.make_experiment(key="stopped")
    first = evaluate(server, "stopped", {"targetingKey": "u"}).json
    server.force(made, [("forced", "treatment", "2024-01-01T00:00:00Z")])
    assert evaluate(server, "stopped", {"targetingKey": "forced"}).json["reason"] == "STATIC"
    for status in ("paused", "completed", "archived"):
        assert server.patch("/experiments/stopped", {"status": status}).status == 200
        assert evaluate(server, "stopped", {"targetingKey": "u"}).json == {**first, "reason": "STATIC"}
        new = evaluate(server, "stopped", {"targetingKey": f"new-{status}"}).json
        assert new["reason"] == "DISABLED" and "value" not in new


def test_all_flags_at_once(server, flags, token):
    """Running experiments and no others, each as it is alone; with and without a slash behind the path."""
    answer = evaluate(server, None, {"targetingKey": "bulk", "plan": "free"}, token=token)
    assert answer.status == 200 and set(answer.json) == {"flags", "eventStreams", "metadata"} and answer.json["metadata"] == {}
    by_key = {flag["key"]: flag for flag in answer.json["flags"]}
    running = server.get("/experiments?status=running&limit=500").json["experiments"]
    assert set(by_key) == {e["key"] for e in running} and "draft" not in by_key
    for key in (*VALUES, "name", "pro"):
        assert by_key[key] == evaluate(server, key, {"targetingKey": "bulk", "plan": "free"}).json
    assert "value" not in by_key["pro"]
    assert server.get("/experiments/string/assignment/bulk?enroll=false").json["variant"] == "on"
    slashed = server.post(f"{FLAGS}/?flagConfigEtag=x", {"context": {"targetingKey": "bulk", "plan": "free"}}, token=token)
    assert slashed.body == answer.body and slashed.headers["ETag"] == answer.headers["ETag"]


def test_the_etag_covers_the_whole_context(server, flags):
    """304 for the same question and answer alone: not for another user, another attribute, or after a change of a flag."""
    def ask(context, etag=None):
        return evaluate(server, None, context, headers={"If-None-Match": etag} if etag else None)
    mine = {"targetingKey": "etag", "plan": "free", "nested": {"a": [1, 2.0]}}
    etag = ask(mine).headers["ETag"]
    assert etag.startswith('"') and etag.endswith('"')
    for sent in (etag, f"W/{etag}", f'"other", W/{etag}', f'{etag}, "other"'):
        answer = ask(mine, sent)
        assert answer.status == 304 and answer.body == b"" and answer.headers["ETag"] == etag
    for other in ({**mine, "plan": "pro"}, {**mine, "targetingKey": "etag2"}, {**mine, "nested": {"a": [1, 2]}}, {"targetingKey": "etag"}):
        answer = ask(other, etag)
        assert answer.status == 200 and answer.headers["ETag"] != etag, other
    for unlike in ('"other"', etag.strip('"'), "*", etag[:-2] + '"'):
        assert ask(mine, unlike).status == 200, unlike
    server.make_experiment(key="later")
    changed = ask(mine, etag)
    assert changed.status == 200 and changed.headers["ETag"] != etag


class FlagStream:
    """GET of an event stream's address, as a browser does it: no header but Last-Event-ID."""

    def __init__(self, server, target, last=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=15)
        self.connection.request("GET", target, headers={"Last-Event-ID": last} if last else {})
        self.response = self.connection.getresponse()

    def next(self):
        """(id, data) of the next event; None at the end."""
        fields = {}
        for line in iter(self.response.readline, b""):
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == ":":  # a comment, to keep the connection alive
                continue
            if name == "" and fields:
                assert fields["event"] == "message"
                return fields["id"], json.loads(fields["data"])
            fields[name] = value
        return None


@pytest.fixture
def live(farm):
    """A server, a token of an application, the address of its stream, and a function that opens it."""
    server = farm.make()
    made = server.make_token("assign")
    (entry,) = evaluate(server, None, {"targetingKey": "u"}, token=made["token"]).json["eventStreams"]
    assert entry["type"] == "sse" and set(entry) == {"type", "endpoint"}
    opened = []

    def open_stream(last=None, target=entry["endpoint"]["requestUri"]):
        opened.append(FlagStream(server, target, last))
        return opened[-1]

    yield server, made, entry["endpoint"]["requestUri"], open_stream
    for stream in opened:
        stream.connection.close()


def test_the_stream_tells_to_evaluate_anew(live):
    """At once, for what came between; after each change; not again to a client that comes back with the last event's id."""
    server, _, _, open_stream = live
    stream = open_stream()
    assert stream.response.status == 200 and stream.response.headers["Content-Type"] == "text/event-stream"
    first, data = stream.next()
    assert data["type"] == "refetchEvaluation" and data["etag"] == first and abs(data["lastModified"] - time.time()) < 60
    back = open_stream(last=first)
    server.make_experiment(key="announced")
    second, _ = stream.next()
    assert second != first
    assert back.next()[0] == second  # the first that it heard: nothing was told twice
    assert open_stream(last="of another time").next()[0] == second
    server.restart()
    assert open_stream(last=second).next()[0] != second


def test_the_stream_tells_when_the_clock_starts_and_ends_an_experiment(live):
    """No definition changes then, but evaluations do."""
    server, made, _, open_stream = live
    start, end = (datetime.now(UTC) + timedelta(seconds=s) for s in (2, 4))
    server.make_experiment(key="scheduled", start_at=start.isoformat(), end_at=end.isoformat())
    stream = open_stream()
    seen = [stream.next()[0]]
    for instant in (start, end):
        seen.append(stream.next()[0])
        assert datetime.now(UTC) >= instant
    assert len(set(seen)) == 3
    assert evaluate(server, "scheduled", {"targetingKey": "u"}, token=made["token"]).json["reason"] == "DISABLED"


def test_what_a_ticket_opens(live):
    """The stream, for as long as its token is good; nothing else, and no other text will do."""
    server, made, target, open_stream = live
    ticket = target.partition("ticket=")[2]
    again = evaluate(server, None, {"targetingKey": "v"}, token=made["token"]).json["eventStreams"][0]["endpoint"]["requestUri"]
    assert again == target and made["token"] not in target
    for path in (f"{FLAGS}?ticket={ticket}", f"{FLAGS}/x?ticket={ticket}"):
        check_error(server.post(path, {"context": {"targetingKey": "u"}}, token=None), 401, "GENERAL", "x" if "/x" in path else None)
    assert server.get(f"/stream?ticket={ticket}", token=None).status == 401
    other = server.make_token("assign")
    for bad in ("", "x", ticket[:-1], ticket + "0", ticket[:-1] + ("0" if ticket[-1] != "0" else "1"), ticket.upper(),
                other["id"] + ticket[36:], "0" * len(ticket)):
        check_error(server.get(f"/ofrep/v1/stream?ticket={bad}", token=None), 401, "GENERAL")
    reader = server.make_token("results:read")["token"]
    check_error(server.get("/ofrep/v1/stream", token=reader), 403, "GENERAL")
    assert server.get("/ofrep/v1/stream?other=1", token=made["token"]).status == 400
    stream = open_stream()
    assert stream.next() is not None
    assert server.delete(f"/tokens/{made['id']}").status in (200, 204)
    while stream.next() is not None:  # what the revocation changed may still be told
        pass
    assert open_stream().response.status == 401


def test_bad_questions(server, flags, token):
    """Each fault with its errorCode, and with the key where one flag was asked for."""
    for body in (b"", b"{", b"[]", b"1", b'{"context": {"a": 1, "a": 2}}', b"\xff", b'{"context": {}} x'):
        check_error(server.post(FLAGS, body), 400, "PARSE_ERROR")
        check_error(server.post(f"{FLAGS}/string", body), 400, "PARSE_ERROR", "string")
    for document in ({}, {"context": None}, {"context": {}}, {"context": {"targetingKey": ""}}, {"context": {"targetingKey": None}}):
        check_error(server.post(FLAGS, document), 400, "TARGETING_KEY_MISSING")
        check_error(server.post(f"{FLAGS}/string", document), 400, "TARGETING_KEY_MISSING", "string")
    for context in (1, "x", [], {"targetingKey": 1}, {"targetingKey": {}}, {"targetingKey": "x" * 256}, {"targetingKey": "a\nb"},
                    {"targetingKey": "u", "big": "x" * 9000}):
        check_error(server.post(f"{FLAGS}/string", {"context": context}), 400, "INVALID_CONTEXT", "string")
    check_error(server.post(FLAGS, b"a=b", content_type="application/x-www-form-urlencoded"), 400, "PARSE_ERROR")
    check_error(server.post(FLAGS, b"x" * (2 * 1024 * 1024 + 1)), 400, "PARSE_ERROR")
    check_error(server.post(FLAGS, b"x", headers={"Content-Encoding": "gzip"}), 400, "PARSE_ERROR")
    check_error(evaluate(server, "nothing", {"targetingKey": "u"}), 404, "FLAG_NOT_FOUND", "nothing")
    check_error(evaluate(server, "no/thing", {"targetingKey": "u"}), 404, "FLAG_NOT_FOUND", "no/thing")
    check_error(evaluate(server, "x" * 2100, {"targetingKey": "u"}), 400, "GENERAL")
    extra = server.post(f"{FLAGS}/string", {"context": {"targetingKey": "u"}, "newer": 1}, token=token)
    assert extra.status == 200, extra


def test_who_may_ask(server, flags, token):
    """A token with the scope assign, as a bearer or as an API key; refusals are for all clients to read."""
    reader = server.make_token("results:read")["token"]
    for target, key in ((f"{FLAGS}/string", "string"), (FLAGS, None)):
        document = {"context": {"targetingKey": "u"}}
        assert server.post(target, document, token=token).status == 200
        assert server.post(target, document, token=None, headers={"X-API-Key": token}).status == 200
        for refused in (server.post(target, document, token=None), server.post(target, document, token="wrong"),
                        server.post(target, document, token=None, headers={"X-API-Key": "wrong"}),
                        server.post(target, document, token="wrong", headers={"X-API-Key": token})):
            check_error(refused, 401, "GENERAL", key)
            assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        check_error(server.post(target, document, token=reader), 403, "GENERAL", key)
    assert server.get("/experiments/string", token=None, headers={"X-API-Key": server.token}).status == 401


def test_pages_of_other_origins(farm):
    """--cors-origin lets a page ask, and read ETag and Retry-After; without it, or from elsewhere, nothing says so."""
    server = farm.make(arguments=["--cors-origin", "https://shop.example", "--cors-origin", "http://localhost:3000"])
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-api-key,if-none-match"}
    for origin in ("https://shop.example", "http://localhost:3000"):
        answer = server.request("OPTIONS", FLAGS, token=None, headers={**preflight, "Origin": origin})
        assert answer.status == 204 and answer.body == b""
        assert answer.headers["Access-Control-Allow-Origin"] == origin and answer.headers["Vary"] == "Origin"
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        allowed = {h.strip() for h in answer.headers["Access-Control-Allow-Headers"].split(",")}
        assert {"content-type", "authorization", "x-api-key", "if-none-match"} <= allowed
        for token, status in ((server.token, 200), ("wrong", 401)):
            answer = evaluate(server, None, {"targetingKey": "u"}, token=token, headers={"Origin": origin})
            assert answer.status == status and answer.headers["Access-Control-Allow-Origin"] == origin
            assert {h.strip() for h in answer.headers["Access-Control-Expose-Headers"].split(",")} == {"ETag", "Retry-After"}
    elsewhere = server.request("OPTIONS", FLAGS, token=None, headers={**preflight, "Origin": "https://other.example"})
    assert elsewhere.status == 405 and elsewhere.headers["Access-Control-Allow-Origin"] is None
    off = farm.make()
    answer = off.request("OPTIONS", FLAGS, token=None, headers={**preflight, "Origin": "https://shop.example"})
    assert answer.status == 405 and answer.headers["Access-Control-Allow-Origin"] is None and answer.headers["Vary"] is None
    for origin in ("*", "https://shop.example/", "shop.example"):
        code, trace = farm.make(start=False).refuses_to_start(["--cors-origin", origin])
        assert code == 2 and "cors-origin" in trace


# Real clients.


@pytest.fixture(scope="module")
def node(server):
    """Returns a function that runs a JavaScript client."""
    return lambda script, token, questions: run_node(server, script, token, questions)


@pytest.fixture(scope="module")
def python(server):
    """Returns a function that runs the Python client."""
    return lambda token, questions: run_python(server, "openfeature_python.py", token, questions)


def question(kind, key, context, default=None):
    return {"type": kind, "key": key, "context": context, "default": DEFAULTS[key] if default is None else default}


NUMBERS = ("integer", "float", "fraction")


def check_values(answers):
    """All of VALUES, in their order, as a client's details."""
    for (key, value), answer in zip(VALUES.items(), answers, strict=True):
        assert answer["value"] == value and type(answer["value"]) in (type(value), int), (key, answer)
        assert answer["variant"] == "on" and answer["reason"] == "SPLIT" and not answer.get("errorCode"), (key, answer)


def test_javascript_server_client(node, flags, token):
    """Each type; unknown flags, other types, users who are not in, and a missing user: the default, with the reason."""
    user = {"targetingKey": "js"}
    answers = node("openfeature_server.mjs", token, [
        *(question("number" if key in NUMBERS else key, key, user) for key in VALUES),
        question("string", "name", user, "default"),
        question("boolean", "nothing", user, True),
        question("boolean", "string", user, True),
        question("boolean", "pro", {**user, "plan": "free"}, False),
        question("boolean", "pro", {"targetingKey": "js-pro", "plan": "pro"}, False),
        question("boolean", "boolean", {}, False),
        question("boolean", "boolean", {"targetingKey": "x" * 300}, False),
    ])
    check_values(answers[:len(VALUES)])
    name, unknown, mismatch, out, inside, nobody, invalid = answers[len(VALUES):]
    assert name["value"] == name["variant"] == "on"
    assert unknown["value"] is True and unknown["errorCode"] == "FLAG_NOT_FOUND"
    assert mismatch["value"] is True and mismatch["errorCode"] == "TYPE_MISMATCH"
    assert out["value"] is False
    assert inside["value"] is True and inside["reason"] == "TARGETING_MATCH"
    assert nobody["value"] is False and nobody["errorCode"] == "TARGETING_KEY_MISSING"
    assert invalid["value"] is False and invalid["errorCode"] == "INVALID_CONTEXT"


def test_javascript_server_client_is_sticky(node, server, token):
    """The same users get the same variants from every process, whatever became of the weights, and as the API tells."""
    server.make_experiment(key="js-sticky")
    questions = [question("string", "js-sticky", {"targetingKey": f"js-{i}"}, "default") for i in range(30)]
    first = [answer["value"] for answer in node("openfeature_server.mjs", token, questions)]
    assert set(first) == {"control", "treatment"}
    assert server.patch("/experiments/js-sticky", one_way("treatment", "control")).status == 200
    assert [answer["value"] for answer in node("openfeature_server.mjs", token, questions)] == first
    stored = [server.get(f"/experiments/js-sticky/assignment/js-{i}?enroll=false").json["variant"] for i in range(30)]
    assert stored == first


def test_javascript_server_client_with_a_bad_token(node, flags, server):
    """401 and 403: the default, and an error that says no more."""
    for bad in ("wrong", server.make_token("results:read")["token"]):
        (answer,) = node("openfeature_server.mjs", bad, [question("string", "string", {"targetingKey": "u"})])
        assert answer["value"] == "default" and answer["reason"] == "ERROR" and answer["errorCode"] == "GENERAL"


def test_javascript_web_client(node, flags, token):
    """All flags at once; 304 while nothing changed; another attribute and another user are other questions."""
    asked = [{"type": "number" if key in NUMBERS else key, "key": key, "default": DEFAULTS[key]} for key in VALUES]
    asked += [{"type": "boolean", "key": "pro", "default": False}, {"type": "boolean", "key": "nothing", "default": True}]
    free, pro = ({"targetingKey": "web", "plan": plan} for plan in ("free", "pro"))
    steps = node("openfeature_web.mjs", token, [
        {"context": context, "questions": asked} for context in (free, free, pro, pro, {"targetingKey": "web-2", "plan": "pro"})])
    for step in steps:
        assert step["error"] is None and len(step["requests"]) == 1 and step["requests"][0]["path"] == FLAGS
        check_values(step["details"][:len(VALUES)])
        unknown = step["details"][-1]
        assert unknown["value"] is True and unknown["errorCode"] == "FLAG_NOT_FOUND"
    requests = [step["requests"][0] for step in steps]
    assert [r["status"] for r in requests] == [200, 304, 200, 304, 200]
    assert [r["if_none_match"] for r in requests] == [None, requests[0]["etag"], requests[0]["etag"], requests[2]["etag"], None]
    details = [step["details"][len(VALUES)] for step in steps]
    assert [d["value"] for d in details] == [False, False, True, True, True]
    assert [d["reason"] for d in details] == ["DEFAULT", "DEFAULT", "TARGETING_MATCH", "TARGETING_MATCH", "TARGETING_MATCH"]
    assert not any(d.get("errorCode") for d in details)


def test_javascript_web_client_hears_of_changes(farm):
    """With an EventSource, as in a browser, the provider has the new value within seconds, without a poll."""
    server = farm.make()
    token = server.make_token("assign")["token"]
    server.make_experiment(key="live", variants=[{"name": "off", "weight": 0.0}, {"name": "on", "weight": 1.0}], status="draft")
    with start_node(server, "openfeature_live.mjs", token, "live", "u") as client:
        def line():
            return json.loads(client.stdout.readline())
        assert line() == "default"
        assert server.patch("/experiments/live", {"status": "running"}).status == 200
        assert line() == "on"
        assert server.request("PUT", "/experiments/live/overrides/u", {"variant": "off"}).status == 200
        assert line() == "off"
        client.stdin.close()
        assert client.wait(timeout=15) == 0


def test_javascript_web_client_refused(node, flags, token):
    """A bad token ends the provider; a page without a user gets defaults until it has one."""
    asked = [{"type": "string", "key": "string", "default": "default"}]
    (refused,) = node("openfeature_web.mjs", "wrong", [{"context": {"targetingKey": "u"}, "questions": asked}])
    assert refused["error"] and refused["requests"][0]["status"] == 401 and refused["details"][0]["value"] == "default"
    nobody, known = node("openfeature_web.mjs", token, [{"context": {}, "questions": asked},
                                                        {"context": {"targetingKey": "u"}, "questions": asked}])
    assert nobody["requests"][0]["status"] == 400 and nobody["details"][0]["value"] == "default"
    assert known["requests"][0]["status"] == 200 and known["details"][0]["value"] == "hello"


def test_python_client(python, flags, token, server):
    """Each type, floats and integers told apart; defaults without an error for users who are not in; errors with their code."""
    user = {"targetingKey": "py"}
    kinds = {"fraction": "float"}
    questions = [question(kinds.get(key, key), key, user) for key in VALUES]
    questions += [question("boolean", "pro", {**user, "plan": "free"}, False), question("boolean", "draft", user, False),
                  question("boolean", "pro", {"targetingKey": "py-pro", "plan": "pro"}, False),
                  question("boolean", "nothing", user, True), question("integer", "float", user, -1),
                  question("boolean", "boolean", {}, False)]
    answers = python(token, questions)
    check_values(answers[:len(VALUES)])
    assert [type(a["value"]) for a in answers[:len(VALUES)]] == [type(v) for v in VALUES.values()]
    out, draft, inside, unknown, mismatch, nobody = answers[len(VALUES):]
    assert out["value"] is False and out["reason"] == "DEFAULT" and not out["errorCode"]
    assert draft["value"] is False and draft["reason"] == "DISABLED" and not draft["errorCode"]
    assert inside["value"] is True and inside["reason"] == "TARGETING_MATCH"
    assert unknown["value"] is True and unknown["errorCode"] == "FLAG_NOT_FOUND"
    assert mismatch["value"] == -1 and mismatch["errorCode"] == "TYPE_MISMATCH"
    assert nobody["value"] is False and nobody["errorCode"] == "TARGETING_KEY_MISSING"
    for bad in ("wrong", server.make_token("results:read")["token"]):
        (answer,) = python(bad, [question("string", "string", user)])
        assert answer["value"] == "default" and answer["reason"] == "ERROR" and answer["errorCode"] == "GENERAL"


def test_clients_agree(node, python, server, token):
    """A user has one variant, whoever asks first and in whatever language."""
    server.make_experiment(key="agree")
    users = [f"agree-{i}" for i in range(30)]
    questions = [question("string", "agree", {"targetingKey": user}, "default") for user in users]
    by_python = [a["value"] for a in python(token, questions[:15])]
    by_node = [a["value"] for a in node("openfeature_server.mjs", token, questions)]
    assert by_node[:15] == by_python and set(by_node) == {"control", "treatment"}
    assert [a["value"] for a in python(token, questions)] == by_node


def test_java_client(server, flags, token):
    """Each type; unknown flags, other types, users who are not in, an override: values, variants and reasons."""
    user = {"targetingKey": "java"}
    assert server.request("PUT", "/experiments/draft/overrides/java-tester", {"variant": "on"}).status == 200
    answers = run_java(server, "OpenFeatureJava.java", token, [
        *(question("float" if key == "fraction" else key, key, user) for key in VALUES),
        question("string", "name", user, "default"),
        question("boolean", "nothing", user, True),
        question("boolean", "string", user, True),
        question("boolean", "pro", {**user, "plan": "free"}, False),
        question("boolean", "pro", {"targetingKey": "java-pro", "plan": "pro"}, False),
        question("boolean", "draft", {"targetingKey": "java-tester"}, False),
        question("boolean", "draft", user, False),
    ])
    for (key, value), answer in zip(VALUES.items(), answers[:len(VALUES)], strict=True):
        assert (answer["value"], answer["variant"], answer["reason"]) == (value, "on", "SPLIT"), (key, answer)
    name, unknown, mismatch, out, inside, tester, draft = answers[len(VALUES):]
    assert name["value"] == name["variant"] == "on"
    assert unknown["value"] is True and unknown["errorCode"] == "FLAG_NOT_FOUND"
    assert mismatch["value"] is True and mismatch["errorCode"] == "TYPE_MISMATCH"
    assert out["value"] is False and draft["value"] is False
    assert (inside["value"], inside["reason"]) == (True, "TARGETING_MATCH")
    assert (tester["value"], tester["variant"], tester["reason"]) == (True, "on", "TARGETING_MATCH")
