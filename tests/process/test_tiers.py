"""The unit tier stays what a contributor runs all the time: its collection imports no framework."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

COLLECT = """
import sys, pytest
code = pytest.main(["--collect-only", "-qq", "-n", "0", "-p", "no:cacheprovider", "-m", "unit", "tests/unit"])
print("loaded", sorted({"torch", "tensorflow", "keras"} & set(sys.modules)), int(code))
"""


def test_collecting_the_unit_tests_imports_no_framework() -> None:
    done = subprocess.run([sys.executable, "-c", COLLECT], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.stdout.splitlines()[-1] == "loaded [] 0", done.stdout[-2000:] + done.stderr[-2000:]
