"""Settings: the command line over the environment over the file, one meaning in all three; what is wrong is named with its place;
help, sample and documents list what there is; SIGHUP takes what it says it takes."""
import os
import re
import signal
import subprocess

import pytest
from conftest import ROOT, binary, wait_until
from test_tls import certificate

EXIT_USAGE = 2
ORIGIN = "https://shop.example"


def assayd(*arguments, **environment):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    done = subprocess.run([binary("assayd"), *map(str, arguments)], capture_output=True, timeout=20, check=False,
                          env={**inherited, **environment})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def checked(*arguments, **environment):
    """The settings in force, each with its source."""
    code, out, trace = assayd(*arguments, "--check-config", **environment)
    assert code == 0 and trace == "", trace
    return {match[1]: (match[2], match[3]) for match in re.finditer(r"(?m)^(\S+) = (.*) \(([a-z ]+)\)$", out)}


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "assayd.conf"
        path.write_text(text)
        return path
    return write


def names():
    return re.findall(r"(?m)^#([a-z-]+) = ", assayd("--print-config")[1])


def test_precedence(config):
    """Flags over environment over file over defaults, one by one."""
    path = config("data = /from/file\nloops = 3\nio = sync\ndrain-seconds = 5 ; why not\n")
    found = checked("--config", path, "--loops", "5", ASSAY_LOOPS="4", ASSAY_IO="uring")
    assert found["data"] == ("/from/file", "file")
    assert found["loops"] == ("5", "command line")
    assert found["io"] == ("uring", "environment")
    assert found["drain-seconds"] == ("5", "file")
    assert found["listen"] == ("127.0.0.1:8080", "default")
    assert checked(ASSAY_CONFIG=str(path))["loops"] == ("3", "file")
    assert checked("--data=/x")["data"] == checked("--data", "/x")["data"] == ("/x", "command line")


def test_lists(config):
    """A list comes whole from the strongest place; in the file in one line or several."""
    path = config("data = /x\ncors-origin = https://a.example https://b.example\ncors-origin = https://c.example\n")
    assert checked("--config", path)["cors-origin"] == ("https://a.example https://b.example https://c.example", "file")
    assert checked("--config", path, ASSAY_CORS_ORIGIN="https://d.example, https://e.example")["cors-origin"] == (
        "https://d.example https://e.example", "environment")
    assert checked("--config", path, "--cors-origin", ORIGIN, ASSAY_CORS_ORIGIN="https://d.example")["cors-origin"] == (
        ORIGIN, "command line")


@pytest.mark.parametrize("text, line, said", [
    ("data = /x\n\n# fine\nlisen = 1\n", 4, "did you mean 'listen'?"),
    ("data = /x\ncors_origin = https://a.example\n", 2, "did you mean 'cors-origin'?"),
    ("data = /x\nquartz-crystal = 1\n", 2, "there is no setting 'quartz-crystal'; try --help"),
    ("data = /x\nloops = 0\n", 2, "loops takes a number from 1 to 64, not '0'"),
    ("data = /x\nloops = two\n", 2, "not 'two'"),
    ("data =\n", 1, "data takes a directory"),
    ("data = /x\nloops = 2\nloops = 3\n", 3, "given twice"),
    ("data = /x\nwhatever\n", 2, "not 'name = value'"),
    ("[server]\ndata = /x\n", 2, "no sections"),
    ("data = /x\n# " + "x" * 300 + "\n", 2, "too long"),
    ("data = /x\ncors-origin = https://a.example *\n", 2, "cors-origin takes scheme://host"),
    ("data = /x\nlisten = nowhere:80\n", 2, "numeric address"),
])
def test_faults_of_the_file(config, text, line, said):
    """Exit code 2, file and line, what is wrong: with --check-config and at a start alike, even where a flag would win."""
    path = config(text)
    for more in (["--check-config"], [], ["--loops", "4", "--listen", "127.0.0.1:0"]):
        code, out, trace = assayd("--config", path, *more)
        assert code == EXIT_USAGE and out == "", (out, trace)
        assert trace.startswith(f"assayd: {path}:{line}: ") and said in trace, trace
        assert trace.count("\n") == 1


@pytest.mark.parametrize("arguments, environment, said", [
    (["--lsten", "127.0.0.1:0"], {}, "did you mean '--listen'?"),
    (["--check-confg"], {}, "did you mean '--check-config'?"),
    (["--quartz", "1"], {}, "there is no setting '--quartz'"),
    (["--loops"], {}, "--loops takes a number"),
    (["--data", "/x", "--loops", "0"], {}, "--loops takes a number from 1 to 64, not '0'"),
    (["--data", "/x", "--config", "/no/such.conf"], {}, "/no/such.conf: cannot be read: No such file"),
    (["--data", "/x", "more"], {}, "'more' is not an option"),
    (["--data", "/x"], {"ASSAY_LOOPS": "many"}, "ASSAY_LOOPS takes a number"),
    ([], {}, "--data DIR is needed"),
])
def test_other_faults(arguments, environment, said):
    code, out, trace = assayd(*arguments, **environment)
    assert code == EXIT_USAGE and said in trace, trace
    assert out == ""


def test_variables_of_others():
    """Kubernetes and the command line tool have variables of such names; they are left alone."""
    assert checked("--data", "/x", ASSAY_PORT="tcp://10.0.0.1:80", ASSAY_TOKEN="t", ASSAY_SERVICE_HOST="10.0.0.1")


def test_documents_list_what_there_is(config):
    """The sample in packaging/ is the program's own; help and docs/configuration.md have every setting and no other."""
    code, sample, _ = assayd("--print-config")
    assert code == 0 and (ROOT / "packaging" / "assayd.conf").read_text() == sample
    known = names()
    assert len(known) == len(set(known)) >= 8
    options = set(re.findall(r"(?m)^  --([a-z-]+)", assayd("--help")[1]))
    assert options == set(known) | {"config", "check-config", "print-config", "help", "version"}
    page = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"(?m)^\| `([a-z-]+)` \| `([A-Z_]+)` \|.*\| ([a-z ]*) ?\|$", page)
    assert [name for name, _, _ in rows] == known
    live = set(re.findall(r"(?m)SIGHUP\.\n#([a-z-]+) = ", sample))
    for name, variable, reload in rows:
        assert variable == "ASSAY_" + name.upper().replace("-", "_")
        assert (reload.strip() == "at once") == (name in live), name


def test_sample_is_valid(config, tmp_path):
    """Each example of the sample, uncommented, is taken; from the environment as well."""
    lines = re.findall(r"(?m)^#([a-z-]+) = (.+)$", assayd("--print-config")[1])
    cert, key = certificate(tmp_path, "sample")
    real = {"tls-certificate": str(cert), "tls-key": str(key)}
    lines = [(name, real.get(name, value)) for name, value in lines]
    checked("--config", config("".join(f"{name} = {value}\n" for name, value in lines)))
    checked(**{"ASSAY_" + name.upper().replace("-", "_"): value for name, value in lines})


def origins_allowed(server, *origins):
    headers = [server.get("/healthz", headers={"Origin": origin}).headers["Access-Control-Allow-Origin"] for origin in origins]
    return [header is not None for header in headers]


def test_sighup(farm, tmp_path):
    """Live settings change for the next request of an open connection; of the others it says that they need a restart; a fault
    leaves all as it was."""
    path = tmp_path / "assayd.conf"
    path.write_text("cors-origin = https://a.example\n")
    server = farm.make(["--config", str(path)])
    kept = server.client()
    others = ("https://a.example", "https://b.example")
    assert origins_allowed(server, *others) == [True, False]

    def reload(text, said):
        seen = len(server.trace())
        path.write_text(text)
        server.process.send_signal(signal.SIGHUP)
        return wait_until(lambda: said in server.trace()[seen:] and server.trace()[seen:], said)

    reload("cors-origin = https://b.example\ntrace-requests = all\n", "the settings were read again")
    wait_until(lambda: origins_allowed(server, *others) == [False, True], "the new origins")
    assert kept.request("GET", "/healthz", headers={"Origin": others[1]}).headers["Access-Control-Allow-Origin"] == others[1]
    wait_until(lambda: "GET /healthz: 200" in server.trace(), "a trace of a request")
    said = reload("cors-origin = https://a.example\nloops = 7\n", "the settings were read again")
    assert "loops is not what the server was started with" in said and "cors-origin is not" not in said
    wait_until(lambda: origins_allowed(server, *others) == [True, False], "the old origins")
    said = reload("cors-origin = https://b.example\nlops = 7\n", "nothing is changed")
    assert "did you mean 'loops'?" in said and f"{path}:2" in said
    assert origins_allowed(server, *others) == [True, False]
    kept.close()
    server.stop()
