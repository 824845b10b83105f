"""Results of the doctor's tests: what helps, what is shown, and files from elsewhere."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.doctor.chart import draw_curves
from lmkit.doctor.diagnosis import Diagnosis
from lmkit.doctor.finding import Finding
from lmkit.doctor.results import FILE, Curve, TestRecord, TestResult, read_tests
from lmkit.doctor.tester import Tester
from lmkit.doctor.twins import Twin, judge
from lmkit.exceptions import ConfigError, DamagedFile, RunStateError
from lmkit.runfolder.folder import RunFolder

CHANGE = {"training.optimizer.lr": 0.1}
FINDING = Finding(check="rate-low", what="too <low>", evidence={}, confidence="sure", change=CHANGE)
RECORD = TestRecord(
    step=7,
    seconds=3.0,
    results=(
        TestResult(name="one-batch", outcome="failed", answer="No: loss 2 → 2."),
        TestResult(name="remedy", outcome="passed", answer="Yes: loss 2 → 0.5, with training.optimizer.lr: 0.1."),
    ),
    check="rate-low",
    change=FINDING.change_text,
    metric="loss",
    curves=(
        Curve(label="without", epochs=(1, 2), values=(2.0, 2.0)),
        Curve(label="with <lr>", epochs=(1, 2), values=(1.0, 0.5)),
    ),
)


def twin(loss: float, score: float = math.nan, *, rows: int = 400, diverged: bool = False) -> Twin:
    losses = [loss]
    return Twin([1.0], losses, [score], "accuracy", np.full(rows, loss), rows, 10, diverged)


@pytest.mark.parametrize(
    ("without", "changed", "helps"),
    [
        (twin(2.0, 0.1), twin(0.5, 0.9), True),
        (twin(0.5, 0.9), twin(0.5, 0.9), False),
        (twin(0.5, 0.90), twin(0.5, 0.91), False),  # within the error of 400 rows
        (twin(0.5, 0.90), twin(0.4, 0.90), True),  # the loss alone
        (twin(0.5, 0.90), twin(0.4, 0.50), False),
        (twin(1.0), twin(0.9), True),
        (twin(1.0, diverged=True), twin(5.0, 0.2), True),
        (twin(1.0, 0.2), twin(1.0, diverged=True), False),
    ],
)
def test_a_change_helps_where_it_is_better_beyond_chance(without: Twin, changed: Twin, helps: bool) -> None:
    assert judge(without, changed, same_loss=True)[0] is helps


def test_losses_of_other_units_are_not_compared() -> None:
    helps, numbers = judge(twin(1e9, 0.2), twin(0.5, 0.21), same_loss=False)
    assert not helps
    assert numbers == "accuracy 0.2 → 0.21"


def test_the_best_epoch_counts_where_its_weights_are_restored() -> None:
    values = Twin([1, 2, 3], [1.0, 0.4, 0.9], [0.1, 0.6, 0.3], "accuracy")
    assert (values.loss, values.score) == (0.9, 0.3)
    values.restores_best = True
    assert (values.loss, values.score) == (0.4, 0.6)


def test_a_diagnosis_shows_what_was_tried() -> None:
    diagnosis = Diagnosis("run", [FINDING], (), None, None, RECORD)
    text = str(diagnosis)
    assert "change:   training.optimizer.lr: 0.1 (helps: loss 2 → 0.5)" in text
    assert "✗ Does the model fit one batch? No: loss 2 → 2." in text
    page = diagnosis._repr_html_()
    assert "helps: loss 2 → 0.5" in page
    assert page.count("<polyline") == 2
    assert diagnosis.blocks[0].count("<polyline") == 2, "the curves stand where the finding does"
    assert Diagnosis("run", [], (), None, None, RECORD).tests_block.count("<polyline") == 2
    assert "with &lt;lr&gt; → 0.5" in page
    assert "<lr>" not in page


def test_another_change_was_not_tried() -> None:
    other = Finding(check="rate-low", what="", evidence={}, confidence="sure", change={"training.optimizer.lr": 0.2})
    assert Diagnosis("run", [other], (), None, None, RECORD).tried(other) == ""


def test_a_chart_needs_two_points() -> None:
    assert draw_curves([Curve(label="a", epochs=(1,), values=(None,))], "loss") == ""
    assert "not finite" in draw_curves([RECORD.curves[0], Curve(label="b")], "loss")


def test_a_chart_of_the_largest_numbers_has_finite_coordinates() -> None:
    drawing = draw_curves([Curve(label="a", epochs=(-1.7e308, 1.7e308), values=(1.7e308, -1.7e308))], "loss")
    assert "points='4.0,4.0 316.0,66.0'" in drawing


def test_results_are_read_back_and_damage_is_named(tmp_path: Path) -> None:
    folder = RunFolder.create(lk.Experiment(data="wine"), tmp_path)
    assert read_tests(folder) is None
    folder.write_json(FILE, RECORD.to_record())
    assert read_tests(folder) == RECORD
    record: dict[str, Any] = {**RECORD.to_record(), "step": -1}
    (folder.path / FILE).write_text(json.dumps(record))
    with pytest.raises(DamagedFile, match="step"):
        read_tests(folder)
    for huge in ({"results": RECORD.to_record()["results"] * 1001}, {"remark": "x" * 10_001}):
        (folder.path / FILE).write_text(json.dumps({**RECORD.to_record(), **huge}))
        with pytest.raises(DamagedFile, match=next(iter(huge))):
            read_tests(folder)


def test_tests_need_seconds_and_data(tmp_path: Path) -> None:
    folder = RunFolder.create(lk.Experiment(data="wine"), tmp_path)
    with pytest.raises(ConfigError, match="seconds: given 2, expected a number from 5"):
        Tester(folder, 2)
    with pytest.raises(ConfigError, match="seconds: given True"):
        Tester(folder, True)
    with pytest.raises(RunStateError, match="not prepared its data"):
        Tester(folder)
