"""What packaging/ ships, checked by what can be run here: systemd's own analysis, the linker's view of the programs, YAML's."""
import ctypes
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, binary, wait_until

PACKAGING = ROOT / "packaging"


def settings_known():
    return set(re.findall(r"(?m)^  --([a-z-]+)", subprocess.run([binary("assayd"), "--help"], capture_output=True, check=True).stdout.decode()))


def check_variables(names):
    known = {"ASSAY_" + name.upper().replace("-", "_") for name in settings_known()}
    assert set(names) <= known, set(names) - known


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_units():
    """Every line is understood, and the service is confined: an exposure below 2 of 10."""
    service = PACKAGING / "systemd" / "assay.service"
    verdict = subprocess.run(["systemd-analyze", "security", "--offline=true", service], capture_output=True, check=False).stdout.decode()
    assert float(re.search(r"exposure level for assay.service: ([0-9.]+)", verdict)[1]) < 2
    said = subprocess.run(["systemd-analyze", "verify", service, PACKAGING / "systemd" / "assay.socket"], capture_output=True, check=False)
    complaints = [line for line in said.stderr.decode().splitlines() if "assay" in line
                  and "/usr/bin/assayd is not executable" not in line and "Command 'man" not in line]
    assert complaints == []
    start = re.search(r"ExecStart=/usr/bin/assayd (.*)", service.read_text())[1].split()
    assert {word[2:] for word in start if word.startswith("--")} <= settings_known()


def test_container_has_the_libraries_that_the_programs_need():
    """The packages of the Dockerfile's last stage are the owners of what the linker asks for."""
    text = (PACKAGING / "docker" / "Dockerfile").read_text()
    installed = set(re.search(r"ca-certificates ([-a-z0-9. ]+)", text)[1].split())
    needed = set()
    for name in ("assayd", "assay", "assay-bench"):
        dynamic = subprocess.run(["readelf", "-d", binary(name)], capture_output=True, check=True).stdout.decode()
        needed |= set(re.findall(r"NEEDED.*\[(.*)\]", dynamic))
    if any(library.startswith("libasan") for library in needed):
        pytest.skip("a build with sanitizers is linked to more")
    basic = ("libc.so", "libm.so", "libgcc_s.so", "ld-linux", "libasan", "libubsan", "libstdc++")
    paths = {line.split()[0]: line.split()[2] for name in ("assayd", "assay") for line in subprocess.run(
        ["ldd", binary(name)], capture_output=True, check=True).stdout.decode().splitlines() if "=> /" in line}
    owners = set()
    for library in needed:
        if library.startswith(basic):
            continue
        path = str(Path(paths[library]).resolve())
        owner = subprocess.run(["dpkg", "-S", path], capture_output=True, check=False).stdout.decode() or subprocess.run(
            ["dpkg", "-S", path.removeprefix("/usr")], capture_output=True, check=True).stdout.decode()
        owners.add(owner.split(":")[0])
    assert owners == {p for p in installed if p.startswith("lib")} | ({"zlib1g"} if "zlib1g" in installed else set())
    check_variables(re.findall(r"(ASSAY_[A-Z_]+)=", text))


def test_compose_and_its_files():
    folder = PACKAGING / "docker"
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    assert set(compose["services"]) == {"assay", "prometheus", "grafana"}
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith(".") and "token" not in source:
                assert (folder / source).resolve().exists(), source
            elif not source.startswith("."):
                assert source in compose["volumes"]
    rules = yaml.safe_load((folder / "prometheus.yml").read_text())
    assert rules["scrape_configs"][0]["static_configs"][0]["targets"] == ["assay:8080"]
    for name in ("grafana-datasource.yml", "grafana-dashboards.yml"):
        assert yaml.safe_load((folder / name).read_text())["apiVersion"] == 1


def test_kubernetes():
    """One replica on a disk of its own, not root, and probes of paths that need no token."""
    objects = {o["kind"]: o for o in yaml.safe_load_all((PACKAGING / "kubernetes" / "assay.yaml").read_text())}
    assert set(objects) == {"Service", "PodDisruptionBudget", "StatefulSet"}
    spec = objects["StatefulSet"]["spec"]
    assert spec["replicas"] == 1 and spec["serviceName"] == objects["Service"]["metadata"]["name"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    labels = spec["template"]["metadata"]["labels"]
    for selector in (spec["selector"]["matchLabels"], objects["Service"]["spec"]["selector"],
                     objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= labels.items()
    assert pod["securityContext"]["runAsNonRoot"] and not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert {container[p]["httpGet"]["path"] for p in ("startupProbe", "livenessProbe", "readinessProbe")} == {"/healthz", "/readyz"}
    mounts = {m["name"] for m in container["volumeMounts"]}
    assert mounts == {v["name"] for v in pod["volumes"]} | {c["metadata"]["name"] for c in spec["volumeClaimTemplates"]}
    check_variables(e["name"] for e in container["env"])


IO_URING_SETUP = 425
EPERM = 1


def forbid_io_uring():
    """What a container's seccomp profile does: io_uring_setup() fails with EPERM."""
    def instruction(code, jump_true, jump_false, value):
        return struct.pack("HBBI", code, jump_true, jump_false, value)

    program = b"".join((instruction(0x20, 0, 0, 0),                        # load the number of the call
                        instruction(0x15, 0, 1, IO_URING_SETUP),           # is it this one?
                        instruction(0x06, 0, 0, 0x00050000 | EPERM),       # an error
                        instruction(0x06, 0, 0, 0x7FFF0000)))              # else allowed
    buffer = ctypes.create_string_buffer(program)
    filters = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, ctypes.create_string_buffer(filters), 0, 0) == 0  # PR_SET_SECCOMP, a filter


def test_where_io_uring_is_forbidden(farm):
    """As in a container: it works by plain system calls, and says so in the trace and in /status."""
    server = farm.make(start=False)
    popen = subprocess.Popen

    class Confined(popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, preexec_fn=forbid_io_uring, **options)

    subprocess.Popen = Confined
    try:
        server.start()
    finally:
        subprocess.Popen = popen
    assert "log written by sync" in server.trace()
    assert server.get("/status").json["io_backend"] == "sync"
    server.send_events([{"event_id": f"e{i}", "user_id": "u", "event_type": "x"} for i in range(100)])
    server.restart(kill=True)
    wait_until(lambda: len(server.get("/events?limit=500").json["events"]) == 100, "what was acknowledged")
