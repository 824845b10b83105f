"""How long a person waits: ``python tests/benchmarks/starting.py [--framework torch] [--rounds 5]``.

* ``lk.train`` returns: in a fresh process that has imported lmkit, with a bundled data set and with a CSV file (which
  is read and checked first, by pandas; a notebook mostly has that imported already).
* The second start: ``lk.train`` to the first step that stands in the run's folder, the framework already imported by
  the server of workers. TensorFlow with and without compilation (by default only long runs compile).
* A pause: ``run.pause()`` to the event ``paused``, which follows a checkpoint; while small steps are taken by the
  thousand, and while one step takes long.

Each row tells the median and the least time of the clock on the wall, and the median CPU time where it is known: of
the process that calls, or of the worker up to its first step. On a machine that others use only CPU time is
comparable; the least time on the wall is nearest to what a quiet machine would tell.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

import lmkit as lk

FRESH = """
import json, sys, time
import lmkit as lk
for name in sys.argv[3:]:
    __import__(name)
wall, cpu = time.perf_counter(), time.process_time()
run = lk.train(epochs=1, runs=sys.argv[1], **json.loads(sys.argv[2]))
print(time.perf_counter() - wall, time.process_time() - cpu)
run.wait()
"""


def row(what: str, goal: str, wall: Sequence[float], cpu: Sequence[float] = ()) -> None:
    """Prints one line of the table."""
    told = f"{statistics.median(cpu):6.3f}" if cpu else f"{'':6}"
    print(f"{what:64} {statistics.median(wall):6.3f} {min(wall):6.3f} {told}   {goal}", flush=True)


def returns(root: Path, framework: str, rounds: int) -> None:
    """``lk.train`` in fresh processes."""
    table = root / "table.csv"
    draw = np.random.default_rng(0)
    X = draw.normal(size=(1000, 10))
    rows = (",".join(f"{v:.6g}" for v in [*x, float(x[0] > 0)]) for x in X)
    table.write_text("\n".join([",".join([*"abcdefghij", "target"]), *rows]))
    csv = {"data": str(table), "target": "target"}
    for name, data, imported in (
        ("bundled data", {"data": "digits"}, []),
        ("CSV", csv, []),
        ("CSV, pandas imported", csv, ["pandas"]),
    ):
        command = [sys.executable, "-c", FRESH, str(root), json.dumps({**data, "framework": framework}), *imported]
        told = []
        for _ in range(rounds):
            out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
            told.append([float(v) for v in out.stdout.split()])
        wall, cpu = zip(*told, strict=True)
        row(f"{framework}: lk.train returns, fresh process, {name}", "≤ 0.3 s", wall, cpu)


def first_step(run: lk.Run) -> None:
    """Waits until one step stands in the folder of ``run``."""
    metrics = run.path / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        if run.state in ("failed", "lost"):
            raise SystemExit(run.summary())
        time.sleep(0.002)


def second_start(root: Path, framework: str, rounds: int) -> None:
    """``lk.train`` to the first recorded step, once a worker's server stands ready."""
    lk.train(data="digits", framework=framework, epochs=1, runs=root, wait=True)
    for compiled in ("off", "on") if framework == "tensorflow" else ("auto",):
        wall, cpu = [], []
        for _ in range(rounds):
            began = time.perf_counter()
            run = lk.train(
                data="digits", framework=framework, epochs=10**4, early_stopping=None, runs=root, compile=compiled
            )
            first_step(run)
            wall.append(time.perf_counter() - began)
            used = psutil.Process(run.status.pid).cpu_times()
            cpu.append(used.user + used.system)
            run.stop().wait()
        how = {"auto": "", "off": ", not compiled", "on": ", compiled"}[compiled]
        row(f"{framework}: second start to first recorded step{how}", "< 1 s", wall, cpu)


def pauses(root: Path, framework: str, rounds: int) -> None:
    """``run.pause()`` to the event, beside how long one step takes."""
    draw = np.random.default_rng(0)
    wide = (draw.normal(size=(20_000, 256)), draw.integers(0, 10, 20_000))
    for name, options in (
        ("small steps", {"data": "digits"}),
        ("long steps", {"data": wide, "hidden": [2048, 2048], "batch_size": 2048}),
    ):
        run = lk.train(framework=framework, epochs=10**4, early_stopping=None, runs=root, **options)
        first_step(run)
        wall = []
        for i in range(rounds):
            time.sleep(0.5 + 0.037 * i)
            asked = time.time()
            run.pause().wait_for("paused", timeout=60)
            wall.append(next(e.time for e in reversed(run.events) if e.type == "paused") - asked)
            run.resume().wait_for("running", timeout=60)
        step = 1 / (run.status.steps_per_second or 1.0)
        run.stop().wait()
        row(f"{framework}: pause takes effect, {name} ({1000 * step:.3g} ms each)", "≤ 0.1 s or one step", wall)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=("torch", "tensorflow"))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"{'seconds':64} {'median':>6} {'least':>6} {'CPU':>6}   goal")
    for framework in [given.framework] if given.framework else ["torch", "tensorflow"]:
        with tempfile.TemporaryDirectory() as place:
            returns(Path(place), framework, given.rounds)
            second_start(Path(place), framework, given.rounds)
            pauses(Path(place), framework, given.rounds)


if __name__ == "__main__":
    main()
