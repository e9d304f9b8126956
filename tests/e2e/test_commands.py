"""The command line of a running server: init, serve, status, health, metric, events, export, power, completion, and help for all."""
import json
import os
import signal
import subprocess

import pytest

from conftest import binary, run_tool, wait_until


@pytest.fixture(scope="module")
def tool(server):
    """Runs `assay` as an admin of the server; returns its output after the wanted exit code."""
    def run(*arguments, code=0, stdin=None):
        done = subprocess.run([binary("assay"), *arguments, "--url", f"http://127.0.0.1:{server.port}", "--token", server.token],
                              input=stdin, capture_output=True, timeout=60, check=False)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        run.said = done.stderr.decode()
        return done.stdout.decode()
    return run


def test_init_and_serve(tmp_path):
    """From nothing to a server that answers, by what init says; what is there is not changed."""
    made = run_tool("init", str(tmp_path / "shop"))
    assert made.returncode == 0 and b"assay serve --config" in made.stdout
    settings = tmp_path / "shop" / "assayd.conf"
    before = settings.read_text()
    again = run_tool("init", str(tmp_path / "shop"))
    assert again.returncode == 3 and b"there already" in again.stderr and settings.read_text() == before
    command = [binary("assay"), "serve", "--config", settings, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as serving:
        url = serving.stdout.readline().decode().split()[-1]
        assert run_tool("health", "--url", url).returncode == 0
        token = (tmp_path / "shop" / "data" / "admin-token").read_text().strip()
        assert run_tool("status", "--url", url, "--token", token).stdout.startswith(b"ok\n")
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(timeout=20) == 0
    assert run_tool("health", "--url", url).returncode == 3


def test_status(tool, server):
    assert "durable records" in tool("status")
    assert json.loads(tool("status", "--json"))["counts"] == server.get("/status").json["counts"]


def test_metrics(tool):
    tool("metric", "create", "refunds", "--event-type", "refund", "--direction", "decrease", "--guardrail-margin", "0.1")
    shown = json.loads(tool("metric", "show", "refunds", "--json"))
    assert (shown["type"], shown["event_type"], shown["direction"], shown["guardrail_margin"]) == ("proportion", "refund", "decrease", 0.1)
    assert "refunds" in tool("metric", "list") and "guardrail_margin" in tool("metric", "show", "refunds")
    tool("metric", "archive", "refunds")
    assert json.loads(tool("metric", "show", "refunds", "--json"))["archived"] is True
    tool("metric", "create", "bad", "--type", "ratio", "--numerator", "revenue", code=3)
    assert "denominator" in tool.__dict__["said"]
    tool("metric", "show", "nothing", code=3)


def test_events_in_and_out(tool, server):
    """A file, standard input and one by hand; rejected ones with the line; what went in comes out."""
    lines = [json.dumps({"event_id": f"c{i}", "user_id": "cli", "event_type": "x", "properties": {"i": i}}) for i in range(2500)]
    text = "\n".join(lines[:10]) + "\n\n" + "\n".join(lines[10:]) + "\n"
    assert tool("events", "send", "-", stdin=text.encode()) == "2500 accepted, 0 duplicates, 0 rejected\n"
    assert json.loads(tool("events", "send", "--json", stdin=text.encode())) == {"accepted": 0, "duplicates": 2500, "rejected": 0}
    tool("events", "send", "--user", "one", "--type", "purchase", "--property", "amount=9.5", "--property", "currency=EUR")
    (event,) = server.get("/events?user_id=one").json["events"]
    assert event["properties"] == {"amount": 9.5, "currency": "EUR"}
    broken = lines[0].replace('"c0"', '"d0"') + '\n{"user_id": "", "event_type": "x"}\n'
    assert "1 accepted, 0 duplicates, 1 rejected" in tool("events", "send", stdin=broken.encode(), code=1)
    assert "line 2:" in tool.__dict__["said"]
    tool("events", "send", "/nowhere", code=3)
    tool("events", "send", "--user", "u", code=2)
    exported = [json.loads(line) for line in tool("export", "events", "--user", "cli").splitlines()]
    numbers = [e["properties"]["i"] for e in exported]  # what was sent twice is in the log twice
    assert numbers == [*range(2500), *range(2500), 0]


def test_tail(tool, server):
    """Events that come after it began, each once, until it is told to end."""
    command = [binary("assay"), "events", "tail", "--json", "--type", "tailed", "--url", f"http://127.0.0.1:{server.port}", "--token", server.token]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tail:
        os.set_blocking(tail.stdout.fileno(), False)
        seen = b""

        def sees_some():
            nonlocal seen
            server.send_events([{"user_id": f"t{len(seen)}", "event_type": "tailed"}])
            seen += tail.stdout.read() or b""
            return seen.count(b"\n") >= 5
        wait_until(sees_some, "tailed events")
        tail.send_signal(signal.SIGINT)
        tail.wait(timeout=10)
    lsns = [json.loads(line)["lsn"] for line in seen.splitlines()]
    assert lsns == sorted(set(lsns))


def test_exports_of_an_experiment(tool, server):
    made = server.make_experiment("Exported by hand", key="by-hand")
    server.force(made, [(f"u{i}", "control", "2024-01-01T00:00:00Z") for i in range(1200)])
    lines = tool("export", "assignments", "by-hand").splitlines()
    assert {json.loads(line)["user_id"] for line in lines} == {f"u{i}" for i in range(1200)} and len(lines) == 1200
    assert tool("export", "results", "by-hand").startswith("experiment,variant,")
    tool("export", "results", "nothing", code=3)


def test_power(tool):
    assert json.loads(tool("power", "--baseline", "0.1", "--mde", "0.05", "--json"))["sample_size_per_variant"] > 10000
    assert "sample_size_per_variant" in tool("power", "--baseline", "0.1", "--mde", "0.05", "--users-per-day", "2000")
    tool("power", "--baseline", "0.1", code=3)


def commands():
    text = run_tool("--help").stdout.decode()
    rows = text[text.index("\ncommands\n"):].split("\n\n")[0].splitlines()[2:]
    return [row[2:].split("  ")[0].strip() for row in rows]


def test_every_command_explains_itself():
    names = commands()
    assert len(names) > 30
    for name in names:
        if name in ("serve", "bench"):
            continue
        done = run_tool(*name.split(), "--help")
        assert done.returncode == 0 and b"usage: assay " + name.encode() in done.stdout, name
        assert max(len(line) for line in done.stdout.decode().splitlines()) <= 125, name


def completed(words):
    """What bash offers after these words, by the script itself."""
    script = run_tool("completion", "bash").stdout.decode()
    program = f"""{script}
COMP_WORDS=({' '.join(f"'{w}'" for w in words)}); COMP_CWORD={len(words) - 1}; _assay; printf '%s\\n' "${{COMPREPLY[@]}}" """
    done = subprocess.run(["bash", "-c", program], capture_output=True, check=True,
                          env={**os.environ, "PATH": f"{binary('assay').rsplit('/', 1)[0]}:{os.environ['PATH']}"})
    return set(done.stdout.decode().split())


def test_completion():
    names = commands()
    assert completed(["assay", ""]) == {name.split()[0] for name in names}
    assert completed(["assay", "exp"]) == {"experiment", "export"}
    assert completed(["assay", "metric", ""]) == {"create", "list", "show", "archive"}
    assert {"--json", "--breakdown"} <= completed(["assay", "results", "x", "--"])
    assert {"--guardrail-margin"} == completed(["assay", "metric", "create", "x", "--g"])
    for shell in ("zsh", "fish"):
        assert b"assay" in run_tool("completion", shell).stdout
    assert run_tool("completion", "tcsh").returncode == 2


def test_help_about_a_command():
    assert run_tool("help", "results").stdout == run_tool("results", "--help").stdout
    assert run_tool("help", "metric", "create").stdout == run_tool("metric", "create", "--help").stdout
    assert b"assay metric list" in run_tool("help", "metric").stderr
    assert run_tool("help", "resluts").returncode == 2
