"""DELETE /users/{user_id}: from the answer on, everything is as if the user had never been there. docs/privacy.md."""
import json
import threading

from conftest import check_problem, run_tool

METRICS = [
    {"name": "refunds", "type": "mean", "event_type": "purchase", "property": "amount"},  # of both signs
    {"name": "came_back", "type": "retention", "event_type": "conversion", "from_day": 1, "to_day": 7},
    {"name": "median", "type": "quantile", "quantile": 0.5, "event_type": "purchase", "property": "amount"},
    {"name": "largest", "type": "mean", "aggregation": "max", "event_type": "purchase", "property": "amount"},
    {"name": "per_event", "type": "ratio", "numerator": "refunds", "denominator": "purchases"},
    {"name": "purchases", "type": "mean", "aggregation": "count", "event_type": "purchase"},
]
NAMES = ["conversion_rate", "revenue", *(m["name"] for m in METRICS)]


def prepare(server):
    for metric in sorted(METRICS, key=lambda m: m["type"] == "ratio"):
        assert server.post("/metric-definitions", metric).status == 201
    made = server.make_experiment("Erased", key="erased", metrics=NAMES)
    server.make_experiment("Other", key="other", metrics=NAMES)
    return made


def fill(server, users):
    """The same for the same users, whoever else there is."""
    for key in ("erased", "other"):
        server.force({"id": key}, [(u, ("control", "treatment")[int(u[1:]) % 2], f"2024-01-0{1 + int(u[1:]) % 3}T12:00:00Z") for u in users])
    events = []
    for user in users:
        number = int(user[1:])
        for i in range(number % 5 + 1):
            day = 1 + (number + i) % 8
            events.append({"event_id": f"{user}-c{i}", "user_id": user, "event_type": "conversion", "timestamp": f"2024-01-0{day}T15:00:00Z"})
            events.append({"event_id": f"{user}-p{i}", "user_id": user, "event_type": "purchase", "timestamp": f"2024-01-0{day}T11:00:00Z",
                           "properties": {"amount": (number * 7 + i) % 50 - 10}})
    server.send_events(events)
    return events


def numbers(server, query=""):
    """The results but for where in the log they are from."""
    answers = {}
    for key in ("erased", "other"):
        answer = server.get(f"/experiments/{key}/results?start_date=2024-01-01&end_date=2024-01-10&format=json{query}").json
        for name in ("as_of", "experiment_id", "computed_in_us"):
            answer.pop(name, None)
        answers[key] = json.loads(json.dumps(answer))
        for variant in answers[key]["variants"]:
            variant.pop("id", None)
    return answers


def test_results_are_those_of_a_log_without_the_user(farm):
    """All metrics, ranges and series; at once, after kill -9 with and without a checkpoint, and by verify."""
    server, without = farm.make(), farm.make()
    everybody = [f"u{i}" for i in range(40)]
    gone = everybody[5:40:7]
    prepare(server), prepare(without)
    fill(server, everybody)
    fill(without, [u for u in everybody if u not in gone])
    for user in gone:
        answer = server.delete(f"/users/{user}")
        assert answer.status == 202, answer
        receipt = answer.json
        assert receipt["assignments"] == 2 and receipt["events"] == 2 * (int(user[1:]) % 5 + 1)
        assert server.get(f"/erasures/{receipt['receipt_id']}").json == {k: receipt[k] for k in receipt if k not in ("events", "assignments")}
    for query in ("", "&test=bayesian", "&cuped=true"):
        assert numbers(server, query) == numbers(without, query)
    for kill in (True, False):
        server.restart(kill=kill)
        assert numbers(server) == numbers(without)
    assert len(server.get("/erasures?limit=3").json["erasures"]) == 3
    assert server.get("/status").json["counts"]["users"] == len(everybody) - len(gone)
    server.stop()
    done = run_tool("verify", "--data", str(server.data))
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_left_to_be_seen(farm):
    """Assignments, overrides, segments, events, exports; the audit says that it was, not of whom."""
    server = farm.make()
    made = server.make_experiment("Seen", key="seen")
    assert server.request("PUT", "/experiments/seen/overrides/u1", {"variant": "treatment"}).status == 200
    assert server.request("PUT", "/segments/beta", ["u1", "u2"]).status in (200, 201)
    server.force(made, [("u1", "control", "2024-01-01T00:00:00Z"), ("u2", "control", "2024-01-01T00:00:00Z")])
    server.send_events([{"event_id": f"{u}-e", "user_id": u, "event_type": "conversion"} for u in ("u1", "u2")])
    receipt = server.delete("/users/u1").json
    for kill in (None, True, False):
        if kill is not None:
            server.restart(kill=kill)
        assert [a["user_id"] for a in server.get("/experiments/seen/assignments").json["assignments"]] == ["u2"]
        assert server.get("/experiments/seen/overrides").json["overrides"] == []
        assert server.get("/segments/beta").json["users"] == 1
        assert server.get("/segments/beta/users/u1").json["in_segment"] is False
        assert {e["user_id"] for e in server.get("/events").json["events"]} == {"u2"}
        assert server.get("/users/u1/export").json["events"] == []
        assert server.get("/users/u1/export").json["assignments"] == []
        (entry,) = [e for e in server.get("/audit?limit=500").json["entries"] if e["kind"] == "user"]
        assert entry["action"] == "erased" and entry["id"] == receipt["receipt_id"] and "u1" not in json.dumps(entry)


def test_who_comes_back_is_a_new_person(farm):
    """A new assignment, by the weights of today; new events count, a retry of an old one does not."""
    server = farm.make()
    made = server.make_experiment("Anew", key="anew", variants=[{"name": "control", "weight": 0.0}, {"name": "treatment", "weight": 1.0}])
    server.force(made, [("u", "control", "2024-01-01T00:00:00Z")])
    event = {"event_id": "old", "user_id": "u", "event_type": "conversion"}
    server.send_events([event])
    assert server.delete("/users/u").status == 202
    assert server.results(made)["summary"]["total_users"] == 0
    assert server.get("/experiments/anew/assignment/u?enroll=false").json["variant"] is None
    assert server.get("/experiments/anew/assignment/u").json["variant"] == "treatment"
    answer = server.post("/events", [event, {**event, "event_id": "new"}])
    assert (answer.json["accepted"], answer.json["duplicates"]) == (1, 1), answer
    for kill in (None, True, False):
        if kill is not None:
            server.restart(kill=kill)
        treatment = [v for v in server.results(made)["variants"] if v["name"] == "treatment"][0]
        assert treatment["users"] == 1 and treatment["metrics"]["conversion_rate"]["count"] == 1
    assert server.post("/metric-definitions", {"name": "later", "type": "mean", "aggregation": "count", "event_type": "conversion"}).status == 201
    assert server.patch("/experiments/anew", {"metrics": ["later"]}).status == 200
    treatment = [v for v in server.results(made)["variants"] if v["name"] == "treatment"][0]
    assert treatment["metrics"]["later"]["sum"] == 1  # a metric defined later does not find what was erased
    assert server.delete("/users/u").status == 202
    assert server.results(made)["summary"]["total_users"] == 0


def test_while_others_write(farm):
    """Users are erased while they and others go on sending; what a user sent after the last erasure is all there is."""
    server = farm.make()
    made = server.make_experiment("Busy", key="busy")
    stopping = threading.Event()
    sent = []

    def write(number):
        client = server.client()
        i = 0
        while not stopping.is_set():
            assert client.request("POST", "/events", [{"user_id": f"u{number}", "event_type": "conversion"}, {"user_id": "all", "event_type": "conversion"}]).status == 202
            assert client.request("GET", f"/experiments/busy/assignment/u{number}").status == 200
            i += 1
        sent.append(i)
        client.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for i in range(100):
        assert server.delete(f"/users/u{i % 5}").status == 202
        assert server.get("/experiments/busy/results").status == 200
    stopping.set()
    for thread in threads:
        thread.join()
    for user in ("u0", "u1", "u2", "u3", "all"):
        assert server.delete(f"/users/{user}").status == 202
    summary = server.results(made)["summary"]
    assert summary["total_users"] == 0 and all(v["users"] == 0 for v in server.results(made)["variants"])
    assert server.get("/events").json["events"] == []
    server.restart(kill=True)
    assert server.results(made)["summary"] == summary
    server.stop()
    done = run_tool("verify", "--data", str(server.data))
    assert done.returncode == 0, done.stdout + done.stderr


def test_who_may_and_what_is_refused(farm):
    server = farm.make()
    assert server.delete("/users/never-seen").status == 202
    check_problem(server.delete("/users/a%01b"), 422, "invalid_user_id")
    check_problem(server.delete("/users/u?x=1"), 422, "unknown_parameter")
    check_problem(server.get("/erasures/nothing"), 404, "erasure_not_found")
    check_problem(server.get("/erasures/019b2c00-0000-7000-8000-000000000000"), 404, "erasure_not_found")
    writer = server.make_token("experiments:write", "events:write")["token"]
    check_problem(server.request("DELETE", "/users/u", token=writer), 403, "insufficient_scope")
