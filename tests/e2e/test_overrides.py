"""Overrides: a tester is shown a variant on every way of asking, and counted nowhere."""
import threading

import pytest
from conftest import check_problem, run_tool

FLAGS = "/ofrep/v1/evaluate/flags"


def override(server, made, user, variant, **options):
    return server.request("PUT", f"/experiments/{made['id']}/overrides/{user}", {"variant": variant}, **options)


def overrides(server, made):
    answer = server.get(f"/experiments/{made['id']}/overrides")
    assert answer.status == 200, answer
    return [(o["user_id"], o["variant"]) for o in answer.json["overrides"]]


def assign(server, made, user, **fields):
    answer = server.post(f"/experiments/{made['id']}/assignment", {"user_id": user, **fields})
    assert answer.status == 200, answer
    return answer.json


@pytest.fixture(scope="module")
def closed(server):
    """An experiment that lets nobody in: a draft, with targeting that no test meets."""
    return server.make_experiment("Closed", status="draft", metrics=["conversion_rate"],
                                  variants=[{"name": "off"}, {"name": "on", "value": {"color": "blue"}}],
                                  targeting={"rules": [{"attribute": "plan", "op": "eq", "value": "nobody"}]})


def test_every_way_of_asking_shows_it(server, closed):
    answer = override(server, closed, "tester%2F1", "on")
    assert answer.status == 200, answer
    on = closed["variants"][1]["id"]
    assert answer.json == {"user_id": "tester/1", "variant": "on", "variant_id": on}

    def check(told):
        assert (told["variant"], told["variant_id"], told["value"]) == ("on", on, {"color": "blue"})
        assert (told["reason"], told["new"], told["assigned_at"], told["experiment_version"]) == ("override", False, None, 1)

    check(assign(server, closed, "tester/1"))
    check(assign(server, closed, "tester/1", enroll=False))
    check(server.get(f"/experiments/{closed['id']}/assignment/tester%2F1?plan=free").json)
    (bulk, other) = server.post(f"/experiments/{closed['id']}/assignments",
                                {"users": [{"user_id": "tester/1"}, {"user_id": "somebody"}]}).json["assignments"]
    check(bulk)
    assert (other["variant"], other["reason"]) == (None, "not_running")
    everywhere = {a["experiment_key"]: a for a in server.post("/assignments", {"user_id": "tester/1"}).json["assignments"]}
    check(everywhere["closed"])
    others = {a["experiment_key"] for a in server.post("/assignments", {"user_id": "somebody"}).json["assignments"]}
    assert "closed" not in others, "a draft is shown to its testers alone"

    flag = server.post(f"{FLAGS}/closed", {"context": {"targetingKey": "tester/1"}}).json
    assert (flag["value"], flag["variant"], flag["reason"]) == ({"color": "blue"}, "on", "TARGETING_MATCH")
    flags = {f["key"]: f for f in server.post(FLAGS, {"context": {"targetingKey": "tester/1"}}).json["flags"]}
    assert flags["closed"]["value"] == {"color": "blue"}
    assert "closed" not in {f["key"] for f in server.post(FLAGS, {"context": {"targetingKey": "x"}}).json["flags"]}

    told = server.get(f"/experiments/{closed['id']}/explain/tester%2F1").json
    assert told["override"] == {"variant": "on", "variant_id": on} and told["stored"] is None
    assert (told["new_user"]["variant"], told["new_user"]["reason"]) == ("on", "override")
    assert told["targeting"]["outcome"] is False, "the questions are still told"
    (tested,) = server.post(f"/experiments/{closed['id']}/evaluate", {"users": [{"user_id": "tester/1"}]}).json["evaluations"]
    assert (tested["variant"], tested["reason"]) == ("on", "override")


def test_it_counts_nowhere_and_outlives_restarts(farm):
    server = farm.make()
    made = server.make_experiment("Counted", metrics=["conversion_rate"])
    for user, variant in (("t2", "treatment"), ("t1", "control"), ("t3", "control"), ("t1", "treatment")):
        assert override(server, made, user, variant).status == 200
    assert server.delete(f"/experiments/{made['id']}/overrides/t3").status == 204
    assert server.delete(f"/experiments/{made['id']}/overrides/t3").status == 204, "there is none any more"

    def check():
        assert overrides(server, made) == [("t1", "treatment"), ("t2", "treatment")]
        assert assign(server, made, "t1")["reason"] == "override"
        server.send_events([{"user_id": "t1", "event_type": "conversion"}])
        assert server.results(made)["summary"]["total_users"] == 0
        assert server.get(f"/experiments/{made['id']}/assignments").json["assignments"] == []
        assert server.get(f"/experiments/{made['id']}").headers["ETag"] == '"1"', "no version of the experiment"

    check()
    server.restart(kill=True)
    check()
    server.restart()
    check()
    server.stop()
    assert run_tool("verify", "--data", server.data).returncode == 0
    server.start()
    audit = [(e["kind"], e["action"], e["name"], e["version"]) for e in server.get("/audit").json["entries"]]
    assert audit[-5:] == [("overrides", "created" if v == 1 else "changed", "counted", v) for v in range(1, 6)]


def test_who_was_enrolled_before_stays_so(server):
    made = server.make_experiment("Before", metrics=["conversion_rate"])
    given = assign(server, made, "early")["variant"]
    other = "control" if given == "treatment" else "treatment"
    assert override(server, made, "early", other).status == 200
    assert (assign(server, made, "early")["variant"], assign(server, made, "early")["reason"]) == (other, "override")
    assert server.results(made)["summary"]["total_users"] == 1
    assert server.get(f"/experiments/{made['id']}/explain/early").json["stored"]["variant"] == given
    assert server.delete(f"/experiments/{made['id']}/overrides/early").status == 204
    assert (assign(server, made, "early")["variant"], assign(server, made, "early")["reason"]) == (given, "split")
    (imported,) = server.force(made, [("imported-tester", other, None)])
    assert imported["reason"] == "forced"


def test_it_holds_in_every_status_but_archived(server):
    made = server.make_experiment("Statuses")
    assert override(server, made, "t", "treatment").status == 200
    for status in ("paused", "completed"):
        assert server.patch(f"/experiments/{made['id']}", {"status": status}).status == 200
        assert assign(server, made, "t")["reason"] == "override"
    assert server.delete(f"/experiments/{made['id']}").status == 204
    assert assign(server, made, "t")["reason"] == "not_running"
    check_problem(override(server, made, "t", "control"), 409, "invalid_transition")
    assert server.delete(f"/experiments/{made['id']}/overrides/t").status == 204


def test_a_drafts_variant_may_go(server):
    made = server.make_experiment("Redrawn", status="draft", variants=[{"name": "a"}, {"name": "b"}, {"name": "c"}])
    assert override(server, made, "t1", "b").status == 200 and override(server, made, "t2", "c").status == 200
    assert server.patch(f"/experiments/{made['id']}", {"variants": [{"name": "a"}, {"name": "c"}]}).status == 200
    assert overrides(server, made) == [("t1", None), ("t2", "c")]
    assert assign(server, made, "t1")["reason"] == "not_running"
    assert assign(server, made, "t2")["variant"] == "c"


def test_the_limit_and_one_beyond(server):
    made = server.make_experiment("Many testers")
    for i in range(200):
        assert override(server, made, f"{'x' * 200}-{i:03}", "control").status == 200
    check_problem(override(server, made, "one-more", "control"), 409, "too_many_overrides")
    assert override(server, made, f"{'x' * 200}-000", "treatment").status == 200, "a change of one is none more"
    assert server.delete(f"/experiments/{made['id']}/overrides/{'x' * 200}-100").status == 204
    assert override(server, made, "one-more", "control").status == 200
    assert len(overrides(server, made)) == 200


def test_changes_at_the_same_time_all_hold(server):
    made = server.make_experiment("At once")

    def put(user):
        assert override(server, made, user, "treatment").status == 200

    threads = [threading.Thread(target=put, args=(f"at-once-{i}",)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(overrides(server, made)) == 12


def test_bad_requests(server, closed):
    path = f"/experiments/{closed['id']}/overrides/t"
    check_problem(override(server, closed, "t", "none"), 422, "unknown_variant")
    check_problem(override(server, closed, "t" * 256, "on"), 422, "invalid_user_id")
    check_problem(override(server, {"id": "none"}, "t", "on"), 404, "experiment_not_found")
    for body in ({}, {"variant": 1}, {"variant": "on", "until": "tomorrow"}, ["on"]):
        check_problem(server.request("PUT", path, body), 422, "validation_failed")
    check_problem(server.request("PUT", path, b"{"), 400, "json_truncated")
    check_problem(server.post(path, {"variant": "on"}), 405, "method_not_allowed")
    reader = server.make_token("experiments:read", "assign")["token"]
    check_problem(override(server, closed, "t", "on", token=reader), 403, "insufficient_scope")
