"""A real experiment, imported by the command line tool and checked number by number.

Kevin Hillstrom's e-mail experiment: 64,000 customers in three arms, who visited, converted and spent. The file is looked for in an
optional data directory beside the checkout, ../shared/data/hillstrom.csv, or under ASSAY_SHARED; without it these are skipped.
"""
import csv
import json
import os
from pathlib import Path

import pytest
from conftest import ROOT, Farm, run_tool, variant_of
from oracle import check_cell, check_comparison, close

FILE = Path(os.environ.get("ASSAY_SHARED", ROOT.parent / "shared")) / "data" / "hillstrom.csv"
CONTROL, MENS, WOMENS = "No E-Mail", "Mens E-Mail", "Womens E-Mail"
VISIT, CONVERSION, SPEND = "visit", "conversion_rate", "revenue"

# Known of the data: users, visits, their rate, conversions, spend per user.
KNOWN = {
    CONTROL: (21306, 2262, .106167, 122, .652789),
    MENS: (21307, 3894, .182757, 267, 1.422617),
    WOMENS: (21387, 3238, .151400, 189, 1.077202),
}


def run_import(server):
    done = run_tool("import", FILE, "--url", f"http://127.0.0.1:{server.port}", "--token", server.token,
                    "--experiment", "hillstrom", "--variant-column", "treatment", "--control", CONTROL,
                    "--event", "visit", "--event", "conversion", "--value", "spend=purchase.amount", "--json")
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def imported():
    """A server with the experiment, and the raw values by arm and metric."""
    if not FILE.exists():
        pytest.skip(f"{FILE} is not there: put the file into a data directory beside the checkout, or set ASSAY_SHARED")
    farm = Farm()
    server = farm.make()
    run_import(server)
    raw = {arm: {VISIT: [], CONVERSION: [], SPEND: []} for arm in KNOWN}
    with open(FILE, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            arm = raw[row["treatment"]]
            arm[VISIT].append(int(row["visit"]))
            arm[CONVERSION].append(int(row["conversion"]))
            arm[SPEND].append(float(row["spend"]))
    yield server, raw
    farm.close()


def results_of(server, query=""):
    answer = server.get(f"/experiments/hillstrom/results?group_by=variant&metrics={VISIT},{CONVERSION},{SPEND}{query}")
    assert answer.status == 200, answer
    return answer.json


def test_known_numbers(imported):
    """Users, visits, conversions and spend per user are those that are known of this data."""
    server, _ = imported
    results = results_of(server)
    assert results["summary"]["total_users"] == 64000
    for arm, (users, visits, rate, conversions, spend) in KNOWN.items():
        variant = variant_of(results, arm)
        assert variant["users"] == users and variant["is_control"] == (arm == CONTROL)
        assert variant["metrics"][VISIT]["count"] == visits
        assert abs(variant["metrics"][VISIT]["value"] - rate) < 1e-6
        assert variant["metrics"][CONVERSION]["count"] == conversions
        assert abs(variant["metrics"][SPEND]["value"] - spend) < 1e-6


@pytest.mark.parametrize("metric", [VISIT, CONVERSION, SPEND])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_against_scipy(imported, metric, level):
    """Every estimate, interval and Welch p-value is what scipy makes of the 64,000 rows, to 1e-9."""
    server, raw = imported
    results = results_of(server, f"&confidence_level={level}&test=welch")
    for arm in KNOWN:
        cell = variant_of(results, arm)["metrics"][metric]
        check_cell(cell, raw[arm][metric], metric != SPEND, level, f"{metric} of {arm}")
        if arm != CONTROL:
            check_comparison(cell, raw[CONTROL][metric], raw[arm][metric], metric != SPEND, level, f"{metric} of {arm}")
    assert results["summary"]["status"] == "significant"


def test_sums_are_exact(imported):
    """The sum of all spending is exact to the cent."""
    server, raw = imported
    results = results_of(server)
    for arm in KNOWN:
        cents = sum(round(100 * v) for v in raw[arm][SPEND])
        close(variant_of(results, arm)["metrics"][SPEND]["sum"], cents / 100)


def test_importing_again_changes_nothing(imported):
    """The same import a second time stores nothing new, and the results are the same to the last digit."""
    server, _ = imported

    def read():
        results = results_of(server)
        return [results["variants"], results["statistical_significance"], results["summary"]["events_counted"],
                results["summary"]["total_users"]]

    before = read()
    counts = server.get("/status").json["counts"]
    run_import(server)
    assert read() == before
    after = server.get("/status").json["counts"]
    assert (after["users"], after["assignments"]) == (counts["users"], counts["assignments"])
    assert len(server.get("/experiments?limit=500").json["experiments"]) == 1


def test_it_survives(imported):
    """A kill and a rebuild of the store give the same results; the directory verifies."""
    server, _ = imported
    before = results_of(server)["variants"]
    server.kill()
    done = run_tool("verify", "--data", server.data)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    server.start()
    assert results_of(server)["variants"] == before
