"""Starting, stopping, watching, and what the server makes of damage: it refuses and says where, or it repairs what it may."""
import http.client
import os
import random
import re
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading
import time

import pytest
from conftest import BINARIES, binary, check_problem, run_tool, wait_until

PAGE = 4096
TWO = [{"name": "a"}, {"name": "b"}]
EXIT_DAMAGE, EXIT_USAGE, EXIT_CANNOT = 1, 2, 3


# The log's files, by docs/format.md.

def segments(server):
    return sorted((server.data / "log").glob("*.seg"))


def blocks(segment):
    """(offset, size with padding) of each commit block."""
    found = []
    with open(segment, "rb") as file:
        offset = PAGE
        while True:
            file.seek(offset)
            head = file.read(64)
            if len(head) < 64 or head[:4] != b"BLK1":
                return found
            payload, = struct.unpack_from("<I", head, 20)
            size = (64 + payload + PAGE - 1) // PAGE * PAGE
            found.append((offset, size))
            offset += size


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


# Something to keep, and to find again.

def fill(server, count=20):
    """An experiment with users and events, in a block each, one of them twice; returns what read() must give from now on."""
    made = server.make_experiment("Kept", key="kept")
    server.force(made, [(f"u{i}", "control" if i % 2 else "treatment", "2026-01-01T00:00:00Z") for i in range(count)])
    for i in range(count):
        server.send_events([{"event_id": f"kept-{i}", "user_id": f"u{i}", "event_type": "purchase",
                             "timestamp": "2026-01-02T00:00:00Z", "properties": {"amount": i, "pad": "x" * 300}}])
    server.send_events({"event_id": "kept-1", "user_id": "u1", "event_type": "purchase", "timestamp": "2026-01-02T00:00:00Z",
                        "properties": {"amount": 1, "pad": "x" * 300}})
    server.get(f"/experiments/{made['id']}/assignment/split")
    return read(server)


def read(server):
    results = server.get("/experiments/kept/results").json
    results["as_of"].pop("time")
    return [results, server.get("/experiments/kept").json, server.get("/experiments/kept/assignments?limit=500").json,
            server.get("/metric-definitions").json, server.get("/tokens").json]


# Start and stop.

def test_first_start(farm):
    """The directory is made, for its owner alone; the admin token is one line, mode 0600, and opens everything."""
    server = farm.make()
    token = server.data / "admin-token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.data.stat().st_mode) & 0o077 == 0
    assert re.fullmatch(r"\S+\n", token.read_text())
    assert server.get("/tokens").status == 200
    text = token.read_text()
    server.restart()
    assert token.read_text() == text


def test_the_last_admin_token_is_replaced(farm):
    """Without any admin token left, the next start makes one: nobody is locked out."""
    server = farm.make()
    old = server.token
    admin = server.get("/tokens").json["tokens"][0]
    assert server.delete(f"/tokens/{admin['id']}").status == 204
    check_problem(server.get("/tokens"), 401, "token_invalid")
    server.restart()
    assert server.token != old and server.get("/tokens").status == 200


def test_public_paths(server):
    """Health and readiness need no token."""
    assert server.get("/healthz", token=None).status == 200
    assert server.get("/readyz", token=None).status == 200


def test_usage():
    """--help and --version are answered; what is wrong with the arguments is told, with exit code 2."""
    assayd = binary("assayd")
    for argument, text in (("--help", "--data"), ("--version", "assayd")):
        done = subprocess.run([assayd, argument], capture_output=True, timeout=10, check=False)
        assert done.returncode == 0 and text in done.stdout.decode()
    for arguments in ([], ["--data"], ["--data", "/tmp/x", "--port", "1"], ["--data", "/tmp/x", "more"], ["--data", ""],
                      ["--data", "/tmp/x", "--listen", "8080"], ["--data", "/tmp/x", "--listen", "127.0.0.1:99999"],
                      ["--data", "/tmp/x", "--io", "fast"], ["--data", "/tmp/x", "--loops", "0"]):
        done = subprocess.run([assayd, *arguments], capture_output=True, timeout=10, check=False)
        assert done.returncode == EXIT_USAGE and done.stderr, arguments


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_under_load(farm, number):
    """A signal under load: exit 0; what was acknowledged until the end is there afterwards."""
    server = farm.make()
    acknowledged = []

    def send(thread):
        client = server.client()
        try:
            for i in range(1_000_000):
                events = [{"event_id": f"{thread}-{i}-{j}", "user_id": "u", "event_type": "t"} for j in range(20)]
                if client.request("POST", "/events", events).status == 202:
                    acknowledged.extend(events)
        except (OSError, http.client.HTTPException):
            pass  # the server ended

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(acknowledged) > 1000, "some load")
    server.process.send_signal(number)
    assert server._forget() == 0, server.trace()
    for thread in threads:
        thread.join()
    server.start()
    for start in range(0, len(acknowledged), 10000):
        assert server.send_events(acknowledged[start:start + 10000])["accepted"] == 0


def test_stop_with_idle_connections(farm):
    """Clients that hold connections open, or stopped in the middle of a request, do not keep the server from ending."""
    server = farm.make()
    idle = [server.client() for _ in range(3)]
    for client in idle:
        assert client.request("GET", "/healthz").status == 200
    half = socket.create_connection(("127.0.0.1", server.port))
    half.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 20
    half.close()
    for client in idle:
        client.close()


def test_restart_is_from_the_checkpoint(farm):
    """A clean stop leaves nothing to replay; a kill leaves only what came since the last checkpoint. Both know everything."""
    server = farm.make()
    kept = fill(server)
    server.restart()
    assert read(server) == kept
    assert server.get("/status").json["start"] == {"cut_bytes": 0, "replayed_records": 0, "store_rebuilt": False}
    server.restart(kill=True)
    assert read(server) == kept


def test_sync_backend(farm):
    """--io sync keeps the same promises in the same files: the backends may be changed at any start."""
    server = farm.make(["--io", "sync"])
    assert server.get("/status").json["io_backend"] == "sync"
    kept = fill(server)
    server.kill()
    server.arguments = []
    server.start()
    assert read(server) == kept
    server.stop()
    server.arguments = ["--io", "sync"]
    server.start()
    assert read(server) == kept


def test_ipv6(farm):
    """The server listens on IPv6 where it is told to."""
    if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this machine has no IPv6")
    server = farm.make(start=False)
    process = subprocess.Popen([binary("assayd"), "--data", str(server.data), "--listen", "[::1]:0"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    line = process.stdout.readline().decode()
    process.terminate()
    process.stdout.close()
    assert process.wait(30) == 0
    assert re.fullmatch(r"assay is ready on http://\[::1\]:\d+\n", line)


# What keeps it from starting.

def test_second_server_on_the_directory(farm):
    """A directory has one server: the second says so and ends with 3; the first goes on."""
    server = farm.make()
    done = subprocess.run(server.command(), capture_output=True, timeout=30, check=False)
    assert done.returncode == EXIT_CANNOT
    assert str(server.data) in done.stderr.decode()
    assert server.post("/experiments", {"name": "x", "variants": TWO}).status == 201


def test_port_in_use(farm):
    """A port that is taken: exit code 3, which names it; the directory is as it was and starts elsewhere."""
    server = farm.make()
    kept = fill(server)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server.stop()
        code, trace = server.refuses_to_start(["--listen", f"127.0.0.1:{port}"])
        assert code == EXIT_CANNOT and str(port) in trace, trace
    server.start()
    assert read(server) == kept


def as_nobody():
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def run_as_nobody(server, data):
    try:
        done = subprocess.run([binary("assayd"), "--data", str(data), "--listen", "127.0.0.1:0"], capture_output=True,
                              timeout=30, check=False, preexec_fn=as_nobody)
    except PermissionError:
        pytest.skip("the binaries cannot be run by another user here")
    return done.returncode, done.stderr.decode()


def test_no_permission(farm):
    """A directory that cannot be made, written or read: exit code 3 and a message that names it; nothing in it changes."""
    server = farm.make()
    kept = fill(server, 2)
    server.stop()
    server.directory.chmod(0o755)
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    code, trace = run_as_nobody(server, server.data)
    assert code == EXIT_CANNOT and str(server.data) in trace, trace
    missing = server.directory / "missing"
    code, trace = run_as_nobody(server, missing)
    assert code == EXIT_CANNOT and str(missing) in trace, trace
    assert not missing.exists()
    read_only = server.directory / "read-only"
    read_only.mkdir(mode=0o755)
    code, trace = run_as_nobody(server, read_only)
    assert code == EXIT_CANNOT and str(read_only) in trace, trace
    server.start()
    assert read(server) == kept


def test_data_is_a_file(farm):
    """--data that names a file: exit code 3, and the file is left alone."""
    server = farm.make(start=False)
    server.data.write_text("mine")
    code, trace = server.refuses_to_start()
    assert code == EXIT_CANNOT and str(server.data) in trace
    assert server.data.read_text() == "mine"


def test_no_room_at_the_start(farm):
    """No room for the first segment (a limit on the size of files stands for a full disk): exit code 3, and with room
    again the next start succeeds."""
    server = farm.make(start=False)

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = subprocess.run(server.command(), capture_output=True, timeout=30, check=False, preexec_fn=limited,
                          restore_signals=False)
    assert done.returncode == EXIT_CANNOT, (done.returncode, done.stderr)
    assert done.stderr
    server.start()
    assert server.get("/readyz").status == 200


# Damage to the log.

@pytest.fixture
def filled(farm):
    """A server that was killed after fill(): a log of many blocks, all of them perhaps beyond the checkpoint."""
    server = farm.make()
    server.kept = fill(server)
    server.kill()
    return server


@pytest.mark.parametrize("place", ["block header", "payload", "padding", "segment header", "first block"])
def test_damaged_log(filled, place):
    """A flipped bit before the last block: the server refuses, with 1, and names file and offset; and changes nothing."""
    segment = segments(filled)[0]
    there = blocks(segment)
    assert len(there) > 10
    at, size = there[len(there) // 2]
    with open(segment, "rb") as file:
        file.seek(at + 20)
        payload, = struct.unpack("<I", file.read(4))
    assert 64 + payload < size  # there is padding to damage
    offset = {"block header": at + 8, "payload": at + 64 + payload // 2, "padding": at + size - 1, "segment header": 20,
              "first block": PAGE + 70}[place]
    named = {"segment header": 0, "first block": PAGE}.get(place, at)
    flip(segment, offset)
    before = segment.read_bytes()
    for _ in range(2):
        code, trace = filled.refuses_to_start()
        assert code == EXIT_DAMAGE, (code, trace)
        assert segment.name in trace and str(named) in trace, trace
    assert segment.read_bytes() == before
    flip(segment, offset)
    filled.start()
    assert read(filled) == filled.kept


def test_swapped_blocks(filled):
    """Two whole blocks in each other's place have good checksums and yet are found."""
    segment = segments(filled)[0]
    there = blocks(segment)
    one, other = next((a, b) for a, b in zip(there[5:], there[6:]) if a[1] == b[1])
    data = segment.read_bytes()
    overwrite(segment, one[0], data[other[0]:other[0] + other[1]])
    overwrite(segment, other[0], data[one[0]:one[0] + one[1]])
    code, trace = filled.refuses_to_start()
    assert code == EXIT_DAMAGE and segment.name in trace and str(one[0]) in trace, trace


def test_block_cut_out(filled):
    """A hole of zeros where a block was, with blocks behind it, is damage and no end of the log."""
    segment = segments(filled)[0]
    at, size = blocks(segment)[8]
    overwrite(segment, at, bytes(size))
    code, trace = filled.refuses_to_start()
    assert code == EXIT_DAMAGE and segment.name in trace and str(at) in trace, trace


@pytest.mark.parametrize("tail", ["noise", "half a block", "one page"])
def test_torn_tail(filled, tail):
    """Bytes of a block that was never finished: cut, kept aside, counted; everything acknowledged is there, and the server
    writes on in the same place."""
    segment = segments(filled)[-1]
    at, size = blocks(segment)[-1]
    with open(segment, "rb") as file:
        file.seek(at)
        last = file.read(size)
    torn = {"noise": random.Random(1).randbytes(3 * PAGE), "half a block": last[:1000], "one page": last[:64]}[tail]
    end = at + size
    overwrite(segment, end, torn)
    if tail == "half a block":
        overwrite(segment, end + 56, struct.pack("<I", end // PAGE))
    if tail != "noise":  # a copy of an older block is foreign bytes; a torn header is not whole
        overwrite(segment, end + 4, b"\0\0\0\0")
    filled.start()
    assert read(filled) == filled.kept
    kept_aside = list((filled.data / "log" / "quarantine").iterdir())
    assert len(kept_aside) == 1 and torn[8:50] in kept_aside[0].read_bytes()
    assert str(end) in kept_aside[0].name
    assert "quarantine" in filled.trace()
    assert filled.get("/status").json["start"]["cut_bytes"] > 0
    filled.send_events({"event_id": "after", "user_id": "u1", "event_type": "purchase"})
    filled.restart(kill=True)
    assert filled.get("/status").json["start"]["cut_bytes"] == 0
    assert filled.send_events({"event_id": "after", "user_id": "u1", "event_type": "purchase"})["duplicates"] == 1


def test_segment_missing(filled):
    """The log's only segment is gone while the store knows of its records: refused, not begun anew."""
    filled.start()
    filled.stop()
    segments(filled)[0].unlink()
    code, trace = filled.refuses_to_start()
    assert code in (EXIT_DAMAGE, EXIT_CANNOT) and trace
    assert not segments(filled)


def test_segment_cut_short(filled):
    """A segment that has lost its end as a file is damage."""
    segment = segments(filled)[0]
    with open(segment, "r+b") as file:
        file.truncate(blocks(segment)[5][0])
    code, trace = filled.refuses_to_start()
    assert code == EXIT_DAMAGE and segment.name in trace, trace


def test_segment_of_another_store(filled, farm):
    """A segment of another store in this one's place is refused."""
    other = farm.make()
    fill(other, 2)
    other.stop()
    filled.start()
    filled.stop()
    shutil.copyfile(segments(other)[0], segments(filled)[0])
    code, trace = filled.refuses_to_start()
    assert code in (EXIT_DAMAGE, EXIT_CANNOT) and trace


@pytest.fixture
def rolled(farm):
    """A server whose log has a sealed segment of 64 MiB and an open one, stopped."""
    server = farm.make()
    fill(server)
    client = server.client()
    for i in range(36):
        events = [{"event_id": f"roll-{i}-{j}", "user_id": f"u{j % 20}", "event_type": "purchase",
                   "timestamp": "2026-01-03T00:00:00Z", "properties": {"amount": 1, "pad": "y" * 31000}} for j in range(66)]
        assert client.request("POST", "/events", events).status == 202
    client.close()
    assert len(segments(server)) == 2
    server.kept = read(server)
    server.stop()
    return server


def test_several_segments(rolled):
    """A log of several segments is read as one: by a plain start, and when the store is made anew."""
    rolled.start()
    assert read(rolled) == rolled.kept
    rolled.stop()
    shutil.rmtree(rolled.data / "store")
    rolled.start()
    assert read(rolled) == rolled.kept
    assert rolled.get("/status").json["start"]["replayed_records"] > 2300


@pytest.mark.parametrize("place", ["payload", "footer", "header"])
def test_damaged_sealed_segment(rolled, place):
    """Rot in a sealed segment is found when it is read, by `assay verify` and by a start that needs it: file and place are
    named, and the start refused. Healed, everything is there."""
    segment = segments(rolled)[0]
    at, size = blocks(segment)[10]
    end = segment.stat().st_size - PAGE
    offset, named = {"payload": (at + 64 + size // 2, at), "footer": (end + 20, "footer"), "header": (20, "header")}[place]
    flip(segment, offset)
    if (BINARIES / "assay").exists():
        done = run_tool("verify", "--data", rolled.data)
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == EXIT_DAMAGE and segment.name in said and str(named) in said, (done.returncode, said)
    shutil.rmtree(rolled.data / "store")
    code, trace = rolled.refuses_to_start()
    assert code == EXIT_DAMAGE and segment.name in trace and str(named) in trace, trace
    flip(segment, offset)
    rolled.start()
    assert read(rolled) == rolled.kept


def test_first_segment_missing(rolled):
    """A state cannot be made anew from a log without its beginning: refused, not begun in the middle."""
    segments(rolled)[0].unlink()
    shutil.rmtree(rolled.data / "store")
    code, trace = rolled.refuses_to_start()
    assert code in (EXIT_DAMAGE, EXIT_CANNOT) and trace


def test_last_segment_missing(rolled):
    """The store knows of records behind the sealed segment: without the segment that held them the start is refused."""
    segments(rolled)[1].unlink()
    code, trace = rolled.refuses_to_start()
    assert code == EXIT_DAMAGE and trace


# Damage to the store, which is only a fold over the log.

def damage_store(server, way):
    store = server.data / "store"
    file = store / "data.mdb"
    rng = random.Random(way)
    size = file.stat().st_size
    if way == "deleted":
        shutil.rmtree(store)
    elif way == "file deleted":
        file.unlink()
    elif way == "lock deleted":
        (store / "lock.mdb").unlink()
    elif way == "emptied":
        overwrite_all(file, b"")
    elif way == "cut to half":
        os.truncate(file, size // 2 // PAGE * PAGE)
    elif way == "cut in a page":
        os.truncate(file, size - PAGE // 2)
    elif way == "noise":
        overwrite_all(file, rng.randbytes(size))
    elif way == "zeros":
        overwrite_all(file, bytes(size))
    elif way == "first meta page":
        overwrite(file, 0, rng.randbytes(PAGE))
    elif way == "both meta pages":
        overwrite(file, 0, rng.randbytes(2 * PAGE))
    elif way == "data pages":
        overwrite(file, 2 * PAGE, rng.randbytes(size - 2 * PAGE))
    elif way.startswith("name of "):  # a bit of a table's name: LMDB then knows no such table
        name = way.split()[-1].encode()
        data = file.read_bytes()
        places = [match.start() for match in re.finditer(re.escape(name + b"\0"), data)]
        assert places, name
        for place in places:
            flip(file, place)
    else:  # "flips n": a few flipped bits anywhere behind the meta pages
        for _ in range(8):
            flip(file, rng.randrange(2 * PAGE, size))


def overwrite_all(path, data):
    with open(path, "wb") as file:
        file.write(data)


STORE_DAMAGE = ["deleted", "file deleted", "lock deleted", "emptied", "cut to half", "cut in a page", "noise", "zeros",
                "first meta page", "both meta pages", "data pages", "name of meta", "name of definitions", "name of users",
                "name of cells", "name of event_ids", "name of duplicates"] + [f"flips {n}" for n in range(12)]


@pytest.mark.parametrize("way", STORE_DAMAGE)
def test_damaged_store(farm, way):
    """Whatever happens to the store while the server is stopped: it is rebuilt from the log, with the same answers."""
    server = farm.make()
    kept = fill(server)
    server.stop()
    damage_store(server, way)
    server.start()
    assert read(server) == kept
    fresh = server.send_events([{"event_id": "kept-1", "user_id": "u1", "event_type": "purchase",
                                 "timestamp": "2026-01-02T00:00:00Z", "properties": {"amount": 1, "pad": "x" * 300}}])
    assert fresh["duplicates"] == 1 and fresh["errors"] == []
    kept = read(server)
    server.restart(kill=True)
    assert read(server) == kept


def test_store_newer_than_the_log(farm):
    """The log has lost blocks that the store has seen: refused, because going on would hide the loss."""
    server = farm.make()
    fill(server)
    server.stop()
    segment = segments(server)[-1]
    there = blocks(segment)
    at = there[-3][0]
    end = there[-1][0] + there[-1][1]
    overwrite(segment, at, bytes(end - at))
    size = segment.stat().st_size
    overwrite(segment, size - PAGE, bytes(PAGE))  # the footer, had the segment been sealed
    code, trace = server.refuses_to_start()
    assert code == EXIT_DAMAGE, (code, trace)
    assert segment.name in trace or "store" in trace, trace


def test_older_store(farm):
    """A store from an earlier backup is behind the log: the log is replayed from there."""
    server = farm.make()
    server.make_experiment("Early")
    server.stop()
    shutil.copytree(server.data / "store", server.directory / "old-store")
    server.start()
    kept = fill(server)
    server.stop()
    shutil.rmtree(server.data / "store")
    shutil.copytree(server.directory / "old-store", server.data / "store")
    server.start()
    assert read(server) == kept
    assert server.get("/status").json["start"]["replayed_records"] > 0


def test_store_of_another_log(farm):
    """The store of another data directory is not taken for this one's."""
    servers = [farm.make(), farm.make()]
    kept = [fill(server, count) for server, count in zip(servers, (4, 6), strict=True)]
    for server in servers:
        server.stop()
    shutil.rmtree(servers[0].data / "store")
    shutil.copytree(servers[1].data / "store", servers[0].data / "store")
    try:
        servers[0].start()
    except AssertionError as refusal:
        assert "ended with 1" in str(refusal) or "ended with 3" in str(refusal), refusal
        return
    assert read(servers[0]) == kept[0]


# Watching.

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)(?: -?\d+)?')


def parse_prometheus(text):
    """The text format 0.0.4, strictly: returns types by name, and values by name and labels."""
    types, helps, values = {}, set(), {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name not in types and kind in ("counter", "gauge", "histogram", "summary", "untyped"), line
            assert not any(sample == name for sample, _ in values), f"{name} has samples before its type"
            types[name] = kind
        elif line.startswith("# HELP "):
            name = line[7:].split(" ", 1)[0]
            assert name not in helps, line
            helps.add(name)
        elif line and not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            key = (match[1], match[2])
            assert key not in values, line
            values[key] = float(match[3])
            assert match[1] in types or re.sub(r"_(bucket|sum|count)$", "", match[1]) in types, line
    return types, values


def test_metrics_text(farm):
    """GET /metrics parses as Prometheus's text form; counters never fall and count what happened."""
    server = farm.make()
    answer = server.get("/metrics")
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    types, before = parse_prometheus(answer.body.decode())
    fill(server)
    server.send_events([{"event_id": "kept-0", "user_id": "u0", "event_type": "purchase"}, {"user_id": "", "event_type": "t"}])
    after = parse_prometheus(server.get("/metrics").body.decode())[1]
    for key, value in before.items():
        assert types.get(key[0]) != "counter" or after[key] >= value, key

    def grown(name):
        return after[(name, None)] - before[(name, None)]

    assert grown("assay_events_received_total") == 23
    assert grown("assay_events_rejected_total") == 1
    assert grown("assay_events_duplicate_total") == 2
    assert after[("assay_assignments", None)] == 21
    assert after[("assay_ready", None)] == after[("assay_healthy", None)] == 1


def test_status(farm):
    """GET /status: versions, positions without lag once all is acknowledged, counts, disk."""
    server = farm.make()
    fill(server)
    status = server.get("/status").json
    assert status["status"] == "ok" and status["version"] and status["format_version"] >= 1
    assert status["io_backend"] in ("uring", "sync")
    assert status["log"]["durable_lsn"] == status["log"]["applied_lsn"] and status["log"]["apply_lag"] == 0
    assert status["counts"]["experiments"] == 1 and status["counts"]["assignments"] == 21
    assert 0 < status["disk"]["free_bytes"] <= status["disk"]["total_bytes"]


def test_checkpoints_happen(farm):
    """Without a stop, what was written reaches a checkpoint by itself, so that a crash leaves little to replay."""
    server = farm.make()
    fill(server)

    def is_covered():
        log = server.get("/status").json["log"]
        return log["checkpoint_lsn"] == log["durable_lsn"]

    wait_until(is_covered, "a checkpoint", timeout=40)


def test_verdict_survives_everything(farm):
    """Stop, kill, rebuilt store, other backend, one after the other: the results are the same to the last digit."""
    server = farm.make()
    kept = fill(server)
    for step in range(4):
        if step == 2:
            server.stop()
            shutil.rmtree(server.data / "store")
            server.start()
        else:
            server.arguments = ["--io", "sync"] if step == 3 else []
            server.restart(kill=step == 1)
        assert read(server) == kept
