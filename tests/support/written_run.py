"""Runs whose folder is written by hand: every number in it is known, and nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lmkit.data.preparation import prepare
from lmkit.experiment.experiment import Experiment
from lmkit.run.run import Run
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.status import Status

BEGAN = 1_700_000_000.0


def written_run(
    root: Path,
    *,
    state: str = "completed",
    losses: Sequence[float] = (),
    epochs: Sequence[Mapping[str, Any]] = (),
    predictions: tuple[Any, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    prepared: bool = True,
    **experiment: Any,
) -> Run:
    """A run's folder.

    Args:
        root: where runs are kept.
        state: what it ended as; or running, then by a worker that is this process.
        losses: of every step.
        epochs: columns of each epoch besides its number and its last step.
        predictions: target and prediction of every row of the test part.
        status: more of the status.
        prepared: whether it got as far as preparing its data.
        **experiment: parts of the experiment.
    """
    spec = Experiment().override(experiment)
    folder = RunFolder.create(spec, root)
    if prepared:
        data = prepare(spec.data, spec.seed, "float32", root)
        folder.write_json("preprocessing.json", data.preprocessing.to_dict())
        lines: list[dict[str, Any]] = [{"time": BEGAN, "type": "started", "pid": 1, "host": "here", "device": "cpu"}]
        per_epoch = len(losses) // len(epochs) if epochs else 0
        for i, columns in enumerate(epochs, start=1):
            row = {"epoch": i, "step": i * per_epoch, "seconds": i * 1.0, "lr": 0.01}
            lines.append({"time": BEGAN + i, "type": "epoch", **row, **columns})
        for line in lines:
            folder.events.lines.append(line)
    if len(losses):
        values = [float(v) for v in losses]
        folder.metrics.append({"step": 1, "loss": values, "lr": 0.01, "gradient_norm": None})
    if predictions is not None:
        frame = pd.DataFrame({"target": predictions[0], "prediction": predictions[1]})
        frame.to_parquet(folder.path / "predictions.parquet", index=False)
    told = folder.status()
    changes = {
        "state": state,
        "step": len(losses),
        "epochs": spec.training.epochs,
        "heartbeat": BEGAN + 100,
        "seconds": 2.5,
    }
    folder.write_status(Status(**{**vars(told), **changes, **(status or {})}))
    return Run(folder)


def falling(n: int, seed: int = 0) -> np.ndarray:
    """Losses that fall, with noise."""
    draw = np.random.default_rng(seed)
    return np.exp(-np.arange(n) / (n / 2)) * (1 + 0.3 * draw.uniform(-1, 1, n))
