"""assay experiment and assay assign, as a person uses them: against the server, by their exit codes and what they print."""
import json
import subprocess

import pytest
from conftest import BINARIES


@pytest.fixture(scope="module")
def assay(server):
    def run(*arguments, code=0):
        done = subprocess.run([BINARIES / "assay", *arguments, "--url", f"http://127.0.0.1:{server.port}", "--token", server.token], capture_output=True, text=True)
        assert done.returncode == code, done
        return done
    return run


def test_from_a_draft_to_the_archive(assay, server):
    made = assay("experiment", "create", "Shop front", "--variants", "old=0.75,new=0.25", "--metrics", "revenue", "--draft")
    assert "shop-front: draft, version 1" in made.stdout and "old" in made.stdout and "control" in made.stdout
    assert "assay assign shop-front USER" in made.stderr
    assert assay("assign", "shop-front", "u1").stdout == "- (not_running)\n"
    assert "shop-front is running, version 2" in assay("experiment", "start", "shop-front").stdout
    first = assay("assign", "shop-front", "u1").stdout
    assert first in ("old (split, new)\n", "new (split, new)\n")
    again = json.loads(assay("assign", "shop-front", "u1", "--attribute", "country=US", "--json").stdout)
    assert again["variant"] == first.split()[0] and again["new"] is False
    for verb, status in (("pause", "paused"), ("start", "running"), ("complete", "completed"), ("archive", "archived")):
        assert f"shop-front is {status}" in assay("experiment", verb, "shop-front").stdout
    refused = assay("experiment", "start", "shop-front", code=3)
    assert "archived" in refused.stderr
    shown = json.loads(assay("experiment", "show", "shop-front", "--json").stdout)
    assert [(v["name"], v["weight"]) for v in shown["variants"]] == [("old", 0.75), ("new", 0.25)] and shown["metrics"] == ["revenue"]


def test_lists(assay):
    for i in range(3):
        assay("experiment", "create", f"Listed {i}", *(["--draft"] if i == 0 else []))
    lines = assay("experiment", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("listed-")] == ["listed-2", "listed-1", "listed-0"]
    drafts = assay("experiment", "list", "--status", "draft").stdout
    assert "listed-0" in drafts and "listed-1" not in drafts
    everything = [json.loads(line) for line in assay("experiment", "list", "--json").stdout.splitlines()]
    assert {"listed-0", "listed-1", "listed-2"} <= {e["key"] for e in everything}


def test_what_is_wrong_is_said(assay, server):
    assert "NAME" in assay("experiment", "create", code=2).stderr
    assert "weight is a number" in assay("experiment", "create", "X", "--variants", "a=much,b=0.5", code=2).stderr
    assert "add up to 1.2" in assay("experiment", "create", "X", "--variants", "a=0.7,b=0.5", code=3).stderr
    assert "NAME=VALUE" in assay("assign", "listed-1", "u", "--attribute", "country", code=2).stderr
    assert assay("experiment", "show", "nothing-of-this-name", code=3).stderr.startswith("assay: ")
    assert "did you mean" in assay("experiment", "create", "X", "--variant", "a,b", code=2).stderr
    for words in (("experiment",), ("experiment", "create", "--help"), ("assign", "--help")):
        done = subprocess.run([BINARIES / "assay", *words], capture_output=True, text=True)
        assert "assay experiment create" in done.stdout + done.stderr or "assay assign" in done.stdout
