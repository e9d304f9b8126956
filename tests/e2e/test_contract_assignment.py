"""Assignments: asked for in every way the contract has, the same answer for ever, and only for those who are targeted."""
import csv
import io
import json
import threading
import urllib.parse

import pytest
from conftest import check_problem

ANSWER_MEMBERS = {"experiment_id", "experiment_key", "user_id", "variant", "variant_id", "value", "is_control",
                  "assigned_at", "experiment_version", "new", "reason"}


def path_of(experiment, user, query=""):
    return f"/experiments/{experiment['id']}/assignment/{urllib.parse.quote(user, safe='')}{query}"


def ask(server, experiment, user, query=""):
    answer = server.get(path_of(experiment, user, query))
    assert answer.status == 200, answer
    return answer.json


def lasting(answer):
    """An assignment without what tells the first answer from later ones."""
    return {key: value for key, value in answer.items() if key != "new"}


def test_the_answer(server):
    """An assignment says all that the contract lists, and names a variant of the experiment with its value."""
    made = server.make_experiment(variants=[{"name": "a", "value": {"color": "grey", "n": [1, 2.5, None]}}, {"name": "b"}])
    got = ask(server, made, "u1")
    assert ANSWER_MEMBERS <= set(got)
    variant = next(v for v in made["variants"] if v["name"] == got["variant"])
    assert got["variant_id"] == variant["id"] and got["value"] == variant["value"]
    assert got["is_control"] == variant["is_control"]
    assert got["experiment_id"] == made["id"] and got["experiment_key"] == made["key"]
    assert got["user_id"] == "u1" and got["reason"] == "split" and got["new"] is True
    assert got["experiment_version"] == 1
    again = ask(server, made, "u1")
    assert again["new"] is False and lasting(again) == lasting(got)
    assert lasting(server.get(f"/experiments/{made['key']}/assignment/u1").json) == lasting(got)


def test_all_ways_of_asking_agree(server):
    """GET, POST, the bulk call and the one over all experiments answer alike, in order."""
    made = server.make_experiment()
    users = [f"way-{i}" for i in range(20)]
    bulk = server.post(f"/experiments/{made['id']}/assignments", {"users": [{"user_id": u} for u in users]})
    assert bulk.status == 200
    answers = bulk.json["assignments"]
    assert [a["user_id"] for a in answers] == users
    assert all(a["new"] for a in answers)
    for user, answer in zip(users, answers, strict=True):
        assert lasting(ask(server, made, user)) == lasting(answer)
        posted = server.post(f"/experiments/{made['id']}/assignment", {"user_id": user, "attributes": {"a": 1}}).json
        assert lasting(posted) == lasting(answer)
        everywhere = server.post("/assignments", {"user_id": user}).json["assignments"]
        assert lasting(next(a for a in everywhere if a["experiment_id"] == made["id"])) == lasting(answer)


def test_one_user_twice_in_one_call(server):
    """The same user several times in one bulk call gets one variant, and is new once."""
    made = server.make_experiment()
    got = server.post(f"/experiments/{made['id']}/assignments", {"users": [{"user_id": "twin"}] * 3}).json["assignments"]
    assert len({(a["variant"], a["assigned_at"]) for a in got}) == 1
    assert [a["new"] for a in got].count(True) == 1


def test_all_running_experiments(farm):
    """POST /assignments: one answer for each running experiment, none for drafts, paused and archived ones."""
    server = farm.make()
    running = [server.make_experiment() for _ in range(3)]
    targeted = server.make_experiment(targeting={"countries": ["FR"]})
    server.make_experiment(status="draft")
    paused = server.make_experiment()
    server.patch(f"/experiments/{paused['id']}", {"status": "paused"})
    got = server.post("/assignments", {"user_id": "u", "attributes": {"country": "DE"}}).json["assignments"]
    by_id = {a["experiment_id"]: a for a in got}
    assert all(by_id[e["id"]]["variant"] for e in running)
    assert by_id[targeted["id"]]["variant"] is None and by_id[targeted["id"]]["reason"] == "not_targeted"
    assert by_id.get(paused["id"], {"variant": None})["variant"] is None


def test_paused_assignments_in_the_overview(farm):
    """Paused: an existing assignment is still answered when it is asked for by itself."""
    server = farm.make()
    made = server.make_experiment()
    before = ask(server, made, "u")
    server.patch(f"/experiments/{made['id']}", {"status": "paused"})
    assert lasting(ask(server, made, "u")) == lasting(before)
    got = ask(server, made, "someone else")
    assert got["variant"] is None and got["reason"] == "not_running" and got["new"] is False
    server.patch(f"/experiments/{made['id']}", {"status": "completed"})
    assert lasting(ask(server, made, "u")) == lasting(before)
    assert ask(server, made, "a third")["variant"] is None


def test_sticky(farm):
    """An assignment outlives changed weights, less traffic, new targeting, a pause, a restart and a crash."""
    server = farm.make()
    made = server.make_experiment()
    path = f"/experiments/{made['id']}"
    users = [{"user_id": f"s{i}"} for i in range(200)]

    def everyone():
        return [lasting(a) for a in server.post(f"{path}/assignments", {"users": users}).json["assignments"]]

    first = everyone()
    assert {a["variant"] for a in first} == {"control", "treatment"}
    changes = [
        {"variants": [{"name": "control", "weight": 0}, {"name": "treatment", "weight": 1}]},
        {"variants": [{"name": "control", "weight": 0.5}, {"name": "treatment", "weight": 0.25},
                      {"name": "third", "weight": 0.25}]},
        {"traffic_allocation": 0}, {"targeting": {"countries": ["XX"]}}, {"status": "paused"}, {"status": "running"},
    ]
    for change in changes:
        assert server.patch(path, change).status == 200, change
        assert everyone() == first, change
    for kill in (False, True):
        server.restart(kill=kill)
        assert everyone() == first
    assert ask(server, made, "newcomer")["variant"] is None


def test_one_user_asked_a_thousand_times(farm):
    """1,000 requests for one user over many connections at once and across a restart: one answer, made once."""
    server = farm.make()
    made = server.make_experiment(variants=[{"name": f"v{i}"} for i in range(16)])
    answers = []

    def ask_many(number):
        client = server.client()
        for i in range(62):
            if (i + number) % 2:
                got = client.request("GET", path_of(made, "the one")).json
            else:
                got = client.request("POST", f"/experiments/{made['id']}/assignment", {"user_id": "the one"}).json
            answers.append(got)
        client.close()

    def round_of_threads():
        threads = [threading.Thread(target=ask_many, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    round_of_threads()
    server.restart(kill=True)
    round_of_threads()
    answers += [ask(server, made, "the one") for _ in range(8)]
    assert len(answers) == 1000
    assert len({json.dumps(lasting(a), sort_keys=True) for a in answers}) == 1
    assert sum(a["new"] for a in answers) == 1


def test_split_follows_weights(server):
    """Of 6,000 users each variant gets its share, within five standard deviations; weight 0 gets nobody."""
    weights = {"a": 0.5, "b": 0.3, "c": 0.2, "d": 0}
    made = server.make_experiment(variants=[{"name": n, "weight": w} for n, w in weights.items()])
    got = server.post(f"/experiments/{made['id']}/assignments",
                      {"users": [{"user_id": f"split-{i}"} for i in range(6000)]}).json["assignments"]
    for name, weight in weights.items():
        count = sum(a["variant"] == name for a in got)
        assert abs(count - 6000 * weight) <= 5 * (6000 * weight * (1 - weight)) ** 0.5, name


def test_traffic_allocation(server):
    """A quarter of the traffic takes in about a quarter of the users; more traffic adds users and moves nobody."""
    made = server.make_experiment(traffic_allocation=0.25)
    path = f"/experiments/{made['id']}"
    users = {"users": [{"user_id": f"t{i}"} for i in range(2000)]}
    first = server.post(f"{path}/assignments", users).json["assignments"]
    inside = {a["user_id"]: a["variant"] for a in first if a["variant"]}
    assert {a["reason"] for a in first if not a["variant"]} == {"not_in_traffic"}
    assert abs(len(inside) - 500) < 5 * (2000 * 0.25 * 0.75) ** 0.5
    server.patch(path, {"traffic_allocation": 0.5})
    second = {a["user_id"]: a["variant"] for a in server.post(f"{path}/assignments", users).json["assignments"]
              if a["variant"]}
    assert inside.items() <= second.items()
    assert abs(len(second) - 1000) < 5 * (2000 * 0.5 * 0.5) ** 0.5


def test_experiments_are_independent(server):
    """The variant in one experiment says nothing about the one in another."""
    made = [server.make_experiment(), server.make_experiment()]
    users = {"users": [{"user_id": f"ind{i}"} for i in range(2000)]}
    sides = [[a["variant"] == "control" for a in server.post(f"/experiments/{e['id']}/assignments", users).json["assignments"]]
             for e in made]
    both = sum(a and b for a, b in zip(*sides, strict=True))
    assert abs(both - 500) < 5 * (2000 * 0.25 * 0.75) ** 0.5


TARGETING = [
    # targeting, attributes, is the user targeted?
    ({"countries": ["US", "CA"]}, {"country": "US"}, True),
    ({"countries": ["US", "CA"]}, {"country": "us"}, True),
    ({"countries": ["us"]}, {"country": "US"}, True),
    ({"countries": ["US", "CA"]}, {"country": "FR"}, False),
    ({"countries": ["US", "CA"]}, {"country": "USA"}, False),
    ({"countries": ["US", "CA"]}, {}, False),
    ({"min_version": "2.0.0"}, {"version": "2.0.0"}, True),
    ({"min_version": "2.0.0"}, {"version": "10.0.0"}, True),
    ({"min_version": "2.9.0"}, {"version": "2.10.0"}, True),
    ({"min_version": "2.0.0"}, {"version": "1.99.99"}, False),
    ({"min_version": "2.0.0"}, {"version": "2.0.0-beta.1"}, False),
    ({"min_version": "2.0.0-alpha"}, {"version": "2.0.0-beta"}, True),
    ({"min_version": "2.0.0"}, {"version": "2.0.0+build.7"}, True),
    ({"min_version": "2.0.0"}, {"version": "v2.1"}, True),
    ({"min_version": "2.0.0"}, {"version": "two"}, False),
    ({"min_version": "2.0.0"}, {}, False),
    ({"countries": ["US"], "min_version": "2.0.0"}, {"country": "US", "version": "2.1.0"}, True),
    ({"countries": ["US"], "min_version": "2.0.0"}, {"country": "US", "version": "1.0.0"}, False),
    ({"countries": ["US"], "min_version": "2.0.0"}, {"country": "FR", "version": "2.1.0"}, False),
    ({"rules": [{"attribute": "plan", "op": "eq", "value": "pro"}]}, {"plan": "pro"}, True),
    ({"rules": [{"attribute": "plan", "op": "eq", "value": "pro"}]}, {"plan": "Pro"}, False),
    ({"rules": [{"attribute": "plan", "op": "eq", "value": "pro"}]}, {}, False),
    ({"rules": [{"attribute": "age", "op": "eq", "value": 30}]}, {"age": 30}, True),
    ({"rules": [{"attribute": "age", "op": "eq", "value": 30}]}, {"age": 30.0}, True),
    ({"rules": [{"attribute": "age", "op": "eq", "value": 0.1}]}, {"age": 0.1}, True),
    ({"rules": [{"attribute": "age", "op": "eq", "value": 30}]}, {"age": 31}, False),
    ({"rules": [{"attribute": "beta", "op": "eq", "value": True}]}, {"beta": True}, True),
    ({"rules": [{"attribute": "beta", "op": "eq", "value": True}]}, {"beta": False}, False),
    ({"rules": [{"attribute": "beta", "op": "eq", "value": True}]}, {"beta": 1}, False),
    ({"rules": [{"attribute": "plan", "op": "ne", "value": "pro"}]}, {"plan": "free"}, True),
    ({"rules": [{"attribute": "plan", "op": "ne", "value": "pro"}]}, {"plan": "pro"}, False),
    ({"rules": [{"attribute": "plan", "op": "ne", "value": "pro"}]}, {}, True),
    ({"rules": [{"attribute": "plan", "op": "in", "values": ["pro", "team"]}]}, {"plan": "team"}, True),
    ({"rules": [{"attribute": "plan", "op": "in", "values": ["pro", "team"]}]}, {"plan": "free"}, False),
    ({"rules": [{"attribute": "plan", "op": "not_in", "values": ["pro", "team"]}]}, {"plan": "free"}, True),
    ({"rules": [{"attribute": "plan", "op": "not_in", "values": ["pro", "team"]}]}, {"plan": "pro"}, False),
    ({"rules": [{"attribute": "plan", "op": "not_in", "values": ["pro"]}]}, {}, True),
    ({"rules": [{"attribute": "a", "op": "eq", "value": 1}, {"attribute": "b", "op": "eq", "value": 2}]}, {"a": 1, "b": 2}, True),
    ({"rules": [{"attribute": "a", "op": "eq", "value": 1}, {"attribute": "b", "op": "eq", "value": 2}]}, {"a": 1, "b": 3}, False),
    ({"rules": [{"any": [{"attribute": "a", "op": "eq", "value": 1}, {"attribute": "b", "op": "eq", "value": 2}]}]}, {"b": 2}, True),
    ({"rules": [{"any": [{"attribute": "a", "op": "eq", "value": 1}, {"attribute": "b", "op": "eq", "value": 2}]}]}, {"b": 1}, False),
    ({"rules": [{"not": {"attribute": "a", "op": "eq", "value": 1}}]}, {"a": 2}, True),
    ({"rules": [{"not": {"attribute": "a", "op": "eq", "value": 1}}]}, {"a": 1}, False),
    ({"rules": [{"all": [{"attribute": "a", "op": "eq", "value": 1}, {"not": {"any": [
        {"attribute": "b", "op": "eq", "value": 2}, {"attribute": "c", "op": "eq", "value": 3}]}}]}]}, {"a": 1, "b": 1, "c": 1}, True),
    ({"rules": [{"all": [{"attribute": "a", "op": "eq", "value": 1}, {"not": {"any": [
        {"attribute": "b", "op": "eq", "value": 2}, {"attribute": "c", "op": "eq", "value": 3}]}}]}]}, {"a": 1, "b": 1, "c": 3}, False),
]


def test_targeting(server):
    """Each row of the table: who is let in, and who is not; not being targeted leaves no trace of the user."""
    for number, (targeting, attributes, is_targeted) in enumerate(TARGETING):
        made = server.make_experiment(targeting=targeting)
        assert made["targeting"] == targeting
        path = f"/experiments/{made['id']}"
        got = server.post(f"{path}/assignment", {"user_id": "u", "attributes": attributes}).json
        assert (got["variant"] is not None) == is_targeted, (number, targeting, attributes, got)
        assert got["reason"] == ("split" if is_targeted else "not_targeted")
        listed = server.get(f"{path}/assignments").json["assignments"]
        assert len(listed) == (1 if is_targeted else 0)
        assert server.delete(path).status == 204


def test_attributes_in_the_query(server):
    """Query parameters are attributes, percent-decoded."""
    made = server.make_experiment(targeting={"countries": ["US"], "min_version": "2.0.0",
                                             "rules": [{"attribute": "plan name", "op": "eq", "value": "pro & more"}]})
    query = "?" + urllib.parse.urlencode({"country": "us", "version": "2.1.0", "plan name": "pro & more"})
    assert ask(server, made, "u", query)["variant"] is not None
    assert ask(server, made, "v", query + "x")["reason"] == "not_targeted"


def test_targeting_is_asked_only_once(server):
    """Who is assigned stays so when the attributes no longer fit."""
    made = server.make_experiment(targeting={"countries": ["US"]})
    first = ask(server, made, "u", "?country=US")
    assert lasting(ask(server, made, "u", "?country=FR")) == lasting(first)


def test_lookup_never_enrols(server):
    """enroll=false answers what is, and never makes an assignment: by GET, by POST, and over all experiments."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}"
    for _ in range(2):
        got = ask(server, made, "looked-up", "?enroll=false")
        assert got["variant"] is None and got["new"] is False and got["assigned_at"] is None
        got = server.post(f"{path}/assignment", {"user_id": "looked-up", "enroll": False}).json
        assert got["variant"] is None
        got = server.post("/assignments", {"user_id": "looked-up", "enroll": False}).json["assignments"]
        assert all(a["variant"] is None for a in got)
    assert server.get(f"{path}/assignments").json["assignments"] == []
    enrolled = ask(server, made, "looked-up", "?enroll=true")
    assert enrolled["new"] is True
    assert lasting(ask(server, made, "looked-up", "?enroll=false")) == lasting(enrolled)


def test_forced(server):
    """Assignments made elsewhere: kept with their time; a repeat changes nothing; a conflict is told, never stored."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}"
    at = "2026-01-02T03:04:05.678Z"
    got = server.force(made, [("f1", "treatment", at), ("f2", "control", 1767323045678), ("f3", "control", None)])
    assert [a["variant"] for a in got] == ["treatment", "control", "control"]
    assert all(a["new"] and not a.get("conflict") for a in got)
    assert got[0]["assigned_at"] == got[1]["assigned_at"]
    assert got[0]["assigned_at"].startswith("2026-01-02T03:04:05.678")
    again = server.force(made, [("f1", "treatment", at), ("f2", "control", 1767323045678), ("f3", "control", None)])
    assert all(not a["new"] and not a.get("conflict") for a in again)
    for entry in (("f1", "control", at), ("f1", "treatment", "2026-01-02T03:04:06Z"), ("f1", "control", None)):
        conflict = server.force(made, [entry])[0]
        assert conflict["conflict"] is True and conflict["new"] is False
        assert conflict["variant"] == "treatment" and conflict["assigned_at"] == got[0]["assigned_at"]
    assert lasting(ask(server, made, "f1")) == lasting(got[0])
    split = ask(server, made, "by-hash")
    other = "control" if split["variant"] == "treatment" else "treatment"
    assert server.force(made, [("by-hash", other, None)])[0]["conflict"] is True
    assert lasting(ask(server, made, "by-hash")) == lasting(split)
    listed = {a["user_id"]: a for a in server.get(f"{path}/assignments").json["assignments"]}
    assert listed["f1"]["forced"] is True and listed["by-hash"]["forced"] is False


def test_forced_outside_of_targeting(server):
    """What was assigned elsewhere is taken whoever it is, also into a paused experiment; closed variants take it too."""
    made = server.make_experiment(targeting={"countries": ["US"]}, traffic_allocation=0,
                                  variants=[{"name": "control", "weight": 1}, {"name": "closed", "weight": 0}])
    server.patch(f"/experiments/{made['id']}", {"status": "paused"})
    assert server.force(made, [("f", "closed", None)])[0]["variant"] == "closed"


def test_forcing_takes_a_scope(server):
    """A token that may only assign cannot force, and nothing of its call is stored."""
    made = server.make_experiment()
    token = server.make_token("assign")["token"]
    path = f"/experiments/{made['id']}/assignments"
    for entry in ({"user_id": "x", "variant": "control"}, {"user_id": "x", "assigned_at": "2026-01-01T00:00:00Z"}):
        check_problem(server.post(path, {"users": [{"user_id": "y"}, entry]}, token=token), 403, "insufficient_scope")
    assert server.get(path).json["assignments"] == []
    assert server.post(path, {"users": [{"user_id": "y"}]}, token=token).status == 200


def test_a_bad_entry_stores_none(server):
    """Faults of a bulk call name the entry; nothing of the call is stored."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}/assignments"
    answer = server.post(path, {"users": [{"user_id": "good"}, {"user_id": ""}, {"user_id": "u", "variant": "none such"},
                                          {"user_id": "u", "assigned_at": "2999-01-01T00:00:00Z"}, 5]})
    problem = check_problem(answer, 422, "validation_failed")
    assert {e["path"] for e in problem["errors"]} >= {"users[1].user_id", "users[2].variant", "users[3].assigned_at", "users[4]"}
    assert server.get(path).json["assignments"] == []


@pytest.mark.parametrize("user", ["a b", "a/b", "ünï çødé", "日本語", "🙂", "a+b", "a%b", "a%2Fb", "a?b#c", "..", "x" * 255,
                                  "é" * 127, '"quoted"', "a,b", "\\", "'; --"])
def test_user_ids_in_paths(server, user):
    """Any UTF-8 without control characters is a user id: percent-encoded in the path it is the same user as in a body."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}"
    posted = server.post(f"{path}/assignment", {"user_id": user})
    assert posted.status == 200, posted
    assert posted.json["user_id"] == user
    assert lasting(ask(server, made, user)) == lasting(posted.json)
    assert [a["user_id"] for a in server.get(f"{path}/assignments").json["assignments"]] == [user]


@pytest.mark.parametrize("user", ["x" * 256, "é" * 128, "a\nb", "\x00", "a\x7f", "\t", "\x1f"])
def test_user_ids_refused(server, user):
    """Longer than 255 bytes, or with control characters: refused in path and body, and nothing is stored."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}"
    check_problem(server.post(f"{path}/assignment", {"user_id": user}), 422, "invalid_user_id")
    answer = server.get(path_of(made, user))
    assert answer.status in (400, 422), answer
    assert server.get(f"{path}/assignments").json["assignments"] == []


def test_bulk_limits(server):
    """10,000 users in one call are answered; one more is refused whole."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}/assignments"
    users = [{"user_id": f"bulk{i}"} for i in range(10000)]
    answer = server.post(path, {"users": users})
    assert answer.status == 200
    assert [a["user_id"] for a in answer.json["assignments"]] == [u["user_id"] for u in users]
    other = server.make_experiment()
    answer = server.post(f"/experiments/{other['id']}/assignments", {"users": users + [{"user_id": "one more"}]})
    check_problem(answer, 413, "too_many_users")
    assert server.get(f"/experiments/{other['id']}/assignments").json["assignments"] == []
    assert server.post(path, {"users": []}).json["assignments"] == []


def all_pages(server, path, limit):
    seen = []
    cursor = ""
    while cursor is not None:
        page = server.get(f"{path}limit={limit}{cursor and '&cursor=' + cursor}").json
        assert len(page["assignments"]) <= limit
        seen += page["assignments"]
        cursor = page["next_cursor"]
    return seen


def test_list(server):
    """Who is in which arm: everyone once over the pages, by variant, and as JSON, NDJSON and CSV alike."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}/assignments"
    names = [f"m{i}" for i in range(30)] + ['with "quotes", and comma']
    got = server.post(path, {"users": [{"user_id": n} for n in names]}).json["assignments"]
    want = {a["user_id"]: a["variant"] for a in got}
    for limit in (1, 7, 30, 500):
        listed = all_pages(server, f"{path}?", limit)
        assert len(listed) == len(want) and {a["user_id"]: a["variant"] for a in listed} == want
    for variant in ("control", "treatment"):
        listed = all_pages(server, f"{path}?variant={variant}&", 7)
        assert sorted(a["user_id"] for a in listed) == sorted(u for u, v in want.items() if v == variant)
    lines = server.get(f"{path}?limit=500", headers={"Accept": "application/x-ndjson"})
    assert lines.headers["Content-Type"].startswith("application/x-ndjson")
    assert {a["user_id"]: a["variant"] for a in map(json.loads, lines.body.splitlines())} == want
    table = server.get(f"{path}?limit=500", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(table.body.decode(), newline="")))
    assert {row["user_id"]: row["variant"] for row in rows} == want


def test_list_while_users_come(server):
    """A walk over the pages shows everyone who was there when it began exactly once, though others come meanwhile."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}/assignments"
    there = {f"w{i}" for i in range(40)}
    server.post(path, {"users": [{"user_id": u} for u in there]})
    seen = []
    cursor = ""
    while cursor is not None:
        page = server.get(f"{path}?limit=5{cursor and '&cursor=' + cursor}").json
        seen += [a["user_id"] for a in page["assignments"]]
        cursor = page["next_cursor"]
        if len(seen) < 60:
            server.post(path, {"users": [{"user_id": f"later{len(seen)}"}]})
    assert len(seen) == len(set(seen)) and there <= set(seen)


def test_window(server):
    """Before start_at and after end_at nobody is taken in; who is in stays."""
    future = server.make_experiment(start_at="2099-01-01T00:00:00Z")
    assert ask(server, future, "u")["reason"] == "not_running"
    past = server.make_experiment(start_at="2020-01-01T00:00:00Z", end_at="2020-02-01T00:00:00Z")
    assert ask(server, past, "u")["reason"] == "not_running"
    made = server.make_experiment()
    before = ask(server, made, "u")
    server.patch(f"/experiments/{made['id']}", {"start_at": "2020-01-01T00:00:00Z", "end_at": "2020-02-01T00:00:00Z"})
    assert lasting(ask(server, made, "u")) == lasting(before)
    assert ask(server, made, "v")["variant"] is None


def test_archived(server):
    """An archived experiment still answers who was in it, and takes nobody, not even by force."""
    made = server.make_experiment()
    before = ask(server, made, "u")
    server.delete(f"/experiments/{made['id']}")
    assert lasting(ask(server, made, "u")) == lasting(before)
    assert server.force(made, [("v", "control", None)])[0]["variant"] is None
    assert len(server.get(f"/experiments/{made['id']}/assignments").json["assignments"]) == 1


def test_holdout_groups(server):
    """The same users are kept out of every experiment that names the group, whatever else differs; others are not asked."""
    group = {"name": "holdout-test", "share": 0.3}
    first = server.make_experiment("Held out 1", holdout=group)
    second = server.make_experiment("Held out 2", holdout=group, layer="holdout-layer", traffic_allocation=1.0)
    free = server.make_experiment("Not held out")
    users = [f"held-{i}" for i in range(1000)]

    def ask(experiment):
        answer = server.post(f"/experiments/{experiment['id']}/assignments", {"users": [{"user_id": u} for u in users]})
        return {a["user_id"]: a for a in answer.json["assignments"]}
    answers = [ask(experiment) for experiment in (first, second, free)]
    held = [{u for u, a in answer.items() if a["variant"] is None} for answer in answers]
    assert held[0] == held[1] and 230 < len(held[0]) < 370 and held[2] == set()
    assert {answers[0][u]["reason"] for u in held[0]} == {"holdout"}

    kept_out = min(held[0])
    told = server.get(f"/experiments/{first['id']}/explain/{kept_out}").json
    assert told["holdout"]["name"] == "holdout-test" and told["holdout"]["share"] == 0.3 and told["holdout"]["point"] < 0.3
    assert told["new_user"]["reason"] == "holdout" and told["new_user"]["variant"] is None

    # A group is one share. Without it, nobody is held out; who was enrolled stays.
    other = server.post("/experiments", {"name": "Other share", "variants": [{"name": "a"}, {"name": "b"}],
                                         "holdout": {"name": "holdout-test", "share": 0.4}})
    check_problem(other, 422, "holdout_share")
    changed = server.request("PATCH", f"/experiments/{first['id']}", {"holdout": None})
    assert changed.status == 200 and changed.json["holdout"] is None
    assert server.get(f"/experiments/{first['id']}/assignment/{kept_out}").json["variant"] is not None
    back = server.request("PATCH", f"/experiments/{first['id']}", {"holdout": group})
    assert back.json["holdout"] == group
    assert server.get(f"/experiments/{first['id']}/assignment/{kept_out}").json["variant"] is not None, "a stored answer stays"
