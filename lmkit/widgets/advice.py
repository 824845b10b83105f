"""What the doctor says about the experiment of a form: hints, each with a button that applies its change."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lmkit.doctor.finding import Finding
from lmkit.widgets import elements as E

PREVIEWED = ("leakage", "imbalance")
"""Checks of which the preview of the data warns, too: shown where there is a change to apply."""


class Advice:
    """Hints below each other; none where there are no findings.

    Args:
        apply: called with the finding whose button was clicked.

    Attributes:
        widget: the hints.
        buttons: check → its button.
    """

    def __init__(self, apply: Callable[[Finding], None]) -> None:
        self.widget = E.Box()
        self.buttons: dict[str, E.Button] = {}
        self._apply = apply
        self._findings: list[Finding] = []

    def show(self, findings: Sequence[Finding]) -> None:
        """Show the findings."""
        visible = [finding for finding in findings if finding.change or finding.check not in PREVIEWED]
        if visible == self._findings:
            return
        self._findings, self.buttons = visible, {}
        self.widget.children = tuple(self._row(finding) for finding in visible)

    def _row(self, finding: Finding) -> E.Element:
        change = f" <code>{html.escape(finding.change_text)}</code>" if finding.change else ""
        text = (
            f"<b>Hint:</b> {html.escape(finding.what)}. {html.escape(finding.advice[:1].upper() + finding.advice[1:])}."
        )
        parts: list[E.Element] = [E.HTML(f'<span role="note">{text}{change}</span>')]
        if finding.change:
            button = E.Button(description="Apply", tooltip=f"Set {finding.change_text}")
            button.on_click(partial(self._click, finding))
            self.buttons[finding.check] = button
            parts.append(button)
        row = E.Row(parts)
        row.add_class("lkc-advice")
        return row

    def _click(self, finding: Finding, _: Any) -> None:
        self._apply(finding)
