"""What executing notebooks costs: one beside the bare work, a sweep beside the ideal and beside papermill in a row.

    python tests/benchmarks/sweeps.py [--trials 16] [--quick]

The ideal is measured, not reckoned: the same work in as many bare processes at a time as there are workers. On a busy
machine every number grows, the ratios less so.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

import lmkit as lk
from lmkit.runfolder.folder import RunFolder
from lmkit.specs.plain import dump_yaml
from lmkit.sweeping.folder import SweepFolder
from lmkit.sweeping.records import VERSION, SweepSettings, TrialOutcome

WORK = "import time\nt = time.process_time()\nwhile time.process_time() - t < 2:\n    pass\n"
TRAIN = "import lmkit as lk, sys\nlk.train(data='digits', epochs=20, early_stopping=None, runs=sys.argv[1], wait=True)"


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def notebook(place: Path) -> Path:
    """The work, with a parameter, as a notebook."""
    cells = [new_code_cell("x: int = 0", metadata={"tags": ["parameters"]}), new_code_cell(WORK + "print(x)")]
    nbformat.write(new_notebook(cells=cells), place)
    return place


def bare(code: str, *arguments: str) -> None:
    """The work in a process of its own."""
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)


def one(folder: Path) -> None:
    """One template beside the bare training."""
    script = min(seconds(lambda: bare(TRAIN, str(folder / "bare"))) for _ in range(3))
    command = [sys.executable, "-m", "lmkit.commands.cli", "run", "train", "-p", "data", "digits", "-p", "epochs", "20"]
    call = [*command, "--runs", str(folder / "runs")]
    run = min(seconds(lambda: subprocess.run(call, check=True, capture_output=True)) for _ in range(3))
    print(f"import and training in a script {script:.1f} s, lmkit run {run:.1f} s: {run - script:+.1f} s (goal: ≤ 3)")


def several(folder: Path, trials: int, workers: int = 2) -> None:
    """A sweep beside the ideal, and beside papermill called once a trial."""
    own = notebook(folder / "own.ipynb")
    with ThreadPoolExecutor(workers) as pool:
        ideal = seconds(lambda: list(pool.map(lambda _: bare(WORK), range(trials))))
    swept = seconds(
        lambda: lk.sweep(own, grid={"x": list(range(trials))}, workers=workers, inline=True, runs=folder / "runs")
    )
    few = max(2, trials // 4)
    command = [sys.executable, "-m", "papermill", str(own), str(folder / "out.ipynb"), "-k", "python3"]
    row = seconds(lambda: [subprocess.run(command, check=True, capture_output=True) for _ in range(few)]) * trials / few
    print(
        f"{trials} trials of 2 s, {workers} workers: {swept:.1f} s, ideal {ideal:.1f} s: × {swept / ideal:.2f} (≤ 1.25)"
    )
    print(f"papermill in a row ({few} measured) {row:.1f} s: the sweep takes {swept / row:.2f} of it")


def many(folder: Path, trials: int = 500) -> None:
    """A sweep of many recorded runs, opened."""
    sweep = SweepFolder(folder / "sweeps" / "many")
    space = {"grid": {"lr": [float(i) for i in range(trials)]}, "search": {}}
    whole: dict[str, Any] = {
        "version": VERSION,
        "template": "train.ipynb",
        "parameters": {},
        "experiment": None,
        **space,
    }
    whole |= {"method": "grid", "objectives": [["val_loss", "minimize"]], "prune": None, "seed": 0}
    sweep.path.mkdir(parents=True)
    (sweep.path / "sweep.yaml").write_text(dump_yaml(whole))
    sweep.settings = SweepSettings(trials=trials)
    experiment = lk.Experiment(data="wine")
    for i in range(trials):
        run = RunFolder.create(experiment, folder / "many")
        trial = sweep.new_trial(i + 1, {"lr": float(i)}, {})
        trial.new_attempt()
        trial.finish(
            TrialOutcome("completed", values={"val_loss": 1.0 / (i + 1)}, run=str(run.path), attempt="a", seconds=1.0)
        )
    import pandas  # noqa: F401  (what opens it first would pay for it)

    found = lk.attach_sweep(sweep.path)
    print(
        f"{trials} trials as a frame {seconds(lambda: found.table):.2f} s, drawn {seconds(found.to_table):.2f} s (≤ 1)"
    )
    print(f"{trials} runs listed {seconds(lambda: lk.runs(folder / 'many')):.2f} s (≤ 1)")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--quick", action="store_true", help="only what takes seconds")
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        many(Path(folder))
        if not chosen.quick:
            several(Path(folder), chosen.trials)
            one(Path(folder))


if __name__ == "__main__":
    main()
