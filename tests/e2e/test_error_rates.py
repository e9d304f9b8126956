"""bench/error_rates at a small size: the methods keep what they promise, and it would show if they did not."""
import json
import math
import pathlib
import subprocess
import sys

from conftest import BINARIES

EXPERIMENTS = 250


def test_promises():
    program = pathlib.Path(__file__).resolve().parents[2] / "bench/error_rates"
    done = subprocess.run([sys.executable, program, "--assay", BINARIES / "assay", "--experiments", str(EXPERIMENTS), "--seed", "5"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    slack = 4 * math.sqrt(0.05 * 0.95 / EXPERIMENTS)
    assert len(found["scenarios"]) == 5
    for name, rates in found["scenarios"].items():
        none = rates["no_difference"]
        assert none["sequential"]["every_look"][-1] <= 0.05 + slack, name
        assert none["welch"]["one_look"][-1] <= 0.05 + slack, name
        assert none["welch"]["every_look"][-1] > 0.1, f"{name}: looking often is not seen to cost anything"
        assert none["srm_sequential"]["every_look"][-1] <= 0.05 + slack, name
        power = rates["a_difference"]["welch"]["one_look"][-1]
        assert 0.5 < power < 0.97, f"{name}: {power}, planned for 0.8"
    assert found["family_of_three"]["holm"] <= 0.05 + slack < found["family_of_three"]["none"]
