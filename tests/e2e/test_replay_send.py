"""`assay replay --to URL`: a log's events reach another server, each once, when they are due, and only those asked for."""
import time

from conftest import run_tool, variant_of

DAY = 86_400_000
START = 1767225600000  # 2026-01-01


def fill(server, count):
    """Events over three days, every fifth without an id; some with properties that JSON could spoil."""
    events = []
    for i in range(count):
        event = {"user_id": f"u{i % 7}", "event_type": "purchase" if i % 2 else "view", "timestamp": START + i * 3 * DAY // count,
                 "properties": {"amount": i / 4, "text": 'a "quote", \n and \u20ac', "nested": {"list": [1, None, True]}}}
        if i % 5:
            event["event_id"] = f"sent-{i}"
        events.append(event)
    assert server.send_events(events)["accepted"] == count


def enrol(server):
    made = server.make_experiment("Counted", metrics=["revenue"])
    server.force(made, [(f"u{i}", "control", "2026-01-01T00:00:00Z") for i in range(7)])
    return made


def revenue(server, made):
    cell = variant_of(server.results(made, "?metrics=revenue"), "control")["metrics"]["revenue"]
    return cell["count"], cell["sum"]


def replay(source, target, *more):
    done = run_tool("replay", "--data", source.data, "--to", f"http://127.0.0.1:{target.port}", "--token", target.token, *more)
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


def test_every_event_once(farm):
    """The other server ends with the same numbers; sent again, nothing is counted twice."""
    source, target = farm.make(), farm.make()
    fill(source, 2500)
    made = enrol(source)
    expected = revenue(source, made)
    source.stop()
    there = enrol(target)
    done = replay(source, target)
    assert done.returncode == 0 and "2,500 events accepted, 0 known already, 0 refused" in done.stdout, done
    assert revenue(target, there) == expected
    again = replay(source, target)
    assert again.returncode == 0 and "0 events accepted, 2,500 known already" in again.stdout, again
    assert revenue(target, there) == expected


def test_selection(farm):
    """A time range, an event type, a position in the log."""
    source, target = farm.make(), farm.make()
    fill(source, 300)
    source.stop()
    done = replay(source, target, "--start", "2026-01-02", "--end", "2026-01-03T00:00:00Z", "--event-type", "view")
    assert "50 events accepted" in done.stdout, done
    done = replay(source, target, "--event-type", "nothing")
    assert done.returncode == 0 and "0 events accepted" in done.stdout, done
    done = replay(source, target, "--from-lsn", "10000")
    assert done.returncode == 1 and "lsn" in done.stderr, done


def test_pace(farm):
    """Events that came two seconds apart go out a second apart at twice the speed."""
    source, target = farm.make(), farm.make()
    source.send_events([{"event_id": "first", "user_id": "u", "event_type": "view"}])
    time.sleep(2)
    source.send_events([{"event_id": "second", "user_id": "u", "event_type": "view"}])
    source.stop()
    began = time.monotonic()
    done = replay(source, target, "--speed", "2")
    assert "2 events accepted" in done.stdout, done
    assert time.monotonic() - began >= 1.0


def test_mistakes(farm):
    """What cannot be meant is refused before anything is sent."""
    source, target = farm.make(), farm.make()
    source.stop()
    assert replay(source, target, "--start", "yesterday").returncode == 2
    assert run_tool("replay", "--data", source.data, "--to", str(source.data) + "-new", "--speed", "2").returncode == 2
    target.stop()
    fill_later = farm.make()
    fill(fill_later, 3)
    fill_later.stop()
    assert replay(fill_later, target).returncode == 3
