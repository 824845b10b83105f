"""The live comparison: a table and a chart that fill while variants are measured, and what to ship of them.

    Comparison ──(in the thread that measures)──> LiveComparison ──(what changed)──> comparison.js ──> plotly
        ▲                                             ▲                                  │
        └── cancel, resume, further techniques ───────┴──── constraint, bundle ──────────┘

Once it has ended its output is replaced by what to ship in words, the table without scripts, and the chart as figure
and picture, which a saved notebook shows anywhere. Somebody who uses it by then keeps it until it is closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import anywidget
import traitlets

from lmkit import charts
from lmkit.deploy.comparison import Comparison
from lmkit.deploy.recommendation import EXAMPLES
from lmkit.deploy.showing import REMARKS, TOLD_BESIDE, table
from lmkit.deploy.techniques import techniques
from lmkit.deploy.variant import labels
from lmkit.errors import LmkitError
from lmkit.plots import GREY, Plot
from lmkit.widgets.live import Live, Output, cell
from lmkit.widgets.output import comparison_outputs
from lmkit.widgets.style import css, script


class ComparisonView(anywidget.AnyWidget):
    """The page's side."""

    _esm = script("live", "comparison")
    _css = css("live", "comparison")

    title = traitlets.Unicode().tag(sync=True)
    examples: traitlets.List[Any] = traitlets.List().tag(sync=True)
    techniques: traitlets.List[Any] = traitlets.List().tag(sync=True)
    grey = traitlets.Unicode(GREY).tag(sync=True)
    view_id = traitlets.Unicode().tag(sync=True)


class LiveComparison(Live):
    """A comparison watched and steered from a notebook; what ``lk.compare(...)`` shows, and ``lk.explore(...)``.

    Args:
        comparison: what to show.
        stay: whether it stays when all is measured, until it is closed in the page.

    Attributes:
        widget: the widget, to be put into another one.
    """

    places = 3
    asked = (*Live.asked, "cancel", "resume", "constraint", "add", "bundle")

    def __init__(self, comparison: Comparison, *, stay: bool = False) -> None:
        self.comparison, self.constraint = comparison, EXAMPLES[0]
        known = [{"name": t.name, "group": t.group, "help": t.help} for t in techniques().values()]
        names = list(dict.fromkeys(v.run for v in comparison.variants))
        title = names[0] if len(names) == 1 else f"{len(names)} runs"
        super().__init__(ComparisonView(title=title, examples=list(EXAMPLES), techniques=known), stay=stay)
        if comparison.work:
            comparison.work.listeners.append(lambda *_: self.look())

    # -- what the page is told --------------------------------------------------------------------

    def look(self) -> None:
        """Tells the page what is new, and ends as a static output once all is measured."""
        with self._lock, suppress(Exception):  # whoever looks must never end the measuring
            self._tell()
            if self.comparison.state != "running" and not self.used:
                self.close()

    def news(self) -> dict[str, Any]:
        """How it goes, the table and the chart, and what to ship."""
        return told(self.comparison, self.constraint)

    def outputs(self) -> list[Output]:
        """What to ship in words, the table, the chart."""
        return comparison_outputs(self.comparison.now, self.constraint)

    def running(self) -> bool:
        """Whether anything is still to be measured."""
        return self.comparison.state == "running"

    # -- what the page asks -----------------------------------------------------------------------

    def _on_cancel(self, _: Mapping[str, Any]) -> None:
        self.used = True  # whoever cancels may want to go on
        self._aside(lambda: self.comparison.cancel())

    def _on_resume(self, _: Mapping[str, Any]) -> None:
        self.comparison.resume()
        self._tell()

    def _on_constraint(self, message: Mapping[str, Any]) -> None:
        self.constraint = str(message.get("text", "")).strip() or EXAMPLES[0]
        self._tell()

    def _on_add(self, message: Mapping[str, Any]) -> None:
        self.comparison.add(*map(str, message["names"]))
        self._tell()

    def _on_bundle(self, message: Mapping[str, Any]) -> None:
        variant = next(v for v in self.comparison.variants if v.name == message["name"])
        out = str(message.get("out", "")).strip()
        if not out:
            self._say("name a folder for the bundle, such as bundle", bad=True)
            return
        self._say(f"writes the bundle of {variant.technique} …")
        self._aside(lambda: f"bundle of {variant.technique}: {variant.bundle(out)}")

    def __repr__(self) -> str:
        return repr(self.comparison)


def told(comparison: Comparison, constraint: str) -> dict[str, Any]:
    """A comparison as plain values: how it goes, its table and chart, and what to ship under the constraint."""
    now = comparison.now
    shown, called = table(now), labels(now)
    kept = [i for i, column in enumerate(shown.columns) if column not in TOLD_BESIDE]
    remarks = shown.columns.index(REMARKS)
    rows = [
        {
            "name": v.name, "label": called[v.name], "run": called[v.name].removesuffix(f"/{v.technique}"),
            "technique": v.technique, "group": v.group, "state": v.state, "reason": v.reason,
            "flags": list(v.flags), "remark": row[remarks] or "",
            "cells": [cell(row[i]) for i in kept],
        }
        for v, row in zip(now.variants, shown.rows, strict=True)
    ]  # fmt: skip
    left = comparison.seconds_left
    return {
        "status": {
            "state": comparison.state,
            "doing": comparison.doing,
            "done": sum(v.state not in ("pending", "cancelled") for v in now.variants),
            "total": len(now.variants),
            "left": None if left is None else round(left, 1),
            "error": str(comparison.work.error) if comparison.state == "failed" and comparison.work else "",
            "steered": comparison.work is not None,
        },
        "columns": [shown.columns[i] for i in kept],
        "rows": rows,
        "chart": _chart(now),
        "advice": _advice(now, constraint),
    }


def _chart(now: Comparison) -> dict[str, Any] | None:
    """The plain data of the chart, as the page draws it; None before there is any."""
    if not now.measured:
        return None
    panel = charts.comparison(now).panels[0]
    assert isinstance(panel, Plot)
    return {**panel._asdict(), "series": [s._asdict() for s in panel.series], "marks": []}


def _advice(now: Comparison, constraint: str) -> dict[str, Any]:
    """What to ship, and why; or why nothing can be said."""
    if not any(v.technique == "baseline" for v in now.measured):
        return {"constraint": constraint, "name": "", "text": "", "bad": False}
    try:
        found = now.recommend(constraint)
    except LmkitError as error:
        return {"constraint": constraint, "name": "", "text": str(error), "bad": True}
    return {"constraint": constraint, "name": found.variant.name, "text": found.reason, "bad": False}
