"""Experiments as the contract has them: made, found, listed, changed, moved through their life, archived, remembered."""
import re
import threading

from conftest import check_problem

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z")

EXAMPLE = {
    "name": "Homepage CTA Test", "description": "Testing button colors", "key": "homepage-cta",
    "variants": [{"name": "control", "weight": 0.5, "is_control": True, "value": {"color": "grey"}},
                 {"name": "blue_button", "weight": 0.25}, {"name": "green_button", "weight": 0.25}],
    "targeting": {"countries": ["US", "CA"], "min_version": "2.0.0",
                  "rules": [{"attribute": "plan", "op": "in", "values": ["pro", "team"]}]},
    "traffic_allocation": 1.0, "layer": "checkout", "status": "running",
    "start_at": None, "end_at": None, "metrics": ["conversion_rate", "revenue"],
}

TWO = [{"name": "a"}, {"name": "b"}]


def test_create_returns_what_is_stored(server):
    """The documented example is created, and everything in it comes back with ids, version and times."""
    answer = server.post("/experiments", EXAMPLE)
    assert answer.status == 201, answer
    made = answer.json
    assert answer.headers["Location"] == f"/experiments/{made['id']}"
    assert answer.headers["ETag"]
    for field, value in EXAMPLE.items():
        if field != "variants":
            assert made[field] == value, field
    assert UUID7.fullmatch(made["id"])
    assert made["version"] == 1
    for field in ("created_at", "updated_at", "started_at"):
        assert TIME.fullmatch(made[field]), field
    assert made["ended_at"] is None
    for given, stored in zip(EXAMPLE["variants"], made["variants"], strict=True):
        assert UUID7.fullmatch(stored["id"])
        assert stored["name"] == given["name"]
        assert stored["weight"] == given["weight"]
        assert stored["is_control"] == given.get("is_control", False)
        assert stored["value"] == given.get("value")
    assert server.get(f"/experiments/{made['id']}").json == made
    assert server.get("/experiments/homepage-cta").json == made


def test_defaults(server):
    """Only name and variants are required: the rest has the documented defaults."""
    made = server.post("/experiments", {"name": "Défauts & More!", "variants": [{"name": n} for n in "abcd"]}).json
    assert made["status"] == "running"
    assert made["traffic_allocation"] == 1
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", made["key"])
    assert [v["weight"] for v in made["variants"]] == [0.25] * 4
    assert [v["is_control"] for v in made["variants"]] == [True, False, False, False]
    assert made["started_at"] is not None and made["start_at"] is None and made["end_at"] is None
    assert made["layer"] is None and made["targeting"] is None


def test_slugs_are_unique(server):
    """The same name again gets another key; a key that was asked for and is taken is a conflict."""
    keys = [server.post("/experiments", {"name": "Same Name", "variants": TWO}).json["key"] for _ in range(3)]
    assert keys[0] == "same-name"
    assert len(set(keys)) == 3
    check_problem(server.post("/experiments", {"name": "x", "key": "same-name", "variants": TWO}), 409, "key_taken")


def test_same_name_at_the_same_time(server):
    """Requests that race for one slug all succeed, with different keys."""
    answers = []

    def create():
        answers.append(server.post("/experiments", {"name": "Race For It", "variants": TWO}))

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a.status for a in answers] == [201] * 6, answers
    assert len({a.json["key"] for a in answers}) == 6


def test_draft_on_request(server):
    """A draft has not started, and takes nobody."""
    made = server.make_experiment(status="draft")
    assert made["status"] == "draft" and made["started_at"] is None
    answer = server.get(f"/experiments/{made['id']}/assignment/u1").json
    assert answer["variant"] is None and answer["reason"] == "not_running"


def test_weight_sums_within_a_millionth(server):
    """Thirds written with six digits pass; the tolerance is 1e-6."""
    made = server.make_experiment(variants=[{"name": n, "weight": 0.333333} for n in "abc"])
    assert sum(v["weight"] for v in made["variants"]) == 0.999999
    answer = server.post("/experiments", {"name": "x", "variants": [{"name": n, "weight": 0.33333} for n in "abc"]})
    problem = check_problem(answer, 422, "weights_sum")
    assert "0.99999" in str(problem["errors"])


def test_control_by_choice(server):
    """Where a variant says it is control, it is, wherever it stands."""
    made = server.make_experiment(variants=[{"name": "new"}, {"name": "old", "is_control": True}])
    assert [v["is_control"] for v in made["variants"]] == [False, True]


def test_two_and_sixty_four_variants(server):
    """Both ends of the allowed number of variants; 65 and 1 are refused."""
    made = server.make_experiment(variants=[{"name": f"v{i}"} for i in range(64)])
    assert len(made["variants"]) == 64
    for count in (0, 1, 65):
        answer = server.post("/experiments", {"name": "x", "variants": [{"name": f"v{i}"} for i in range(count)]})
        check_problem(answer, 422, "out_of_range")


def test_list_filters_and_pages(farm):
    """Lists are in pages joined by cursors: each experiment once, however small the page; filters narrow them."""
    server = farm.make()
    made = [server.make_experiment(f"Listed {i}", layer="left" if i % 2 else "right", traffic_allocation=0.1,
                                   status="draft" if i < 3 else "running") for i in range(7)]
    whole = server.get("/experiments").json
    assert {e["id"] for e in whole["experiments"]} == {e["id"] for e in made}
    assert whole["next_cursor"] is None
    for limit in (1, 2, 3, 7):
        seen = []
        path = f"/experiments?limit={limit}"
        while path:
            page = server.get(path).json
            assert len(page["experiments"]) <= limit
            seen += [e["id"] for e in page["experiments"]]
            path = page["next_cursor"] and f"/experiments?limit={limit}&cursor={page['next_cursor']}"
        assert seen == [e["id"] for e in whole["experiments"]]
    ids = lambda query: {e["id"] for e in server.get(f"/experiments{query}").json["experiments"]}
    assert ids("?status=draft") == {e["id"] for e in made[:3]}
    assert ids("?layer=left") == {e["id"] for e in made[1::2]}
    assert ids("?q=LISTED%204") == {made[4]["id"]}
    assert ids("?status=draft&layer=left") == {made[1]["id"]}
    assert ids("?q=nothing-like-it") == set()
    assert server.delete(f"/experiments/{made[0]['id']}").status == 204
    assert ids("?status=archived") == {made[0]["id"]}


def test_list_pages_while_others_are_made(server):
    """A walk over pages misses nothing and repeats nothing that was there when it began."""
    there = {server.make_experiment()["id"] for _ in range(4)}
    seen = []
    path = "/experiments?limit=2"
    while path:
        page = server.get(path).json
        seen += [e["id"] for e in page["experiments"]]
        server.make_experiment()
        path = page["next_cursor"] and f"/experiments?limit=2&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen))
    assert there <= set(seen)


def test_patch_makes_a_new_version(server):
    """A change is a new version with a new ETag; what was not named stays as it was."""
    made = server.make_experiment(description="before", metrics=["revenue"])
    etag = server.get(f"/experiments/{made['id']}").headers["ETag"]
    answer = server.patch(f"/experiments/{made['id']}", {"description": "after"})
    assert answer.status == 200, answer
    changed = answer.json
    assert changed["version"] == 2 and changed["description"] == "after"
    assert changed["updated_at"] >= made["updated_at"]
    for field in set(made) - {"version", "description", "updated_at"}:
        assert changed[field] == made[field], field
    assert answer.headers["ETag"] not in (None, etag)
    assert server.get(f"/experiments/{made['id']}").json == changed


def test_patch_with_what_was_read(server):
    """A client may send the whole document back that it got, changed: what assay set is passed over while it is the same."""
    made = server.make_experiment(targeting={"countries": ["DE"]})
    document = dict(made, name="Renamed")
    answer = server.patch(f"/experiments/{made['id']}", document)
    assert answer.status == 200, answer
    assert answer.json["name"] == "Renamed" and answer.json["key"] == made["key"]
    stale = dict(answer.json, version=1)
    assert server.patch(f"/experiments/{made['id']}", stale).status == 422


def test_if_match(server):
    """With If-Match a change goes through only on the version that was read: the loser is told, and nothing is lost."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}"
    etag = server.get(path).headers["ETag"]
    assert server.patch(path, {"description": "one"}, headers={"If-Match": etag}).status == 200
    answer = server.patch(path, {"description": "two"}, headers={"If-Match": etag})
    check_problem(answer, 412, "version_mismatch")
    assert server.get(path).json["description"] == "one"
    assert server.patch(path, {"description": "three"}, headers={"If-Match": server.get(path).headers["ETag"]}).status == 200
    assert server.patch(path, {"description": "four"}, headers={"If-Match": "*"}).status == 200
    check_problem(server.delete(path, headers={"If-Match": etag}), 412, "version_mismatch")


def test_if_match_under_a_race(server):
    """Of many changes to one version exactly one wins."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}"
    etag = server.get(path).headers["ETag"]
    answers = []

    def change(number):
        answers.append(server.patch(path, {"description": str(number)}, headers={"If-Match": etag}))

    threads = [threading.Thread(target=change, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.status for a in answers) == [200] + [412] * 7
    winner = next(a for a in answers if a.status == 200)
    assert server.get(path).json == winner.json


def test_variants_with_users_stay(server):
    """A variant with assignments cannot be removed; with weight 0 it is closed, and a new one may be added."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}"
    server.force(made, [("u1", "treatment", None)])
    answer = server.patch(path, {"variants": [{"name": "control", "weight": 0.5}, {"name": "other", "weight": 0.5}]})
    assert answer.status == 422, answer
    assert "treatment" in str(answer.json["errors"])
    answer = server.patch(path, {"variants": [{"name": "control", "weight": 0.5}, {"name": "treatment", "weight": 0},
                                              {"name": "other", "weight": 0.5}]})
    assert answer.status == 200, answer
    assert [v["id"] for v in answer.json["variants"][:2]] == [v["id"] for v in made["variants"]]
    users = [{"user_id": f"n{i}"} for i in range(100)]
    got = server.post(f"{path}/assignments", {"users": users}).json["assignments"]
    assert {a["variant"] for a in got} == {"control", "other"}
    assert server.get(f"{path}/assignment/u1").json["variant"] == "treatment"


WAYS = {"draft": [], "running": ["running"], "paused": ["running", "paused"], "completed": ["running", "completed"],
        "archived": ["running", "completed", "archived"]}


def test_life_cycle(server):
    """draft -> running <-> paused -> completed -> archived. Steps backwards and leaps are 409 and name what is allowed."""
    refused = [("draft", "paused"), ("draft", "completed"), ("running", "draft"), ("paused", "draft"),
               ("completed", "running"), ("completed", "paused"), ("completed", "draft"),
               ("archived", "running"), ("archived", "draft"), ("archived", "completed")]
    for start, goal in refused:
        made = server.make_experiment(status="draft")
        path = f"/experiments/{made['id']}"
        for step in WAYS[start]:
            assert server.patch(path, {"status": step}).json["status"] == step
        problem = check_problem(server.patch(path, {"status": goal}), 409, "invalid_transition")
        for name in {"draft": ["running"], "running": ["paused", "completed"], "paused": ["running", "completed"],
                     "completed": ["archived"], "archived": []}[start]:
            assert name in problem["detail"].split("allowed")[1], (start, goal, problem)
        assert server.get(path).json["status"] == start


def test_life_cycle_times(server):
    """started_at is when it first ran, ended_at when it was completed; pausing changes neither."""
    made = server.make_experiment(status="draft")
    path = f"/experiments/{made['id']}"
    running = server.patch(path, {"status": "running"}).json
    assert running["started_at"] and not running["ended_at"]
    paused = server.patch(path, {"status": "paused"}).json
    again = server.patch(path, {"status": "running"}).json
    assert paused["started_at"] == again["started_at"] == running["started_at"]
    completed = server.patch(path, {"status": "completed"}).json
    assert completed["ended_at"] and completed["started_at"] == running["started_at"]
    assert server.patch(path, {"status": "archived"}).json["status"] == "archived"


def test_delete_archives(server):
    """DELETE archives: the experiment is still there to be read, and out of the plain list. Again it is no error."""
    made = server.make_experiment()
    path = f"/experiments/{made['id']}"
    assert server.delete(path).status == 204
    assert server.get(path).json["status"] == "archived"
    assert made["id"] not in {e["id"] for e in server.get("/experiments?limit=500").json["experiments"]}
    assert server.delete(path).status == 204
    check_problem(server.post("/experiments", {"name": "x", "key": made["key"], "variants": TWO}), 409, "key_taken")


def test_history(server):
    """Every version is kept as it was, with who changed it and when, the newest first."""
    made = server.make_experiment(description="1")
    path = f"/experiments/{made['id']}"
    other = server.make_token("experiments:write")
    server.patch(path, {"description": "2"})
    assert server.patch(path, {"description": "3"}, token=other["token"]).status == 200
    versions = server.get(f"{path}/history").json["versions"]
    assert [v["version"] for v in versions] == [3, 2, 1]
    assert [v["experiment"]["description"] for v in versions] == ["3", "2", "1"]
    assert versions[2]["experiment"] == made
    assert versions[0]["changed_by"] == other["id"]
    assert versions[1]["changed_by"] == versions[2]["changed_by"] != other["id"]
    assert all(TIME.fullmatch(v["changed_at"]) for v in versions)
    page = server.get(f"{path}/history?limit=2").json
    rest = server.get(f"{path}/history?limit=2&cursor={page['next_cursor']}").json
    assert [v["version"] for v in page["versions"] + rest["versions"]] == [3, 2, 1]
    assert rest["next_cursor"] is None


def test_definitions_survive_a_restart(farm):
    """Experiments, their versions and ETags are the same after a restart, and after a crash."""
    server = farm.make()
    made = server.post("/experiments", EXAMPLE).json
    server.patch(f"/experiments/{made['id']}", {"description": "changed"})
    paths = ["/experiments", f"/experiments/{made['id']}", f"/experiments/{made['id']}/history", "/metric-definitions",
             "/tokens"]
    before = [server.get(path).json for path in paths]
    for kill in (False, True):
        server.restart(kill=kill)
        assert [server.get(path).json for path in paths] == before


def test_idempotency_key(farm):
    """The same Idempotency-Key gives the first answer again, also after a restart; with another body it is a conflict."""
    server = farm.make()
    body = {"name": "Once", "variants": TWO}
    key = {"Idempotency-Key": "7f9c"}
    first = server.post("/experiments", body, headers=key)
    assert first.status == 201
    again = server.post("/experiments", body, headers=key)
    assert again.status == 201 and again.json == first.json
    assert again.headers["Location"] == first.headers["Location"]
    check_problem(server.post("/experiments", {"name": "Other", "variants": TWO}, headers=key), 409,
                  "idempotency_key_reused")
    server.patch(f"/experiments/{first.json['id']}", {"description": "later"})
    assert server.post("/experiments", body, headers=key).json == first.json
    server.restart(kill=True)
    assert server.post("/experiments", body, headers=key).json == first.json
    assert len(server.get("/experiments").json["experiments"]) == 1
    assert server.post("/experiments", body, headers={"Idempotency-Key": "other"}).json["id"] != first.json["id"]


def test_idempotency_key_in_a_race(server):
    """The same request sent several times at once makes one experiment."""
    answers = []

    def create():
        answers.append(server.post("/experiments", {"name": "Raced once", "variants": TWO},
                                   headers={"Idempotency-Key": "race-1"}))

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a.status for a in answers] == [201] * 6, answers
    assert len({a.json["id"] for a in answers}) == 1


def test_all_field_errors_at_once(server):
    """A definition with several faults is answered with all of them, each with its path."""
    answer = server.post("/experiments", {"name": "", "variants": [{"name": "a", "weight": 2, "colour": "red"},
                                                                   {"name": "b", "weight": "1"}],
                                          "traffic_allocation": 1.5, "nonsense": 1})
    problem = check_problem(answer, 422, "validation_failed")
    paths = {error["path"] for error in problem["errors"]}
    assert {"name", "variants[0].weight", "variants[0].colour", "variants[1].weight", "traffic_allocation",
            "nonsense"} <= paths, paths


def test_unknown_metric(server):
    """An experiment cannot name a metric that is not defined."""
    answer = server.post("/experiments", {"name": "x", "variants": TWO, "metrics": ["revenue", "no_such"]})
    problem = check_problem(answer, 422, "unknown_metric")
    assert problem["errors"][0]["path"] == "metrics[1]"


def test_layers_keep_users_apart(server):
    """Experiments of one layer never share a user, and a slice that does not fit is refused."""
    one = server.make_experiment(layer="apart", traffic_allocation=0.5)
    two = server.make_experiment(layer="apart", traffic_allocation=0.5)
    check_problem(server.post("/experiments", {"name": "x", "variants": TWO, "layer": "apart",
                                               "traffic_allocation": 0.1}), 422, "layer_full")
    users = [{"user_id": f"layered-{i}"} for i in range(400)]
    sides = []
    for made in (one, two):
        got = server.post(f"/experiments/{made['id']}/assignments", {"users": users}).json["assignments"]
        assert {a["reason"] for a in got if a["variant"] is None} <= {"layer", "not_in_traffic"}
        sides.append({a["user_id"] for a in got if a["variant"]})
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 400
