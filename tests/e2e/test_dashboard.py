"""The dashboard in a real browser: made by hand, changed by the API, looked at page by page.

Pictures of every page are kept under the build directory, in screenshots/.
"""
import json
import shutil
import subprocess

import pytest

from conftest import BINARIES, ROOT, run_tool

CHROMIUM = shutil.which("chromium")
DRIVER = ROOT / "tests" / "e2e" / "dashboard_driver.mjs"
TIMEOUT = 120


@pytest.fixture(scope="module")
def browse(server):
    """Runs the driver; returns what it saw."""
    if CHROMIUM is None or not (ROOT / "dashboard" / "node_modules" / "playwright-core").exists():
        pytest.skip("needs chromium (tools/deps --test) and the dashboard's packages (a build makes them)")
    if b"built without its dashboard" in server.get("/").body:
        pytest.skip("this server was built without its dashboard")

    def run(what):
        done = subprocess.run(["node", str(DRIVER), CHROMIUM, f"http://127.0.0.1:{server.port}", server.token,
                               str(BINARIES / "screenshots"), what], capture_output=True, timeout=TIMEOUT, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
        return json.loads(done.stdout.decode().splitlines()[-1])

    return run


def check_quiet(seen):
    """Nothing in the console (a breach of the Content-Security-Policy would be), nothing asked of another host."""
    assert seen["console"] == []
    assert seen["external"] == []


def test_an_experiment_from_its_making_to_its_pause(browse):
    seen = browse("journey")
    check_quiet(seen)
    checks = seen["checks"]
    assert checks["weights"] == [50, 25, 25]
    assert sum(checks["weightsAfterRemoval"]) == pytest.approx(100)
    assert not checks["reloaded"]
    assert checks["status"] == "paused"
    assert checks["csv"][0] == "metric,variant,lift,low,high,anytime_low,anytime_high,p_value_adjusted"
    assert checks["csv"][1].startswith("conversion_rate,treatment,")
    assert checks["svg"].startswith("<svg")
    assert checks["storage"] == [0, ["assay-token"]]
    assert checks["forgotten"]


def test_every_page_is_sound(browse, server):
    made = run_tool("demo", "--url", f"http://127.0.0.1:{server.port}", "--token", server.token)
    assert made.returncode == 0, made.stderr
    seen = browse("pages")
    check_quiet(seen)
    assert seen["violations"] == []
    assert seen["overflow"] == []


def test_files_of_the_page(server):
    page = server.get("/", token=None)
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    if b"built without its dashboard" in page.body:
        pytest.skip("this server was built without its dashboard")
    assert page.headers["Cache-Control"] == "no-cache"
    assert server.get("/", token=None, headers={"If-None-Match": page.headers["ETag"]}).status == 304
    script = page.body.decode().split('src="')[1].split('"')[0]
    answer = server.get(script, token=None)
    assert answer.status == 200
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "immutable" in answer.headers["Cache-Control"]
    assert server.get("/assets/nothing.js", token=None).status == 404
