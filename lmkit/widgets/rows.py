"""Rows of a form: a control with its documentation and its problem; and folds over rows."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Protocol

from lmkit.widgets import elements as E


class ProblemDisplay(Protocol):
    """A widget that displays a problem."""

    problem: str


class Row:
    """A control with its unit, its documentation on hover or focus, and its problem."""

    def __init__(self, control: E.Element, unit: str = "", text: str = "") -> None:
        self.unit, self._text, self._problem = unit, text, ""
        self.note = E.HTML()
        self.note.add_class("lkc-note")
        self.widget = E.Row([control, self.note])
        self.widget.add_class("lkc-row")
        control.add_class("lkc-control")
        self._draw()

    @property
    def text(self) -> str:
        """The documentation."""
        return self._text

    @text.setter
    def text(self, text: str) -> None:
        if text != self._text:
            self._text = text
            self._draw()

    @property
    def problem(self) -> str:
        """The validation error; empty for none."""
        return self._problem

    @problem.setter
    def problem(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            set_class(self.widget, "lkc-bad", bool(problem))
            self._draw()

    @property
    def visible(self) -> bool:
        """Whether the row is visible."""
        return bool(self.widget.visible)

    @visible.setter
    def visible(self, visible: bool) -> None:
        self.widget.visible = visible

    def _draw(self) -> None:
        if self._problem:
            text = html.escape(self._problem)
            self.note.value = f'<span class="lkc-problem" role="alert" title="{text}">{text}</span>'
            return
        unit = f'<span class="lkc-unit">{html.escape(self.unit)}</span>' if self.unit else ""
        self.note.value = f'{unit}<span class="lkc-doc">{html.escape(self._text)}</span>'


def set_class(widget: E.Element, name: str, present: bool) -> None:
    """Add a CSS class to ``widget``, or remove it."""
    if present:
        widget.add_class(name)
    else:
        widget.remove_class(name)


class Fold:
    """Widgets that a button with their names shows and hides."""

    def __init__(self, widgets: Sequence[E.Element], title: str, open_title: str, tooltip: str = "") -> None:
        self.title, self.open_title = title, open_title
        self.button = E.ToggleButton(tooltip=tooltip)
        self.button.add_class("lkc-fold")
        self.box = E.Box(list(widgets))
        self.button.observe(self._draw, "value")
        self.widgets: list[E.Element] = [self.button, self.box]
        self._draw()

    @property
    def is_open(self) -> bool:
        """Whether the widgets are visible."""
        return bool(self.button.value)

    @is_open.setter
    def is_open(self, is_open: bool) -> None:
        self.button.value = is_open

    def _draw(self, _: Any = None) -> None:
        self.button.description = f"▾ {self.open_title}" if self.is_open else f"▸ {self.title}"
        self.box.visible = self.is_open


def more_options(names: Sequence[str]) -> str:
    """The title of a fold over the fields called ``names``.

    >>> more_options(["task", "axes", "missing"])
    'More options (task, axes, …)'
    """
    return f"More options ({', '.join(names[:2])}{', …' if len(names) > 2 else ''})"
