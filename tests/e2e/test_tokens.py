"""What a token may beyond its scopes: how often, from which pages, and with which of two secrets; and those that are none."""
import concurrent.futures
import time

import pytest

from conftest import check_problem

ORIGIN = "https://shop.example"


def make(server, *scopes, **fields):
    answer = server.post("/tokens", {"name": "t", "scopes": list(scopes), **fields})
    assert answer.status == 201, answer
    return answer.json


def test_rate_limit(farm):
    """So many a second for the token, whatever the connections; others are not slowed, and after Retry-After it goes on."""
    server = farm.make()
    slow = make(server, "experiments:read", rate_limit=20)
    assert slow["rate_limit"] == 20
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.get("/experiments", token=slow["token"]), range(100)))
    good = [a for a in answers if a.status == 200]
    assert 20 <= len(good) <= 60 and {a.status for a in answers} == {200, 429}
    refused = next(a for a in answers if a.status == 429)
    check_problem(refused, 429, "rate_limited")
    assert server.get("/experiments").status == 200
    time.sleep(int(refused.headers["Retry-After"]))
    assert server.get("/experiments", token=slow["token"]).status == 200
    flags = make(server, "assign", rate_limit=1)["token"]
    answers = [server.post("/ofrep/v1/evaluate/flags/x", {"context": {"targetingKey": "u"}}, token=flags) for _ in range(5)]
    assert answers[-1].status == 429 and answers[-1].json["errorCode"] == "GENERAL" and answers[-1].headers["Retry-After"]


def test_rotation(farm):
    """The new secret at once, the old one for the time that was asked for; after a restart as well; the last two only."""
    server = farm.make()
    token = make(server, "experiments:read")
    rotated = server.post(f"/tokens/{token['id']}/rotate", {"overlap_seconds": 3})
    assert rotated.status == 200 and rotated.json["token"] != token["token"] and rotated.json["previous_secret_until"]
    server.restart(kill=True)
    for secret in (token["token"], rotated.json["token"]):
        assert server.get("/experiments", token=secret).status == 200
    assert "token" not in server.get("/tokens").json["tokens"][-1]
    deadline = time.monotonic() + 10
    while server.get("/experiments", token=token["token"]).status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert server.get("/experiments", token=rotated.json["token"]).status == 200
    again = server.post(f"/tokens/{token['id']}/rotate", {"overlap_seconds": 0}).json
    assert again["previous_secret_until"] is None
    assert server.get("/experiments", token=rotated.json["token"]).status == 401
    once_more = server.post(f"/tokens/{token['id']}/rotate", None).json
    assert [server.get("/experiments", token=s).status for s in (again["token"], once_more["token"])] == [200, 200]
    assert server.delete(f"/tokens/{token['id']}").status == 204
    assert [server.get("/experiments", token=s).status for s in (again["token"], once_more["token"])] == [401, 401]
    check_problem(server.post(f"/tokens/{token['id']}/rotate", {}), 409, "conflict")


@pytest.mark.parametrize("body,code", [({"overlap_seconds": -1}, "out_of_range"), ({"overlap_seconds": 2592001}, "out_of_range"),
                                       ({"overlap_seconds": "1"}, "out_of_range"), ({"other": 1}, "validation_failed"), ([], "validation_failed")])
def test_bad_rotations(server, body, code):
    token = make(server, "experiments:read")
    check_problem(server.post(f"/tokens/{token['id']}/rotate", body), 422, code)
    assert server.get("/experiments", token=token["token"]).status == 200
    assert server.post(f"/tokens/{token['id']}/rotate", {"overlap_seconds": 2592000}).status == 200


def test_tokens_of_pages(farm):
    """Good from its pages alone, which may call though the server names no origin; nothing but to send and to ask."""
    server = farm.make()
    token = make(server, "assign", "events:write", origins=[ORIGIN, "http://localhost:3000"])
    event = {"user_id": "u", "event_type": "x"}
    for origin in (ORIGIN, "http://localhost:3000"):
        answer = server.post("/events", event, token=token["token"], headers={"Origin": origin})
        assert answer.status == 202 and answer.headers["Access-Control-Allow-Origin"] == origin and answer.headers["Vary"] == "Origin"
    for headers in ({}, {"Origin": "https://other.example"}, {"Origin": "null"}):
        answer = server.post("/events", event, token=token["token"], headers=headers)
        check_problem(answer, 403, "origin_not_allowed")
        assert answer.headers["Access-Control-Allow-Origin"] is None
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = server.request("OPTIONS", "/events", token=None, headers=preflight)
    assert answer.status == 204 and "authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert server.delete(f"/tokens/{token['id']}").status == 204
    assert server.request("OPTIONS", "/events", token=None, headers=preflight).status == 405


@pytest.mark.parametrize("fields,path", [
    ({"origins": [ORIGIN], "scopes": ["results:read"]}, "scopes"), ({"origins": [ORIGIN], "scopes": ["assign", "admin"]}, "scopes"),
    ({"origins": ["shop.example"]}, "origins[0]"), ({"origins": [ORIGIN, ORIGIN + "/"]}, "origins[1]"), ({"origins": [""]}, "origins[0]"),
    ({"origins": [f"https://s{i}.example" for i in range(17)]}, "origins"), ({"origins": ORIGIN}, "origins"),
    ({"rate_limit": 0}, "rate_limit"), ({"rate_limit": 1000001}, "rate_limit"), ({"rate_limit": 1.5}, "rate_limit"),
    ({"rate_limit": "5"}, "rate_limit")])
def test_what_a_token_cannot_be(server, fields, path):
    answer = server.post("/tokens", {"name": "t", "scopes": ["assign"], **fields})
    assert answer.status == 422 and path in [e["path"] for e in answer.json["errors"]], answer
    assert server.post("/tokens", {"name": "t", "scopes": ["assign"], "origins": [f"https://s{i}.example" for i in range(16)],
                                   "rate_limit": 1000000}).status == 201


def test_bad_tokens_are_told_to_wait_and_good_ones_are_not(farm):
    server = farm.make()
    answers = [server.get("/experiments", token=f"assay_{i}") for i in range(300)]
    assert [a.status for a in answers[:100]] == [401] * 100
    refused = [a for a in answers if a.status == 429]
    assert len(refused) > 50
    check_problem(refused[-1], 429, "too_many_failures")
    assert int(refused[-1].headers["Retry-After"]) >= 1
    assert server.get("/experiments").status == 200  # from the same address
    assert server.get("/experiments", token=None).status == 401  # no token is no guess
