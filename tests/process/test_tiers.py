"""The unit tier stays what a contributor runs all the time: its collection imports no framework."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

IMPORT = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

sys.path.insert(0, "tests/support")
files = sorted(Path("tests/unit").rglob("*.py"))
for i, file in enumerate([Path("tests/conftest.py"), *files]):
    spec = spec_from_file_location(f"collected_{i}", file)
    sys.modules[spec.name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
print(len(files) > 50, sorted({"torch", "tensorflow", "keras"} & set(sys.modules)))
"""


def test_importing_the_unit_tests_imports_no_framework() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "True []", done.stdout[-2000:] + done.stderr[-2000:]
