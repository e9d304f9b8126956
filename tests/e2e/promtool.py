"""Prometheus's own checker. tools/deps --test puts it into build/tools; a test that wants it is skipped where it is nowhere."""
import shutil
import subprocess

import pytest
from conftest import ROOT


def promtool(*arguments, text=None):
    program = shutil.which("promtool", path=f"{ROOT / 'build' / 'tools'}") or shutil.which("promtool")
    if program is None:
        pytest.skip("there is no promtool: tools/deps --test")
    return subprocess.run([program, *map(str, arguments)], input=text, capture_output=True, timeout=60, check=False)
