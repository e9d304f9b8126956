"""assay demo, and how assay results draws what it made."""
import os
import pty
import re
import signal
import subprocess

import pytest

from conftest import binary, run_tool, wait_until

STORIES = ("homepage-cta", "checkout-redesign", "signup-form", "free-shipping-banner")


@pytest.fixture(scope="module")
def shop(server):
    done = run_tool("demo", "--url", f"http://127.0.0.1:{server.port}", "--token", server.token)
    assert done.returncode == 0, done.stderr
    assert all(story.encode() in done.stdout for story in STORIES)
    return server


def results(server, story):
    return server.get(f"/experiments/{story}/results").json


def test_tells_its_four_stories(shop):
    winner, loser, broken, guarded = (results(shop, story) for story in STORIES)
    assert winner["summary"]["status"] == "significant" and winner["statistical_significance"]["variant"] == "blue_button"
    assert winner["variants"][1]["metrics"]["conversion_rate"]["vs_control"]["relative"]["value"] > 0.2
    assert loser["summary"]["status"] == "significant"
    assert loser["variants"][1]["metrics"]["conversion_rate"]["vs_control"]["relative"]["value"] < -0.2
    assert broken["summary"]["status"] == "srm" and not broken["summary"]["srm"]["ok"]
    banner = guarded["variants"][1]["metrics"]
    assert banner["conversion_rate"]["vs_control"]["relative"]["value"] > 0
    assert banner["refund_rate"]["vs_control"]["guardrail"]["status"] == "breached"
    assert winner["summary"]["duration_days"] in (30, 31)


def test_again_it_adds_nothing(shop):
    before = shop.get("/status").json["counts"]
    done = run_tool("demo", "--url", f"http://127.0.0.1:{shop.port}", "--token", shop.token)
    assert done.returncode == 0 and b" 0 new events" in done.stdout
    after = shop.get("/status").json["counts"]
    assert (after["users"], after["assignments"]) == (before["users"], before["assignments"])


def test_live_visitors_go_on_coming_until_a_signal(shop):
    before = shop.get("/status").json["counts"]["users"]
    command = [binary("assay"), "demo", "--live", "--url", f"http://127.0.0.1:{shop.port}", "--token", shop.token]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as live:
        wait_until(lambda: shop.get("/status").json["counts"]["users"] >= before + 3, "visitors came")
        live.send_signal(signal.SIGTERM)
        assert live.wait(timeout=10) == 0


def drawn(shop, locale, columns=None):
    """What `assay results` prints, to a pipe or to a terminal of so many columns."""
    command = [binary("assay"), "results", "checkout-redesign", "--url", f"http://127.0.0.1:{shop.port}", "--token", shop.token]
    environment = {**os.environ, "LC_ALL": locale}
    environment.pop("NO_COLOR", None)
    if columns is None:
        return subprocess.run(command, env=environment, capture_output=True, check=True).stdout.decode()
    pid, terminal = pty.fork()
    if pid == 0:
        subprocess.run(["stty", "cols", str(columns)], check=True)
        os.execve(command[0], [str(c) for c in command], environment)
    text = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the terminal's end
            break
        if not piece:
            break
        text += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return text.decode()


def test_lifts_are_drawn(shop):
    """A line a variant with its interval left of 0; plain letters where the locale is not UTF-8; colors and less width on a terminal."""
    text = drawn(shop, "C.UTF-8")
    assert re.search(r"one_page +├─*●─*┤ *│", text) and "▁" in text and "\033[" not in text
    plain = drawn(shop, "C")
    assert re.search(r"one_page +\[-*o-*\] *\|", plain) and plain.isascii()
    shown = drawn(shop, "C.UTF-8", columns=80)
    assert "\033[31m" in shown
    lines = re.sub(r"\033\[[0-9]*m", "", shown).splitlines()
    tables = [line for line in lines if not line.startswith("warning")]
    assert max(len(line) for line in tables) <= 100
    assert "interval" not in "".join(tables)
