"""Disks that fill up or vanish, for real: small filesystems of their own. Writes stop with 503, reads go on, nothing that was
acknowledged is lost, and writes go on by themselves when there is room; over kill -9 and restarts too.

Needs the right to mount (root), for ext4 also mkfs.ext4 and loop devices; skipped where that is not given.
"""
import os
import re
import shutil
import subprocess

import pytest
from conftest import BINARIES, Server, check_problem, run_tool, variant_of, wait_until

MIB = 1 << 20
EVENTS = 500
PADDING = "x" * 1500  # of one event: a segment of 64 MiB is full after some 85 requests


def mount(*arguments):
    if subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small filesystem is not allowed here")


on_ext4 = pytest.mark.parametrize("disk", ["ext4"], indirect=True)
on_both = pytest.mark.parametrize("disk", ["tmpfs", "ext4"], indirect=True)


@pytest.fixture
def disk(tmp_path, request):
    """A mounted filesystem with some 200 MiB free; grow() doubles that."""
    place = tmp_path / "disk"
    place.mkdir()
    if getattr(request, "param", "tmpfs") == "tmpfs":
        mount("-t", "tmpfs", "-o", "size=400m", "tmpfs", place)
    else:
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("there is no mkfs.ext4 here")
        image = tmp_path / "image"
        with open(image, "wb") as file:
            file.truncate(420 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        mount("-o", "loop", image, place)
    with open(place / "ballast", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 200 * MIB)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def server(disk):
    (disk / "server").mkdir()
    made = Server(disk / "server")
    made.trace_path = disk.parent / "trace.txt"
    yield made.start()
    if made.process is not None:
        made.kill()


def grow(disk):
    (disk / "ballast").unlink()


def free_bytes(disk):
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize


def take_all_room(disk):
    """Not a byte is left."""
    with pytest.raises(OSError), open(disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(b"\0" * MIB)


def is_ready(server):
    answer = server.request("GET", "/readyz", token=None)
    if answer.status != 200:
        assert "disk is full" in check_problem(answer, 503, "not_ready")["detail"]
        assert int(answer.headers["Retry-After"]) >= 1
    return answer.status == 200


def all_is_checkpointed(server):
    found = dict(re.findall(r"^(assay_log_(?:applied|checkpoint)_lsn) (\d+)$", server.get("/metrics").body.decode(), re.M))
    return found["assay_log_applied_lsn"] == found["assay_log_checkpoint_lsn"]


class Sender:
    """Sends purchases of one unit and knows what was acknowledged."""

    def __init__(self, server):
        self.server = server
        self.experiment = server.make_experiment("Filling", metrics=["revenue"])
        server.force(self.experiment, [("u", "control", "2026-01-01T00:00:00Z")])
        self.batch = 0
        self.acknowledged = 0

    def events(self, batch):
        return [{"event_id": f"{batch}-{i}", "user_id": "u", "event_type": "purchase", "timestamp": "2026-01-01T10:00:00Z",
                 "properties": {"amount": 1, "padding": PADDING}} for i in range(EVENTS)]

    def send(self):
        answer = self.server.request("POST", "/events", self.events(self.batch))
        if answer.status == 202:
            self.batch += 1
            self.acknowledged += EVENTS
        else:
            check_problem(answer, 503, "disk_full")
            assert int(answer.headers["Retry-After"]) >= 1
        return answer.status == 202

    def fill(self):
        for _ in range(1000):
            if not self.send():
                return
        raise AssertionError("the disk does not fill up")

    def check(self):
        """All that was acknowledged is counted, and nothing else."""
        results = self.server.results(self.experiment, "?metrics=revenue")
        assert variant_of(results, "control")["metrics"]["revenue"]["count"] == self.acknowledged


@on_both
def test_writes_stop_and_go_on(server, disk):
    sender = Sender(server)
    sender.fill()
    take_all_room(disk)
    assert not is_ready(server)
    assert server.request("GET", "/healthz", token=None).status == 200
    sender.check()
    known = server.get(f"/experiments/{sender.experiment['id']}/assignment/u")
    assert known.status == 200 and known.json["variant"] == "control"
    assert not sender.send()
    wait_until(lambda: "the disk is full" in server.trace(), "the trace says that the disk is full")

    (disk / "filler").unlink()
    grow(disk)
    wait_until(lambda: is_ready(server), "it is ready again, without any write")
    assert sender.send()
    wait_until(lambda: "there is room on the disk again" in server.trace(), "the trace says that there is room")
    sender.check()
    server.stop()
    assert run_tool("verify", "--data", server.data).returncode == 0


@on_ext4
def test_reserve_is_left(server, disk):
    """Writes stop early: with room for a checkpoint, which is written, and which no try takes away; small ones stop too."""
    sender = Sender(server)
    sender.fill()
    least = free_bytes(disk)
    for i in range(100):
        answer = server.request("POST", "/events", [{**sender.events("small")[i], "properties": {}}])
        check_problem(answer, 503, "disk_full")
        least = min(least, free_bytes(disk))
    wait_until(lambda: all_is_checkpointed(server), "a checkpoint has all that was acknowledged")
    assert not is_ready(server)
    state = os.statvfs(disk)
    reserve = min(64 * MIB, state.f_blocks * state.f_frsize // 8)
    assert least >= reserve - 2 * MIB  # the store's share
    sender.check()


def test_no_room_to_begin(disk):
    """A first start needs room for a segment and the reserve, and says so."""
    with open(disk / "filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free_bytes(disk) - 100 * MIB)
    done = subprocess.run([BINARIES / "assayd", "--data", disk / "new", "--listen", "127.0.0.1:0"], capture_output=True,
                          text=True, timeout=20, check=False)
    assert done.returncode == 3 and "no room for the first segment: 128 MiB must be free" in done.stderr


def test_stop_while_full(server, disk):
    """SIGTERM ends it with 0 although no checkpoint can be written; the next start knows everything from the log."""
    sender = Sender(server)
    sender.send()
    take_all_room(disk)
    server.post(f"/experiments/{sender.experiment['id']}/assignments", {"users": [{"user_id": f"u{i}"} for i in range(5000)]})
    sender.fill()
    server.stop()
    server.start()
    sender.check()
    (disk / "filler").unlink()
    server.stop()
    assert run_tool("verify", "--data", server.data).returncode == 0


@on_ext4
def test_kill_and_restart_while_full(server, disk):
    """It starts without a byte to spare, answers what it knows, and takes writes once there is room."""
    sender = Sender(server)
    sender.fill()
    take_all_room(disk)
    server.kill()
    server.start()
    wait_until(lambda: not is_ready(server), "it finds out that the disk is full, without any write")
    sender.check()
    assert not sender.send()
    server.kill()
    server.start()
    sender.check()
    (disk / "filler").unlink()
    grow(disk)
    wait_until(sender.send, "writes go on")
    sender.check()
    server.stop()
    assert run_tool("verify", "--data", server.data).returncode == 0


@pytest.mark.parametrize("what", ["data", "data/log", "segment", "lock"])
def test_files_that_are_removed(farm, what):
    """Removed files take writes as before, and nobody will read them: the server says so and ends, and acknowledges no more."""
    server = farm.make()
    events = Sender(server)
    assert events.send()
    gone = next((server.data / "log").glob("*.seg")) if what == "segment" else \
        server.data / "lock" if what == "lock" else server.directory / what
    subprocess.run(["rm", "-rf", gone], check=True)
    wait_until(lambda: not server.is_alive(), "the server ends")
    assert "the files of the data directory were removed" in server.trace()
    assert server.process.wait() == 1


def test_disk_that_is_taken_away(server, disk):
    """The same for a disk that is unmounted while it is in use."""
    assert Sender(server).send()
    subprocess.run(["umount", "-l", disk], check=True)
    wait_until(lambda: not server.is_alive(), "the server ends")
    assert "its disk was taken away" in server.trace()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)  # for the fixture to unmount


def test_read_only_disk(disk):
    """Said at the start, with exit code 3."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    done = subprocess.run([BINARIES / "assayd", "--data", disk / "new", "--listen", "127.0.0.1:0"], capture_output=True,
                          text=True, timeout=20, check=False)
    assert done.returncode == 3 and "Read-only file system" in done.stderr
