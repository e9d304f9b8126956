"""What the end-to-end tests share: a real assayd on a free port, driven over loopback as a client would.

ASSAY_BIN names the directory of the binaries; without it, build/release under the repository's root. Each server has a data
directory of its own, which is removed with the fixture that made it.
"""
import http.client
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("ASSAY_BIN", ROOT / "build" / "release"))
START_TIMEOUT = 60.0
STOP_TIMEOUT = 60.0
REQUEST_TIMEOUT = 60.0

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "message"}


def binary(name):
    """The path of a built program; the test is skipped where it is not built."""
    path = BINARIES / name
    if not path.exists():
        pytest.skip(f"{path} is not built (set ASSAY_BIN to the directory of the binaries)")
    return str(path)


def wait_until(condition, what, timeout=20.0):
    """Waits until condition() is true and returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {timeout} s in vain for {what}"
        time.sleep(0.01)


class Answer:
    """A response: status, headers (any case), body as bytes."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        """The body as JSON, which its content type must say it is."""
        kind = (self.headers.get("Content-Type") or "").split(";")[0]
        assert kind in ("application/json", "application/problem+json"), f"{self}"
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:2000]!r}"


class Client:
    """One keep-alive connection."""

    def __init__(self, port, token):
        self.token = token
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT)

    def request(self, method, path, body=None, token=..., headers=None, content_type="application/json"):
        """body: bytes are sent as they are, anything else as JSON; token=None sends none."""
        sent = {}
        token = self.token if token is ... else token
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
            if content_type is not None:
                sent["Content-Type"] = content_type
        sent.update(headers or {})
        try:
            self.connection.request(method, path, body=body, headers=sent)
        except (BrokenPipeError, ConnectionResetError):
            pass  # an early answer may have been sent before the whole body was read
        response = self.connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        if response.will_close:
            self.connection.close()
        return answer

    def close(self):
        self.connection.close()


class Server:
    """An assayd with its data directory."""

    def __init__(self, directory, arguments=()):
        self.directory = Path(directory)
        self.data = self.directory / "data"
        self.trace_path = self.directory / "trace.txt"
        self.arguments = list(arguments)
        self.process = None
        self.port = None
        self.token = None

    def command(self, arguments=()):
        return [binary("assayd"), "--data", str(self.data), "--listen", "127.0.0.1:0",
                *self.arguments, *arguments]

    def start(self, arguments=()):
        """Starts the server and waits for its line that says it is ready."""
        assert self.process is None
        with open(self.trace_path, "ab") as trace:
            self.process = subprocess.Popen(self.command(arguments), stdout=subprocess.PIPE, stderr=trace)
        line = self._ready_line()
        assert line.startswith("assay is ready on http://127.0.0.1:"), f"{line!r}; {self.trace()}"
        self.port = int(line.rsplit(":", 1)[1])
        self.token = (self.data / "admin-token").read_text().strip()
        return self

    def _ready_line(self):
        end = time.monotonic() + START_TIMEOUT
        text = b""
        while not text.endswith(b"\n") and time.monotonic() < end:
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                piece = os.read(self.process.stdout.fileno(), 4096)
                if piece == b"":
                    code = self._forget()
                    raise AssertionError(f"assayd ended with {code}: {self.trace()}")
                text += piece
        return text.decode().strip()

    def refuses_to_start(self, arguments=()):
        """Runs assayd where it must not start; returns its exit code and its trace of this run."""
        assert self.process is None
        done = subprocess.run(self.command(arguments), capture_output=True, timeout=START_TIMEOUT, check=False)
        return done.returncode, done.stderr.decode(errors="replace")

    def trace(self):
        return self.trace_path.read_text(errors="replace") if self.trace_path.exists() else ""

    def _forget(self):
        code = self.process.wait(STOP_TIMEOUT)
        self.process.stdout.close()
        self.process = None
        return code

    def stop(self):
        """SIGTERM, upon which the server must end with 0."""
        self.process.send_signal(signal.SIGTERM)
        code = self._forget()
        assert code == 0, f"after SIGTERM assayd ended with {code}: {self.trace()}"

    def kill(self):
        """SIGKILL: what a crash of the process leaves."""
        self.process.kill()
        self._forget()

    def restart(self, kill=False):
        if kill:
            self.kill()
        else:
            self.stop()
        return self.start()

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def client(self, token=...):
        return Client(self.port, self.token if token is ... else token)

    def request(self, method, path, body=None, **options):
        """One request over a connection of its own."""
        client = self.client()
        try:
            return client.request(method, path, body, **options)
        finally:
            client.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body, **options):
        return self.request("POST", path, body, **options)

    def patch(self, path, body, **options):
        return self.request("PATCH", path, body, **options)

    def delete(self, path, **options):
        return self.request("DELETE", path, **options)

    # What most tests need first.

    def make_experiment(self, name=None, **fields):
        """Creates an experiment of two equal variants, control and treatment, unless fields say otherwise."""
        document = {"name": name or f"Experiment {next(_numbers)}",
                    "variants": [{"name": "control"}, {"name": "treatment"}]}
        document.update(fields)
        answer = self.post("/experiments", document)
        assert answer.status == 201, answer
        return answer.json

    def make_token(self, *scopes, **fields):
        answer = self.post("/tokens", {"name": "test", "scopes": list(scopes), **fields})
        assert answer.status == 201, answer
        return answer.json

    def send_events(self, events, **options):
        answer = self.post("/events", events, **options)
        assert answer.status == 202, answer
        return answer.json

    def force(self, experiment, entries):
        """Imports assignments: (user, variant, assigned_at) each."""
        users = [{"user_id": user, "variant": variant, "assigned_at": at} for user, variant, at in entries]
        answer = self.post(f"/experiments/{experiment['id']}/assignments", {"users": users})
        assert answer.status == 200, answer
        return answer.json["assignments"]

    def results(self, experiment, query=""):
        answer = self.get(f"/experiments/{experiment['id']}/results{query}")
        assert answer.status == 200, answer
        return answer.json


_numbers = itertools.count(1)


def check_problem(answer, status, code):
    """An error as RFC 9457 and the contract have it."""
    assert answer.status == status, f"expected {status} {code}, got {answer}"
    assert answer.headers["Content-Type"].split(";")[0] == "application/problem+json", answer.headers
    problem = answer.json
    assert PROBLEM_MEMBERS <= set(problem), f"missing members: {PROBLEM_MEMBERS - set(problem)} in {answer}"
    assert problem["status"] == status
    assert problem["code"] == code, f"expected {code}: {answer}"
    assert problem["detail"] and problem["message"] and problem["title"]
    for error in problem.get("errors", []):
        assert {"path", "code", "message"} <= set(error), answer
    return problem


def variant_of(results, name):
    return next(variant for variant in results["variants"] if variant["name"] == name)


def run_tool(*arguments, environment=None, timeout=120):
    """Runs the command line tool; returns its completed process."""
    return subprocess.run([binary("assay"), *map(str, arguments)], capture_output=True, timeout=timeout,
                          env={**os.environ, **(environment or {})}, check=False)


class Farm:
    """Makes servers and ends them with their data."""

    def __init__(self):
        self.servers = []

    def make(self, arguments=(), start=True):
        server = Server(tempfile.mkdtemp(prefix="assay-e2e-"), arguments)
        self.servers.append(server)
        return server.start() if start else server

    def close(self):
        for server in self.servers:
            if server.process is not None:
                server.kill()
            shutil.rmtree(server.directory, ignore_errors=True)


@pytest.fixture
def farm():
    """Servers for one test."""
    made = Farm()
    yield made
    made.close()


@pytest.fixture(scope="module")
def server():
    """One server for all tests of a module, which must survive them and end cleanly."""
    made = Farm()
    running = made.make()
    yield running
    alive = running.is_alive()
    try:
        assert alive, f"the server died: {running.trace()}"
        running.stop()
    finally:
        made.close()
