"""A diagnosis in a notebook: a button at each finding that has a change, which opens a form with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

import lmkit as lk
from lmkit.doctor.diagnosis import Diagnosis
from lmkit.doctor.finding import Finding
from lmkit.doctor.results import TestRecord, TestResult
from lmkit.runfolder.folder import RunFolder
from lmkit.widgets import testing
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
    assert (first["curves"], second["curves"]) == ("", "")
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


class InstantTester:
    """Finishes at once; cancelled, it says so."""

    record = TestRecord(results=(TestResult(name="chance", outcome="passed", answer="Yes: <2>."),), seconds=1.0)
    made: ClassVar[list[InstantTester]] = []

    def __init__(self, folder: RunFolder, seconds: float, tell: Any) -> None:
        self.tell, self.is_cancelled = tell, False
        InstantTester.made.append(self)

    def run(self) -> TestRecord:
        self.tell("test 1 of 5")
        return self.record

    def cancel(self) -> None:
        self.is_cancelled = True


def test_a_click_tests_the_run_and_shows_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "Tester", InstantTester)
    view = DiagnosisView(replace(diagnosis(lr=0.1), path=tmp_path))
    view.test.click()
    assert view.test.description == testing.TEST
    assert view.diagnosis.tests == InstantTester.record
    assert any("Yes: &lt;2&gt;." in getattr(child, "value", "") for child in view._root.children)
    assert ("test", "✓ Is the loss at the start the chance level? Yes: <2>.") in findings_record(view.diagnosis)[0][
        "details"
    ]


def test_a_second_click_cancels_and_leaves_earlier_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "Tester", InstantTester)
    waiting: list[Any] = []
    monkeypatch.setattr(testing, "in_background", lambda work, then: waiting.append(then))
    view = DiagnosisView(replace(diagnosis(lr=0.1), path=tmp_path, tests=InstantTester.record))
    view.test.click()
    assert view.test.description == testing.CANCEL
    view.test.click()
    assert InstantTester.made[-1].is_cancelled
    waiting[0](TestRecord(remark="0 of 5 tests were finished: cancelled"))
    assert view.test.description == testing.TEST
    assert "cancelled" in view._message.value
    assert view.diagnosis.tests == InstantTester.record


def test_what_cannot_be_tested_is_said(tmp_path: Path) -> None:
    view = DiagnosisView(replace(diagnosis(lr=0.1), path=tmp_path / "gone"))
    view.test.click()
    assert view.test.description == testing.TEST
    assert view._message.value


def test_tests_that_cannot_start_leave_the_button_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: InstantTester) -> TestRecord:
        raise OSError("no more processes")

    monkeypatch.setattr(testing, "Tester", InstantTester)
    monkeypatch.setattr(InstantTester, "run", refuse)
    view = DiagnosisView(replace(diagnosis(lr=0.1), path=tmp_path))
    view.test.click()
    assert view.test.description == testing.TEST
    assert "no more processes" in view._message.value
