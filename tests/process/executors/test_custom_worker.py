"""What is somebody's own in a process of its own: sent by a notebook, imported from a folder, resumed, read again."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lmkit as lk
from lmkit.commands import cli
from lmkit.custom import pickling
from lmkit.specs.models import Custom

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, features, outputs, width=4):
        super().__init__()
        self.inner, self.last = nn.Linear(features, width), nn.Linear(width, outputs)

    def forward(self, x):
        return self.last(torch.relu(self.inner(x)))

def loss(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, label_smoothing=0.1)
"""


class Slow(nn.Module):
    """Long enough a step to be stopped amid training."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.inner, self.norm = nn.Linear(features, outputs), nn.BatchNorm1d(outputs)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            time.sleep(0.002)
        return self.drop(self.norm(self.inner(x)))


def keras_model(features: int, outputs: int) -> Any:
    import keras

    L = keras.layers
    return keras.Sequential([keras.Input((features,)), L.BatchNormalization(), L.Dropout(0.1), L.Dense(outputs)])


def disagreement(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return float((y_true != y_pred).mean())


def digits() -> DataLoader[Any]:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return DataLoader(TensorDataset(torch.as_tensor(X / 16).float(), torch.as_tensor(y)), 50, shuffle=True)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is defined here is sent, as from a notebook."""
    found = pickling.is_on_path
    monkeypatch.setattr(pickling, "is_on_path", lambda module: module != __name__ and found(module))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_module_of_a_notebook_is_sent_stopped_and_resumed() -> None:
    settings: dict[str, Any] = {"data": digits(), "model": Slow, "epochs": 10, "metrics": [disagreement]}
    whole = lk.train(**settings)
    part = lk.train(**settings)
    until = time.monotonic() + 120
    while part.status.step < 5 and part.status.live:
        assert time.monotonic() < until
        time.sleep(0.01)
    part.stop().wait(120)
    assert part.state == "stopped", part.status.reason
    part.resume().wait(120)
    whole.wait(120)
    assert (part.state, whole.state) == ("completed", "completed"), part.status.reason
    np.testing.assert_array_equal(part.steps["loss"], whole.steps["loss"])
    assert isinstance(part.experiment.model, Custom)
    assert part.experiment.model.builder.startswith("kept:Slow-")
    assert part.experiment.name == "DataLoader-own"
    assert "class Slow(nn.Module):" in (part.path / "own.py").read_text()
    assert type(part.model).__name__ == "Slow"


def test_a_model_of_keras_is_sent_too() -> None:
    run = lk.train(data="wine", model=keras_model, framework="tensorflow", epochs=2, wait=True)
    assert run.state == "completed", run.status.reason
    assert run.model(np.zeros((1, 13)), training=False).shape == (1, 3)


def test_a_file_names_a_module_of_the_current_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "nets_of_mine.py").write_text(MODULE)
    (here / "experiment.yaml").write_text(
        "data: wine\nmodel: {builder: 'nets_of_mine:Net', arguments: {width: 6}}\n"
        "training: {epochs: 2, loss: 'nets_of_mine:loss'}\n"
    )
    assert cli.main(["train", "experiment.yaml", "-p", "model.arguments.width", "5"]) == 0
    run = lk.attach().wait(120)
    assert run.state == "completed", run.status.reason
    assert run.model.inner.weight.shape == (5, 13)
    assert "def loss(outputs, targets):" in (run.path / "own.py").read_text()
    assert cli.main(["train", "experiment.yaml", "-p", "model.arguments.depth", "5"]) == 2
    assert "model.arguments: Net has no parameter 'depth'" in capsys.readouterr().err


def test_a_worker_meets_the_error_of_a_builder(here: Path) -> None:
    run = lk.train(data="wine", model=functools.partial(Slow, outputs="many"), wait=True)
    assert run.state == "failed"
    assert "model.builder: Slow raised TypeError" in run.status.reason
    assert "Traceback" in run.folder.log.read_text()
