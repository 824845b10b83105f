"""The live comparison: a table and a chart that fill while variants are measured, and what to ship of them.

    Comparison ──(in the thread that measures)──> LiveComparison ──(what changed)──> comparison.js ──> plotly
        ▲                                             ▲                                  │
        └── cancel, resume, further techniques ───────┴──── constraint, bundle ──────────┘

Once it has ended its output is replaced by what to ship in words, the table without scripts, and the chart as figure
and picture, which a saved notebook shows anywhere. Somebody who uses it by then keeps it until it is closed.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import anywidget
import traitlets

from lmkit import charts
from lmkit.deploy.comparison import Comparison
from lmkit.deploy.recommendation import EXAMPLES
from lmkit.deploy.showing import REMARKS, TOLD_BESIDE, table
from lmkit.deploy.techniques import techniques
from lmkit.errors import LmkitError
from lmkit.plots import GREY, Plot
from lmkit.table import Written, written
from lmkit.widgets.later import in_background
from lmkit.widgets.monitor import plotly_js
from lmkit.widgets.output import comparison_outputs
from lmkit.widgets.style import css, script


class ComparisonView(anywidget.AnyWidget):
    """The page's side."""

    _esm = script("comparison")
    _css = css("comparison")

    title = traitlets.Unicode().tag(sync=True)
    examples: traitlets.List[Any] = traitlets.List().tag(sync=True)
    techniques: traitlets.List[Any] = traitlets.List().tag(sync=True)
    grey = traitlets.Unicode(GREY).tag(sync=True)
    view_id = traitlets.Unicode().tag(sync=True)


class LiveComparison:
    """A comparison watched and steered from a notebook; what ``lk.compare(...)`` shows, and ``lk.explore(...)``.

    Args:
        comparison: what to show.
        stay: whether it stays when all is measured, until it is closed in the page.

    Attributes:
        widget: the widget, to be put into another one.
    """

    def __init__(self, comparison: Comparison, *, stay: bool = False) -> None:
        self.comparison, self.used, self.closed = comparison, stay, False
        self.constraint = EXAMPLES[0]
        self._told: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._display_ids: list[str] = []
        known = [{"name": t.name, "group": t.group, "help": t.help} for t in techniques().values()]
        names = list(dict.fromkeys(v.run for v in comparison.variants))
        title = names[0] if len(names) == 1 else f"{len(names)} runs"
        self.widget = ComparisonView(title=title, examples=list(EXAMPLES), techniques=known)
        self.widget.view_id = self.widget.model_id  # by which the page finds its own output in the notebook
        self.widget.on_msg(self._hear)
        if comparison.work:
            comparison.work.listeners.append(lambda *_: self.look())

    # -- what the page is told --------------------------------------------------------------------

    def look(self) -> None:
        """Tells the page what is new, and ends as a static output once all is measured."""
        with self._lock, suppress(Exception):  # whoever looks must never end the measuring
            self._tell()
            if self.comparison.state != "running" and not self.used:
                self.close()

    def _tell(self, anew: bool = False) -> None:
        with self._lock:
            news = told(self.comparison, self.constraint)
            if anew:
                self._told = {}
            changed = {name: value for name, value in news.items() if value != self._told.get(name, ...)}
            rows = self._told.get("rows", [])
            if "rows" in changed and len(rows) == len(news["rows"]):
                changed["rows"] = [r for r, before in zip(news["rows"], rows, strict=True) if r != before]
            self._told = news
            if changed:
                self.widget.send({"type": "news", "anew": anew, **changed})

    # -- what the page asks -----------------------------------------------------------------------

    def _hear(self, _: Any, message: Mapping[str, Any], buffers: Any) -> None:
        kind = message.get("type")
        act = getattr(self, f"_on_{kind}", None) if kind in ASKED else None
        if act is None:
            return
        try:
            act(message)  # without the lock: what ends the measuring waits for who looks
        except LmkitError as error:
            self._say(str(error), bad=True)

    def _on_plotly(self, _: Mapping[str, Any]) -> None:
        self.widget.send({"type": "plotly"}, [plotly_js()])

    def _on_hello(self, _: Mapping[str, Any]) -> None:
        self._tell(anew=True)
        if self.closed:
            self._replace()

    def _on_used(self, _: Mapping[str, Any]) -> None:
        self.used = True

    def _on_close(self, _: Mapping[str, Any]) -> None:
        self.close()

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

    def _aside(self, work: Callable[[], Any]) -> None:
        """Does what takes a while, so that the kernel stays free; tells what comes of it."""

        def tried() -> tuple[Any, bool]:
            try:
                return work(), False
            except Exception as error:
                return str(error), True

        in_background(tried, lambda found: self._say(found[0], found[1]) if isinstance(found[0], str) else None)

    def _say(self, text: str, bad: bool = False) -> None:
        self.widget.send({"type": "said", "text": text, "bad": bad})

    # -- the cell's output ------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        from IPython.display import display

        view = self.widget._repr_mimebundle_()
        data, metadata = view if isinstance(view, tuple) else (view, {})
        data = {**(data or {}), "text/plain": repr(self)}
        with self._lock:
            self._display_ids = [secrets.token_hex(8) for _ in range(3)]
            display(data, metadata=metadata, raw=True, display_id=self._display_ids[0])
            for place in self._display_ids[1:]:  # for the table and the chart; in the page they are found by the mark
                display(
                    {"text/plain": ""}, metadata={"lmkit": self.widget.view_id}, raw=True, display_id=place
                )  # fmt: skip
            if self.comparison.state != "running" and not self.used:  # it ended before it was shown
                self.close()

    def close(self) -> None:
        """Puts static outputs in the place of the widget: that is what the saved notebook shows."""
        with self._lock:
            self.closed = True
            self._replace()

    def _replace(self) -> None:
        outputs = comparison_outputs(self.comparison.now, self.constraint)
        if self._display_ids:
            from IPython.display import display

            for place, (data, metadata) in zip(self._display_ids, outputs, strict=True):
                display(data, metadata=metadata, raw=True, display_id=place, update=True)
        self.widget.send({"type": "ended", "outputs": [{"data": d, "metadata": m} for d, m in outputs]})

    def __repr__(self) -> str:
        return repr(self.comparison)


ASKED = ("plotly", "hello", "used", "close", "cancel", "resume", "constraint", "add", "bundle")
"""What the page may ask."""


def told(comparison: Comparison, constraint: str) -> dict[str, Any]:
    """A comparison as plain values: how it goes, its table and chart, and what to ship under the constraint."""
    now = comparison.now
    shown = table(now)
    kept = [i for i, column in enumerate(shown.columns) if column not in TOLD_BESIDE]
    remarks = shown.columns.index(REMARKS)
    front = {v.name for v in now.front()}
    rows = [
        {
            "name": v.name, "run": v.run, "technique": v.technique, "group": v.group, "state": v.state,
            "reason": v.reason, "flags": list(v.flags), "remark": row[remarks] or "", "front": v.name in front,
            "cells": [_cell(row[i]) for i in kept],
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


def _cell(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    found: dict[str, Any] = {"text": written(value)}
    if isinstance(value, int | float):
        found["value"] = float(value)
    if isinstance(value, Written) and value.span:
        found |= {"span": value.span, "band": value.band}
    return found


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
