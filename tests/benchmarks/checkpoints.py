"""What checkpoints cost a run, and how long a resumed one takes: ``python tests/benchmarks/checkpoints.py [--resume]``.

Cost: a network of 3 × 512 units takes the same number of steps in pairs, in random order: with a checkpoint that is
begun at the first of them, and without. The rows tell how long the steps waited for the copy, how long the thread
wrote, and the median over the pairs of the additional time, as a share of training at a checkpoint every ten seconds.

Resume: from ``run.resume()`` in a new process to the first step of the new worker, next to the import of the framework
alone in a process of its own. All seconds are of a clock on the wall, so that a busy machine shows.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

from lmkit.experiment.experiment import Experiment
from lmkit.runfolder.folder import RunFolder
from lmkit.training.checkpoints import Checkpoints
from lmkit.training.control import Signals
from lmkit.training.recorder import Recorder
from lmkit.training.setup import build_components
from lmkit.training.train import build_fit

INTERVAL = 10.0
"""Seconds between checkpoints by default."""

IMPORT = "import sys; from lmkit.executors.forkserver import preload; preload(sys.argv[1])"

RESUME = """
import sys, time, lmkit as lk
run = lk.attach(sys.argv[1])
steps, begin = run.status.step, time.perf_counter()
run.resume()
while run.status.step <= steps:
    time.sleep(0.01)
print(time.perf_counter() - begin)
run.stop().wait()
"""


def measure_cost(framework: str, rounds: int, epochs: int) -> None:
    """Print what a checkpoint costs the steps."""
    settings = {
        "framework": framework,
        "data": "digits",
        "model": {"family": "mlp", "hidden": [512] * 3},
        "training": {"epochs": 10**6, "early_stopping": None, "readings": "off", "checkpoint_seconds": 1e9},
    }
    with tempfile.TemporaryDirectory() as root, contextlib.ExitStack() as cleanup:
        folder = RunFolder.create(Experiment.from_dict(settings), root)
        recorder = Recorder(folder, folder.experiment)
        fit = build_fit(recorder, build_components(folder, folder.experiment, cleanup), Signals())
        checkpoints = next(callback for callback in fit.callbacks if isinstance(callback, Checkpoints))
        fit.run_epoch()
        waits, writes, extra = [], [], []
        for _ in range(rounds):
            seconds = {}
            for saves in random.sample([True, False], 2):
                begin = time.perf_counter()
                if saves:
                    checkpoints.save(fit)
                    waits.append(time.perf_counter() - begin)
                for _ in range(epochs):
                    fit.run_epoch()
                seconds[saves] = time.perf_counter() - begin
                checkpoints.writer.wait()
            begin = time.perf_counter()
            checkpoints.save(fit, wait=True)
            writes.append(time.perf_counter() - begin)
            extra.append(seconds[True] - seconds[False])
        size = sum(file.stat().st_size for file in (folder.checkpoints / "last").iterdir())
        print(
            f"{framework}: {size / 1e6:.0f} MB; copy {statistics.median(waits) * 1e3:.1f} ms, "
            f"copy and write {statistics.median(writes) * 1e3:.0f} ms, "
            f"steps {statistics.median(extra) * 1e3:+.1f} ms: "
            f"{statistics.median(extra) / INTERVAL:.2%} of the time (copy alone "
            f"{statistics.median(waits) / INTERVAL:.2%})",
            flush=True,
        )


def measure_resume(framework: str, rounds: int) -> None:
    """Print how long a run takes to its first step after a resume, beside the import."""
    imports, resumes = [], []
    with tempfile.TemporaryDirectory() as root:
        settings = {"framework": framework, "data": "digits", "model": "mlp", "training": {"early_stopping": None}}
        folder = RunFolder.create(Experiment.from_dict(settings).override({"training.epochs": 10**6}), root)
        first = RESUME.replace("run.resume()", "from lmkit.executors import WorkerExecutor as W; W().start(run.folder)")
        subprocess.run([sys.executable, "-c", first, str(folder.path)], check=True, stdout=subprocess.DEVNULL)
        for _ in range(rounds):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", IMPORT, framework], check=True, stderr=subprocess.DEVNULL)
            imports.append(time.perf_counter() - begin)
            command = [sys.executable, "-c", RESUME, str(Path(folder.path))]
            resumes.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    imported, resumed = statistics.median(imports), statistics.median(resumes)
    print(f"{framework}: import {imported:.2f} s, resume to first step {resumed:.2f} s, {resumed - imported:+.2f} s")


def main() -> None:
    """Measure one or both frameworks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--framework", choices=["torch", "tensorflow"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=10, help="epochs of 34 steps in each half of a pair")
    parser.add_argument("--resume", action="store_true", help="measure the resume instead")
    args = parser.parse_args()
    for framework in [args.framework] if args.framework else ["torch", "tensorflow"]:
        if args.resume:
            measure_resume(framework, args.rounds)
        else:
            measure_cost(framework, args.rounds, args.epochs)


if __name__ == "__main__":
    main()
