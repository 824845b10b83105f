"""The autopsy of runs with a planted NaN: each place is named, in both frameworks, and the run's folder stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import lmkit as lk
from lmkit.commands.cli import main
from lmkit.doctor import dissect
from lmkit.doctor.autopsy import read_autopsy
from lmkit.training import replay

draw = np.random.default_rng(0)
X = draw.normal(size=(120, 4)).astype(np.float32)
Y = (X[:, 0] - X[:, 1] + 0.1 * draw.normal(size=120)).astype(np.float32)

FAST: dict[str, Any] = {
    "inline": True,
    "epochs": 6,
    "data.batch_size": 16,
    "model": "mlp:small",
    "training.readings": "off",
    "training.compile": "off",
}


class Rows:
    """A dataset, one of whose rows has NaN in column 2."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.float32]:
        if i >= len(X):
            raise IndexError(i)
        return (np.where(np.arange(4) == 2, np.float32("nan"), X[i]) if i == 77 else X[i]), Y[i]


class Batches:
    """A loader whose fifth batch divides by 0."""

    def __len__(self) -> int:
        return 8

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(8):
            x = X[15 * i : 15 * (i + 1)].copy()
            if i == 4:
                x[3, 1] = np.inf
            yield x, Y[15 * i : 15 * (i + 1)]


def torch_objects() -> dict[str, Any]:
    import torch
    from torch import nn

    class Overflow(nn.Module):
        def forward(self, h: Any) -> Any:
            return torch.exp(300 * h)

    class Distance(nn.Module):
        def forward(self, h: Any) -> Any:
            return torch.sqrt((h - h.detach()) ** 2)

    class Divide(nn.Module):
        def forward(self, h: Any) -> Any:
            return h / (h.mean(1, keepdim=True) - h.mean(1, keepdim=True))

    class Amplify(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4, bias=False)
            nn.init.eye_(self.inner.weight)

        def forward(self, h: Any) -> Any:
            return self.inner(h) * 3000

    class Around(nn.Module):
        """A layer between two dense ones, ``passes`` times."""

        def __init__(self, layer: nn.Module, passes: int = 1) -> None:
            super().__init__()
            self.first, self.planted, self.head = nn.Linear(4, 4), layer, nn.Linear(4, 1)
            self.passes = passes

        def forward(self, x: Any) -> Any:
            h = self.first(x.flatten(1))
            for _ in range(self.passes):
                h = self.planted(h)
            return self.head(h)

    class Evaluated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 1)

        def forward(self, x: Any) -> Any:
            z = self.head(x.flatten(1))
            return z if self.training else z + torch.sqrt(x.flatten(1)[:, :1] - 1.5)

    return {
        "log": lambda outputs, targets: -torch.log(outputs[:, 0] * targets.flatten()).mean(),
        "steep": lambda outputs, targets: 1e25 * ((outputs[:, 0] - targets.flatten()) ** 2).mean(),
        "exp": lambda: Around(Overflow()),
        "sqrt": lambda: Around(Distance()),
        "division": lambda: Around(Divide()),
        "recurrence": lambda: Around(Amplify(), 15),
        "evaluation": Evaluated,
    }


def tensorflow_objects() -> dict[str, Any]:
    import keras
    import tensorflow as tf

    class Overflow(keras.layers.Layer):
        def call(self, h: Any) -> Any:
            return tf.exp(300 * h)

    class Distance(keras.layers.Layer):
        def call(self, h: Any) -> Any:
            return tf.sqrt((h - tf.stop_gradient(h)) ** 2)

    class Divide(keras.layers.Layer):
        def call(self, h: Any) -> Any:
            return h / (tf.reduce_mean(h, 1, keepdims=True) - tf.reduce_mean(h, 1, keepdims=True))

    class Amplify(keras.layers.Layer):
        def __init__(self, name: str) -> None:
            super().__init__(name=name)
            self.inner = keras.layers.Dense(4, use_bias=False, kernel_initializer="identity", name="inner")

        def call(self, h: Any) -> Any:
            return self.inner(h) * 3000

    class Around(keras.Model):
        """A layer between two dense ones, ``passes`` times."""

        def __init__(self, layer: Any, passes: int = 1) -> None:
            super().__init__()
            self.first, self.planted, self.head = keras.layers.Dense(4), layer, keras.layers.Dense(1)
            self.passes = passes

        def call(self, x: Any) -> Any:
            h = self.first(x)
            for _ in range(self.passes):
                h = self.planted(h)
            return self.head(h)

    class Evaluated(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.head = keras.layers.Dense(1)

        def call(self, x: Any, training: bool = False) -> Any:
            z = self.head(x)
            return z if training else z + tf.sqrt(x[:, :1] - 1.5)

    return {
        "log": lambda y, z: -tf.reduce_mean(tf.math.log(z[:, 0] * tf.reshape(y, [-1]))),
        "steep": lambda y, z: 1e25 * tf.reduce_mean((z[:, 0] - tf.reshape(y, [-1])) ** 2),
        "exp": lambda: Around(Overflow(name="planted")),
        "sqrt": lambda: Around(Distance(name="planted")),
        "division": lambda: Around(Divide(name="planted")),
        "recurrence": lambda: Around(Amplify(name="planted"), 15),
        "evaluation": Evaluated,
    }


OBJECTS: dict[str, Callable[[], dict[str, Any]]] = {"torch": torch_objects, "tensorflow": tensorflow_objects}


class Plant(NamedTuple):
    """A fault: how it is planted, and what the autopsy says."""

    settings: Callable[[dict[str, Any]], dict[str, Any]]
    place: str
    says: str
    layer: str = ""
    lowers_rate: bool = False


def table(**settings: Any) -> dict[str, Any]:
    return {"data": (X, Y), **settings}


def parts(training: Any) -> dict[str, Any]:
    other = {"validation": (X[:20], Y[:20]), "test": (X[20:40], Y[20:40])}
    return {"data": {"training": training, **other}, "data.batch_size": None}


PLANTS = {
    "NaN in a row": Plant(lambda o: table(data=Rows()), "input", "is NaN"),
    "inf of a loader": Plant(lambda o: parts(Batches()), "input", "row 3 of batch 5 of epoch 1, column '1', in step 5"),
    "inf of augmentation": Plant(
        lambda o: table(**{"data.augment": {"noise": 3e38}}),
        "input",
        "the augmentation makes an input that is infinite",
    ),
    "log of a negative number": Plant(lambda o: table(loss=o["log"]), "loss", "log of a negative number"),
    "exp overflows": Plant(lambda o: table(model=o["exp"]), "layer", "exp overflows", "planted"),
    "rate too high": Plant(
        lambda o: table(optimizer="sgd", lr=50.0), "loss", "its updates made the weights grow", lowers_rate=True
    ),
    "sqrt at 0": Plant(lambda o: table(model=o["sqrt"]), "gradient", "the gradient of the square root of 0", "planted"),
    "division by 0": Plant(lambda o: table(model=o["division"]), "layer", "a division by 0", "planted"),
    "recurrence": Plant(lambda o: table(model=o["recurrence"]), "layer", "overflows", "planted"),
    "update overflows": Plant(lambda o: table(loss=o["steep"], optimizer="sgd", lr=1e20), "update", "by sgd overflows"),
    "evaluation": Plant(
        lambda o: table(model=o["evaluation"]), "layer", "square root of a negative number in the model"
    ),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("name", list(PLANTS))
@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_the_place_is_named(framework: str, name: str, tmp_path: Path) -> None:
    plant = PLANTS[name]
    settings = {k: v for k, v in {**FAST, **plant.settings(OBJECTS[framework]())}.items() if v is not None}
    run = lk.train(**settings, framework=framework, runs=tmp_path)
    assert run.status.cause == "diverged", run.status.reason
    run.doctor()  # which may write what simple models reach
    before = contents(run.path)
    first = run.doctor(autopsy=True).findings[0]
    autopsy = read_autopsy(run.folder)
    assert autopsy is not None
    assert (first.check, first.confidence) == ("autopsy", "sure"), first
    assert (autopsy.place, autopsy.layer) == (plant.place, plant.layer), autopsy
    assert plant.says in first.what
    assert ("training.optimizer.lr" in first.change) is plant.lowers_rate
    assert (first.advice == "lower the learning rate") is plant.lowers_rate
    assert contents(run.path) == before | {"autopsy.json": contents(run.path)["autopsy.json"]}


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """File → when it was written, and what is in it."""
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def test_a_run_is_repeated_from_its_checkpoint_bitwise(tmp_path: Path) -> None:
    model = {"hidden": [16], "dropout": 0.2}
    settings = FAST | {
        "model": model,
        "epochs": 200,
        "optimizer": "sgd",
        "lr": 0.9,
        "training.checkpoint_seconds": 1e-9,
    }
    run = lk.train(data=(X, Y), framework="torch", runs=tmp_path, **settings)
    saved = run.folder.load_checkpoint("last")
    assert run.status.cause == "diverged"
    assert saved is not None
    first = run.doctor(autopsy=True).findings[0]
    assert 0 < saved[2]["step"] < len(run.steps) - 2
    assert first.evidence["repeated"].endswith(f"from step {saved[2]['step']}, bitwise the same losses")
    assert first.advice == "lower the learning rate"


def test_a_checkpoint_whose_weights_are_no_numbers_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = FAST | {"optimizer": "sgd", "lr": 1e20, "training.checkpoint_seconds": 1e-9}
    run = lk.train(data=(X, Y), loss=torch_objects()["steep"], framework="torch", runs=tmp_path, **settings)
    assert (run.folder.load_checkpoint("last") or [{}, {}, {}])[2]["step"] == 1
    assert main(["doctor", run.name, "--autopsy", "--runs", str(tmp_path)]) in (0, None)
    text = capsys.readouterr().out
    assert "by sgd overflows in step 1" in text
    assert "repeated 1 step from the seed" in text


def test_what_was_found_is_shown_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lk.train(data=(X, Y), framework="torch", runs=tmp_path, **FAST | {"optimizer": "sgd", "lr": 50.0})
    assert "run.doctor(autopsy=True)" in run.status.reason
    with monkeypatch.context() as patch:
        patch.setattr(replay, "MAX_SECONDS", -1.0)
        (remark,) = [text for text in run.doctor(autopsy=True).remarks if "no autopsy" in text]
        assert "from its seed, as it has no usable checkpoint" in remark
    assert read_autopsy(run.folder) is None
    run.doctor(autopsy=True)
    monkeypatch.setattr(dissect, "dissect", None)  # it is not repeated again
    for diagnosis in (run.doctor(), run.doctor(autopsy=True)):
        assert diagnosis.findings[0].check == "autopsy"
        assert "largest weight" in diagnosis._repr_html_()


def test_a_run_that_has_not_diverged_has_no_autopsy(tmp_path: Path) -> None:
    run = lk.train(data=(X, Y), framework="torch", runs=tmp_path, **FAST)
    assert "no autopsy: the run has not diverged" in run.doctor(autopsy=True).remarks
