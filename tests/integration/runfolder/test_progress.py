"""The lines that a run prints."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import lmkit as lk
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.status import Status
from lmkit.system.processes import process


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(lk.Experiment(data="wine", training={"epochs": 40}), tmp_path)
    made.write_status(Status(state="running", epochs=40, steps=160, host=made.status().host, **process()))
    return made


def epoch(folder: RunFolder, number: int, **numbers: float | None) -> None:
    known = {"loss": 1 / number, "accuracy": 0.5, "val_loss": 2 / number, "mae": 7.0}
    folder.events.append("epoch", epoch=number, step=4 * number, seconds=0.02 * number, lr=0.1, **known | numbers)


def test_a_run_prints_while_it_is_watched(tmp_path: Path) -> None:
    run = lk.train(data="wine", epochs=2)
    file = io.StringIO()
    assert run.watch(file) is run
    told = file.getvalue().splitlines()
    assert [line.split()[0] for line in told] == ["training", "epoch", "epoch", "completed"]
    assert f"loss {run.history['loss'][1]:.4f}  accuracy {run.history['accuracy'][1]:.4f}" in told[2]
    assert f"val_loss {run.history['val_loss'][1]:.4f}" in told[2]


def test_watching_a_run_that_failed_raises_with_its_reason() -> None:
    run = lk.train(data="diabetes", optimizer="sgd", lr=1e4, inline=True, epochs=30, **{"data.scale_target": False})
    file = io.StringIO()
    with pytest.raises(lk.RunFailed, match="cannot be watched to its end: it failed"):
        run.watch(file)
    assert "training diverged" in file.getvalue().splitlines()[-1]
