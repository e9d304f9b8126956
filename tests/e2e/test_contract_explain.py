"""Targeting by every operator, the schedule, and the explanations of both: what they say is what an assignment then does."""
import datetime
import time
import urllib.parse

import pytest
from conftest import check_problem

TESTED_USERS = [f"tested-{i}" for i in range(200)]


def rule(operator, *operand):
    """A condition on the attribute a; a list goes into values, anything else into value."""
    made = {"attribute": "a", "op": operator}
    for value in operand:
        made["values" if isinstance(value, list) else "value"] = value
    return made


def explain(server, experiment, user, **attributes):
    query = urllib.parse.urlencode(attributes)
    answer = server.get(f"/experiments/{experiment['id']}/explain/{urllib.parse.quote(user, safe='')}?{query}")
    assert answer.status == 200, answer
    return answer.json


def evaluate(server, experiment, users):
    answer = server.post(f"/experiments/{experiment['id']}/evaluate", {"users": users})
    assert answer.status == 200, answer
    assert answer.json["experiment_id"] == experiment["id"]
    assert [e["user_id"] for e in answer.json["evaluations"]] == [u["user_id"] for u in users]
    return answer.json["evaluations"]


def assign(server, experiment, user, **attributes):
    answer = server.post(f"/experiments/{experiment['id']}/assignment", {"user_id": user, "attributes": attributes})
    assert answer.status == 200, answer
    return answer.json


def enrolled(server, experiment):
    return server.get(f"/experiments/{experiment['id']}/assignments").json["assignments"]


OPERATORS = [
    (rule("eq", "x"), ["x"], ["X", 5, True, ["x"]], False),
    (rule("ne", "x"), ["X", 5, True, ["x"]], ["x"], True),
    (rule("in", ["x", 5]), ["x", 5, 5.0], ["5", True], False),
    (rule("not_in", ["x", 5]), ["5", True], ["x", 5], True),
    (rule("gt", 18), [19, 18.000001, "19", 1e30], [18, "18", "x", True, [19], "0x20"], False),
    (rule("gte", 18), [18, 18.0, "18", "1.8e1"], [17, "17.9999999999999999999", "", " 18"], False),
    (rule("lt", 18), [17, -5, "17.9999999999999999999"], [18, "18", "x", False], False),
    (rule("lte", 0.1), [0.1, "0.1", "0.10", 0], [0.2, "0.1000000000000000000001", "x"], False),
    (rule("gt", 9007199254740992), [9007199254740993, "9007199254740993"], [9007199254740992], False),
    (rule("exists"), ["", 0, False, [], {}], [], False),
    (rule("not_exists"), [], ["", 0, False, [], {}], True),
    (rule("contains", "b@"), ["ab@c"], ["b", "B@", 5, ["b@"]], False),
    (rule("starts_with", "ab"), ["ab", "abc"], ["a", "xab", 5], False),
    (rule("ends_with", "é"), ["café"], ["cafe", 5], False),
    (rule("matches", "^[a-z]+@example[.](com|org)$"), ["me@example.org"], ["me@example.net", "x me@example.org", 5], False),
    (rule("matches", "(?i)Ü.X"), ["aüéx"], ["üx"], False),
    (rule("semver_gt", "2.0.0"), ["2.0.1", "v10"], ["2", "2.0.0-rc.1", "latest", 3], False),
    (rule("semver_gte", "2.0.0"), ["2", "2.0.0"], ["2.0.0-rc.1", "latest", 3], False),
    (rule("semver_lt", "2.0.0"), ["1.99", "2.0.0-rc.1"], ["2", "latest", 1], False),
    (rule("semver_lte", "2.0.0"), ["2.0", "1"], ["2.0.1", "latest", 1], False),
    (rule("semver_eq", "2.0.0"), ["2", "v2.0.0+build"], ["2.0.1", "2.0.0-rc.1", 2], False),
]


@pytest.mark.parametrize("condition,holding,failing,missing", OPERATORS, ids=lambda value: str(value)[:60])
def test_operators(server, condition, holding, failing, missing):
    """Each operator lets in whom it should, a missing attribute included, and `not` turns it around; evaluations agree."""
    plain = server.make_experiment(targeting={"rules": [condition]})
    turned = server.make_experiment(targeting={"rules": [{"not": condition}]})
    cases = [({"a": value}, True) for value in holding] + [({"a": value}, False) for value in failing]
    cases += [({}, missing), ({"a": None}, missing), ({"b": "x"}, missing)]
    users = [{"user_id": f"o{i}", "attributes": attributes} for i, (attributes, _) in enumerate(cases)]
    for made, turn in ((plain, False), (turned, True)):
        told = evaluate(server, made, users)
        for user, evaluation, (attributes, holds) in zip(users, told, cases, strict=True):
            got = assign(server, made, user["user_id"], **attributes)
            want = "split" if holds != turn else "not_targeted"
            assert got["reason"] == evaluation["reason"] == want, f"{condition} on {attributes}: {got}"
            assert got["variant"] == evaluation["variant"]


def test_numbers_of_a_query(server):
    """Attributes of a query are texts: they have an order where they spell a number, and do not equal one."""
    made = server.make_experiment(targeting={"rules": [rule("gte", 18), rule("lt", 65)]})
    path = f"/experiments/{made['id']}/assignment"
    for index, (text, reason) in enumerate([("34", "split"), ("18", "split"), ("64.999", "split"), ("65", "not_targeted"),
                                            ("17", "not_targeted"), ("old", "not_targeted"), ("", "not_targeted")]):
        assert server.get(f"{path}/q{index}?a={text}").json["reason"] == reason, text
    equal = server.make_experiment(targeting={"rules": [rule("eq", 5)]})
    assert server.get(f"/experiments/{equal['id']}/assignment/q?a=5").json["reason"] == "not_targeted"


@pytest.mark.parametrize("pattern,part", [("(abc", "missing )"), ("[z-a]", "invalid character class range"), ("(?=x)", "invalid perl operator"),
                                          (r"(a)\1", "invalid escape sequence"), ("x" * 501, "500 bytes"),
                                          (r"((\pL{100}){10})", "too large"), ("a{1001}", "invalid repetition size")])
def test_bad_patterns(server, pattern, part):
    """What RE2 does not take is refused at its place, with RE2's reason, in rules and in metric filters."""
    document = {"name": "p", "variants": [{"name": "a"}, {"name": "b"}], "targeting": {"rules": [rule("matches", pattern)]}}
    problem = check_problem(server.post("/experiments", document), 422, "invalid_pattern")
    assert problem["errors"][0]["path"] == "targeting.rules[0].value" and part in problem["errors"][0]["message"], problem
    made = server.make_experiment()
    check_problem(server.patch(f"/experiments/{made['id']}", {"targeting": document["targeting"]}), 422, "invalid_pattern")
    metric = {"name": "p", "type": "proportion", "event_type": "e",
              "filters": [{"property": "a", "op": "matches", "value": pattern}]}
    problem = check_problem(server.post("/metric-definitions", metric), 422, "invalid_pattern")
    assert problem["errors"][0]["path"] == "filters[0].value"


def test_patterns_outlive_a_restart(farm):
    """Definitions with patterns are read back from log and checkpoint, and decide as before."""
    server = farm.make()
    made = server.make_experiment(targeting={"rules": [rule("matches", "^x+$")]})
    metric = {"name": "from_x", "type": "proportion", "event_type": "e",
              "filters": [{"property": "p", "op": "matches", "value": "^x+$"}, {"property": "q", "op": "not_exists"}]}
    answer = server.post("/metric-definitions", metric)
    assert answer.status == 201, answer
    assert answer.json["filters"] == metric["filters"]
    for kill in (False, True):
        server.restart(kill=kill)
        assert evaluate(server, made, [{"user_id": "u", "attributes": {"a": "xx"}}])[0]["reason"] == "split"
        assert evaluate(server, made, [{"user_id": "u", "attributes": {"a": "xy"}}])[0]["reason"] == "not_targeted"
        assert server.get("/metric-definitions/from_x").json["filters"] == metric["filters"]


def test_metric_filters(server):
    """A metric counts the events that pass its filters, by the same operators."""
    metric = {"name": "large_orders", "type": "proportion", "event_type": "order",
              "filters": [{"property": "amount", "op": "gte", "value": 99.99}, {"property": "sku", "op": "starts_with", "value": "A-"},
                          {"property": "test", "op": "not_exists"}]}
    assert server.post("/metric-definitions", metric).status == 201
    made = server.make_experiment(metrics=["large_orders"])
    orders = [({"amount": 99.99, "sku": "A-1"}, True), ({"amount": "100", "sku": "A-1"}, True), ({"amount": 99.98, "sku": "A-1"}, False),
              ({"amount": 100, "sku": "B-1"}, False), ({"amount": 100, "sku": "A-1", "test": True}, False), ({"sku": "A-1"}, False)]
    variants = [assign(server, made, f"buyer{i}")["variant"] for i in range(len(orders))]
    server.send_events([{"event_id": f"order{i}", "user_id": f"buyer{i}", "event_type": "order", "properties": properties}
                        for i, (properties, _) in enumerate(orders)])
    for variant in server.results(made)["variants"]:
        want = sum(counts for name, (_, counts) in zip(variants, orders, strict=True) if name == variant["name"])
        if variant["users"]:
            assert variant["metrics"]["large_orders"]["count"] == want


def test_explanation_of_targeting(server):
    """Every part of the tree by its path, with what was given and how it came out."""
    targeting = {"countries": ["US"], "min_version": "2.0.0",
                 "rules": [{"any": [{"attribute": "age", "op": "gte", "value": 18}, {"not": {"attribute": "beta", "op": "exists"}}]},
                           {"attribute": "plan", "op": "in", "values": ["pro", "team"]}]}
    made = server.make_experiment(targeting=targeting)
    told = explain(server, made, "u", country="us", version="1.9", age="34", beta="")
    parts = [(part["path"], part["kind"], part.get("given"), part["outcome"]) for part in told["targeting"]["rules"]]
    assert parts == [("targeting.countries", "condition", "us", True),
                     ("targeting.min_version", "condition", "1.9", False),
                     ("targeting.rules[0]", "any", None, True),
                     ("targeting.rules[1]", "condition", None, False),
                     ("targeting.rules[0].any[0]", "condition", "34", True),
                     ("targeting.rules[0].any[1]", "not", None, False),
                     ("targeting.rules[0].any[1].not", "condition", "", True)]
    by_path = {part["path"]: part for part in told["targeting"]["rules"]}
    assert by_path["targeting.rules[0].any[0]"] == {"path": "targeting.rules[0].any[0]", "kind": "condition", "attribute": "age", "op": "gte",
                                                    "value": 18, "given": "34", "outcome": True}
    assert by_path["targeting.rules[1]"]["values"] == ["pro", "team"]
    assert "value" not in by_path["targeting.rules[0].any[1].not"]
    assert told["targeting"]["outcome"] is False
    assert told["new_user"]["reason"] == "not_targeted" and "targeting.min_version" in told["new_user"]["why"]
    assert enrolled(server, made) == []


def test_explanation_agrees(server):
    """What an explanation says of new users is what they then get; the points fall where it says."""
    made = server.make_experiment(traffic_allocation=0.6, variants=[{"name": "a", "weight": 0.25}, {"name": "closed", "weight": 0},
                                                                   {"name": "b", "weight": 0.75}])
    reasons = set()
    for user in TESTED_USERS:
        told = explain(server, made, user)
        assert told["experiment_key"] == made["key"] and told["experiment_version"] == 1 and told["user_id"] == user
        assert told["layer"] is None and told["stored"] is None and told["running"]["outcome"] is True
        assert told["traffic"]["allocation"] == 0.6
        assert told["traffic"]["outcome"] == (told["traffic"]["point"] < 0.6)
        marked = [v for v in told["split"]["variants"] if v["outcome"]]
        assert [v["cumulative"] for v in told["split"]["variants"]] == [0.25, 0.25, 1.0]
        assert [v["variant"] for v in marked] == ["a" if told["split"]["point"] < 0.25 else "b"]
        got = assign(server, made, user)
        assert (got["variant"], got["variant_id"], got["reason"]) == tuple(told["new_user"][k] for k in ("variant", "variant_id", "reason"))
        reasons.add(got["reason"])
    assert reasons == {"split", "not_in_traffic"}


def test_explanation_of_the_stored(server):
    """The record is shown as it is, forced or not, whatever a new user would get; asking makes none."""
    made = server.make_experiment(targeting={"countries": ["FR"]})
    server.force(made, [("kept", "treatment", "2026-01-02T03:04:05.678Z")])
    told = explain(server, made, "kept", country="DE")
    stored = told["stored"]
    assert stored["variant"] == "treatment" and stored["forced"] is True and stored["experiment_version"] == 1
    assert stored["assigned_at"].startswith("2026-01-02T03:04:05.678") and stored["lsn"] > 0
    assert told["new_user"]["reason"] == "not_targeted"
    got = assign(server, made, "split", country="FR")
    stored = explain(server, made, "split")["stored"]
    assert stored["forced"] is False and stored["variant_id"] == got["variant_id"] and stored["assigned_at"] == got["assigned_at"]
    assert [entry["user_id"] for entry in enrolled(server, made)] == ["kept", "split"]


def test_explanation_of_layers(server):
    """Slice and point are shown, and the experiment of the layer that already has a user."""
    first = server.make_experiment(layer="explained", traffic_allocation=0.5)
    second = server.make_experiment(layer="explained", traffic_allocation=0.5)
    for user in TESTED_USERS:
        told = [explain(server, made, user)["layer"] for made in (first, second)]
        assert told[0]["name"] == "explained" and told[0]["slice"] == [0.0, 0.5] and told[1]["slice"] == [0.5, 1.0]
        assert told[0]["point"] == told[1]["point"]
        assert [layer["outcome"] for layer in told] == [told[0]["point"] < 0.5, told[0]["point"] >= 0.5]
        assert [assign(server, made, user)["reason"] == "split" for made in (first, second)] == [layer["outcome"] for layer in told]
    # The first one gives half of its slice up; a third takes it, but not those who are in the first.
    server.patch(f"/experiments/{first['id']}", {"traffic_allocation": 0.25})
    third = server.make_experiment(layer="explained", traffic_allocation=0.25)
    taken = [user for user in TESTED_USERS if 0.25 <= explain(server, third, user)["layer"]["point"] < 0.5]
    assert taken
    for user in taken:
        told = explain(server, third, user)
        assert told["layer"]["slice"] == [0.25, 0.5] and told["layer"]["taken_by"] == first["key"] and told["layer"]["outcome"] is False
        assert told["traffic"] is None and told["new_user"]["reason"] == "layer" and first["key"] in told["new_user"]["why"]
        assert assign(server, third, user)["reason"] == "layer"


@pytest.mark.parametrize("move,reason", [(None, "draft"), ("paused", "paused"), ("completed", "completed")])
def test_evaluation_of_what_does_not_run(server, move, reason):
    """Evaluations act as if the experiment ran; explanations say that it does not."""
    made = server.make_experiment(status="running" if move else "draft")
    if move:
        server.patch(f"/experiments/{made['id']}", {"status": move})
    assert all(e["reason"] == "split" and e["variant"] for e in evaluate(server, made, [{"user_id": u} for u in TESTED_USERS]))
    told = explain(server, made, "u")
    assert told["new_user"]["reason"] == "not_running" and reason in told["new_user"]["why"]
    assert told["new_user"]["variant"] is None and told["running"] == {**told["running"], "status": reason, "outcome": False}
    assert enrolled(server, made) == []


def test_evaluation_comes_true(server):
    """What a draft's users were told is what they get once it runs."""
    targeting = {"rules": [{"attribute": "age", "op": "gte", "value": 18}]}
    made = server.make_experiment(status="draft", targeting=targeting, traffic_allocation=0.7)
    users = [{"user_id": user, "attributes": {"age": index % 36}} for index, user in enumerate(TESTED_USERS)]
    told = evaluate(server, made, users)
    assert {e["reason"] for e in told} == {"split", "not_in_traffic", "not_targeted"}
    server.patch(f"/experiments/{made['id']}", {"status": "running"})
    for user, evaluation in zip(users, told, strict=True):
        got = assign(server, made, user["user_id"], **user["attributes"])
        assert (got["variant"], got["reason"]) == (evaluation["variant"], evaluation["reason"])
    assert evaluate(server, made, users) == told, "records are not looked at"


def test_schedule(server):
    """Assignment starts at start_at and stops at end_at by itself, and who came in between keeps their variant."""
    now = datetime.datetime.now(datetime.timezone.utc)
    start, end = now + datetime.timedelta(seconds=1.5), now + datetime.timedelta(seconds=4)
    made = server.make_experiment(start_at=start.isoformat(), end_at=end.isoformat())
    early = assign(server, made, "u")
    assert (early["variant"], early["reason"]) == (None, "not_running")
    told = explain(server, made, "u")
    assert told["running"]["outcome"] is False and "starts at" in told["new_user"]["why"]
    assert evaluate(server, made, [{"user_id": "u"}])[0]["reason"] == "split"
    time.sleep(max(0.0, start.timestamp() + 0.1 - time.time()))
    during = assign(server, made, "u")
    assert during["reason"] == "split" and during["new"]
    assert explain(server, made, "other")["running"]["outcome"] is True
    time.sleep(max(0.0, end.timestamp() + 0.1 - time.time()))
    after = assign(server, made, "u")
    assert after["variant"] == during["variant"] and not after["new"]
    assert assign(server, made, "late")["reason"] == "not_running"
    told = explain(server, made, "late")
    assert told["running"]["outcome"] is False and "ended at" in told["new_user"]["why"]
    stored = server.get(f"/experiments/{made['id']}").json
    assert stored["status"] == "running" and stored["version"] == 1, "the schedule changes no definition"


def test_faults(server):
    """Unknown experiments, bad users and too many of them; scopes; nothing else is taken."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}"
    check_problem(server.get("/experiments/none/explain/u"), 404, "experiment_not_found")
    check_problem(server.post("/experiments/none/evaluate", {"users": []}), 404, "experiment_not_found")
    tester = f"/experiments/{server.make_experiment('One user', status='draft')['id']}/evaluate"
    (alone,) = server.post(tester, {"user_id": "u", "attributes": {"a": 1}}).json["evaluations"]
    assert [alone] == server.post(tester, {"users": [{"user_id": "u", "attributes": {"a": 1}}]}).json["evaluations"]
    problem = check_problem(server.post(tester, {"user_id": 5, "plan": "pro"}), 422, "validation_failed")
    assert [e["path"] for e in problem["errors"]] == ["user_id", "plan"]
    check_problem(server.get(f"{path}/explain/{'x' * 256}"), 422, "invalid_user_id")
    check_problem(server.post(f"{path}/evaluate", {"users": [{}]}), 422, "required")
    check_problem(server.post(f"{path}/evaluate", {"users": [{"user_id": "u", "variant": "control"}]}), 422, "unknown_field")
    check_problem(server.post(f"{path}/evaluate", {"user": []}), 422, "validation_failed")
    check_problem(server.post(f"{path}/evaluate?x=1", {"users": []}), 422, "unknown_parameter")
    check_problem(server.post(f"{path}/evaluate", {"users": [{"user_id": "u"}] * 10001}), 413, "too_many_users")
    assert evaluate(server, made, []) == []
    assert len(evaluate(server, made, [{"user_id": f"u{i}"} for i in range(10000)])) == 10000
    reader, assigner = (server.make_token(scope)["token"] for scope in ("experiments:read", "assign"))
    for method, place, body in (("GET", f"{path}/explain/u", None), ("POST", f"{path}/evaluate", {"users": []})):
        assert server.request(method, place, body, token=reader).status == 200
        check_problem(server.request(method, place, body, token=assigner), 403, "insufficient_scope")
    assert enrolled(server, made) == []
