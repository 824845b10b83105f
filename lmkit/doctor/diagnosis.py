"""The findings about a run, as text and as a table that a notebook shows."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.doctor.chart import draw, draw_curves
from lmkit.doctor.finding import Finding
from lmkit.doctor.results import MARKS, TestRecord
from lmkit.exceptions import ConfigError, shorten

if TYPE_CHECKING:
    from lmkit.experiment.experiment import Experiment

SHOUTED = 3
"""Findings that are shown at length, at most."""

SOFT = "#607d8b"
COLORS = {"sure": "#c62828", "likely": "#e07b00", "hint": SOFT}


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor says about a run.

    Attributes:
        name: of the run.
        findings: the strongest first; one that follows from another is within that one.
        remarks: what could not be examined, a sentence each.
        experiment: the configuration of the run.
        path: the folder of the run.
        tests: what trying the run out has shown, where that was done.
    """

    name: str
    findings: Sequence[Finding]
    remarks: Sequence[str] = ()
    experiment: Experiment | None = None
    path: Path | None = None
    tests: TestRecord | None = None

    def apply(self, *checks: str) -> Experiment:
        """Return the experiment of the run with what findings change, to train it again.

        Args:
            checks: names of the checks whose changes to apply; none: of those that are sure or likely. Of two that
                change the same setting, the stronger one does.

        Raises:
            ConfigError: a check has no finding, or no finding has a change.

        >>> lk.train(run.doctor().apply())  # doctest: +SKIP
        """
        changes: dict[str, Any] = {}
        for finding in self._named(checks) if checks else self.loud:
            changes = {**finding.change, **changes}
        if not changes or self.experiment is None:
            what = f"of {', '.join(checks)} " if checks else ""
            raise ConfigError([f"no finding {what}about {self.name} has a change of the configuration to apply"])
        return self.experiment.override(changes)

    def _named(self, checks: Sequence[str]) -> list[Finding]:
        """Return the findings of checks, the strongest first."""
        names = [finding.check for finding in self.findings]
        for check in checks:
            if check not in names:
                hint = f"findings: {', '.join(names)}" if names else "there are no findings"
                raise ConfigError([f"check: given {shorten(check)}, expected one with a finding; {hint}"])
        return [finding for finding in self.findings if finding.check in checks]

    @property
    def loud(self) -> list[Finding]:
        """The findings that are sure or likely."""
        return [finding for finding in self.findings if finding.confidence != "hint"]

    @property
    def is_ill(self) -> bool:
        """Whether a finding is sure or likely."""
        return bool(self.loud)

    @property
    def headline(self) -> str:
        """The first finding that is no hint, or that nothing is wrong."""
        loud = self.loud
        if not loud:
            return "nothing wrong was recognized"
        more = f" (and {len(loud) - 1} more)" if len(loud) > 1 else ""
        return f"{loud[0].confidence}: {loud[0].what}{more}"

    def __bool__(self) -> bool:
        """Whether there is any finding."""
        return bool(self.findings)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.headline}"]
        for i, finding in enumerate(self.findings):
            lines += [""] if i < SHOUTED else []
            lines.append(f"{finding.confidence:6} {finding.check}: {finding.what}")
            if i >= SHOUTED:
                continue
            lines.append(f"       evidence: {finding.evidence_text}")
            if finding.advice:
                lines.append(f"       advice:   {finding.advice}")
            if finding.change:
                tried = self.tried(finding)
                lines.append(f"       change:   {finding.change_text}{f' ({tried})' if tried else ''}")
            if finding.consequences:
                lines.append(f"       explains: {', '.join(c.check for c in finding.consequences)}")
        if self.tests is not None and self.tests.results:
            lines += ["", f"tests, {self.tests.seconds:.0f} s, after step {self.tests.step}:"]
            lines += [result.text for result in self.tests.results]
        return "\n".join([*lines, *(f"({text})" for text in self.remarks)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return the findings as HTML without scripts."""
        blocks = "".join(f"<div>{text}</div>" for text in [*self.blocks, self.tests_block])
        return f"<div style='max-width:60em;line-height:1.4'><div>{self.title}</div>{blocks}{self.notes}</div>"

    def tried(self, finding: Finding) -> str:
        """Return whether the change of a finding helps, where it was tried; else an empty text."""
        tests = self.tests
        is_tried = tests is not None and (tests.check, tests.change) == (finding.check, finding.change_text)
        return tests.verdict if tests is not None and is_tried else ""

    def curves(self, finding: Finding) -> str:
        """Return a chart of the trainings with and without the change of a finding, as HTML; empty where not tried."""
        return self._draw_curves() if self.tried(finding) else ""

    def _draw_curves(self) -> str:
        tests = self.tests
        return draw_curves(tests.curves, f"{tests.metric} by epoch") if tests is not None and tests.curves else ""

    @property
    def title(self) -> str:
        """The name and the headline, as HTML."""
        return f"<b>{html.escape(self.name)}</b>: {html.escape(self.headline)}"

    @property
    def blocks(self) -> list[str]:
        """Each finding as HTML: the first ones at length, the others in a line."""
        return [
            _block(finding, self.tried(finding), self.curves(finding)) if i < SHOUTED else _line(finding)
            for i, finding in enumerate(self.findings)
        ]

    @property
    def tests_block(self) -> str:
        """The results of the tests as HTML, with the curves that no block shows; empty without tests."""
        if self.tests is None or not self.tests.results:
            return ""
        rows = "".join(
            f"<div>{MARKS[result.outcome]} <b>{html.escape(result.question)}</b> {html.escape(result.answer)}</div>"
            for result in self.tests.results
        )
        curves = "" if any(map(self.curves, self.findings[:SHOUTED])) else self._draw_curves()
        title = f"Tests, {self.tests.seconds:.0f} s, after step {self.tests.step}"
        return (
            f"<div style='border-left:3px solid #1f77b4;padding:.2em .8em;margin:.6em 0'><div>{title}</div>"
            f"{rows}{curves}</div>"
        )

    @property
    def notes(self) -> str:
        """The remarks as HTML."""
        return "".join(f"<div style='color:{SOFT}'>{html.escape(text)}</div>" for text in self.remarks)


def _badge(finding: Finding) -> str:
    color = COLORS[finding.confidence]
    return (
        f"<span style='background:{color};color:#fff;border-radius:3px;padding:0 .4em;font-size:85%'>"
        f"{finding.confidence}</span> <code>{html.escape(finding.check)}</code>"
    )


def _line(finding: Finding) -> str:
    return f"<div style='margin-top:.3em'>{_badge(finding)} {html.escape(finding.what)}</div>"


def _block(finding: Finding, tried: str, curves: str) -> str:
    """Return one finding with its evidence, its advice, whether that helps where it was tried, and small charts."""
    text = "".join(
        f"<div><span style='color:{SOFT}'>{name}</span> {html.escape(value)}</div>"
        for name, value in [*finding.details, *([("tried", tried)] if tried else [])]
    )
    chart = draw(finding.chart) if finding.chart else ""
    return (
        f"<div style='border-left:3px solid {COLORS[finding.confidence]};padding:.2em .8em;margin:.6em 0'>"
        f"<div>{_badge(finding)} <b>{html.escape(finding.what)}</b></div>{text}{chart}{curves}</div>"
    )
