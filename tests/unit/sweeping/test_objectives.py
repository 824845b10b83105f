"""The numbers by which a trial is compared are those of the weights that its run ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from written_run import written_run

from lmkit.sweeping.objectives import run_values

EPOCHS = [{"loss": 0.4, "val_loss": loss} for loss in (0.9, 0.5, 0.48, 0.7)]


@pytest.mark.parametrize(
    ("early", "state", "val_loss"),
    [
        ({}, "completed", 0.48),
        ({"min_delta": 0.05}, "completed", 0.5),
        ({"restore_best": False}, "completed", 0.7),
        ({}, "stopped", 0.7),
    ],
)
def test_values_are_of_the_epoch_whose_weights_are_restored(
    tmp_path: Path, early: dict[str, Any], state: str, val_loss: float
) -> None:
    training = {"early_stopping": early}
    run = written_run(
        tmp_path, state=state, losses=[0.5] * 4, epochs=EPOCHS, prepared=True, data="wine", training=training
    )
    assert run_values(run)["val_loss"] == val_loss
