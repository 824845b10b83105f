"""The live comparison: a table and a chart that update during the measurements, and a recommendation.

    Comparison ──(in the measuring thread)──> LiveComparison ──(changes)──> comparison.js ──> plotly
        ▲                                             ▲                                  │
        └── cancel, resume, further techniques ───────┴──── constraint, bundle ──────────┘

When it has ended, the recommendation, the table without scripts, and the chart as figure and picture replace the
output, which a saved notebook shows everywhere. A widget that is in use stays until it is closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import anywidget
import traitlets

from lmkit import charts
from lmkit.deploy.compare.comparison import Comparison
from lmkit.deploy.compare.constraint import EXAMPLES
from lmkit.deploy.compare.table import ANNOTATIONS, REMARKS, table
from lmkit.deploy.techniques.base import techniques
from lmkit.deploy.variant import labels
from lmkit.display.figure import GREY, Plot
from lmkit.exceptions import LmkitError
from lmkit.widgets.live_table import Live, cell
from lmkit.widgets.output import Output, comparison_outputs
from lmkit.widgets.style import css, script


class ComparisonView(anywidget.AnyWidget):
    """The widget of a live comparison."""

    _esm = script("live", "comparison")
    _css = css("live", "comparison")

    title = traitlets.Unicode().tag(sync=True)
    examples: traitlets.List[Any] = traitlets.List().tag(sync=True)
    techniques: traitlets.List[Any] = traitlets.List().tag(sync=True)
    grey = traitlets.Unicode(GREY).tag(sync=True)
    view_id = traitlets.Unicode().tag(sync=True)


class LiveComparison(Live):
    """A live comparison in a notebook; the display of ``lk.compare(...)`` and ``lk.explore(...)``.

    Args:
        comparison: the comparison to display.
        stay: keep the widget after the end, until it is closed in the page.

    Attributes:
        widget: the widget, for use in other widgets.
    """

    n_outputs = 3
    messages = (*Live.messages, "cancel", "resume", "constraint", "add", "bundle")

    def __init__(self, comparison: Comparison, *, stay: bool = False) -> None:
        self.comparison, self.constraint = comparison, ""
        available = [{"name": t.name, "group": t.group, "help": t.help} for t in techniques().values()]
        names = list(dict.fromkeys(v.run for v in comparison.variants))
        title = names[0] if len(names) == 1 else f"{len(names)} runs"
        super().__init__(ComparisonView(title=title, examples=list(EXAMPLES), techniques=available), stay=stay)
        if comparison.job:
            comparison.job.listeners.append(lambda *_: self.poll())

    # -- kernel to page ---------------------------------------------------------------------------

    def poll(self) -> None:
        """Send changes to the page; replace the widget once all variants are measured."""
        with self._lock, suppress(Exception):  # an error in the display must not stop the measurements
            self._send_changes()
            if self.comparison.state != "running" and not self.keep:
                self.close()

    def state(self) -> dict[str, Any]:
        """Progress, table, chart and recommendation."""
        return comparison_state(self.comparison, self.constraint)

    def outputs(self) -> list[Output]:
        """The recommendation as text, the table, the chart."""
        return comparison_outputs(self.comparison.now, self.constraint)

    def running(self) -> bool:
        """Whether measurements are running."""
        return self.comparison.state == "running"

    # -- page to kernel ---------------------------------------------------------------------------

    def _on_cancel(self, _: Mapping[str, Any]) -> None:
        self.keep = True  # keep the widget, to resume
        self._run_in_background(lambda: self.comparison.cancel())

    def _on_resume(self, _: Mapping[str, Any]) -> None:
        self.comparison.resume()
        self._send_changes()

    def _on_constraint(self, message: Mapping[str, Any]) -> None:
        self.constraint = str(message.get("text", "")).strip()
        self._send_changes()

    def _on_add(self, message: Mapping[str, Any]) -> None:
        self.comparison.add(*map(str, message["names"]))
        self._send_changes()

    def _on_bundle(self, message: Mapping[str, Any]) -> None:
        variant = next(v for v in self.comparison.variants if v.name == message["name"])
        out = str(message.get("out", "")).strip()
        if not out:
            self._show_message("Enter a folder for the bundle, e.g. bundle.", is_error=True)
            return
        self._show_message(f"Writing the bundle of {variant.technique}…")
        self._run_in_background(lambda: f"Bundle of {variant.technique}: {variant.bundle(out)}")

    def __repr__(self) -> str:
        return repr(self.comparison)


def comparison_state(comparison: Comparison, constraint: str) -> dict[str, Any]:
    """A comparison as plain values: progress, table, chart, and the recommendation under a constraint."""
    now = comparison.now
    variants_table, names = table(now), labels(now)
    indices = [i for i, column in enumerate(variants_table.columns) if column not in ANNOTATIONS]
    remarks = variants_table.columns.index(REMARKS)
    has_several_runs = len({v.run for v in now.variants}) > 1
    rows = [
        {
            "name": v.name,
            "label": names[v.name],
            "run": names[v.name].removesuffix(v.technique).rstrip("/") if has_several_runs else "",
            "technique": v.technique,
            "group": v.group,
            "state": v.state,
            "reason": v.reason,
            "flags": list(v.flags),
            "remark": row[remarks] or "",
            "cells": [cell(row[i]) for i in indices],
        }
        for v, row in zip(now.variants, variants_table.rows, strict=True)
    ]
    seconds_left = comparison.seconds_left
    return {
        "status": {
            "state": comparison.state,
            "activity": comparison.doing,
            "done": sum(v.state not in ("pending", "cancelled") for v in now.variants),
            "total": len(now.variants),
            "seconds_left": None if seconds_left is None else round(seconds_left, 1),
            "error": str(comparison.job.error) if comparison.state == "failed" and comparison.job else "",
            "has_controls": comparison.job is not None,
        },
        "columns": [variants_table.columns[i] for i in indices],
        "rows": rows,
        "chart": _chart(now),
        "advice": _advice(now, constraint),
    }


def _chart(now: Comparison) -> dict[str, Any] | None:
    """The plain data of the chart for the page; None before the first measurement."""
    if not now.measured:
        return None
    panel = charts.comparison(now).panels[0]
    assert isinstance(panel, Plot)
    return {**panel._asdict(), "series": [s._asdict() for s in panel.series], "marks": []}


def _advice(now: Comparison, constraint: str) -> dict[str, Any]:
    """The recommendation with its reason, or why none is possible."""
    request, constraint = constraint, constraint or EXAMPLES[0]
    if not any(v.technique == "baseline" for v in now.measured):
        return {"constraint": constraint, "name": "", "text": "", "is_error": False}
    try:
        recommendation = now.recommend(request)
    except LmkitError as error:
        return {"constraint": constraint, "name": "", "text": str(error), "is_error": True}
    return {
        "constraint": constraint,
        "name": recommendation.variant.name,
        "text": recommendation.reason,
        "is_error": False,
    }
