"""HTTPS: versions, certificates that change under connections, and the clear where it is not asked for."""
import http.client
import json
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from conftest import run_tool, wait_until


def certificate(directory, name):
    """A self-signed certificate for 127.0.0.1 whose subject is `name`."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                    "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", directory / "key.pem",
                    "-out", directory / "certificate.pem"], check=True, capture_output=True)
    return directory / "certificate.pem", directory / "key.pem"


@pytest.fixture
def secure(farm, tmp_path):
    cert, key = certificate(tmp_path, "first")
    server = farm.make(arguments=["--tls-certificate", str(cert), "--tls-key", str(key)], start=False)
    start_secure(server)
    return server


def start_secure(server):
    """conftest's start() knows http alone."""
    ready = server._ready_line
    server._ready_line = lambda: ready().replace("https://", "http://")
    server.start()


def connect(server, **options):
    context = ssl.create_default_context(cafile=options.pop("cafile", None))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    return context.wrap_socket(raw)


def subject(server):
    with connect(server) as connection:
        der = connection.getpeercert(binary_form=True)
    text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-subject"], input=der, capture_output=True, check=True).stdout
    return text.decode().rpartition("=")[2].strip()


def get(connection, path, token=None):
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "") + "\r\n"
    connection.sendall(head.encode())
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def test_versions_and_protocols(secure):
    """1.2 and 1.3; nothing older, no weak cipher, and HTTP/1.1 though the client would rather speak HTTP/2."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with connect(secure, minimum_version=version, maximum_version=version) as connection:
            assert connection.version() == version.name.replace("_", ".")
            assert get(connection, "/healthz")[0] == 200
            assert get(connection, "/status", secure.token)[0] == 200  # the same connection again
    old = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{secure.port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
                         input=b"", capture_output=True, check=False)
    assert b"Cipher is (NONE)" in old.stdout
    weak = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{secure.port}", "-tls1_2", "-cipher", "AES128-SHA"],
                          input=b"", capture_output=True, check=False)
    assert b"Cipher is (NONE)" in weak.stdout
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", secure.port), timeout=10)) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_large_bodies_and_answers(secure):
    """More than one record of TLS, both ways."""
    events = [{"event_id": f"e{i}", "user_id": f"u{i}", "event_type": "x", "properties": {"text": "y" * 150}} for i in range(5000)]
    body = json.dumps(events).encode()
    with connect(secure) as connection:
        connection.sendall(f"POST /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secure.token}\r\nContent-Type: application/json\r\n"
                           f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 202 and json.loads(response.read())["accepted"] == 5000
        status, text = get(connection, "/events?limit=500", secure.token)
        assert status == 200 and len(json.loads(text)["events"]) == 500


def test_the_clear_is_refused_at_this_port(secure):
    with socket.create_connection(("127.0.0.1", secure.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200" not in connection.recv(1000)
    with connect(secure) as connection:
        assert get(connection, "/healthz")[0] == 200


def test_a_certificate_is_renewed_under_open_connections(secure, tmp_path):
    """SIGHUP: new connections see the new one, old ones go on; a broken one changes nothing, and is said."""
    assert subject(secure) == "first"
    with connect(secure) as old:
        assert get(old, "/healthz")[0] == 200
        certificate(tmp_path, "second")
        secure.process.send_signal(signal.SIGHUP)
        wait_until(lambda: subject(secure) == "second", "the new certificate")
        assert get(old, "/healthz")[0] == 200
    (tmp_path / "key.pem").write_text("no key")
    secure.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "nothing is changed: tls-key" in secure.trace(), "the complaint")
    assert subject(secure) == "second"


def test_while_renewed_no_request_fails(secure, tmp_path):
    stopping = threading.Event()
    done = []
    early = [socket.create_connection(("127.0.0.1", secure.port)) for _ in range(20)]  # whose first byte comes after the change

    def ask():
        while not stopping.is_set():
            with connect(secure) as connection:
                assert get(connection, "/healthz")[0] == 200
                done.append(1)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(5):
        certificate(tmp_path, f"number {i}")
        secure.process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
    stopping.set()
    for thread in threads:
        thread.join()
    assert len(done) > 20
    wait_until(lambda: subject(secure) == "number 4", "the last certificate")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for raw in early:
        with context.wrap_socket(raw) as connection:
            assert get(connection, "/healthz")[0] == 200


def test_half_a_handshake_does_not_hold_up_a_stop(secure):
    idle = [socket.create_connection(("127.0.0.1", secure.port)) for _ in range(20)]
    idle[0].sendall(b"\x16\x03\x01\x02\x00")  # the beginning of a ClientHello
    with connect(secure) as connection:
        assert get(connection, "/healthz")[0] == 200
    begun = time.monotonic()
    secure.stop()
    assert time.monotonic() - begun < 8
    for connection in idle:
        connection.close()


def test_the_tool_verifies_the_certificate(secure, tmp_path):
    url = f"https://127.0.0.1:{secure.port}"
    refused = run_tool("experiment", "list", "--url", url, "--token", secure.token)
    assert refused.returncode == 3 and b"certificate" in refused.stderr
    trusted = run_tool("experiment", "list", "--url", url, "--token", secure.token,
                       environment={"ASSAY_CA_FILE": str(tmp_path / "certificate.pem")})
    assert trusted.returncode == 0, trusted.stderr


def test_what_does_not_start(farm, tmp_path):
    """A half, a missing or a wrong pair; the clear on an address of the network."""
    cert, key = certificate(tmp_path, "x")
    other = tmp_path / "other"
    other.mkdir()
    wrong = certificate(other, "y")[1]
    for arguments, said in ((["--tls-certificate", str(cert)], "go together"),
                            (["--tls-certificate", "/nowhere", "--tls-key", str(key)], "/nowhere: No such file"),
                            (["--tls-certificate", str(cert), "--tls-key", str(wrong)], "values mismatch"),
                            (["--tls-certificate", str(key), "--tls-key", str(key)], "tls-certificate")):
        code, trace = farm.make(start=False).refuses_to_start(arguments)
        assert said in trace and code in (2, 3), (arguments, trace)
    server = farm.make(start=False)
    code, trace = server.refuses_to_start(["--listen", "0.0.0.0:0"])
    assert code == 2 and "allow-plaintext" in trace
    ready = server._ready_line
    server._ready_line = lambda: ready().replace("0.0.0.0", "127.0.0.1")
    server.start(["--listen", "0.0.0.0:0", "--allow-plaintext"])
    assert server.get("/healthz", token=None).status == 200
