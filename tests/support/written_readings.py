"""Readings of a run that are written by hand: of one that learns, and of one whose learning rate is too low."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from lmkit.data.profile import FILE, Column, Profile
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.readings import LayerReading, OutputReading, Reading, WeightReading
from lmkit.system.files import JsonLines

CHANCE = float(np.log(4))
"""The loss of the best constant prediction: four classes of equal size."""

TOO_LOW, USUAL = 1e-6, 3e-3
"""The change of a layer in a step, relative: of a learning rate that is too low, and of a usual one."""


def write_profile(folder: RunFolder) -> None:
    """Write the profile of data in which nothing is wrong."""
    column = Column(name="a", mean=0.0, spread=1.0)
    profile = Profile(
        task="multiclass",
        rows={"training": 600, "validation": 200, "test": 200},
        features=16,
        has_rows=True,
        chance_loss=CHANCE,
        chance_score=0.25,
        class_shares=(0.25,) * 4,
        largest=column,
        smallest=column,
    )
    folder.write_json(FILE, asdict(profile))


def write_steps(folder: RunFolder, first: int, losses: list[float]) -> None:
    """Append steps to the metrics of a run."""
    folder.metrics.append({"step": first, "loss": losses, "lr": 1e-3, "gradient_norm": None})


def write_reading(folder: RunFolder, step: int, loss: float, update: float) -> None:
    """Append a reading.

    Args:
        folder: of the run.
        step: of the reading.
        loss: of the probe rows.
        update: the change of each layer in the step after it, relative.
    """
    weights = (
        WeightReading(name=f"dense_{i}.kernel", size=64, axes=2, norm=8.0, gradient=1.0, zeros=0.0, update=update)
        for i in range(3)
    )
    reading = Reading(
        step=step,
        rows=64,
        loss=loss,
        layers=(LayerReading(name="dense_1", units=8, low=0.0, high=3.0, spread=1.0, silent=0.0, saturated=0.0),),
        weights=tuple(weights),
        outputs=OutputReading(low=-3.0, high=3.0, row_spread=1.0, top_class=0, top_share=0.3, class_share=0.25),
    )
    JsonLines(folder.path / "readings.jsonl").append(reading.to_record())
