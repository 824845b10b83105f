"""Readings change nothing, and their numbers are those of an independent computation."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy_mlp as reference
import pytest
import torch
from narrowing import require_value
from torch import nn

import lmkit as lk
from lmkit.data.profile import Profile
from lmkit.runfolder.readings import Reading, load_readings
from lmkit.system.records import read_record
from lmkit.training import readings as training_readings
from lmkit.training.setup import build_components

FRAMEWORKS = ["torch", "tensorflow"]


def train(framework: str, **changes: Any) -> lk.Run:
    settings = {"data": "wine", "seed": 3, "epochs": 5, "checkpoint_seconds": 1e6, **changes}
    return lk.train(framework=framework, inline=True, **settings)


def readings(run: lk.Run) -> list[Reading]:
    return load_readings(run.path / "readings.jsonl")


class Drawing(nn.Module):
    """Draws in evaluation too, from three generators, and normalizes over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(13, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
        self.calls = nn.Buffer(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        noise = torch.randn_like(x) + float(np.random.normal())
        return self.layers(x + 0.01 * noise)


def build_keras(features: int, outputs: int) -> keras.Model:
    x = x_in = keras.Input((features,))
    x = keras.layers.GaussianNoise(0.1)(x, training=True)
    x = keras.layers.Dense(8)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.2)(keras.layers.ReLU()(x))
    return keras.Model(x_in, keras.layers.Dense(outputs)(x))


@pytest.mark.parametrize(
    ("framework", "model"),
    [
        ("torch", {"hidden": [8, 8], "dropout": 0.2}),
        ("torch", Drawing),
        ("tensorflow", {"hidden": [8, 8], "dropout": 0.2}),
        ("tensorflow", build_keras),
    ],
    ids=["torch family", "torch own", "tensorflow family", "tensorflow own"],
)
def test_a_run_is_bitwise_the_same_with_readings_and_without(framework: str, model: Any) -> None:
    curves = []
    for setting in ("auto", "off"):
        np.random.seed(0)
        run = train(framework, model=model, **{"training.readings": setting})
        assert run.state == "completed", run.status.reason
        assert len(readings(run)) == (7 if setting == "auto" else 0)  # 0, 1, 2, 4, 8, 16 and 20 of 20 steps
        weights = run.folder.load_checkpoint("last")
        assert weights is not None
        curves.append((run.steps["loss"].tolist(), {name: w.tobytes() for name, w in weights[0].items()}))
    assert curves[0] == curves[1]


def test_families_are_read_alike_and_as_numpy_computes() -> None:
    records = {}
    for framework in FRAMEWORKS:
        run = train(framework, model={"hidden": [8, 6], "activation": "tanh"}, epochs=1)
        first = readings(run)[0]
        records[framework] = (first, run)
    (a, run), (b, _) = records["torch"], records["tensorflow"]
    assert [layer.name for layer in a.layers] == [layer.name for layer in b.layers] == ["dense_1", "dense_2"]
    for one, other in zip(a.weights, b.weights, strict=True):
        assert one.name == other.name
        values = np.array([[w.norm, w.gradient, w.update] for w in (one, other)], dtype=float)
        np.testing.assert_allclose(values[0], values[1], rtol=2e-4, equal_nan=True)

    data = run.prepare_data()
    rows = np.linspace(0, len(data.training.X) - 1, a.rows).astype(int)
    X, y = data.training.X[rows].astype(np.float64), data.training.y[rows]
    signature = data.preprocessing.signature
    weights = {n: w.astype(np.float64) for n, w in run.experiment.model.initial_weights(signature, 3).items()}
    loss, gradients = reference.gradients(weights, X, y, "tanh", "categorical_crossentropy")
    assert a.loss == pytest.approx(loss, rel=1e-4)
    for weight in a.weights:
        assert weight.gradient == pytest.approx(np.linalg.norm(gradients[weight.name]), rel=1e-3)
        assert weight.norm == pytest.approx(np.linalg.norm(weights[weight.name]), rel=1e-4, abs=1e-9)
    h = np.tanh(X @ weights["dense_0.kernel"] + weights["dense_0.bias"])
    layer = a.layers[0]
    assert (layer.low, layer.high) == pytest.approx((h.min(), h.max()), rel=1e-4)
    assert (layer.spread, layer.row_spread) == pytest.approx((h.std(), h.std(0).mean()), rel=1e-4)
    assert layer.saturated == pytest.approx((np.abs(h) > 0.97).mean(), abs=1e-3)


class Mixing(nn.Module):
    """A softmax over the rows, and two layers without a bend."""

    def __init__(self, mixes: bool) -> None:
        super().__init__()
        self.body, self.head, self.mixes = nn.Sequential(nn.Linear(13, 8), nn.Linear(8, 8)), nn.Linear(8, 3), mixes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x)
        return self.head(10 * x.softmax(0) if self.mixes else x)


def mixing() -> nn.Module:
    return Mixing(True)


def linear() -> nn.Module:
    return Mixing(False)


def detached() -> nn.Module:
    class Detached(Mixing):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.body(x)).detach())

    return Detached(False)


def test_exact_tests_tell_mixed_rows_linear_models_and_parts_without_gradient() -> None:
    mixed, straight, cut = (readings(train("torch", model=model, epochs=1)) for model in (mixing, linear, detached))
    assert require_value(mixed[0].mixed) > 0.1
    assert require_value(straight[0].mixed) < 1e-5
    assert require_value(straight[0].curvature) < 1e-5
    assert require_value(cut[0].curvature) > 0.01
    connected = {w.name: w.is_connected for w in cut[0].weights}
    assert connected == {name: name.startswith("head") for name in connected}  # the body has no part in the loss


def build_mixing_keras(features: int, outputs: int) -> keras.Model:
    x = x_in = keras.Input((features,))
    x = keras.layers.Dense(8)(x)
    x = keras.layers.Lambda(lambda v: 10 * keras.ops.softmax(v, axis=0))(x)
    return keras.Model(x_in, keras.layers.Dense(outputs)(x))


def build_detached_keras(features: int, outputs: int) -> keras.Model:
    x = x_in = keras.Input((features,))
    x = keras.layers.Dense(8)(x)
    x = keras.layers.Lambda(keras.ops.stop_gradient)(x)
    return keras.Model(x_in, keras.layers.Dense(outputs)(x))


def build_linear_keras(features: int, outputs: int) -> keras.Model:
    return keras.Sequential([keras.Input((features,)), keras.layers.Dense(8), keras.layers.Dense(outputs)])


def test_exact_tests_in_tensorflow() -> None:
    builders = (build_mixing_keras, build_linear_keras, build_detached_keras)
    mixed, straight, cut = (readings(train("tensorflow", model=build, epochs=1))[0] for build in builders)
    assert require_value(mixed.mixed) > 0.1
    assert require_value(straight.mixed) < 1e-5
    assert require_value(straight.curvature) < 1e-5
    assert [w.is_connected for w in cut.weights] == [False, False, True, True]


def test_the_profile_says_what_the_data_are_like(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = 300
    x = generator.normal(size=(rows, 3))
    y = (x[:, 0] + 0.1 * generator.normal(size=rows) > 0).astype(int)
    columns = {"a": x[:, 0], "b": 1e4 * x[:, 1], "c": np.ones(rows), "id": np.arange(rows), "leak": y + x[:, 2] / 1e3}
    table = tmp_path / "table.csv"
    lines = [",".join([*columns, "y"]), *(",".join(map(str, row)) for row in zip(*columns.values(), y, strict=True))]
    table.write_text("\n".join(lines))
    data = {"source": str(table), "target": "y", "scale": "none", "ids": []}
    run = train("torch", data=data, model={"hidden": [4]}, epochs=1)
    profile = read_record(Profile, run.path / "profile.json")
    assert profile is not None
    assert profile.largest is not None
    assert profile.row_numbers == ("id",)
    assert profile.revealing == ("leak",)
    assert profile.largest.name == "b"
    assert profile.largest.spread == pytest.approx(1e4, rel=0.2)
    assert profile.chance_score == pytest.approx(0.5, abs=0.1)
    assert profile.chance_loss == pytest.approx(np.log(2), abs=0.02)
    assert require_value(profile.disagreement) < 0.1


def test_a_resumed_run_takes_its_readings_back() -> None:
    run = train("torch", epochs=3)
    path = run.path / "readings.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps(line) for line in [*lines, {"resumed": 4}, lines[-1]]) + "\n")
    assert [reading.step for reading in readings(run)] == [0, 1, 2, 4, 12]


def test_the_data_are_no_layer_whatever_is_read_first() -> None:
    X = np.random.default_rng(0).normal(size=(40, 12, 1))
    data = lk.train((X, X[:, 0, 0] > 0), model={"family": "cnn", "channels": [2]}, epochs=1, inline=True)
    with ExitStack() as cleanup:
        trainer = build_components(data.folder, data.experiment, cleanup).trainer
        names = [[layer.name for layer in trainer.reading(np.arange(8), exact=e).layers] for e in (False, True)]
    assert names[0] == names[1] == [layer.name for layer in readings(data)[0].layers]


class Scaled(nn.Module):
    """Scales its outputs by what a layer makes of a single vector, which is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.vector, self.scale, self.head = nn.Parameter(torch.ones(4)), nn.Linear(4, 3), nn.Linear(13, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) * self.scale(self.vector)


def test_a_layer_of_a_single_vector_does_not_end_the_readings() -> None:
    assert len(readings(train("torch", model=Scaled, epochs=1))) == 4  # 0, 1, 2 and 4 of 4 steps


def test_data_that_cannot_be_described_are_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no numbers")

    monkeypatch.setattr(training_readings, "profile_data", fail)
    run = train("torch", epochs=1)
    assert run.state == "completed"
    texts = [event.data["text"] for event in run.events if event.type == "warning"]
    assert texts.count("no profile of the data for the doctor: ValueError: no numbers") == 1
