"""A diagnosis in a notebook: a button at each finding that has a change, which opens a form with it."""

from __future__ import annotations

from typing import Any

import pytest

import lmkit as lk
from lmkit.doctor.diagnosis import Diagnosis
from lmkit.doctor.finding import Finding
from lmkit.widgets.diagnosis import APPLIED, DiagnosisView, findings_record

EXPERIMENT = lk.Experiment(data="wine").override({"optimizer": "sgd", "lr": 10.0})


def diagnosis(**change: Any) -> Diagnosis:
    first = Finding(
        check="rate-high",
        what="the rate is <too> high",
        evidence={"growth": 31.0},
        confidence="sure",
        advice="lower it",
        change=change,
        consequences=(Finding(check="nan", what="it diverged", evidence={}, confidence="sure"),),
    )
    other = Finding(check="no-bend", what="it is linear", evidence={}, confidence="likely")
    return Diagnosis("run", [first, other], ["left out"], EXPERIMENT)


def test_a_button_opens_a_form_with_the_changed_experiment() -> None:
    view = DiagnosisView(diagnosis(**{"training.optimizer.lr": 0.1}))
    assert list(view.buttons) == ["rate-high"]
    view.buttons["rate-high"].click()
    assert view.form is not None
    assert view.form.experiment == EXPERIMENT.override({"lr": 0.1})
    assert view.children[-1] is view.form
    assert APPLIED in view._message.value


def test_a_change_that_does_not_fit_is_said() -> None:
    view = DiagnosisView(diagnosis(**{"model.channels": [3]}))
    view.buttons["rate-high"].click()
    assert view.form is None
    assert "channels" in view._message.value


def test_a_page_is_sent_the_findings_as_plain_values() -> None:
    first, second = findings_record(diagnosis(lr=0.1))
    texts = {"evidence": "growth 31", "advice": "lower it", "change": "lr: 0.1", "explains": "it diverged"}
    assert dict(first["details"]) == texts
    assert (first["apply"], second["apply"]) == (True, False)
    hint = Finding(check="unfinished", what="", evidence={}, confidence="hint")
    assert findings_record(Diagnosis("run", [hint])) == []


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize("widgets", ["on", "off"])
def test_the_display_has_buttons_where_widgets_are(
    widgets: str, global_shell: Any, outputs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMKIT_WIDGETS", widgets)
    global_shell.display_formatter.format(diagnosis(lr=0.1))
    (output,) = outputs
    assert ("application/vnd.jupyter.widget-view+json" in output["data"]) == (widgets == "on")
    assert "&lt;too&gt;" in output["data"]["text/html"]
    assert "left out" in output["data"]["text/plain"]
