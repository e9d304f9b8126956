"""Rerandomization: everybody is drawn anew, results start from nothing, and what was before is kept as history."""
import threading

import pytest
from conftest import check_problem, run_tool, variant_of

USERS = [f"drawn-{i}" for i in range(120)]


def assign(server, made, user):
    answer = server.post(f"/experiments/{made['id']}/assignment", {"user_id": user})
    assert answer.status == 200, answer
    return answer.json


def assign_all(server, made, users=USERS):
    answer = server.post(f"/experiments/{made['id']}/assignments", {"users": [{"user_id": user} for user in users]})
    assert answer.status == 200, answer
    return {a["user_id"]: a["variant"] for a in answer.json["assignments"]}


def listed(server, made, query=""):
    answer = server.get(f"/experiments/{made['id']}/assignments?limit=500{query}")
    assert answer.status == 200, answer
    return {a["user_id"]: (a["variant"], a["generation"]) for a in answer.json["assignments"]}


def rerandomize(server, made, **options):
    return server.request("POST", f"/experiments/{made['id']}/rerandomize", **options)


def buy(server, user, count=1):
    server.send_events([{"user_id": user, "event_type": "conversion"} for _ in range(count)])


def totals(server, made):
    results = server.results(made)
    return results["summary"]["total_users"], {v["name"]: v["metrics"]["conversion_rate"]["count"] for v in results["variants"]}


def test_everybody_is_drawn_anew_and_results_start_from_nothing(farm):
    server = farm.make()
    made = server.make_experiment("Drawn", metrics=["conversion_rate"])
    other = server.make_experiment("Untouched", metrics=["conversion_rate"])
    assert made["generation"] == 1 and made["randomized_at"] is None
    first = assign_all(server, made)
    untouched = assign_all(server, other)
    for user in USERS[:30]:
        buy(server, user)
    assert totals(server, made)[0] == len(USERS)

    answer = rerandomize(server, made, headers={"If-Match": '"1"'})
    assert answer.status == 200, answer
    after = answer.json
    assert (after["generation"], after["version"], after["status"]) == (2, 2, "running")
    assert after["randomized_at"] == after["updated_at"] and answer.headers["ETag"] == '"2"'
    assert totals(server, made) == (0, {"control": 0, "treatment": 0})
    assert listed(server, made) == {}
    assert listed(server, made, "&generation=1") == {user: (variant, 1) for user, variant in first.items()}

    # Events of users who have not come again count for nobody, and in the other experiment as ever.
    for user in USERS[:10]:
        buy(server, user)
    assert totals(server, made)[0] == 0 and sum(totals(server, other)[1].values()) == 30
    second = assign_all(server, made)
    moved = sum(first[user] != second[user] for user in USERS)
    assert 30 < moved < 90, f"{moved} of {len(USERS)} moved: the new draw must not depend on the old one"
    for user in USERS[:7]:
        buy(server, user)
    in_control = sum(second[user] == "control" for user in USERS[:7])
    expected = (len(USERS), {"control": in_control, "treatment": 7 - in_control})
    assert totals(server, made) == expected
    results = server.results(made)
    assert results["as_of"]["generation"] == 2
    assert results["summary"]["events_excluded"]["before_assignment"] == 40
    assert variant_of(results, "control")["users"] == sum(v == "control" for v in second.values())

    explained = server.get(f"/experiments/{made['id']}/explain/{USERS[0]}").json
    assert explained["generation"] == 2
    assert (explained["stored"]["variant"], explained["stored"]["generation"]) == (second[USERS[0]], 2)
    assert [(p["variant"], p["generation"]) for p in explained["past"]] == [(first[USERS[0]], 1)]

    def check():
        assert totals(server, made) == expected
        assert listed(server, made) == {user: (variant, 2) for user, variant in second.items()}
        assert listed(server, made, "&generation=1") == {user: (variant, 1) for user, variant in first.items()}
        assert assign_all(server, made) == second and assign_all(server, other) == untouched

    check()
    server.restart(kill=True)
    check()
    server.restart()
    check()
    server.stop()
    assert run_tool("verify", "--data", server.data).returncode == 0
    server.start()
    audit = server.get("/audit").json["entries"]
    assert [(e["action"], e["version"]) for e in audit if e["name"] == "drawn"] == [("created", 1), ("rerandomized", 2)]


def test_a_layer_keeps_its_users_and_splits_them_anew(server):
    made = server.make_experiment("Drawn layer", layer="drawn", traffic_allocation=0.5)
    rest = server.make_experiment("Drawn rest", layer="drawn", traffic_allocation=0.5)
    first = assign_all(server, made)
    assert rerandomize(server, made).status == 200
    second = assign_all(server, made)
    let_in = {user for user, variant in first.items() if variant is not None}
    assert {user for user, variant in second.items() if variant is not None} == let_in
    assert any(first[user] != second[user] for user in let_in)
    assert {user for user, variant in assign_all(server, rest).items() if variant is not None} == set(USERS) - let_in


def test_history_holds_nobody_in_a_layer(server):
    made = server.make_experiment("Held", layer="held", traffic_allocation=1)
    assign(server, made, "held-1")
    assert server.patch(f"/experiments/{made['id']}", {"traffic_allocation": 0}).status == 200
    rest = server.make_experiment("Free", layer="held", traffic_allocation=1)
    assert assign(server, rest, "held-1")["reason"] == "layer"
    assert rerandomize(server, made).status == 200
    assert assign(server, rest, "held-1")["reason"] == "split"


def test_imports_belong_to_the_generation_they_come_in(server):
    made = server.make_experiment("Imported", metrics=["conversion_rate"])
    server.force(made, [("imported-1", "control", "2026-01-01T00:00:00Z")])
    buy(server, "imported-1", 3)
    assert rerandomize(server, made).status == 200
    (entry,) = server.force(made, [("imported-1", "treatment", "2026-01-01T00:00:00Z")])
    assert (entry["variant"], entry["new"], "conflict" in entry) == ("treatment", True, False)
    assert totals(server, made) == (1, {"control": 0, "treatment": 1}), "stored events count from assigned_at on"
    server.restart(kill=True)
    assert totals(server, made) == (1, {"control": 0, "treatment": 1})


@pytest.mark.parametrize("status", ["draft", "completed"])
def test_only_what_takes_users_is_rerandomized(server, status):
    made = server.make_experiment(f"Refused {status}", status="draft" if status == "draft" else "running")
    if status == "completed":
        assert server.patch(f"/experiments/{made['id']}", {"status": "completed"}).status == 200
    check_problem(rerandomize(server, made), 409, "invalid_transition")
    assert server.get(f"/experiments/{made['id']}").json["generation"] == 1


def test_bad_requests(server):
    made = server.make_experiment("Bad rerandomization")
    check_problem(rerandomize(server, made, headers={"If-Match": '"7"'}), 412, "version_mismatch")
    check_problem(rerandomize(server, made, body={"salt": 1}), 422, "validation_failed")
    check_problem(rerandomize(server, {"id": "nothing-here"}), 404, "experiment_not_found")
    check_problem(server.get(f"/experiments/{made['id']}/assignments?generation=2"), 422, "invalid_generation")
    check_problem(server.patch(f"/experiments/{made['id']}", {"generation": 2}), 422, "read_only")
    assert rerandomize(server, made, body={}).status == 200
    document = server.get(f"/experiments/{made['id']}").json
    assert server.patch(f"/experiments/{made['id']}", document).status == 200, "what was read may be sent back"


def test_assignments_at_the_same_time_are_of_one_generation_or_the_next(farm):
    """Clients that ask while everybody is drawn anew get an answer each time, and the last draw's is the one that is stored."""
    server = farm.make()
    made = server.make_experiment("Contended", metrics=["conversion_rate"])
    stop = threading.Event()
    faults = []

    def ask(number):
        client = server.client()
        turn = 0
        while not stop.is_set():
            turn += 1
            users = [{"user_id": f"contended-{(number * 31 + turn + i) % 90}"} for i in range(7)]
            answer = client.request("POST", f"/experiments/{made['id']}/assignments", {"users": users})
            if answer.status != 200 or any(a["reason"] != "split" or a["variant"] is None for a in answer.json["assignments"]):
                faults.append(answer)
        client.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(25):
        assert rerandomize(server, made).status == 200
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults, faults[:3]
    users = [f"contended-{i}" for i in range(90)]
    given = assign_all(server, made, users)
    assert listed(server, made) == {user: (variant, 26) for user, variant in given.items()}
    server.restart(kill=True)
    assert assign_all(server, made, users) == given
    server.stop()
    assert run_tool("verify", "--data", server.data).returncode == 0
