"""GET /events: every event as it was sent, once, in the order of the log; filters, pages, restarts, and while others write."""
import threading

import pytest
from conftest import check_problem

DAY = 86_400_000
START = 1767225600000  # 2026-01-01


def read(server, query="", limit=500):
    """All pages. Answers may be short of events while there is more."""
    found, cursor = [], ""
    while cursor is not None:
        answer = server.get(f"/events?limit={limit}{query}" + (f"&cursor={cursor}" if cursor else ""))
        assert answer.status == 200, answer
        assert len(answer.json["events"]) <= limit
        found += answer.json["events"]
        cursor = answer.json["next_cursor"]
    return found


@pytest.fixture(scope="module")
def sent(server):
    events = [{"event_id": f"r{i}", "user_id": f"user {i % 3} \u20ac", "event_type": "purchase" if i % 2 else "view",
               "timestamp": f"2026-01-0{1 + i % 5}T10:00:00.000Z",
               "properties": {"amount": i / 4, "text": 'a "quoted" \n line', "list": [1, None, {"deep": True}], "big": 2 ** 53}}
              for i in range(1200)]
    server.send_events(events)
    server.send_events([{"user_id": "nameless", "event_type": "view"}])
    return events


def test_everything_as_it_was_sent(server, sent):
    found = [e for e in read(server) if e["user_id"] != "nameless"]
    assert [{k: e[k] for k in ("event_id", "user_id", "event_type", "timestamp", "properties")} for e in found] == sent
    assert [e["lsn"] for e in found] == sorted({e["lsn"] for e in found})
    assert all(e["received_at"].endswith("Z") for e in found)


@pytest.mark.parametrize("limit", [1, 7, 499])
def test_pages(server, sent, limit):
    query = "&event_type=purchase&user_id=user%201%20%E2%82%AC"
    found = read(server, query, limit)
    assert [e["event_id"] for e in found] == [e["event_id"] for e in sent
                                               if e["event_type"] == "purchase" and e["user_id"] == "user 1 \u20ac"]


def test_times(server, sent):
    """start is in, end is out; a day, a time or milliseconds."""
    wanted = [e["event_id"] for e in sent if e["timestamp"][:10] in ("2026-01-02", "2026-01-03")]
    for start, end in (("2026-01-02", "2026-01-04"), ("2026-01-02T10:00:00Z", "2026-01-03T10:00:00.001Z"),
                       (START + DAY, START + 3 * DAY)):
        assert [e["event_id"] for e in read(server, f"&start={start}&end={end}")] == wanted


def test_bad_queries(server):
    for query, code in (("start=noon", "invalid_query"), ("end=", "invalid_query"), ("limit=0", "invalid_limit"),
                        ("cursor=!", "invalid_cursor"), ("nothing=1", "unknown_parameter")):
        check_problem(server.get(f"/events?{query}"), 422, code)
    reader = server.post("/tokens", {"name": "reader", "scopes": ["events:write"]}).json
    assert server.request("GET", "/events", token=reader["token"]).status == 403


def test_nothing_there(farm):
    empty = farm.make()
    assert empty.get("/events").json == {"events": [], "next_cursor": None}


def test_while_others_write_and_after_a_restart(farm):
    """A reader that follows its cursor sees each event once, however the log grows meanwhile."""
    server = farm.make()
    stopping = threading.Event()
    written = []

    def write():
        client = server.client()
        while not stopping.is_set():
            events = [{"event_id": f"w{len(written) + i}", "user_id": "u", "event_type": "x"} for i in range(100)]
            assert client.request("POST", "/events", events).status == 202
            written.extend(e["event_id"] for e in events)
        client.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(20):
            before = len(written)
            found = [e["event_id"] for e in read(server)]
            assert found == written[:len(found)] or found[:len(written)] == written
            assert len(found) >= before
            if len(written) > 20000:
                break
    finally:
        stopping.set()
        thread.join()
    server.kill()
    server.start()
    assert [e["event_id"] for e in read(server)] == written


def test_export_of_a_user(farm):
    """All that one user left, over any number of pages, and nothing of anybody else; after a kill, too."""
    server = farm.make()
    made = server.make_experiment("Exported")
    sent = []
    for i in range(30):
        for user in ("\u00e9/1", "other"):
            event = {"event_id": f"{user}-{i}", "user_id": user, "event_type": "x", "properties": {"i": i}}
            assert server.post("/events", event).status == 202
            sent += [event["event_id"]] if user != "other" else []
        if i == 10:
            for user in ("\u00e9/1", "other"):
                answer = server.post(f"/experiments/{made['id']}/assignment", {"user_id": user, "attributes": {"country": "US"}})
                assert answer.json["variant"] is not None
                variant = answer.json["variant"] if user != "other" else variant
    server.kill()
    server.start()
    for limit in (1, 7, 500):
        events, assignments, cursor = [], [], ""
        while cursor is not None:
            page = server.get(f"/users/%C3%A9%2F1/export?limit={limit}" + (f"&cursor={cursor}" if cursor else "")).json
            assert page["user_id"] == "\u00e9/1" and len(page["events"]) + len(page["assignments"]) <= limit
            events += page["events"]
            assignments += page["assignments"]
            cursor = page["next_cursor"]
        assert [e["event_id"] for e in events] == sent
        (assignment,) = assignments
        assert (assignment["experiment_key"], assignment["variant"], assignment["attributes"]) == (made["key"], variant, {"country": "US"})
    assert server.get("/users/nobody/export").json["events"] == []
    check_problem(server.get("/users/a%01b/export"), 422, "invalid_user_id")
    reader = server.post("/tokens", {"name": "reader", "scopes": ["results:read"]}).json
    assert server.request("GET", "/users/other/export", token=reader["token"]).status == 403
