"""The part of the configurator that makes a sweep: rows are checked as they are typed, told as code, and begun."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from narrowing import require_type

import lmkit as lk
from lmkit.commands.cli import main
from lmkit.commands.magics import _call
from lmkit.exceptions import SweepError
from lmkit.experiment.placeholders import Placeholders
from lmkit.sweeping.search_space import read_space
from lmkit.widgets import configurator
from lmkit.widgets.configurator import Configurator
from lmkit.widgets.sweep_form import SweepForm, command, magic, python

EXPERIMENT = lk.Experiment(data="wine", training={"epochs": 2})


@pytest.fixture
def form() -> SweepForm:
    made = Configurator(EXPERIMENT)._sweep
    assert made.rows == [], "nothing is made until it is opened"
    made.fold.is_open = True
    return made


def row(form: SweepForm, index: int, path: str, values: str) -> str:
    """Fills in a row; what is said under it."""
    form.rows[index].path.value, form.rows[index].values.value = path, values
    return str(form.rows[index].note.value)


def test_it_says_what_the_rows_make(form: SweepForm) -> None:
    assert form.button.disabled
    assert "Enter a field to vary" in form.status.value
    assert "current value: 0.001" in row(form, 0, "lr", "0.1,0.01,0.001")
    assert "3 trials, to minimize val_loss." in form.status.value
    assert not form.button.disabled
    row(form, 1, "model.hidden", "[8],[8, 8]")
    assert "3 × 2 = 6 trials" in form.status.value
    assert form.rows[-1].empty
    assert len(form.rows) == 3
    row(form, 2, "model.dropout", "0..0.5")
    assert form.rows[2].mode.value == "search", "a range is sampled"
    assert form.form.field("trials").row.problem.startswith("set the number of trials")
    form.form.field("trials").control.value = "8"
    form.form.field("objective").control.value = "val_accuracy, minimize seconds"
    told = "8 trials, through 3 × 2 combinations, method tpe, to maximize val_accuracy and minimize seconds."
    assert told in form.status.value
    assert form.arguments == {
        "grid": {"lr": "0.1,0.01,0.001", "model.hidden": "[8],[8, 8]"},
        "search": {"model.dropout": "0..0.5"},
        "trials": 8,
        "objective": ["val_accuracy", "minimize seconds"],
    }


@pytest.mark.parametrize(
    ("path", "values", "said"),
    [
        ("model.dropout", "0..2", "given 2, expected a number less than 1"),
        ("model.dropout", "0.5..0.1", "expected the lower bound first"),
        ("lr", "0..1:log", "logarithmic scale, expected a lower bound"),
        ("nowhere", "1,2", "no such path"),
        ("lr", "0.1,0.1", "duplicate value"),
        ("lr", "", "enter its values"),
        ("", "1,2", "enter the field to vary"),
        ("seed", "3,4", "is already in use"),
    ],
)
def test_what_is_wrong_is_told_at_its_row(form: SweepForm, path: str, values: str, said: str) -> None:
    row(form, 0, "seed", "1,2")
    assert said in row(form, 1, path, values)
    assert "lkc-problem" in form.rows[1].note.value
    assert "lkc-problem" not in form.rows[0].note.value
    assert form.button.disabled
    assert form.arguments is None
    assert form.owner.sweep() is None
    row(form, 1, "", "")
    assert not form.button.disabled
    assert "2 trials" in form.status.value


def test_a_row_may_need_the_one_before_it(form: SweepForm) -> None:
    row(form, 0, "training.optimizer", "adam")
    assert "lkc-problem" not in row(form, 1, "training.optimizer.beta1", "0.8,0.9")
    row(form, 0, "training.optimizer", "sgd")
    assert "lkc-problem" in form.rows[1].note.value
    assert "lkc-problem" not in form.rows[0].note.value


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("trials", "0", "at least 1"), ("method", "tpe", "needs a search"), ("objective", "cost", "'minimize NAME'")],
)
def test_what_is_wrong_with_a_setting_is_told_at_it(form: SweepForm, name: str, value: str, said: str) -> None:
    row(form, 0, "seed", "1,2")
    form.form.field(name).control.value = value
    assert said in form.form.field(name).row.problem
    assert form.button.disabled


def test_the_experiment_must_be_right_too(form: SweepForm) -> None:
    row(form, 0, "seed", "1,2")
    require_type(form.owner, Configurator).form.field("training.epochs").control.value = "0"
    assert form.button.disabled
    assert "training.epochs" in form.problem
    require_type(form.owner, Configurator).form.field("training.epochs").control.value = "7"
    assert not form.button.disabled
    assert '"epochs": 7' in python(form.owner.experiment, {})


def test_all_code_begins_the_same_sweep(
    form: SweepForm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row(form, 0, "lr", "0.1,0.01")
    row(form, 1, "training.optimizer", "adam,sgd")
    row(form, 2, "model.dropout", "0..0.5")
    for name, value in {"trials": "3", "prune": "median", "name": "n-1", "objective": "maximize val_accuracy"}.items():
        form.form.field(name).control.value = value
    given = form.arguments
    assert given is not None
    monkeypatch.chdir(tmp_path)
    EXPERIMENT.save("experiment.yaml")
    begun: list[tuple[Any, dict[str, Any]]] = []

    def begin(what: Any, parameters: Any = None, **arguments: Any) -> None:
        begun.append((what if isinstance(what, lk.Experiment) else lk.Experiment.load(what), arguments))
        raise SweepError("far enough")

    monkeypatch.setattr(lk, "sweep", begin)
    with pytest.raises(SweepError):
        exec(python(EXPERIMENT, given), {})
    with pytest.raises(SweepError):
        _call(magic(EXPERIMENT, given).removeprefix("%lmkit "), None, Placeholders({}))
    main(shlex.split(command(EXPERIMENT, given).replace("\\\n", ""))[1:])
    assert "far enough" in capsys.readouterr().err
    assert len(begun) == 3
    for experiment, arguments in begun:
        assert experiment == EXPERIMENT
        wanted = read_space(given["grid"], given["search"])
        assert read_space(arguments["grid"], arguments["search"]) == wanted
        for name in ("trials", "prune", "name", "objective"):
            assert arguments[name] == given[name]


def test_it_is_begun_and_shown(form: SweepForm, monkeypatch: pytest.MonkeyPatch) -> None:
    row(form, 0, "seed", "1,2")
    asked: list[Any] = []

    def refuse(experiment: lk.Experiment, **arguments: Any) -> None:
        asked.append((experiment, arguments))
        raise SweepError("name: is another sweep's")

    monkeypatch.setattr(configurator, "sweep", refuse)
    form.button.click()
    assert asked == [(EXPERIMENT, {"grid": {"seed": "1,2"}, "runs": None})]
    assert "is another sweep" in form.status.value
