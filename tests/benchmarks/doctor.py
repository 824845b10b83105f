"""What the doctor's readings cost: ``python tests/benchmarks/doctor.py [--framework torch] [--rounds 9]``.

In each round, in one process with one thread, some steps are taken and then one reading, with everything that it brings
along: the random states, the record in the file, the change of the weights and the call that is cut short for it. Both
are measured by CPU time. Printed are the median of reading ÷ step over the rounds, its quartiles, and what that is of
the time of training at the default rate, a reading every 128 steps; the goal is 3 %.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from lmkit.data.memory import store_data
from lmkit.experiment.experiment import Experiment
from lmkit.runfolder.folder import RunFolder
from lmkit.training.control import Signals
from lmkit.training.fit import Block, Fit
from lmkit.training.readings import INTERVAL, Readings
from lmkit.training.recorder import Recorder
from lmkit.training.setup import build_components
from lmkit.training.train import build_fit


def mlp(root: Path) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(64 * 192, 64)), draw.integers(0, 10, 64 * 192)
    return {
        "data": {**store_data((X, y), root), "validation": 0.0, "test": 0.0, "batch_size": 64},
        "model": {"family": "mlp", "hidden": [256, 256]},
        "training": {"optimizer": {"name": "adam", "lr": 1e-5}},
    }


def transformer(_: Path) -> dict[str, Any]:
    return {"model": "transformer:nano"}


WORKLOADS = {"MLP 64-256-256-10, batch 64": (mlp, 200), "transformer:nano": (transformer, 3)}
"""Name → experiment, and steps in a round."""


def measure(framework: str, settings: dict[str, Any], steps: int, rounds: int, root: Path) -> list[float]:
    """Return reading ÷ step, round by round."""
    training = {**settings.get("training", {}), "threads": 1, "epochs": 10**6}
    values = {"name": "benchmark", "framework": framework, **settings, "training": training}
    folder = RunFolder.create(Experiment.from_dict(values), root)
    with contextlib.ExitStack() as cleanup:
        recorder = Recorder(folder, folder.experiment)
        fit = build_fit(recorder, build_components(folder, folder.experiment, cleanup), Signals())
        readings = next(c for c in fit.callbacks if isinstance(c, Readings))
        readings.is_compared = True
        fit.trainer.epoch(fit.data.order(0, 0), 0)
        take_with_reading(fit, readings)  # traces and compiles
        advance(fit, steps)
        ratios = []
        for _ in range(rounds):
            begin = time.process_time()
            advance(fit, steps)
            middle = time.process_time()
            take_with_reading(fit, readings)
            reading = time.process_time() - middle
            step = (middle - begin) / steps
            ratios.append((reading - step) / step)
    return ratios


def advance(fit: Fit, steps: int) -> Block:
    """Take some steps of the epoch in one call; begin it anew at its end."""
    if fit.progress.batch + steps > fit.steps_per_epoch:
        fit.progress.batch = 0
    rates = np.full(steps, 1e-5)
    block = Block(fit.progress.step + 1, fit.trainer.advance(fit.progress.batch, rates), rates, steps)
    fit.progress.add(block.steps, 1.0)
    return block


def take_with_reading(fit: Fit, readings: Readings) -> None:
    """Take one step with a reading before it."""
    readings.next, readings.count = fit.progress.step, 0
    readings.on_steps_begin(fit)
    readings.on_steps_end(fit, advance(fit, 1))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--framework", choices=["torch", "tensorflow"], action="append")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    for framework in args.framework or ["torch", "tensorflow"]:
        for name, (settings, steps) in WORKLOADS.items():
            with tempfile.TemporaryDirectory() as root:
                ratios = measure(framework, settings(Path(root)), steps, args.rounds, Path(root))
            low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75])
            share = 100 * median / INTERVAL
            print(
                f"{framework:10} {name:28} reading ÷ step {median:5.2f} [{low:.2f}, {high:.2f}], "
                f"every {INTERVAL} steps {share:.2f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
