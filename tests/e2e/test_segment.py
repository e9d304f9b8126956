"""Segment's tracking API: what goes over the wire, and what real clients, unmodified, make of it."""
import base64
import datetime
import gzip
import itertools
import json

import pytest
from clients import run_node, run_python
from conftest import variant_of

NUMBER = itertools.count(1)


@pytest.fixture(scope="module")
def token(server):
    """What an application has: it may send events and nothing else."""
    return server.make_token("events:write")["token"]


def stored(server, user):
    """The user's events as they lie in the log."""
    return server.get(f"/events?user_id={user}&limit=500").json["events"]


def post(server, call, message, token, **options):
    return server.request("POST", f"/v1/{call}", message, token=token, **options)


def user():
    return f"segment-{next(NUMBER)}"


def test_calls(server, token):
    """Each call becomes an event of the documented type with the documented properties."""
    cases = [
        ("track", {"event": "Order Completed", "properties": {"revenue": 12.5}}, "Order Completed", {"revenue": 12.5}),
        ("track", {"event": "Bare"}, "Bare", {}),
        ("page", {"name": "Home", "category": "Docs", "properties": {"url": "/", "category": "own"}}, "page",
         {"url": "/", "category": "own", "name": "Home"}),
        ("screen", {"name": "Start"}, "screen", {"name": "Start"}),
        ("identify", {"traits": {"plan": "pro"}}, "identify", {"plan": "pro"}),
        ("group", {"groupId": "g1", "traits": {"size": 3}}, "group", {"size": 3, "groupId": "g1"}),
        ("alias", {"previousId": "old"}, "alias", {"previousId": "old"}),
        ("t", {"event": "Short"}, "Short", {}),
    ]
    for call, message, event_type, properties in cases:
        who = user()
        answer = post(server, call, {"userId": who, "messageId": f"m-{who}", "context": {"ip": "::1"}, "integrations": {}, "type": call,
                                     "channel": "server", **message}, token)
        assert answer.status == 200 and answer.json["success"] is True and answer.json["accepted"] == 1, answer
        (event,) = stored(server, who)
        assert (event["event_type"], event["properties"], event["event_id"]) == (event_type, properties, f"m-{who}"), call


def test_users(server, token):
    """userId, else anonymousId, else refused."""
    known, unknown = user(), user()
    assert post(server, "track", {"event": "x", "userId": known, "anonymousId": unknown}, token).status == 200
    assert post(server, "track", {"event": "x", "userId": None, "anonymousId": unknown}, token).status == 200
    assert post(server, "track", {"event": "x", "userId": "", "anonymousId": unknown}, token).status == 200
    assert [len(stored(server, who)) for who in (known, unknown)] == [1, 2]
    answer = post(server, "track", {"event": "x"}, token)
    assert answer.status == 400 and answer.json["code"] == "required" and "user_id" in answer.json["message"]


def test_batch(server, token):
    """A bad message takes no neighbour with it; retries are known by their messageId."""
    who = user()
    batch = {"batch": [{"type": "track", "event": "a", "userId": who, "messageId": f"{who}-1"},
                       {"type": "track", "userId": who}, {"type": "unknown", "userId": who}, 7,
                       {"type": "page", "userId": who, "messageId": f"{who}-2"}], "sentAt": "2026-01-01T00:00:00Z"}
    answer = post(server, "batch", batch, token)
    assert answer.status == 200
    assert (answer.json["accepted"], answer.json["rejected"], answer.json["duplicates"]) == (2, 3, 0)
    assert [e["index"] for e in answer.json["errors"]] == [1, 2, 3]
    assert post(server, "batch", batch, token).json["duplicates"] == 2
    assert post(server, "batch", {"batch": []}, token).json["success"] is True
    for body in ({}, {"batch": 3}, {"batch": [{"type": "track"}]}):
        answer = post(server, "batch", body, token)
        assert answer.status == 400 and answer.json["code"] and answer.json["message"], answer
    assert post(server, "nothing", {"userId": who}, token).status == 404
    assert post(server, "track", b"{", token).json.keys() >= {"code", "message"}


def test_clocks(server, token):
    """A client whose clock is wrong by an hour: the time is received_at - (sentAt - timestamp)."""
    who = user()
    now = datetime.datetime.now(datetime.timezone.utc)
    wrong = now + datetime.timedelta(hours=1)
    times = {"timestamp": (wrong - datetime.timedelta(minutes=5)).isoformat(), "sentAt": wrong.isoformat()}
    assert post(server, "track", {"event": "x", "userId": who, **times}, token).status == 200
    assert post(server, "batch", {"batch": [{"type": "track", "event": "x", "userId": who, "timestamp": times["timestamp"]}],
                                  "sentAt": times["sentAt"]}, token).status == 200
    assert post(server, "track", {"event": "x", "userId": who, "timestamp": "2026-01-01T00:00:00Z"}, token).status == 200
    first, second, third = (datetime.datetime.fromisoformat(e["timestamp"].replace("Z", "+00:00")) for e in stored(server, who))
    for at in (first, second):
        assert abs(at - (now - datetime.timedelta(minutes=5))) < datetime.timedelta(seconds=30)
    assert third == datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    assert post(server, "track", {"event": "x", "userId": who, "timestamp": "noon"}, token).json["code"] == "invalid_timestamp"


def test_credentials(server, token):
    """Basic with the token as the user's name, Bearer, or writeKey in the body; 401 and 403 as the clients read them."""
    who = user()
    message = {"event": "x", "userId": who}
    basic = {"Authorization": "Basic " + base64.b64encode(f"{token}:".encode()).decode()}
    assert post(server, "track", message, None, headers=basic).status == 200
    assert post(server, "track", {**message, "writeKey": token}, None).status == 200
    assert post(server, "batch", {"writeKey": token, "batch": [{"type": "track", **message}]}, None).status == 200
    assert len(stored(server, who)) == 3
    reader = server.make_token("results:read")["token"]
    bad = [("Basic " + base64.b64encode(b"wrong:").decode(), 401), ("Basic !", 401), ("Basic ", 401),
           ("Basic " + base64.b64encode(token.encode()).decode(), 401),
           ("Basic " + base64.b64encode(f"{reader}:".encode()).decode(), 403)]
    for header, status in bad:
        answer = post(server, "track", {**message, "writeKey": token}, None, headers={"Authorization": header})
        assert answer.status == status and answer.json.keys() >= {"code", "message"}, (header, answer)
    for body, status in (({**message, "writeKey": "wrong"}, 401), (message, 401), ({**message, "writeKey": reader}, 403),
                         ({**message, "writeKey": 7}, 401), ({**message, "writeKey": "x" * 600}, 401)):
        assert post(server, "track", body, None).status == status, body
    assert len(stored(server, who)) == 3
    assert server.get("/experiments", token=None, headers=basic).status == 401, "Basic is for this API only"


def test_bodies(server, token):
    """gzip, and whatever Content-Type the clients put; nowhere else."""
    who = user()
    body = json.dumps({"event": "x", "userId": who}).encode()
    assert post(server, "track", gzip.compress(body), token, headers={"Content-Encoding": "gzip"}).status == 200
    assert post(server, "t", body, token, content_type="text/plain").status == 200
    assert post(server, "track", body, token, content_type="application/x-www-form-urlencoded").status == 200
    assert len(stored(server, who)) == 3
    assert server.request("POST", "/events", body, content_type="text/plain").status == 415


MESSAGES = [("track", {"event": "Bought", "properties": {"amount": 5, "text": "\u20ac"}}), ("identify", {"traits": {"plan": "pro"}}),
            ("page", {"name": "Home", "properties": {"url": "/"}}), ("group", {"groupId": "g"}), ("track", {"event": "Bought"}),
            ("screen", {"name": "Start"}), ("track", {"event": "Bought", "properties": {"amount": 7}})]


@pytest.mark.parametrize("client", ["segment_node.mjs", "segment_rudder.mjs", "segment_python.py"])
def test_real_clients(server, token, client):
    """Every message of a real client is stored once, with an id of the client's, and feeds a metric."""
    who = user()
    metric = f"bought_{who.replace('-', '_')}"
    assert server.post("/metric-definitions", {"name": metric, "type": "mean", "event_type": "Bought", "property": "amount"}).status == 201
    made = server.make_experiment(f"Clients {who}", metrics=[metric])
    server.force(made, [(who, "control", "2026-01-01T00:00:00Z")])
    messages = [[call, {**message, "userId": who}] for call, message in MESSAGES]
    run = run_python if client.endswith(".py") else run_node
    assert run(server, client, token, messages) == []
    found = stored(server, who)
    assert sorted(e["event_type"] for e in found) == sorted(["Bought"] * 3 + ["identify", "page", "group", "screen"])
    assert all(e["event_id"] for e in found) and len({e["event_id"] for e in found}) == len(found)
    assert variant_of(server.results(made, f"?metrics={metric}"), "control")["metrics"][metric]["sum"] == 12


@pytest.mark.parametrize("client", ["segment_node.mjs", "segment_python.py"])
def test_real_clients_are_told(server, client):
    """A wrong write key reaches the application as an error."""
    run = run_python if client.endswith(".py") else run_node
    errors = run(server, client, "wrong", [["track", {"userId": user(), "event": "x"}]])
    assert len(errors) >= 1, errors
