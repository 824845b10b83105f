"""The configurator without a browser: the form, what stands beside it, and what its buttons do."""

from __future__ import annotations

import subprocess
import sys

# -- opening --------------------------------------------------------------------------------------


def test_it_needs_no_framework() -> None:
    code = (
        "import sys, lmkit as lk; form = lk.configure(); form.experiment = lk.Experiment(data='digits');"
        "heavy = ('torch', 'tensorflow', 'keras', 'matplotlib');"
        "print(form._preview.value[:20], [m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == '<div class="lkc-fact []'
