"""Readings as they are written and read: columns, five digits, and what a resume takes back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lmkit.exceptions import DamagedFile
from lmkit.runfolder.readings import (
    LayerReading,
    OutputReading,
    Reading,
    WeightReading,
    layer_reading,
    load_readings,
    parse_reading,
)
from lmkit.system.files import JsonLines


def reading(step: int, loss: float = 1.0) -> Reading:
    return Reading(
        step=step,
        rows=4,
        loss=loss,
        layers=(LayerReading(name="a", kind="Linear", units=3, low=0.0, spread=1 / 3), LayerReading(name="b")),
        weights=(WeightReading(name="a.kernel", size=16, norm=2.0, gradient=4.0, is_connected=False),),
        outputs=OutputReading(low=-1.0, top_class=1),
        places=(0.5, 1.0),
    )


def test_a_reading_is_read_as_it_was_written(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "readings.jsonl")
    lines.append(reading(3).to_record())
    (loaded,) = load_readings(lines.path)
    assert loaded.layers[0] == LayerReading(name="a", kind="Linear", units=3, low=0.0, spread=0.33333)
    assert (loaded.weights, loaded.outputs, loaded.places) == (
        reading(3).weights,
        reading(3).outputs,
        (0.5, 1.0),
    )
    assert loaded.weights[0].gradient_per_number == 1.0


def test_a_number_that_is_not_finite_becomes_none(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "readings.jsonl")
    lines.append(reading(0, math.inf).to_record())
    assert load_readings(lines.path)[0].loss is None


def test_a_resume_takes_back_what_lies_after_its_checkpoint(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "readings.jsonl")
    for step in (0, 1, 2, 4, 8):
        lines.append(reading(step).to_record())
    lines.append({"resumed": 2})
    lines.append(reading(4, 9.0).to_record())
    assert [(r.step, r.loss) for r in load_readings(lines.path)] == [(0, 1.0), (1, 1.0), (2, 1.0), (4, 9.0)]


def test_damaged_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "readings.jsonl"
    good = json.dumps(reading(1).to_record())
    damaged = [{"step": -1}, {"step": "two"}, {"step": 3, "layers": [1]}, {"step": 4, "weights": {"name": [7]}}, []]
    path.write_text("\n".join([*map(json.dumps, damaged), good, good[:40]]))
    assert [r.step for r in load_readings(path)] == [1]
    with pytest.raises(DamagedFile, match="columns"):
        parse_reading({"step": 3, "layers": [1]}, path)


@pytest.mark.parametrize(
    ("low", "high", "saturated"),
    [(-1.0, 1.0, 0.4), (0.001, 0.999, 0.7), (0.0, 0.9, 0.0), (-3.0, 3.0, 0.0)],
    ids=["tanh", "sigmoid", "relu", "unbounded"],
)
def test_saturation_is_that_of_the_activation_whose_range_it_is(low: float, high: float, saturated: float) -> None:
    layer = layer_reading("a", "Dense", 4, [low, high, 0.5, 0.5, 0.0, 0.4, 0.7])
    assert layer.saturated == saturated
