"""GET /stream: server-sent events that say what changed."""
import http.client
import json
import time

import pytest

from conftest import check_problem

LIMIT_STREAMS = 2048


class Stream:
    """An open stream, read event by event."""

    def __init__(self, server, token):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=15)
        self.connection.request("GET", "/stream", headers={"Authorization": f"Bearer {token}"})
        self.response = self.connection.getresponse()

    def next(self):
        """(name, data), or None at the stream's end."""
        name = None
        for line in iter(self.response.readline, b""):
            text = line.decode().rstrip("\n")
            if text.startswith("event: "):
                name = text[len("event: "):]
            elif text.startswith("data: "):
                return name, json.loads(text[len("data: "):])
        return None

    def wait_for(self, name, condition=lambda data: True):
        """The first event of this name that fits."""
        while True:
            event = self.next()
            assert event is not None, f"the stream ended before {name}"
            if event[0] == name and condition(event[1]):
                return event[1]

    def rest(self):
        """Reads to the end."""
        while self.next() is not None:
            pass

    def close(self):
        self.response.close()
        self.connection.close()


@pytest.fixture
def streams(farm):
    """Makes a server, and streams of it that are closed with the test."""
    made = []
    server = farm.make()

    def open_stream(token=None):
        made.append(Stream(server, token or server.token))
        return made[-1]

    yield server, open_stream
    for stream in made:
        stream.close()


def test_tells_how_things_are_and_what_changes(streams):
    server, open_stream = streams
    stream = open_stream()
    assert stream.response.status == 200
    assert stream.response.headers["Content-Type"] == "text/event-stream"
    first = [stream.next() for _ in range(3)]
    assert [name for name, _ in first] == ["definitions", "results", "status"]
    server.make_experiment("Streamed")
    assert stream.wait_for("definitions")["generation"] > first[0][1]["generation"]
    server.send_events([{"user_id": "u", "event_type": "conversion"}])
    assert stream.wait_for("status", lambda data: data["events_received"] == 1)["events_applied"] == 1


def test_needs_the_scope(streams):
    server, open_stream = streams
    check_problem(server.get("/stream", token=None), 401, "token_missing")
    token = server.make_token("assign")["token"]
    assert open_stream(token).response.status == 403


def test_ends_when_its_token_is_revoked(streams):
    server, open_stream = streams
    token = server.make_token("results:read")
    stream = open_stream(token["token"])
    stream.wait_for("status")
    assert server.delete(f"/tokens/{token['id']}").status == 204
    stream.rest()


def test_does_not_keep_the_server_from_stopping(streams):
    server, open_stream = streams
    stream = open_stream()
    stream.wait_for("status")
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 5
    stream.rest()


def test_stops_while_readers_take_nothing(streams):
    """Also where a text went out in the very moment of the stop, and to readers who do not read."""
    server, open_stream = streams
    for _ in range(8):
        open_stream()
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        server.send_events([{"user_id": "u", "event_type": "conversion"}])
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 5


def test_is_bounded(streams):
    server, open_stream = streams
    opened = [open_stream() for _ in range(LIMIT_STREAMS)]
    assert all(stream.response.status == 200 for stream in opened)
    answer = server.get("/stream")
    check_problem(answer, 503, "overloaded")
    assert int(answer.headers["Retry-After"]) > 0
    assert server.request("HEAD", "/stream").status == 503
    # Whoever goes away makes room: a write to a closed connection finds out.
    for stream in opened[:10]:
        stream.close()
    deadline = time.monotonic() + 10
    status = 503
    while status == 503 and time.monotonic() < deadline:
        server.make_experiment()
        status = open_stream().response.status
        time.sleep(0.2)
    assert status == 200
