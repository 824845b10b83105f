"""Slices through the loss of a run, in both frameworks: a linear model's loss is computed anew by NumPy."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import torch
from drawing_models import Drawing, never_same

import lmkit as lk
from lmkit.exceptions import ConfigError, DamagedFile
from lmkit.runfolder.snapshots import drop_snapshots, load_snapshots
from lmkit.surfaces import landscape as module


@pytest.fixture(params=["torch", "tensorflow"])
def framework(request: pytest.FixtureRequest) -> str:
    return request.param


def linear_run(framework: str, **changes: Any) -> lk.Run:
    settings = {
        "data": {"source": "diabetes", "batch_size": 353},
        "model": {"family": "mlp", "hidden": []},
        "training.epochs": 12,
        "training.optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.5},
        "training.early_stopping": None,
        "training.precision": "float64",
    }
    return lk.train(lk.Experiment(framework=framework).override({**settings, **changes}), inline=True)


def loss_by_hand(run: lk.Run, weights: dict[str, np.ndarray]) -> float:
    part = run.prepare_data().training
    return float(np.mean((part.X @ weights["dense_0.kernel"] + weights["dense_0.bias"] - part.y) ** 2))


def test_the_path_and_the_slice_of_a_linear_regression(framework: str) -> None:
    run = linear_run(framework)
    computed = lk.landscape(run, size=11)
    # the path begins at the first weights and ends at the last: (0, 0)
    assert computed.steps.tolist() == list(range(13))
    np.testing.assert_array_equal(computed.path[-1], [0, 0])
    saved = run.folder.load_checkpoint("last")
    assert saved
    weights = saved[0]
    spec = run.experiment
    first = spec.model.initial_weights(run.preprocessing.signature, spec.seed)
    distance = np.sqrt(sum(np.sum((first[name] - weights[name]) ** 2) for name in weights))
    assert 0.8 * distance < np.linalg.norm(computed.path[0]) <= distance * (1 + 1e-9)
    assert computed.explained is not None
    assert 0.8 < computed.explained <= 1
    np.testing.assert_allclose(computed.losses[-1], loss_by_hand(run, weights), rtol=1e-10)
    # every step's loss is that of the weights before it
    np.testing.assert_allclose(computed.losses[:-1], run.steps["loss"], rtol=1e-10)
    # the loss is quadratic in the weights, so that its slice is a quadratic function of two variables
    x, y = np.meshgrid(*computed.surface.axes)
    terms = np.stack([x**0, x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    values = computed.surface.losses.ravel()
    fitted = terms @ np.linalg.lstsq(terms, values, rcond=None)[0]
    np.testing.assert_allclose(fitted, values, rtol=1e-9)
    np.testing.assert_allclose(computed.surface.loss(np.zeros(2)), computed.losses[-1], rtol=0.02)
    # it is a chart, and a surface for descent
    data, _ = computed._repr_mimebundle_()
    assert set(data) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    shown = lk.descent(computed, steps=400)
    assert shown.path.losses[-1] < 0.8 * shown.path.losses[0]
    np.testing.assert_allclose(shown.path.points[0], computed.path[0], rtol=1e-5)


def test_random_directions(framework: str) -> None:
    run = linear_run(framework, **{"training.epochs": 2})
    log = io.StringIO()
    one, again, other = (lk.landscape(run, directions="random", size=6, seed=s, log=log) for s in (0, 0, 1))
    np.testing.assert_array_equal(one.surface.losses, again.surface.losses)
    assert not np.allclose(one.surface.losses, other.surface.losses)
    assert (one.explained, len(one.path)) == (None, 0)
    assert one.surface.info.window == ((-1, 1), (-1, 1))


class Linear(torch.nn.Module):
    """A layer whose weights are (outputs, features)."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(features, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(x)
        return outputs


def dense(features: int, outputs: int) -> keras.Model:
    """A layer whose weights are (features, outputs)."""
    return keras.Sequential([keras.Input((features,)), keras.layers.Dense(outputs)])


@pytest.mark.parametrize(("framework", "builder", "inputs_axis"), [("torch", Linear, 1), ("tensorflow", dense, 0)])
def test_random_directions_have_the_norm_of_each_filter_of_a_custom_model(
    framework: str, builder: Any, inputs_axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    directions: list[tuple[np.ndarray, np.ndarray]] = []

    def grid(slicer: Any, current: Any, size: int) -> tuple[np.ndarray, str]:
        directions.extend(
            (slicer.weights(line)[name], slicer.end[name])
            for line in current.plane
            for name in slicer.names
            if slicer.end[name].ndim > 1
        )
        return np.zeros((size, size)), ""

    monkeypatch.setattr(module._Slicer, "grid", grid)
    run = lk.train(data="wine", framework=framework, model=builder, epochs=1, inline=True)
    lk.landscape(run, directions="random", size=6)
    assert len(directions) == 2
    for direction, weights in directions:
        expected = np.linalg.norm(weights, axis=inputs_axis)
        np.testing.assert_allclose(np.linalg.norm(direction, axis=inputs_axis), expected, rtol=1e-5)


def test_an_interrupt_returns_the_coarse_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    run = linear_run("torch", **{"training.epochs": 1})
    computed, count = module._Slicer.loss, 0

    def interrupted(slicer: Any, weights: Any) -> float:
        nonlocal count
        count += 1
        if count > 40:
            raise KeyboardInterrupt
        return computed(slicer, weights)

    monkeypatch.setattr(module._Slicer, "loss", interrupted)
    coarse = lk.landscape(run, directions="random")
    assert coarse.surface.losses.shape == (6, 6)
    assert coarse.text.endswith("interrupted: 6 × 6 points; the same call goes on")
    assert count == 41
    count = -1000
    assert lk.landscape(run, directions="random", size=11).surface.losses.shape == (11, 11)
    assert count + 1000 == 11 * 11 - 40, "the same call goes on, also with another size"


@pytest.mark.parametrize(("framework", "builder"), [("torch", Drawing), ("tensorflow", never_same)])
def test_a_model_that_always_draws_is_refused(framework: str, builder: Any) -> None:
    run = lk.train(data="wine", framework=framework, model=builder, epochs=1, inline=True)
    with pytest.raises(lk.ConfigError, match=r"the loss of the same weights is .* draws random numbers in evaluation"):
        lk.landscape(run, directions="random")


def test_a_run_without_a_checkpoint_and_data_that_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    pd.DataFrame({"a": np.arange(60.0), "t": np.arange(60) % 2}).to_csv(path, index=False)
    run = lk.train(data={"source": str(path), "target": "t"}, model={"hidden": []}, epochs=1, inline=True)
    path.unlink()
    with pytest.raises(lk.DataError, match=r"table\.csv"):
        lk.landscape(run)
    for file in (run.path / "checkpoints" / "last").iterdir():
        file.unlink()
    with pytest.raises(lk.RunStateError, match="has no checkpoint; it is completed: train it first"):
        lk.landscape(run)


def test_a_run_whose_steps_cannot_be_repeated() -> None:
    run = linear_run("torch", **{"training.epochs": 3})
    experiment = run.path / "experiment.yaml"
    text = experiment.read_text()
    assert "lr: 0.1" in text
    experiment.write_text(text.replace("lr: 0.1", "lr: 0.2"))  # as if its rate had been changed meanwhile
    with pytest.raises(lk.RunStateError, match=r"cannot be trained again to the same weights .* directions='random'"):
        lk.landscape(lk.attach(run.path))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"directions": "principal"}, "directions: given 'principal', expected one of path, random"),
        ({"size": 20}, "size: given 20, expected one of 6, 11, 21, 41"),
        ({"span": 0}, "span: given 0, expected a number greater than 0"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(lk.ConfigError, match=problem):
        lk.landscape("last", **arguments)
    with pytest.raises(lk.RunNotFound):
        lk.landscape("none")


def test_snapshots_are_the_path_and_nothing_is_trained_again(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without, run = linear_run(framework), linear_run(framework, **{"training.snapshots": 4})
    np.testing.assert_array_equal(run.steps["loss"], without.steps["loss"])
    monkeypatch.setattr(module._Slicer, "train_again", None)
    computed = lk.landscape(run, size=6)
    assert computed.steps.tolist() == [0, 3, 6, 9, 12]
    np.testing.assert_allclose(computed.path[-1], [0, 0], atol=1e-9)
    np.testing.assert_allclose(computed.losses[:-1], run.steps["loss"][[0, 3, 6, 9]], rtol=1e-10)


def test_a_damaged_snapshot_is_named(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = linear_run(framework, **{"training.snapshots": 2})
    assert sorted(path.name for path in (run.path / "snapshots").iterdir()) == [
        f"{step:012d}.safetensors" for step in (0, 6, 12)
    ]
    drop_snapshots(run.folder, 6)
    assert load_snapshots(run.folder, 11)[0] == [0, 6]
    with pytest.raises(DamagedFile, match="expected 2 weights"):
        load_snapshots(run.folder, 2)
    (run.path / "snapshots" / "000000000006.safetensors").write_bytes(b"0" * 99)
    with pytest.raises(DamagedFile):
        lk.landscape(run, size=6)
    monkeypatch.setattr(module, "MAX_MEMORY", 1)
    with pytest.raises(ConfigError, match="2 copies of 11 weights do not fit"):  # before any is read
        lk.landscape(run, size=6)
