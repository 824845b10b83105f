"""A signal that ends a program: a run that is trained in it saves a checkpoint, and the program ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import lmkit as lk

SCRIPT = """
import lmkit as lk
lk.train(data="wine", model="mlp:tiny", epochs=100_000, early_stopping=None, inline=True)
print("the next statement")
"""


def test_a_script_ends_after_a_checkpoint(tmp_path: Path) -> None:
    number = signal.SIGTERM
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/*/metrics.jsonl")):
            assert script.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        script.send_signal(number)
        output, _ = script.communicate(timeout=60)
    finally:
        script.kill()
    assert (script.returncode, output) == (-number, "")
    run = lk.attach(runs=tmp_path / "runs")
    assert (run.state, run.status.reason, run.status.cause) == ("stopped", number.name, "signal")
    assert run.folder.load_checkpoint("last") is not None
