"""Clients that are slow, or many: each is cut off in bounded time, and the others do not notice."""
import resource
import socket
import threading
import time

from conftest import wait_until

CUT_OFF = 30  # seconds: a head or body may take 15, and the machine may be busy


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=CUT_OFF)


def dripped(server, start, drop):
    """Sends `start`, then `drop` twice a second until the server is tired of it. How long that took, and what it answered."""
    answer = b""
    with connect(server) as connection:
        connection.sendall(start)
        connection.settimeout(0.5)
        begun = time.monotonic()
        while time.monotonic() - begun < CUT_OFF:
            try:
                connection.sendall(drop)
                piece = connection.recv(4096)
                answer += piece
                if not piece:
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        return time.monotonic() - begun, answer


def test_heads_and_bodies_that_never_end(server):
    """A drop now and then does not hold a connection: the time is the request's, not the byte's. Nothing is stored of it."""
    before = server.get("/status").json["log"]["durable_lsn"]
    body = (f"POST /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
            "Content-Type: application/json\r\n").encode()
    drips = [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n"),
        (b"GET /", b"a"),
        (body + b"Content-Length: 100000\r\n\r\n[", b" "),
        (body + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ]
    results = [None] * len(drips)

    def drip(number):
        results[number] = dripped(server, *drips[number])

    threads = [threading.Thread(target=drip, args=(number,)) for number in range(len(drips))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert server.get("/healthz").status == 200
        time.sleep(0.5)
    for seconds, answer in results:
        assert seconds < CUT_OFF, results
        assert not answer.startswith(b"HTTP/1.1 2"), results
    assert server.get("/status").json["log"]["durable_lsn"] == before


def test_thousands_of_idle_connections(farm):
    """Connections that say nothing cost the others nothing, and are closed by themselves."""
    server = farm.make()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)  # 1,024 by default
    idle = [connect(server) for _ in range(3000)]
    try:
        for _ in range(50):
            begun = time.monotonic()
            assert server.get("/healthz").status == 200
            assert time.monotonic() - begun < 5
        with connect(server) as late:
            late.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert late.recv(4096).startswith(b"HTTP/1.1 200 ")

        def closed(connection):
            connection.settimeout(0.01)
            try:
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(lambda: all(closed(connection) for connection in idle[::100]), "idle connections are closed", timeout=60)
    finally:
        for connection in idle:
            connection.close()
    assert server.get("/healthz").status == 200
