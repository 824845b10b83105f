"""A diagnosis with buttons that apply what a finding changes to a new experiment, in a form below."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import ipywidgets as W

from lmkit.doctor.diagnosis import Diagnosis
from lmkit.doctor.finding import Finding
from lmkit.doctor.results import TestRecord
from lmkit.exceptions import LmkitError
from lmkit.runfolder.folder import RunFolder
from lmkit.widgets import elements as E
from lmkit.widgets.configurator import Configurator
from lmkit.widgets.debounce import Loop
from lmkit.widgets.preview import notice_html
from lmkit.widgets.testing import CANCEL, TEST, TestButton

APPLY = "Apply to a new experiment"
"""The label of the button."""

APPLIED = "The change is applied to a new experiment, in the form below."


def new_experiment(diagnosis: Diagnosis, check: str) -> Configurator:
    """Return a form with the experiment of a run, changed by one of its findings.

    Raises:
        ConfigError: the check has no finding any more, or the change does not fit.
    """
    return Configurator(diagnosis.apply(check), diagnosis.path.parent if diagnosis.path else None)


def findings_record(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """Return the findings as plain values for a page, the strongest first; empty if none is sure or likely."""
    tests = [("test", result.text) for result in diagnosis.tests.results] if diagnosis.tests else []
    return [
        {
            "check": finding.check,
            "what": finding.what,
            "confidence": finding.confidence,
            "details": [*finding.details, *_tried(diagnosis, finding), *([] if i else tests)],
            "curves": diagnosis.curves(finding),
            "apply": bool(finding.change),
        }
        for i, finding in enumerate(diagnosis.findings if diagnosis.is_ill else ())
    ]


def _tried(diagnosis: Diagnosis, finding: Finding) -> list[tuple[str, str]]:
    """Return whether the change of a finding helps, as details of it; empty where it was not tried."""
    text = diagnosis.tried(finding)
    return [("tried", text)] if text else []


class DiagnosisView(W.VBox):
    """A diagnosis, with a button at each finding that has a change of the configuration, and one that tests the run.

    Attributes:
        diagnosis: what is displayed.
        form: the form of the last new experiment.
        test: the button that tests the run, and cancels that.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        self.form: Configurator | None = None
        self._loop = Loop()
        self._message = E.HTML()
        self._root = E.Box()
        self._root.add_class("lkc-diagnosis")
        self.test = E.Button(description=TEST, tooltip="Try the run out in a process of its own")
        self.test.on_click(lambda _: self._loop.call(self._click_test))
        self._tests = (
            None if diagnosis.path is None else TestButton(RunFolder(diagnosis.path), self._show, self._finish)
        )
        self.buttons: dict[str, E.Button] = {}
        self._show_diagnosis(diagnosis)
        self._view = E.FormView(self._root, "diagnosis of a run")
        super().__init__([self._view])

    def _show_diagnosis(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis
        parts: list[E.Element] = [E.HTML(f"<div>{diagnosis.title}</div>")]
        self.buttons = {}
        for finding, block in zip(diagnosis.findings, diagnosis.blocks, strict=True):
            parts.append(E.HTML(block))
            if finding.change:
                button = E.Button(description=APPLY, tooltip=finding.change_text)
                button.on_click(partial(self._clicked, finding.check))
                button.add_class("lkc-apply")
                self.buttons[finding.check] = button
                parts.append(button)
        tests: list[E.Element] = [E.HTML(diagnosis.tests_block), *([self.test] if self._tests else [])]
        self._root.children = (*parts, *tests, E.HTML(diagnosis.notes), self._message)

    def _click_test(self) -> None:
        if self._tests is not None:
            self._tests.click()

    def _show(self, text: str, is_running: bool) -> None:
        self._message.value = notice_html(text) if text else ""
        self.test.description = CANCEL if is_running else TEST

    def _finish(self, record: TestRecord) -> None:
        self._show_diagnosis(replace(self.diagnosis, tests=record))

    def _clicked(self, check: str, _: E.Button) -> None:
        self._loop.call(partial(self.apply, check))

    def apply(self, check: str) -> None:
        """Open a form with the experiment of the run, changed by the finding of a check."""
        try:
            self.form = new_experiment(self.diagnosis, check)
        except LmkitError as error:
            self._message.value = notice_html(str(error), is_error=True)
            return
        self._message.value = notice_html(APPLIED)
        self.children = [self._view, self.form]

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The view; where widgets are not supported, the diagnosis."""
        texts = {"text/plain": str(self.diagnosis), "text/html": self.diagnosis._repr_html_()}
        return {**super()._repr_mimebundle_(**kwargs), **texts}
