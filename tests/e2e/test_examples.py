"""docs/tutorial.md and examples/, run as they stand."""
import os
import re
import shutil
import subprocess

import pytest

from clients import install_node
from conftest import ROOT, binary

EXAMPLES = ROOT / "examples"


def environment(server, token):
    path = f"{binary('assay').rsplit('/', 1)[0]}:{os.environ['PATH']}"
    return {**os.environ, "ASSAY_URL": f"http://127.0.0.1:{server.port}", "ASSAY_TOKEN": token, "PATH": path}


def test_tutorial(farm):
    """Every block but those of a console, in order: commands in one shell, the program by node."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    node = install_node()
    server = farm.make()
    blocks = re.findall(r"(?ms)^```(sh|js)\n(.*?)^```$", (ROOT / "docs" / "tutorial.md").read_text())
    assert [kind for kind, _ in blocks].count("js") == 1 and len(blocks) >= 6
    script = ["set -euo pipefail"]
    for kind, text in blocks:
        if kind == "js":
            (node / "tutorial.mjs").write_text(text)
            text = f"node {node / 'tutorial.mjs'}"
        script.append(text)
    done = subprocess.run(["bash", "-c", "\n".join(script)], env=environment(server, server.token), capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    results = server.get("/experiments/button-color/results").json
    assert results["summary"]["total_users"] == 2001 and results["summary"]["srm"]["ok"]
    assert server.get("/experiments/button-color").json["status"] == "completed"
    assert b'"value": "US"' in done.stdout and b"button-color: " in done.stdout


def command_of(language, tmp_path):
    if language == "shell":
        return [EXAMPLES / "shell" / "checkout.sh"]
    if language == "python":
        return ["python3", EXAMPLES / "python" / "checkout.py"]
    if language == "javascript":
        return ["node", EXAMPLES / "javascript" / "checkout.mjs"]
    program = tmp_path / "checkout"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", EXAMPLES / "c" / "checkout.c", "-lcurl", "-o", program], check=True)
    return [program]


@pytest.mark.parametrize("language", ["shell", "python", "javascript", "c"])
def test_examples(farm, language, tmp_path):
    """The variant, a purchase that counts once; then a server that is away: the control, and a purchase that is not lost in silence."""
    server = farm.make()
    made = server.make_experiment(key="button-color", variants=[{"name": "control", "weight": 0.0}, {"name": "green", "weight": 1.0}])
    token = server.make_token("assign", "events:write")["token"]
    command = [*map(str, command_of(language, tmp_path)), "button-color", "user/1"]

    def run():
        return subprocess.run(command, env=environment(server, token), capture_output=True, check=False, timeout=60)
    first, second = run(), run()
    assert first.returncode == 0, first.stderr.decode()
    assert first.stdout.decode().splitlines() == ["user/1 sees green", "1 counted, 0 known already"]
    assert second.stdout.decode().splitlines() == ["user/1 sees green", "0 counted, 1 known already"]
    green = [v for v in server.results(made)["variants"] if v["name"] == "green"][0]
    assert green["users"] == 1 and green["metrics"]["revenue"]["sum"] == 29.99
    server.request("DELETE", f"/tokens/{server.get('/tokens').json['tokens'][-1]['id']}")
    refused = run()
    assert refused.returncode != 0 and refused.stdout.decode().startswith("user/1 sees control")
