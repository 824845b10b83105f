"""Sweeps whose folder is written by hand: every number in it is known, and nothing is executed."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from lmkit.specs.plain import dump_yaml
from lmkit.sweeping.folder import SweepFolder, TrialFolder
from lmkit.sweeping.records import VERSION, SweepSettings, TrialOutcome
from lmkit.sweeping.search_space import read_space
from lmkit.sweeping.sweep import Sweep
from lmkit.system.files import write_json
from lmkit.system.processes import process


def written_sweep(
    root: Path,
    *,
    grid: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None,
    objectives: tuple[tuple[str, str], ...] = (("val_loss", "minimize"),),
    name: str = "night-1",
    trials: int = 4,
    experiment: Mapping[str, Any] | None = None,
) -> Sweep:
    """A sweep's folder beside ``root``/runs, without trials.

    Args:
        root: where ``runs`` and ``sweeps`` are kept.
        grid, search: what it goes through.
        objectives: (name, direction) of each.
        name: of the sweep.
        trials: how many it is to have.
        experiment: what all trials have in common; None: the train template without parameters.
    """
    folder = SweepFolder(root / "sweeps" / name)
    (folder.path / "trials").mkdir(parents=True)
    spec = {
        "version": VERSION,
        "template": "train.ipynb",
        "parameters": {},
        "experiment": experiment,
        **read_space(grid, search).to_dict(),
        "method": "random" if search else "grid",
        "objectives": [list(o) for o in objectives],
        "prune": None,
        "seed": 0,
    }
    (folder.path / "sweep.yaml").write_text(dump_yaml(spec))
    (folder.path / "train.ipynb").write_text("{}")
    folder.settings = SweepSettings(
        trials=trials,
        workers=2,
        threads=1,
        runs=str(root / "runs"),
        command=f"lmkit sweep train --name {name}",
    )
    return Sweep(folder)


def written_trial(
    sweep: Sweep,
    parameters: Mapping[str, Any],
    values: Mapping[str, Any] | None = None,
    *,
    state: str = "completed",
    error: str = "",
    run: Path | None = None,
    seconds: float = 2.0,
    notebook: bool = True,
) -> TrialFolder:
    """One more trial of it: ended, or ``running`` or ``waiting``."""
    folder = sweep.folder.new_trial(len(sweep.folder.trial_folders()) + 1, parameters, {})
    if state == "waiting":
        return folder
    attempt = folder.new_attempt()
    kept = attempt / "train.ipynb"
    if notebook:
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Train a model")]), kept)
    if run is not None:
        (attempt / "journal.jsonl").write_text(json.dumps({"run": str(run)}) + "\n")
    if state != "running":
        folder.finish(
            TrialOutcome.from_dict(
                {
                    "state": state,
                    "error": error,
                    "run": str(run) if run else None,
                    "values": dict(values or {}),
                    "notebook": f"{attempt.name}/train.ipynb" if notebook else None,
                    "attempt": attempt.name,
                    "threads": 1,
                    "seconds": seconds,
                }
            )
        )
    return folder


def driven(sweep: Sweep) -> Path:
    """Has it look as if this process drove it; who takes the file away ends that."""
    told = {**process(), "host": socket.gethostname(), "token": "t", "since": 0.0}
    lock = sweep.folder.lock.path
    write_json(lock, told)
    os.utime(lock)
    return lock
