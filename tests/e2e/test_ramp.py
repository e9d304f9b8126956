"""Ramps: steps that let more users in when their time comes, and what the schedule makes of an experiment's status."""
import datetime
import time

import pytest
from conftest import check_problem, run_tool, wait_until

USERS = [f"ramped-{i}" for i in range(300)]


def instant(seconds):
    """So many seconds from now, as the API writes it."""
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def step(seconds, allocation):
    return {"at": instant(seconds), "traffic_allocation": allocation}


def ask(server, made, enroll=True):
    """The users who have a variant, or would get one, by their variants."""
    if enroll:
        answer = server.post(f"/experiments/{made['id']}/assignments", {"users": [{"user_id": user} for user in USERS]})
        assert answer.status == 200, answer
        return {a["user_id"]: a["variant"] for a in answer.json["assignments"] if a["variant"]}
    answer = server.post(f"/experiments/{made['id']}/evaluate", {"users": [{"user_id": user} for user in USERS]})
    return {a["user_id"]: a["variant"] for a in answer.json["evaluations"] if a["variant"]}


def show(server, made):
    return server.get(f"/experiments/{made['id']}").json


def test_steps_add_users_and_move_nobody(farm):
    server = farm.make()
    made = server.make_experiment("Ramped", traffic_allocation=0.1,
                                  ramp=[step(-3600, 0.2), step(2, 0.5), step(3600, 0.9)])
    assert [s["traffic_allocation"] for s in made["ramp"]] == [0.2, 0.5, 0.9]
    assert made["traffic_allocation"] == 0.1 and made["effective_traffic_allocation"] == 0.2
    before = ask(server, made)
    assert 35 < len(before) < 90
    outside = next(user for user in USERS if user not in before)
    told = server.get(f"/experiments/{made['id']}/explain/{outside}").json
    assert told["traffic"]["allocation"] == 0.2 and told["traffic"]["next_step"] == made["ramp"][1]
    assert told["new_user"]["reason"] == "not_in_traffic"
    server.restart(kill=True)
    wait_until(lambda: show(server, made)["effective_traffic_allocation"] == 0.5, "the step")
    after = ask(server, made)
    assert before.items() <= after.items() and 110 < len(after) < 190
    assert show(server, made)["version"] == 1, "a step makes no version"
    assert ask(server, made, enroll=False) == after, "evaluate says what an assignment then does"

    assert server.patch(f"/experiments/{made['id']}", {"ramp": None}).json["ramp"] == []
    assert ask(server, made) == after, "who is in stays in"
    assert len(ask(server, made, enroll=False)) < len(before)
    server.stop()
    assert run_tool("verify", "--data", server.data).returncode == 0


def test_a_slice_is_as_long_as_the_ramp_goes(server):
    made = server.make_experiment("Ramped slice", layer="ramped", traffic_allocation=0.1, ramp=[step(3600, 0.7)])
    answer = server.post("/experiments", {"name": "Too large", "layer": "ramped", "traffic_allocation": 0.4,
                                          "variants": [{"name": "a"}, {"name": "b"}]})
    check_problem(answer, 422, "layer_full")
    rest = server.make_experiment("Rest of ramped", layer="ramped", traffic_allocation=0.1, ramp=[step(-1, 0.3)])
    assert 10 < len(ask(server, made)) < 60 and 60 < len(ask(server, rest)) < 120
    told = server.get(f"/experiments/{made['id']}/explain/u1").json["layer"]
    assert told["slice"] == [0.0, 0.1] and told["next_step"] == made["ramp"][0]
    check_problem(server.patch(f"/experiments/{made['id']}", {"ramp": [step(3600, 0.8)]}), 422, "layer_full")


@pytest.mark.parametrize("ramp, path, code", [
    ([{"at": "2026-01-02T00:00:00Z", "traffic_allocation": 0.2}, {"at": "2026-01-02T00:00:00Z", "traffic_allocation": 0.3}],
     "ramp[1].at", "out_of_range"),
    ([{"at": "2026-01-01T00:00:00Z", "traffic_allocation": 0.3}, {"at": "2026-01-02T00:00:00Z", "traffic_allocation": 0.2}],
     "ramp[1].traffic_allocation", "out_of_range"),
    ([{"at": "2026-01-01T00:00:00Z", "traffic_allocation": 0.05}], "ramp[0].traffic_allocation", "out_of_range"),
    ([{"at": "2026-01-01T00:00:00Z", "traffic_allocation": 1.5}], "ramp[0].traffic_allocation", "out_of_range"),
    ([{"at": "2026-01-01T00:00:00Z"}], "ramp[0].traffic_allocation", "required"),
    ([{"at": "soon", "traffic_allocation": 0.3}], "ramp[0].at", "malformed"),
    ([{"at": "2026-01-01T00:00:00Z", "traffic_allocation": 0.3, "for": 1}], "ramp[0].for", "unknown_field"),
    ({"at": "2026-01-01T00:00:00Z"}, "ramp", "wrong_type"),
    ([{"at": 1767225600000 + i, "traffic_allocation": 0.3} for i in range(51)], "ramp", "out_of_range"),
])
def test_bad_ramps(server, ramp, path, code):
    document = {"name": "Bad ramp", "traffic_allocation": 0.1, "ramp": ramp, "variants": [{"name": "a"}, {"name": "b"}]}
    problem = check_problem(server.post("/experiments", document), 422, code)
    assert [(e["path"], e["code"]) for e in problem["errors"]] == [(path, code)]


def test_the_largest_ramp(server):
    ramp = [{"at": 1767225600000 + i, "traffic_allocation": i / 50} for i in range(50)]
    made = server.make_experiment("Largest ramp", traffic_allocation=0, ramp=ramp)
    assert len(made["ramp"]) == 50 and made["effective_traffic_allocation"] == 0.98


def test_lowering_below_or_raising_above_the_ramp(server):
    made = server.make_experiment("Moved under", traffic_allocation=0.2, ramp=[step(3600, 0.5)])
    path = f"/experiments/{made['id']}"
    check_problem(server.patch(path, {"traffic_allocation": 0.6}), 422, "out_of_range")
    assert server.patch(path, {"traffic_allocation": 0.1}).status == 200
    assert server.patch(path, {"traffic_allocation": 0.6, "ramp": []}).json["effective_traffic_allocation"] == 0.6


def test_the_schedule_is_seen_in_the_status(server):
    made = server.make_experiment("Scheduled", start_at=instant(1.5), end_at=instant(3))
    assert (made["status"], made["effective_status"]) == ("running", "scheduled")
    (listed,) = server.get("/experiments?q=Scheduled").json["experiments"]
    assert listed["effective_status"] == "scheduled"
    told = server.get(f"/experiments/{made['id']}/explain/u1").json
    assert told["running"]["effective_status"] == "scheduled" and told["new_user"]["reason"] == "not_running"
    wait_until(lambda: show(server, made)["effective_status"] == "running", "the start")
    wait_until(lambda: show(server, made)["effective_status"] == "ended", "the end")
    seen = show(server, made)
    assert (seen["status"], seen["version"]) == ("running", 1)
    time.sleep(0.01)
    assert server.patch(f"/experiments/{made['id']}", seen).status == 200, "what was read may be sent back"
    paused = server.patch(f"/experiments/{made['id']}", {"status": "paused"}).json
    assert paused["effective_status"] == "paused"
    (version, *_) = server.get(f"/experiments/{made['id']}/history").json["versions"]
    assert version["experiment"] == paused


def test_what_is_shown_cannot_be_set(server):
    document = {"name": "Shown", "effective_status": "running", "variants": [{"name": "a"}, {"name": "b"}]}
    check_problem(server.post("/experiments", document), 422, "read_only")
