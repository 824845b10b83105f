"""One experiment in both frameworks: the same start is seen, and another one as well."""

from __future__ import annotations

import io
from pathlib import Path

import nbformat
import pytest

import lmkit as lk
from lmkit.tables.frameworks import same_start, speed

HOW = {"data": "wine", "model": {"hidden": [4]}, "training": {"epochs": 4}, "inline": True}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[lk.Run]:
    root = tmp_path_factory.mktemp("runs")
    return [lk.train(**HOW, framework=f, runs=root) for f in ("torch", "tensorflow")]


def test_both_begin_at_the_same_point(runs: list[lk.Run]) -> None:
    table = same_start(runs)
    assert table.columns == ("quantity", "torch", "tensorflow", "largest difference")
    weights, first, tenth = table.rows
    # 13 columns, 4 units, 3 classes, each layer with its biases
    assert weights == ("initial weights", "71 parameters", "71 parameters", "none")
    for row, step in ((first, 1), (tenth, 10)):
        assert row[0] == f"loss at step {step}"
        assert list(row[1:3]) == [r.steps["loss"].iloc[step - 1] for r in runs]
        assert row[3] == "none" or float(row[3]) < 1e-5


def test_another_start_is_told(runs: list[lk.Run], tmp_path: Path) -> None:
    other = lk.train(**{**HOW, "training": {"epochs": 1}}, seed=1, runs=tmp_path)
    wider = lk.train(**{**HOW, "model": {"hidden": [5]}, "training": {"epochs": 1}}, runs=tmp_path)
    weights, first = same_start([runs[0], other]).rows
    assert float(weights[-1]) > 0.1
    assert float(first[-1]) > 1e-3, "no tenth step in one epoch"
    assert same_start([runs[0], wider]).rows[0][-1] == "different parameters"
    with pytest.raises(lk.DataError, match="given 1 run, expected two or more"):
        same_start(runs[:1])


def test_speed_is_that_of_the_whole_training(runs: list[lk.Run]) -> None:
    rows = {row[0]: row[1:] for row in speed(runs).rows}
    for i, run in enumerate(runs):
        assert rows["steps per second"][i] == pytest.approx(run.status.step / run.status.seconds)
        assert rows["time per step, ms"][i] * rows["steps per second"][i] == pytest.approx(1000)


def test_the_template(tmp_path: Path) -> None:
    done = lk.run_template(
        "duel",
        {"data": "wine", "epochs": 3, "model.hidden": [4], "training.readings": "off"},
        runs=tmp_path / "runs",
        log=io.StringIO(),
        output=tmp_path / "duel.ipynb",
    )
    assert done.state == "completed"
    assert not done.error
    first, second = map(lk.attach, done.runs)
    assert (first.experiment.framework, second.experiment.framework) == ("torch", "tensorflow")
    assert first.experiment.override({"framework": "tensorflow", "name": second.experiment.name}) == second.experiment
    outputs = [o for c in nbformat.read(done.notebook, 4).cells if c.cell_type == "code" for o in c.outputs]
    text = " ".join(str(o.get("data", {}).get("text/plain", o.get("text", ""))) for o in outputs)
    text = " ".join(text.split())
    assert "initial weights 71 parameters 71 parameters none" in text
    assert "Agreement of the predictions: " in text
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 1
