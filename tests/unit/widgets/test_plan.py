"""The plan beside the form: it follows what is typed, and nothing is measured but by its button."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lmkit as lk
from lmkit.planning import calibration
from lmkit.planning.timing import Speed
from lmkit.widgets.configurator import Configurator, configure

SPEED = Speed(step=1e-3, layer=1e-5, memory=10**9, products=((1e6, 1e-11),))


@pytest.fixture
def form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configurator:
    """A form on a machine that was not measured yet."""
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "cache"))
    return configure({"data": "digits", "model": "mlp:small"})


def type_in(form: Configurator, path: str, text: str) -> None:
    """What a person does: the text, and then the field is left."""
    form.form.field(path).control.value = text


def tiles(form: Configurator) -> dict[str, str]:
    found = re.findall(r'<dt class="lkc-tile">(.*?)</dt><dd class="lkc-tile">(.*?)</dd>', form._plan.numbers.value)
    return dict(found)


def test_its_numbers_are_those_of_the_plan(form: Configurator) -> None:
    type_in(form, "model.hidden", "100")
    plan = lk.plan(form.experiment, calibrate=False)
    told = tiles(form)
    assert told["parameters"] == f"{64 * 100 + 100 + 100 * 10 + 10:,}" == f"{plan.parameters:,}"
    assert told["total memory"] == f"{plan.memory_bytes['total'] / 1e6:.3g} MB"
    assert "time per step" not in told
    assert "Fits: needs about " in form._plan.numbers.value
    assert "<script" not in form._plan.numbers.value


def test_what_does_not_fit_is_said_at_once(form: Configurator) -> None:
    type_in(form, "model.hidden", "200000, 200000")
    assert "Does not fit: unchanged, it needs about " in form._plan.numbers.value
    assert form.problems == (), "it is for the person to decide"


def test_while_the_data_is_not_known_there_is_no_plan(form: Configurator) -> None:
    assert tiles(form)
    type_in(form, "data.source", "nowhere.csv")
    assert form._plan.numbers.value == ""
    assert not form._plan.button.visible


def test_the_button_measures_and_then_there_are_times(form: Configurator, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, int]] = []

    def measure(*wanted: object) -> Speed:
        asked.append(wanted)  # type: ignore[arg-type]
        monkeypatch.setattr(calibration, "read_cache", lambda *_: SPEED)
        return SPEED

    monkeypatch.setattr(calibration, "calibrate", measure)
    assert form._plan.button.visible
    form._plan.button.click()
    assert asked == [("torch", "float32", 1)]
    assert not form._plan.button.visible
    assert tiles(form)["time per step"].startswith("1.0")
    assert tiles(form)["total memory"].startswith("1 GB")


@pytest.mark.parametrize("kind", [lk.LmkitError, RuntimeError])
def test_why_it_cannot_be_measured_is_said(
    form: Configurator, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def refuse(*_: object) -> Speed:
        raise kind("torch could not be measured: <no> memory")

    monkeypatch.setattr(calibration, "calibrate", refuse)
    form._plan.button.click()
    assert "torch could not be measured: &lt;no&gt; memory" in form._plan.numbers.value
    assert form._plan.button.visible
    assert not form._plan.button.disabled
