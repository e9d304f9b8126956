"""Results by an attribute that users had when they were assigned."""
import csv
import io

from conftest import check_problem

COUNTRIES = ["US", "FR", "DE"]


def assign(server, key, users):
    """users: {id: (variant, attributes)}."""
    entries = [{"user_id": u, "variant": v, "assigned_at": "2024-01-01T00:00:00Z", "attributes": a} for u, (v, a) in users.items()]
    answer = server.post(f"/experiments/{key}/assignments", {"users": entries})
    assert answer.status == 200, answer


def make(server):
    server.make_experiment("By country", key="by", metrics=["conversion_rate", "revenue"])


def fill(server, users):
    make(server)
    assign(server, "by", users)
    events = []
    for user in users:
        number = int(user[1:])
        if number % 3 == 0 or (number % 2 and number % 5 == 0):
            events.append({"event_id": f"{user}c", "user_id": user, "event_type": "conversion", "timestamp": "2024-01-02T00:00:00Z"})
        events.append({"event_id": f"{user}p", "user_id": user, "event_type": "purchase", "timestamp": f"2024-01-0{1 + number % 5}T00:00:00Z",
                       "properties": {"amount": number % 17}})
    server.send_events(events)


def population(count):
    users = {}
    for i in range(count):
        attributes = {"country": COUNTRIES[i % 7 % 3], "n": i % 3, "vip": i % 4 == 0} if i % 11 else {}
        users[f"u{i}"] = (("control", "treatment")[i % 2], attributes)
    return users


def plain(variant):
    """A variant without what a correction or an id changes."""
    copy = {k: v for k, v in variant.items() if k not in ("id", "time_series")}
    copy["metrics"] = {name: {k: v for k, v in cell.items() if k != "vs_control"} for name, cell in variant["metrics"].items()}
    copy["p"] = [c["vs_control"]["p_value"] for c in variant["metrics"].values() if "vs_control" in c]
    return copy


def results(server, query="", key="by"):
    answer = server.get(f"/experiments/{key}/results?{query}")
    assert answer.status == 200, answer
    return answer.json


def test_each_value_is_an_experiment_of_its_own_users(farm):
    """Every part is what another server answers that has only those users; after a kill and a restart, too."""
    server = farm.make()
    users = population(600)
    fill(server, users)
    alone = {}
    for country in (*COUNTRIES, None):
        other = farm.make()
        fill(other, {u: v for u, v in users.items() if v[1].get("country") == country})
        alone[country] = results(other, "test=welch")
        other.stop()
    for kill in (None, True, False):
        if kill is not None:
            server.restart(kill=kill)
        whole = results(server, "test=welch&breakdown=country")
        assert results(server, "test=welch")["breakdown"] is None
        assert whole["breakdown"]["attribute"] == "country" and whole["attributes"] == ["country", "n", "vip"]
        values = whole["breakdown"]["values"]
        assert [v["kind"] for v in values] == ["value", "value", "value", "not_given"]
        assert [v["summary"]["total_users"] for v in values[:3]] == sorted((v["summary"]["total_users"] for v in values[:3]), reverse=True)
        assert sum(v["summary"]["total_users"] for v in values) == whole["summary"]["total_users"] == len(users)
        for part in values:
            want = alone[part["value"]]
            assert [plain(v) for v in part["variants"]] == [plain(v) for v in want["variants"]], part["value"]
            assert part["summary"]["events_counted"] == want["summary"]["events_counted"]
            for got, single in zip(part["variants"], want["variants"], strict=True):
                for name, cell in got["metrics"].items():
                    if "vs_control" in cell:  # one share of the error each
                        adjusted = min(1, 4 * single["metrics"][name]["vs_control"]["p_value_adjusted"])
                        assert abs(cell["vs_control"]["p_value_adjusted"] - adjusted) < 1e-12


def test_numbers_and_booleans_are_values_too(farm):
    server = farm.make()
    fill(server, population(120))
    assert {v["value"] for v in results(server, "breakdown=n")["breakdown"]["values"]} == {"0", "1", "2", None}
    assert {v["value"] for v in results(server, "breakdown=vip")["breakdown"]["values"]} == {"true", "false", None}


def test_many_values(farm):
    """The 20 with the most users by name; the rest, and what is beyond the 254 told apart or no plain value, as "other"."""
    server = farm.make()
    make(server)
    users = {f"u{i}": ("control", {"page": f"p{i % 300}"}) for i in range(700)}
    users |= {f"l{i}": ("treatment", {"page": ["a", "b"]}) for i in range(5)}
    users |= {f"x{i}": ("treatment", {"page": "x" * 101}) for i in range(3)}
    assign(server, "by", users)
    values = results(server, "breakdown=page")["breakdown"]["values"]
    assert len(values) == 21 and [v["kind"] for v in values] == ["value"] * 20 + ["other"]
    assert all(v["summary"]["total_users"] == 3 for v in values[:20])
    assert sum(v["summary"]["total_users"] for v in values) == len(users)
    assert values[20]["variants"][1]["users"] == 8


def test_attributes_are_those_of_the_assignment(farm):
    """Asking again with other attributes changes nothing; those of a query are texts."""
    server = farm.make()
    server.make_experiment("Asked", key="asked")
    for country in ("US", "FR"):
        for i in range(10):
            assert server.get(f"/experiments/asked/assignment/u{i}?country={country}").status == 200
    (only,) = results(server, "breakdown=country", "asked")["breakdown"]["values"]
    assert (only["value"], only["summary"]["total_users"]) == ("US", 10)


def test_erased_users_leave_their_value(farm):
    """A value that nobody has any more is not shown, and is not in the checkpoint either."""
    server = farm.make()
    make(server)
    assign(server, "by", {"u1": ("control", {"mail": "somebody@example.org"}), "u2": ("control", {"mail": "b"})})
    assert server.delete("/users/u1").status == 202
    for kill in (None, True, False):
        if kill is not None:
            server.restart(kill=kill)
        (only,) = results(server, "breakdown=mail")["breakdown"]["values"]
        assert only["value"] == "b"


def test_as_a_table(farm):
    """Rows of the parts behind those of all users, named in the last two columns."""
    server = farm.make()
    fill(server, population(300))
    text = server.get("/experiments/by/results?breakdown=country&format=csv").body.decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    parts = [r for r in rows if r["attribute"]]
    assert {r["attribute_value"] for r in parts} == {*COUNTRIES, "(not given)"} and {r["attribute"] for r in parts} == {"country"}
    assert len(parts) == 4 * 2 * 2 and all(r["date"] == "" for r in parts)
    for variant in ("control", "treatment"):
        total = [r for r in rows if not r["attribute"] and not r["date"] and r["variant"] == variant and r["metric"] == "revenue"]
        mine = [r for r in parts if r["variant"] == variant and r["metric"] == "revenue"]
        assert sum(float(r["sum"]) for r in mine) == float(total[0]["sum"])


def test_what_is_refused(farm):
    server = farm.make()
    fill(server, population(20))
    check_problem(server.get("/experiments/by/results?breakdown=nothing"), 422, "unknown_attribute")
    check_problem(server.get("/experiments/by/results?breakdown="), 422, "invalid_value")
    check_problem(server.get(f"/experiments/by/results?breakdown={'x' * 101}"), 422, "invalid_value")
