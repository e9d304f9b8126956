"""Guardrails that act by themselves, and tell. docs/guardrails.md."""
import hashlib
import hmac
import http.server
import json
import threading
import time

import pytest

from conftest import check_problem, wait_until

SECRET = "a secret of the receiver"


class Receiver:
    """What a webhook is sent to: keeps what comes, and answers as it is told."""

    def __init__(self, port=0, status=200):
        self.got = []
        self.status = status
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.headers["X-Assay-Signature"], body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def watched(farm, receiver, tmp_path):
    """A server that tells the receiver."""
    (tmp_path / "secret").write_text(SECRET + "\n")
    server = farm.make(arguments=["--webhook-url", f"http://127.0.0.1:{receiver.port}/hook", "--webhook-secret-file", str(tmp_path / "secret")])
    assert server.post("/metric-definitions", {"name": "refunds", "type": "proportion", "event_type": "refund", "direction": "decrease",
                                               "guardrail_margin": 0.1}).status == 201
    return server


def make(server, key, action):
    return server.make_experiment(key=key, metrics=["conversion_rate", "refunds"], guardrail_action=action)


def fill(server, made, share_of_treatment, users=2000, prefix="u"):
    """Half of them in each variant; of the control one in twenty has a refund."""
    names = [f"{prefix}{i}" for i in range(users)]
    server.force(made, [(n, ("control", "treatment")[i % 2], "2024-01-01T00:00:00Z") for i, n in enumerate(names)])
    server.send_events([{"event_id": f"{n}-r", "user_id": n, "event_type": "refund", "timestamp": "2024-01-02T00:00:00Z"}
                        for i, n in enumerate(names) if (i // 2) % 100 < (5 if i % 2 == 0 else share_of_treatment)])


def experiment(server, key):
    return server.get(f"/experiments/{key}").json


def test_a_breach_pauses_and_tells(watched, receiver):
    """Within seconds; once; signed; in the history and the audit as assay's own; the same after a kill."""
    made = make(watched, "paused", "pause")
    assert made["guardrail_action"] == "pause" and made["guardrail_breach"] is None
    begun = time.monotonic()
    fill(watched, made, 30)
    wait_until(lambda: experiment(watched, "paused")["status"] == "paused", "the pause")
    assert time.monotonic() - begun < 10
    now = experiment(watched, "paused")
    assert (now["guardrail_breach"]["metric"], now["guardrail_breach"]["variant"], now["version"]) == ("refunds", "treatment", 2)
    wait_until(lambda: receiver.got, "the message")
    signature, body = receiver.got[0]
    message = json.loads(body)
    assert (message["type"], message["id"], message["experiment_key"], message["metric"], message["variant"], message["action"]) == (
        "guardrail_breached", f"{made['id']}.2", "paused", "refunds", "treatment", "pause")
    moment, _, digest = signature.partition(",v1=")
    assert digest == hmac.new(SECRET.encode(), moment.removeprefix("t=").encode() + b"." + body, hashlib.sha256).hexdigest()
    assert abs(int(moment.removeprefix("t=")) - time.time()) < 60
    entry = watched.get("/audit?limit=500").json["entries"][-1]
    assert (entry["action"], entry["author"], entry["version"]) == ("guardrail_breached", None, 2)
    watched.send_events([{"user_id": "u0", "event_type": "refund"}])
    time.sleep(2.5)
    assert len(receiver.got) == 1 and experiment(watched, "paused")["version"] == 2
    watched.restart(kill=True)
    assert experiment(watched, "paused") == now
    wait_until(lambda: len(receiver.got) == 2, "the message again: it may not have been taken")
    assert json.loads(receiver.got[1][1])["id"] == message["id"]


def test_new_users_get_the_control(watched, receiver):
    """Who is in stays; the experiment goes on; it is done once."""
    made = make(watched, "kept", "control_only")
    fill(watched, made, 30, prefix="k")
    wait_until(lambda: experiment(watched, "kept")["guardrail_breach"], "the breach")
    now = experiment(watched, "kept")
    assert now["status"] == "running" and [v["weight"] for v in now["variants"]] == [1.0, 0.0]
    assert {watched.get(f"/experiments/kept/assignment/new{i}").json["variant"] for i in range(30)} == {"control"}
    assert watched.get("/experiments/kept/assignment/k1").json["variant"] == "treatment"
    time.sleep(2.5)
    assert experiment(watched, "kept")["version"] == 2


def test_without_a_breach_or_an_action_nothing_happens(watched, receiver):
    fill(watched, make(watched, "fine", "pause"), 5, prefix="f")
    fill(watched, make(watched, "alone", "none"), 30, prefix="a")
    time.sleep(3)
    for key in ("fine", "alone"):
        assert (experiment(watched, key)["status"], experiment(watched, key)["version"]) == ("running", 1)
    assert receiver.got == []


def test_going_on_by_decision(watched, receiver):
    """Who starts it again without another action is paused again; with the action none it runs."""
    made = make(watched, "again", "pause")
    fill(watched, made, 30, prefix="g")
    wait_until(lambda: experiment(watched, "again")["status"] == "paused", "the pause")
    assert watched.patch("/experiments/again", {"description": "x"}).json["guardrail_breach"] is not None
    assert watched.patch("/experiments/again", {"status": "running", "guardrail_action": "none"}).json["guardrail_breach"] is None
    watched.send_events([{"user_id": "g0", "event_type": "refund"}])
    time.sleep(2.5)
    assert experiment(watched, "again")["status"] == "running"
    assert watched.patch("/experiments/again", {"guardrail_action": "pause"}).status == 200
    wait_until(lambda: experiment(watched, "again")["status"] == "paused", "the second pause")


def test_a_receiver_that_was_away(farm, receiver):
    """Told again and again until it answers well; a server error is not well."""
    server = farm.make(arguments=["--webhook-url", f"http://127.0.0.1:{receiver.port}/hook"])
    assert server.post("/metric-definitions", {"name": "refunds", "type": "proportion", "event_type": "refund", "direction": "decrease",
                                               "guardrail_margin": 0.1}).status == 201
    receiver.status = 503
    fill(server, make(server, "away", "pause"), 30)
    wait_until(lambda: len(receiver.got) >= 2, "two tries")
    receiver.status = 204
    count = len(receiver.got)
    wait_until(lambda: len(receiver.got) > count, "the try that is taken")
    assert {json.loads(body)["experiment_key"] for _, body in receiver.got} == {"away"} and receiver.got[0][0] is None
    wait_until(lambda: "webhook: delivered" in server.trace(), "the note")
    time.sleep(2)
    assert len(receiver.got) == count + 1
    receiver.close()
    fill(server, make(server, "gone", "pause"), 30, prefix="x")
    wait_until(lambda: experiment(server, "gone")["status"] == "paused", "the pause, though nobody can be told")
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 8


def test_what_is_refused(farm, tmp_path):
    server = farm.make()
    check_problem(server.post("/experiments", {"name": "x", "variants": [{"name": "a"}, {"name": "b"}], "guardrail_action": "stop"}), 422,
                  "out_of_range")
    off = farm.make(start=False)
    for arguments, said in ((["--webhook-url", "ftp://x"], "webhook-url"), (["--webhook-secret-file", str(tmp_path / "nothing")], "No such file")):
        code, trace = off.refuses_to_start(arguments)
        assert code != 0 and said in trace
