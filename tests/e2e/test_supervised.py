"""Under a supervisor such as systemd: a socket handed over, restarts that no client notices, and word of how it goes."""
import os
import signal
import socket
import subprocess
import threading
import time

from conftest import binary, wait_until


class Supervisor:
    """What systemd does with a socket unit and Type=notify-reload: it keeps the socket, and listens to what is told."""

    def __init__(self, directory):
        self.directory = directory
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port = self.socket.getsockname()[1]
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(directory / "notify"))
        self.told.settimeout(20)
        self.process = None

    def start(self, **environment):
        keep = self.socket.fileno()

        def hand_over():
            os.dup2(keep, 3)
            os.set_inheritable(3, True)

        self.process = subprocess.Popen(
            ["sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"', binary("assayd"), "--data", self.directory / "data"],
            env={**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(self.directory / "notify"), **environment},
            preexec_fn=hand_over, close_fds=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.wait_for("READY=1")

    def wait_for(self, word):
        while word not in self.told.recv(4096).decode().split("\n"):
            pass

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=20) == 0

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.socket.close()
        self.told.close()


def ask(port, timeout=20):
    """One request on a connection of its own; its status."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b""
        while piece := connection.recv(4096):
            text += piece
    return int(text.split(b" ", 2)[1]) if text else 0


def test_restarts_that_no_client_notices(tmp_path):
    """Clients that never try again, one connection a request, while the server is restarted again and again."""
    supervisor = Supervisor(tmp_path)
    stopping = threading.Event()
    answers = []

    def clients():
        while not stopping.is_set():
            answers.append(ask(supervisor.port))

    try:
        supervisor.start()
        threads = [threading.Thread(target=clients) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(6):
            time.sleep(0.2)
            supervisor.stop()
            supervisor.start()
        stopping.set()
        for thread in threads:
            thread.join()
        assert len(answers) > 100 and set(answers) == {200}
    finally:
        stopping.set()
        supervisor.close()


def test_what_the_supervisor_is_told(tmp_path):
    """Ready once writes can come, reloading and ready again, alive, stopping."""
    supervisor = Supervisor(tmp_path)
    try:
        supervisor.start(WATCHDOG_USEC="1000000")
        supervisor.wait_for("WATCHDOG=1")
        supervisor.wait_for("WATCHDOG=1")
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.wait_for("RELOADING=1")
        supervisor.wait_for("READY=1")
        assert ask(supervisor.port) == 200
        supervisor.process.send_signal(signal.SIGTERM)
        supervisor.wait_for("STOPPING=1")
        assert supervisor.process.wait(timeout=20) == 0
    finally:
        supervisor.close()


def test_a_socket_that_is_none(farm):
    """Something else at the place of the socket, or several: 2, and what is wrong."""
    for environment, said in (({"LISTEN_FDS": "1"}, b"no socket that listens"), ({"LISTEN_FDS": "2"}, b"2 sockets")):
        server = farm.make(start=False)
        done = subprocess.run(["sh", "-c", 'exec 3</dev/null; LISTEN_PID=$$ exec "$0" "$@"', binary("assayd"), "--data", server.data],
                              env={**os.environ, **environment}, capture_output=True, check=False, timeout=30, close_fds=False)
        assert done.returncode in (2, 3) and said in done.stderr, done.stderr


def test_variables_meant_for_another_process(farm):
    """LISTEN_PID names who is meant: a child of somebody else's is not."""
    server = farm.make(start=False)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID="1")
    try:
        server.start()
    finally:
        del os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"]
    wait_until(lambda: server.get("/healthz", token=None).status == 200, "it listens by itself")
