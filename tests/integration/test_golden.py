"""Folders written by lmkit 0.1.0 are read as they were then. The files here never change.

``run_folders`` holds runs (completed with a resume in the middle, failed, with torn last lines, of each framework, a
language model with samples, a converted one, the two of the sweep), ``sweep_folders`` a sweep of two trials without
its executed notebooks, and ``bundle`` a deployed variant. ``expected.json`` holds what that version read. Paths in
the files begin with ``/data``, and the workers ran on ``worker-1``.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lmkit as lk

GOLDEN = Path(__file__).parents[1] / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))
RUNS = sorted(EXPECTED["runs"])


def plain(value: Any) -> Any:
    """A value as JSON reads it back."""
    if isinstance(value, pd.DataFrame):
        return {str(name): plain(value[name].tolist()) for name in value.columns}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    return value


STATUS = [
    *("state", "epoch", "epochs", "step", "steps", "steps_per_second", "samples_per_second", "seconds", "seconds_left"),
    *("heartbeat", "pid", "pid_started", "host", "memory", "peak_memory", "device", "metrics", "progress", "live"),
]


def read_run(run: lk.Run) -> dict[str, Any]:
    """Everything that the readers of a run's folder give."""
    checkpoint = run.folder.load_checkpoint("last")
    weights, optimizer, state = checkpoint or ({}, {}, {})
    return plain(
        {
            "name": run.name,
            "experiment": run.experiment.to_dict(),
            "history": run.history,
            "steps": run.steps,
            "status": {name: getattr(run.status, name) for name in STATUS},
            "events": [[event.time, event.type, event.data] for event in run.events],
            "environment": run.environment,
            "checkpoint": {
                "weights": {name: [list(a.shape), float(a.sum())] for name, a in sorted(weights.items())},
                "optimizer": sorted(optimizer),
                "state": state,
            },
        }
    )


def read_sweep(sweep: lk.Sweep) -> dict[str, Any]:
    """A sweep's state, trials and table."""
    return plain(
        {
            "name": sweep.name,
            "state": sweep.state,
            "table": sweep.table.drop(columns=["notebook", "doctor"]),  # 0.2 had no doctor
            "objectives": list(sweep.objectives),
            "best": sweep.best().number,
            "runs": [run.name for run in sweep.runs],
        }
    )


def read_list(root: Path) -> dict[str, Any]:
    """The table of all runs."""
    return plain(lk.runs(root).sort_values("name").drop(columns="path"))


def read_bundle(folder: Path) -> dict[str, Any]:
    """What a bundle predicts for its own example."""
    rows = json.loads((folder / "example.json").read_text(encoding="utf-8"))["rows"]
    bundle = lk.load_bundle(folder)
    return plain({"predictions": bundle.predict(rows), "probabilities": bundle.predict_proba(rows)})


def copy_sweep(target: Path) -> Path:
    """A copy of the sweep and its runs, whose paths lead to the copy; returns the folder of the runs."""
    shutil.copytree(GOLDEN / "run_folders", target / "runs")
    shutil.copytree(GOLDEN / "sweep_folders", target / "sweeps")
    for file in (*(target / "sweeps").rglob("*.json*"), *(target / "sweeps").rglob("*.yaml")):
        file.write_text(file.read_text(encoding="utf-8").replace("/data/", f"{target}/"), encoding="utf-8")
    return target / "runs"


def digest() -> str:
    """The checksum of all golden files, by their names and contents."""
    files = [f for folder in ("run_folders", "sweep_folders", "bundle") for f in (GOLDEN / folder).rglob("*")]
    total = hashlib.sha256()
    for file in sorted(f for f in files if f.is_file()):
        total.update(file.relative_to(GOLDEN).as_posix().encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def test_the_files_never_change() -> None:
    assert digest() == EXPECTED["digest"]


@pytest.mark.filterwarnings("ignore:.*torn line")
@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_read_as_it_was_written(name: str) -> None:
    values = read_run(lk.attach(GOLDEN / "run_folders" / name))
    for key, expected in EXPECTED["runs"][name].items():
        if key == "experiment":  # fields may be added
            assert_contains(values[key], expected)
        else:
            assert values[key] == expected, key


def assert_contains(value: Any, expected: Any) -> None:
    """Every entry of ``expected`` is in ``value``, which may have more."""
    if isinstance(expected, dict):
        for key, inner in expected.items():
            assert_contains(value[key], inner)
    else:
        assert value == expected


def test_a_torn_line_is_skipped_and_said() -> None:
    (name,) = [n for n in RUNS if "-torn-" in n]
    run = lk.attach(GOLDEN / "run_folders" / name)
    with pytest.warns(UserWarning, match=r"metrics\.jsonl: a torn line is skipped"):
        assert len(run.steps) == EXPECTED["runs"][name]["status"]["step"]
    with pytest.warns(UserWarning, match=r"events\.jsonl: a torn line is skipped"):
        assert len(run.history) == 3


def test_the_table_of_runs() -> None:
    assert read_list(GOLDEN / "run_folders") == EXPECTED["list"]


def test_a_sweep(tmp_path: Path) -> None:
    runs = copy_sweep(tmp_path)
    assert read_sweep(lk.attach_sweep("golden", runs=runs)) == EXPECTED["sweep"]


def test_a_bundle() -> None:
    values = read_bundle(GOLDEN / "bundle")
    assert values["predictions"] == EXPECTED["bundle"]["predictions"]
    np.testing.assert_allclose(values["probabilities"], EXPECTED["bundle"]["probabilities"], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "cause", "reason"),
    [
        ("diverged", "diverged", "the loss is nan at step 2, epoch 1: training diverged"),
        ("full", "unwritable", "cannot write to '/data/runs/"),
        ("torn", "vanished", ""),
        ("language", "", ""),
        ("steered", "requested", "on request"),
    ],
)
def test_a_status_without_a_cause_gets_one(name: str, cause: str, reason: str) -> None:
    (folder,) = [n for n in RUNS if f"-{name}-" in n]
    status = lk.attach(GOLDEN / "run_folders" / folder).status
    assert status.cause == cause
    assert status.reason.startswith(reason)
