"""Segments of users: lists that targeting rules name, made, grown and shrunk by requests, and the same after a crash."""
import gzip
import json
import time

import pytest
from conftest import check_problem, run_tool


def put(server, name, users, **options):
    return server.request("PUT", f"/segments/{name}", users, **options)


def made(server, name, users):
    answer = put(server, name, users)
    assert answer.status == 200, answer
    return answer.json


def count(server, name):
    answer = server.get(f"/segments/{name}")
    assert answer.status == 200, answer
    return answer.json["users"]


def is_in(server, name, user):
    return server.get(f"/segments/{name}/users/{user}").json["in_segment"]


def targeted(server, experiment, *users):
    """Which of the users the rules let in."""
    answer = server.post(f"/experiments/{experiment['id']}/evaluate", {"users": [{"user_id": u} for u in users]})
    assert answer.status == 200, answer
    return [e["user_id"] for e in answer.json["evaluations"] if e["variant"]]


def test_changes_hold_through_crashes(farm):
    server = farm.make()
    first = made(server, "beta", ["u1", "u2", "u2", "ü/3"])
    assert first["name"] == "beta" and first["users"] == 3 and first["used_by"] == []
    assert server.post("/segments/beta/users", ["u2", "u4"]).json["users"] == 4
    assert server.request("DELETE", "/segments/beta/users", ["u1", "nobody"]).json["users"] == 3
    assert server.delete("/segments/beta/users/%C3%BC%2F3").json["users"] == 2
    made(server, "gone", ["u9"])
    assert server.delete("/segments/gone").status == 204
    made(server, "empty", [])
    made(server, "replaced", ["a", "b"])
    assert made(server, "replaced", ["b", "c"])["version"] == 2

    def check():
        listed = {s["name"]: s["users"] for s in server.get("/segments").json["segments"]}
        assert listed == {"beta": 2, "empty": 0, "replaced": 2}
        assert [u for u in ("u1", "u2", "%C3%BC%2F3", "u4", "u9") if is_in(server, "beta", u)] == ["u2", "u4"]
        assert [u for u in ("a", "b", "c") if is_in(server, "replaced", u)] == ["b", "c"]
        check_problem(server.get("/segments/gone"), 404, "segment_not_found")

    check()
    server.restart(kill=True)
    check()
    server.restart()
    check()
    assert server.post("/segments/beta/users", ["u2", "u5"]).json["users"] == 3
    assert server.delete("/segments/beta/users/u5").json["users"] == 2
    server.restart()
    check()
    server.stop()
    assert run_tool("verify", "--data", server.data).returncode == 0


def test_every_form_of_a_body(server):
    lines = b'"n1"\n{"user_id": "n2"}\n"n\\u00fc3"\n'
    ndjson = {"content_type": "application/x-ndjson"}
    assert put(server, "forms", lines, **ndjson).json["users"] == 3
    assert [is_in(server, "forms", u) for u in ("n1", "n2", "n%C3%BC3", "n4")] == [True, True, True, False]
    assert put(server, "forms", {"users": ["a", "b"]}).json["users"] == 2
    packed = b"\x93\xa1a\xa1b\xa1c"
    assert put(server, "forms", packed, content_type="application/msgpack").json["users"] == 3
    assert put(server, "forms", gzip.compress(lines), headers={"Content-Encoding": "gzip"}, **ndjson).json["users"] == 3
    assert put(server, "forms", b"", **ndjson).json["users"] == 0


def test_rules_name_segments(server):
    made(server, "staff", ["s1", "s2", "s3"])
    made(server, "banned", ["s2", "x1"])
    rules = [{"segment": "staff"}, {"not": {"any": [{"segment": "banned"}, {"attribute": "plan", "op": "eq", "value": "free"}]}}]
    experiment = server.make_experiment("Staff", targeting={"rules": rules})
    assert experiment["targeting"] == {"rules": rules}
    assert targeted(server, experiment, "s1", "s2", "s3", "x1", "y") == ["s1", "s3"]
    told = server.get(f"/experiments/{experiment['id']}/explain/s2?plan=pro").json
    assert told["targeting"]["rules"][0] == {"path": "targeting.rules[0]", "kind": "segment", "segment": "staff", "outcome": True}
    assert told["new_user"] == {"variant": None, "variant_id": None, "reason": "not_targeted",
                                "why": "targeting.rules[1] does not hold"}
    assert server.get("/segments/staff").json["used_by"] == [experiment["key"]]

    def assign(user):
        return server.get(f"/experiments/{experiment['id']}/assignment/{user}").json["reason"]

    assert (assign("s1"), assign("s2"), assign("y")) == ("split", "not_targeted", "not_targeted")
    assert server.post("/segments/staff/users", ["y"]).status == 200
    assert server.delete("/segments/staff/users/s1").status == 200
    assert (assign("s1"), assign("y")) == ("split", "split"), "who is in stays in"
    flag = server.post(f"/ofrep/v1/evaluate/flags/{experiment['key']}", {"context": {"targetingKey": "y"}}).json
    assert flag["reason"] == "TARGETING_MATCH"

    check_problem(server.delete("/segments/staff"), 409, "segment_in_use")
    assert server.delete(f"/experiments/{experiment['id']}").status == 204
    assert server.delete("/segments/staff").status == 204
    assert server.get("/segments/banned").json["used_by"] == []


@pytest.mark.parametrize("rule, code", [
    ({"segment": "no-such"}, "unknown_segment"),
    ({"segment": "Not A Name"}, "malformed"),
    ({"segment": 5}, "wrong_type"),
    ({"segment": ""}, "out_of_range"),
    ({"segment": "known", "attribute": "a", "op": "exists"}, "not_allowed"),
    ({"segment": "known", "not": {"segment": "known"}}, "not_allowed"),
])
def test_bad_rules(server, rule, code):
    made(server, "known", [])
    answer = server.post("/experiments", {"name": "Bad", "targeting": {"rules": [{"any": [rule]}]},
                                          "variants": [{"name": "a"}, {"name": "b"}]})
    problem = check_problem(answer, 422, code)
    assert problem["errors"][0]["path"].startswith("targeting.rules[0].any[0]")


def test_bad_requests(server):
    made(server, "here", ["u"])
    for name in ("Upper", "-dash", "x" * 101, "01890a5d-ac96-774b-bcce-b302099a8057"):
        check_problem(put(server, name, ["u"]), 422, "invalid_segment_name")
    for method, path in (("POST", "/segments/none/users"), ("DELETE", "/segments/none/users"), ("DELETE", "/segments/none"),
                         ("GET", "/segments/none"), ("GET", "/segments/none/users/u"), ("DELETE", "/segments/none/users/u")):
        check_problem(server.request(method, path, None if method == "GET" else ["u"]), 404, "segment_not_found")
    for body in ("u", 5, {"user": ["u"]}, {"users": "u"}, None):
        check_problem(put(server, "here", json.dumps(body).encode()), 422, "validation_failed")
    problem = check_problem(put(server, "here", ["ok", "", 5, "x" * 256, "tab\t"]), 422, "validation_failed")
    assert [e["path"] for e in problem["errors"]] == ["users[1]", "users[2]", "users[3]", "users[4]"]
    check_problem(put(server, "here", b'["u"'), 400, "json_truncated")
    check_problem(put(server, "here", b'"u"\nu2\n', content_type="application/x-ndjson"), 400, "json_syntax")
    check_problem(put(server, "here", b'"u"\n5\n', content_type="application/x-ndjson"), 422, "invalid_user_id")
    check_problem(put(server, "here", b"u", content_type="text/plain"), 415, "unsupported_media_type")
    check_problem(server.get("/segments?limit=0"), 422, "invalid_limit")
    assert count(server, "here") == 1 and is_in(server, "here", "u")
    reader = server.make_token("experiments:read", "assign", "events:write", "results:read")["token"]
    check_problem(put(server, "here", ["u"], token=reader), 403, "insufficient_scope")
    assert server.get("/segments/here", token=reader).status == 200


def test_pages(server):
    for i in range(7):
        made(server, f"page-{i}", [f"p{i}"])
    names, cursor = [], ""
    while cursor is not None:
        page = server.get(f"/segments?limit=3{cursor and '&cursor=' + cursor}").json
        names += [s["name"] for s in page["segments"]]
        cursor = page["next_cursor"]
    assert names == sorted(names) and [n for n in names if n.startswith("page-")] == [f"page-{i}" for i in range(7)]


def test_half_a_million_users(farm):
    """The largest change and one beyond; then a replay and a checkpoint of a large segment."""
    server = farm.make()
    ids = [f"{i:07}" for i in range(500_001)]
    body = gzip.compress("".join(f'"{i}"\n' for i in ids[:-1]).encode(), 1)
    options = {"content_type": "application/x-ndjson", "headers": {"Content-Encoding": "gzip"}}
    begun = time.monotonic()
    answer = put(server, "large", body, **options)
    assert answer.status == 200 and answer.json["users"] == 500_000, answer
    assert time.monotonic() - begun < 10
    beyond = gzip.compress("".join(f'"{i}"\n' for i in ids).encode(), 1)
    check_problem(put(server, "large", beyond, **options), 413, "too_many_users")
    assert server.post("/segments/large/users", [f"more-{i}" for i in range(50_000)]).json["users"] == 550_000
    assert server.request("DELETE", "/segments/large/users", ids[:30_000]).json["users"] == 520_000

    def check():
        assert count(server, "large") == 520_000
        probes = ("0000000", "0029999", "0030000", "0499999", "0500000", "more-0", "more-49999", "more-50000")
        assert [is_in(server, "large", u) for u in probes] == [False, False, True, True, False, True, True, False]

    check()
    server.restart(kill=True)
    check()
    server.restart()
    check()
    server.stop()
    assert run_tool("verify", "--data", server.data).returncode == 0


def test_the_number_of_segments(farm):
    """The limit and one beyond."""
    server = farm.make()
    client = server.client()
    for i in range(1000):
        assert client.request("PUT", f"/segments/s{i}", [f"u{i}"]).status == 200
    check_problem(client.request("PUT", "/segments/one-more", ["u"]), 409, "too_many_segments")
    assert client.request("PUT", "/segments/s0", ["u", "v"]).json["users"] == 2
    assert client.request("DELETE", "/segments/s1").status == 204
    assert client.request("PUT", "/segments/one-more", ["u"]).status == 200
    client.close()
