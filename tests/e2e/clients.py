"""Other projects' clients, from their registries by tests/clients/: npm for JavaScript, PyPI for Python, Maven for Java. A test that runs one is
skipped, with the reason, where node, npm, java, mvn or the registries are not there.
"""
import json
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from conftest import BINARIES, ROOT

CLIENTS = ROOT / "tests" / "clients"
INSTALLED = BINARIES / "clients"
INSTALL_TIMEOUT = 300
CLIENT_TIMEOUT = 60


def run(command, what, **options):
    """Runs an installation; the test is skipped, with the last words, where it cannot be done."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=INSTALL_TIMEOUT, check=False, **options)
    except (OSError, subprocess.TimeoutExpired) as fault:
        pytest.skip(f"{what}: {fault}")
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        pytest.skip(f"{what}: {words[-1] if words else done.returncode}")


def install(directory, wanted, commands, what):
    """Runs the commands in the directory, with the wanted files in it, unless that was done for these very files."""
    done = directory / "installed"
    version = b"".join(file.read_bytes() for file in wanted)
    if done.exists() and done.read_bytes() == version:
        return
    done.unlink(missing_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    for file in wanted:
        shutil.copy(file, directory)
    for command in commands:
        run(command, what, cwd=directory)
    done.write_bytes(version)


def install_node():
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    directory = INSTALLED / "node"
    wanted = [CLIENTS / name for name in ("package.json", "package-lock.json", ".npmrc")]
    install(directory, wanted, [["npm", "ci"]], "npm cannot install the JavaScript clients")
    for script in CLIENTS.glob("*.mjs"):
        shutil.copy(script, directory)
    return directory


def install_python():
    directory = INSTALLED / "python"
    interpreter = directory / "bin" / "python"
    install(directory, [CLIENTS / "requirements.txt"],
            [[sys.executable, "-m", "venv", "."], [str(interpreter), "-m", "pip", "install", "--quiet", "-r", "requirements.txt"]],
            "pip cannot install the Python clients")
    return interpreter


def install_java():
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    directory = INSTALLED / "java"
    install(directory, [CLIENTS / "pom.xml"],
            [["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]], "mvn cannot install the Java client")
    return directory


def ask(command, server, token, questions):
    """Runs a client's script: it reads questions from its standard input and prints the answers, both as JSON."""
    done = subprocess.run([*map(str, command), f"http://127.0.0.1:{server.port}", token], input=json.dumps(questions).encode(),
                          capture_output=True, timeout=CLIENT_TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return json.loads(done.stdout)


def run_node(server, script, token, questions):
    return ask(["node", install_node() / script], server, token, questions)


@contextmanager
def start_node(server, script, token, *arguments):
    """A client that goes on until its standard input ends; killed with the test where it does not."""
    with subprocess.Popen(["node", install_node() / script, f"http://127.0.0.1:{server.port}", token, *arguments],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        watchdog = threading.Timer(CLIENT_TIMEOUT, client.kill)
        watchdog.start()
        try:
            yield client
        finally:
            watchdog.cancel()
            client.kill()


def run_python(server, script, token, questions):
    return ask([install_python(), CLIENTS / script], server, token, questions)


def run_java(server, script, token, questions):
    return ask(["java", "-cp", install_java() / "lib" / "*", CLIENTS / script], server, token, questions)
