"""What checkpoints cost a run, and how long a resumed one takes: ``python tests/benchmarks/checkpoints.py [--resume]``.

Cost: a network of 3 × 512 units takes the same number of steps in pairs, in random order: with a checkpoint that is
begun at the first of them, and without. The rows tell how long the steps waited for the copy, how long the thread
wrote, on the wall clock and of the processor, and the median over the pairs of the additional time, as shares of
training at a checkpoint every ten seconds (goal: 2 % or less). On a busy machine the processor's time tells more.

Resume: from ``run.resume()`` in a new process to the first step of the new worker, next to the import of the framework
alone in a process of its own, in pairs (goal: 2 s more). All seconds are of the wall clock, so that a busy machine
shows: there the least of them is nearest to what a quiet machine would tell.

Each section prints its rounds, and begins none after ``--budget`` seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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
steps = run.path / "metrics.jsonl"
size, begin = steps.stat().st_size if steps.exists() else 0, time.perf_counter()
run.resume()
while not steps.exists() or steps.stat().st_size <= size:
    assert run.status.live, run.status.reason
    time.sleep(0.01)
print(time.perf_counter() - begin)
run.stop().wait()
"""


def rounds_within(rounds: int, budget: float) -> Iterator[int]:
    """Yield the numbers of rounds, until there are enough or the seconds are over."""
    until = time.monotonic() + budget
    return itertools.takewhile(lambda number: number < 2 or time.monotonic() < until, range(rounds))


def measure_cost(framework: str, rounds: int, epochs: int, budget: float) -> None:
    """Print what a checkpoint costs the steps."""
    settings = {
        "framework": framework,
        "data": "digits",
        "model": {"family": "mlp", "hidden": [512] * 3},
        "training": {
            "epochs": 10**6,
            "early_stopping": None,
            "readings": "off",
            "checkpoint_seconds": 1e9,
            "threads": 1,
        },
    }
    with tempfile.TemporaryDirectory() as root, contextlib.ExitStack() as cleanup:
        folder = RunFolder.create(Experiment.from_dict(settings), root)
        recorder = Recorder(folder, folder.experiment)
        fit = build_fit(recorder, build_components(folder, folder.experiment, cleanup), Signals())
        checkpoints = next(callback for callback in fit.callbacks if isinstance(callback, Checkpoints))
        fit.run_epoch()
        waits, writes, cpu, extra = [], [], [], []
        for number in rounds_within(rounds, budget):
            seconds = {}
            for saves in random.sample([True, False], 2):
                begin = time.perf_counter()
                if saves:
                    checkpoints.save(fit)
                    waits.append(time.perf_counter() - begin)
                for _ in range(epochs):
                    fit.run_epoch()
                checkpoints.writer.wait()
                seconds[saves] = time.perf_counter() - begin
            begin, begin_cpu = time.perf_counter(), time.process_time()
            checkpoints.save(fit, wait=True)
            writes.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - begin_cpu)
            extra.append(seconds[True] - seconds[False])
            print(
                f"{framework} {number + 1:2}: steps {seconds[False]:.2f} s, copy {waits[-1] * 1e3:.1f} ms, copy and "
                f"write {writes[-1] * 1e3:.0f} ms (processor {cpu[-1] * 1e3:.0f} ms), steps {extra[-1] * 1e3:+.0f} ms",
                flush=True,
            )
        size = sum(file.stat().st_size for file in (folder.checkpoints / "last").iterdir())
        print(
            f"{framework}: {size / 1e6:.0f} MB; copy {statistics.median(waits) * 1e3:.1f} ms, "
            f"copy and write {statistics.median(writes) * 1e3:.0f} ms; share of the time at one in {INTERVAL:g} s "
            f"(goal 2 %): copy alone {statistics.median(waits) / INTERVAL:.2%}, wall clock "
            f"{statistics.median(extra) / INTERVAL:.2%}, processor {statistics.median(cpu) / INTERVAL:.2%}",
            flush=True,
        )


def measure_resume(framework: str, rounds: int, budget: float) -> None:
    """Print how long a run takes to its first step after a resume, beside the import."""
    imports, resumes = [], []
    with tempfile.TemporaryDirectory() as root:
        settings = {"framework": framework, "data": "digits", "model": "mlp", "training": {"early_stopping": None}}
        folder = RunFolder.create(Experiment.from_dict(settings).override({"training.epochs": 10**6}), root)
        first = RESUME.replace("run.resume()", "from lmkit.executors import WorkerExecutor as W; W().start(run.folder)")
        subprocess.run([sys.executable, "-c", first, str(folder.path)], check=True, stdout=subprocess.DEVNULL)
        for number in rounds_within(rounds, budget):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", IMPORT, framework], check=True, stderr=subprocess.DEVNULL)
            imports.append(time.perf_counter() - begin)
            command = [sys.executable, "-c", RESUME, str(Path(folder.path))]
            resumes.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            print(f"{framework} {number + 1}: import {imports[-1]:.2f} s, resume {resumes[-1]:.2f} s", flush=True)
    differences = [resume - imported for imported, resume in zip(imports, resumes, strict=True)]
    print(
        f"{framework}: import {statistics.median(imports):.2f} s, resume to first step "
        f"{statistics.median(resumes):.2f} s, {statistics.median(differences):+.2f} s (goal 2 s); of the least "
        f"{min(resumes) - min(imports):+.2f} s",
        flush=True,
    )


def main() -> None:
    """Measure one or both frameworks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=["torch", "tensorflow"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=3, help="epochs of 34 steps in each half of a pair")
    parser.add_argument("--budget", type=float, default=40.0, help="seconds for each framework")
    parser.add_argument("--resume", action="store_true", help="measure the resume instead")
    args = parser.parse_args()
    for framework in [args.framework] if args.framework else ["torch", "tensorflow"]:
        if args.resume:
            measure_resume(framework, args.rounds, args.budget)
        else:
            measure_cost(framework, args.rounds, args.epochs, args.budget)


if __name__ == "__main__":
    main()
