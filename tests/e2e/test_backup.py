"""`assay backup` and `assay restore`: a copy made while the server is written to has all that was acknowledged before, and opens
as a store; a copy up to a moment has what came before it and nothing else.
"""
import datetime
import itertools
import threading
import time

from conftest import run_tool, variant_of

DAY = "2026-01-01T12:00:00Z"


def backup(source, target):
    done = run_tool("backup", "--data", source, "--to", target)
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


def purchases(ids):
    return [{"event_id": i, "user_id": "u", "event_type": "purchase", "timestamp": DAY, "properties": {"amount": 1}} for i in ids]


def test_backup_under_load(farm, tmp_path):
    """What was acknowledged before is in it, once; what came later may be; the original goes on."""
    server = farm.make()
    made = server.make_experiment("Kept", metrics=["revenue"])
    server.force(made, [("u", "control", "2026-01-01T00:00:00Z")])
    before = [f"before-{i}" for i in range(3000)]
    server.send_events(purchases(before))
    stopping = threading.Event()
    later = []

    def load():
        client = server.client()
        numbers = itertools.count()
        while not stopping.is_set():
            ids = [f"later-{next(numbers)}" for _ in range(50)]
            assert client.request("POST", "/events", purchases(ids)).status == 202
            later.extend(ids)
        client.close()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for copy in range(5):
            done = backup(server.data, tmp_path / f"copy-{copy}")
            assert done.returncode == 0 and "read back and whole" in done.stdout, done
    finally:
        stopping.set()
        thread.join()
    for copy in (0, 4):
        restored = farm.make(start=False)
        restored.data = tmp_path / f"copy-{copy}"
        restored.start()
        cell = variant_of(restored.results(made, "?metrics=revenue"), "control")["metrics"]["revenue"]
        assert len(before) <= cell["count"] <= len(before) + len(later)
        assert restored.send_events(purchases(before))["duplicates"] == len(before)
        restored.stop()
        assert run_tool("verify", "--data", restored.data).returncode == 0
    assert server.send_events(purchases(later[-50:]))["duplicates"] == 50


def test_refusals(farm, tmp_path):
    """A target that is taken, a source that is none, and damage: each said, and nothing left behind."""
    server = farm.make()
    server.send_events(purchases(f"e-{i}" for i in range(100)))
    server.stop()
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").write_text("x")
    done = backup(server.data, taken)
    assert done.returncode == 3 and "not empty" in done.stderr, done
    assert backup(tmp_path / "nothing", tmp_path / "copy").returncode == 3
    assert run_tool("backup", "--data", server.data).returncode == 2

    (segment,) = (server.data / "log").glob("*.seg")
    with segment.open("r+b") as file:
        file.seek(4096 + 100)  # in the first block, with whole ones behind it
        byte = file.read(1)
        file.seek(4096 + 100)
        file.write(bytes([byte[0] ^ 1]))
    done = backup(server.data, tmp_path / "damaged")
    assert done.returncode == 1 and segment.name in done.stderr and "4096" in done.stderr, done
    assert not (tmp_path / "damaged").exists() and not list(tmp_path.glob("*.partial"))


def restore(source, target, *more):
    done = run_tool("restore", "--from", source, "--data", target, *more)
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


def dump(data):
    done = run_tool("dump", "--data", data)
    assert done.returncode == 0, done
    return done.stdout.splitlines()


def test_restore_to_every_lsn(farm, tmp_path):
    """Between blocks and within them: exactly the records below, byte for byte, and a server goes on from there."""
    server = farm.make()
    made = server.make_experiment("Restored", metrics=["revenue"])
    server.force(made, [(f"u{i}", "control", "2026-01-01T00:00:00Z") for i in range(3)])
    for size in (1, 4, 2):
        server.send_events(purchases(f"{size}-{i}" for i in range(size)))
    server.stop()
    records = dump(server.data)
    for lsn in range(2, len(records) + 2):
        target = tmp_path / f"at-{lsn}"
        done = restore(server.data, target, "--lsn", str(lsn))
        assert done.returncode == 0 and f"below lsn {lsn}: {lsn - 1} records" in done.stdout, done
        assert dump(target) == records[:lsn - 1]
        assert run_tool("verify", "--data", target).returncode == 0
    assert restore(server.data, tmp_path / "late", "--lsn", str(len(records) + 2)).returncode == 3
    assert restore(server.data, tmp_path / "whole").returncode == 0
    assert dump(tmp_path / "whole") == records

    again = farm.make(start=False)
    again.data = tmp_path / f"at-{len(records) - 1}"  # within the last block
    again.start()
    assert again.send_events(purchases(["2-0", "2-1"])) == {
        "status": "accepted", "accepted": 2, "duplicates": 0, "rejected": 0, "errors": []}
    again.kill()
    again.start()
    assert again.send_events(purchases(["4-3", "2-0", "2-1"]))["duplicates"] == 3
    again.stop()
    assert run_tool("verify", "--data", again.data).returncode == 0


def test_restore_to_a_time(farm, tmp_path):
    """What was received up to then; a time before everything leaves an empty log, one after it the whole."""
    server = farm.make()
    server.send_events(purchases(["early"]))
    time.sleep(0.05)
    between = datetime.datetime.now(datetime.timezone.utc).isoformat()
    time.sleep(0.05)
    server.send_events(purchases(["late"]))
    server.stop()
    assert restore(server.data, tmp_path / "between", "--time", between).returncode == 0
    records = dump(server.data)
    assert dump(tmp_path / "between") == records[:-1]
    assert restore(server.data, tmp_path / "all", "--time", "2100-01-01T00:00:00Z").returncode == 0
    assert dump(tmp_path / "all") == records
    assert restore(server.data, tmp_path / "bad", "--time", "noon").returncode == 2
    running = farm.make()
    assert restore(running.data, tmp_path / "locked").returncode == 3
