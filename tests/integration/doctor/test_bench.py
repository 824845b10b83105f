"""The doctor's tests by doing: one planted fault each, beside a healthy run, in both frameworks."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.doctor.bench import TestBench
from lmkit.doctor.results import TESTS, TestResult, read_tests
from lmkit.doctor.tester import Tester

draw = np.random.default_rng(0)
X = draw.normal(size=(240, 6)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(int)

FAST: dict[str, Any] = {
    "inline": True,
    "epochs": 12,
    "data.batch_size": 16,
    "model": {"hidden": [24]},
    "training.compile": "off",
    "data.scale": "none",
}


def mixing_model(framework: str) -> Any:
    """A model whose rows depend on each other."""
    if framework == "torch":

        def build_torch(features: int, outputs: int) -> Any:
            from torch import nn

            class Mixing(nn.Module):
                def __init__(self) -> None:
                    super().__init__()
                    self.body, self.head = nn.Linear(features, 8), nn.Linear(8, outputs)

                def forward(self, x: Any) -> Any:
                    return self.head(self.body(x).relu().softmax(0))

            return Mixing()

        return build_torch

    def build_keras(features: int, outputs: int) -> Any:
        import keras

        x = inputs = keras.Input((features,))
        x = keras.layers.Dense(8, activation="relu")(x)
        x = keras.layers.Lambda(lambda v: keras.ops.softmax(v, axis=0))(x)
        return keras.Model(inputs, keras.layers.Dense(outputs)(x))

    return build_keras


def results(run: lk.Run, *names: str, seconds: float = 8.0) -> dict[str, TestResult]:
    with ExitStack() as cleanup:
        bench = TestBench(run.folder, cleanup)
        return {name: bench.run(name, seconds) for name in names}


@pytest.fixture(scope="module", params=["torch", "tensorflow"])
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def healthy(framework: str, tmp_path_factory: pytest.TempPathFactory) -> lk.Run:
    return lk.train(data=(X, Y), framework=framework, runs=tmp_path_factory.mktemp("runs"), **FAST, lr=0.01)


def test_a_healthy_run_passes(healthy: lk.Run) -> None:
    before = {path.name for path in healthy.path.iterdir()}
    outcomes = results(healthy, "chance", "one-batch", "rows", "targets")
    assert {name: result.outcome for name, result in outcomes.items()} == dict.fromkeys(outcomes, "passed")
    assert {path.name for path in healthy.path.iterdir()} == before
    chance = float(outcomes["chance"].evidence["chance"])
    share = np.mean(np.concatenate([healthy.prepare_data().training.y.reshape(-1)]))
    assert chance == pytest.approx(-share * np.log(share) - (1 - share) * np.log(1 - share), rel=1e-3)


def test_the_remedy_of_a_tiny_rate_helps(framework: str, tmp_path: Path) -> None:
    optimizer = {"name": "sgd", "lr": 1e-6}
    run = lk.train(data=(X, Y), framework=framework, runs=tmp_path, optimizer=optimizer, **FAST)
    with ExitStack() as cleanup:
        bench = TestBench(run.folder, cleanup)
        batch, remedy = bench.run("one-batch", 6.0), bench.run("remedy", 20.0)
    assert batch.outcome == "failed"
    assert "with adam at 0.003 it does" in batch.answer
    assert remedy.outcome == "passed", remedy.answer
    assert bench.finding is not None
    assert bench.finding.check == "rate-low"
    without, changed = bench.curves
    assert without.values[-1] is not None
    assert changed.values[-1] is not None
    assert changed.values[-1] < 0.85 * without.values[-1]


def test_rows_that_mix_and_targets_of_nobody_are_named(framework: str, tmp_path: Path) -> None:
    y = draw.permutation(Y)
    settings = {**FAST, "model": mixing_model(framework), "epochs": 2}
    run = lk.train(data=(X, y), framework=framework, runs=tmp_path, **settings)
    outcomes = results(run, "rows", "targets")
    assert [result.outcome for result in outcomes.values()] == ["failed", "failed"]
    assert "axis 0" in outcomes["rows"].answer


def test_results_are_one_file_and_in_the_diagnosis(tmp_path: Path) -> None:
    settings = {**FAST, "model": mixing_model("torch"), "epochs": 2}
    run = lk.train(data=(X, Y), framework="torch", runs=tmp_path, **settings)
    before = {path.name for path in run.path.iterdir()}
    record = Tester(run.folder, 20.0).run()
    assert {path.name for path in run.path.iterdir()} - before == {"tests.json"}
    assert [result.name for result in record.results] == list(TESTS)
    assert read_tests(run.folder) == record
    diagnosis = run.doctor()
    assert "✗ Do rows depend on other rows?" in str(diagnosis)
    assert "Do rows depend on other rows?" in diagnosis._repr_html_()


def test_tests_that_are_cancelled_return_what_is_there(healthy: lk.Run) -> None:
    def tell(text: str) -> None:
        if text.startswith("test 2"):
            raise KeyboardInterrupt

    record = Tester(healthy.folder, 60.0, tell).run()
    assert [result.name for result in record.results] == ["chance"]
    assert record.remark == "1 of 5 tests were finished: cancelled"
