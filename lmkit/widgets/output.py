"""Static outputs for saved notebooks: text, tables, figures and pictures, without widgets.

A cell displays a widget and empty placeholders; at the end, the static outputs replace them by their display ids.
"""

from __future__ import annotations

import html
import json
import secrets
from collections.abc import Sequence
from typing import Any

from lmkit import charts
from lmkit.charts.runs import learning_curves, step_curves
from lmkit.charts.variants import comparison
from lmkit.deploy.compare.comparison import Comparison
from lmkit.doctor.diagnose import diagnose
from lmkit.exceptions import DataError, LmkitError
from lmkit.explanations.explanation import Explanation
from lmkit.run.run import Run
from lmkit.sweeping.sweep import Sweep

SWEEP_CHARTS = ("parallel_coordinates", "sweep_history", "importance")
"""The charts of a sweep, in order."""


Output = tuple[dict[str, Any], dict[str, Any]]
"""The data of an output, by MIME type, and its metadata."""

N_OUTPUTS = 3
"""Number of static outputs of runs."""

COLOURS = {"completed": "#1a7f4b", "failed": "#c62828", "lost": "#c62828"}
"""State of a run → its colour in the headline, readable on a light and on a dark page."""


def run_outputs(runs: Sequence[Run]) -> list[Output]:
    """Return three outputs of runs: how each has ended, their learning curves, and those of rates and gradient norms.

    The curves are empty before the first step, and where there is nothing to draw.

    They are separate outputs because HTML in the same output hides the picture where scripts do not run.
    """
    headline = "".join(f'<div style="margin: 2px 0 6px">{_headline(run)}</div>' for run in runs)
    outputs: list[Output] = [({"text/html": headline, "text/plain": "\n".join(map(repr, runs))}, {})]
    for chart in (learning_curves, step_curves):
        try:
            outputs.append(chart(runs)._repr_mimebundle_())
        except DataError:  # nothing to draw
            outputs.append(({"text/plain": ""}, {}))
    return outputs


def _headline(run: Run) -> str:
    """Return the name, the state, the scores and the reason of a run, and how to explain or continue it, as HTML."""
    status = run.status
    colour = COLOURS.get(status.state, "#a15c00")
    scores = ", ".join(f"{name} {value:.4g}" for name, value in (status.metrics or {}).items())
    is_completed = status.state == "completed"
    is_resumable = status.state not in ("pending", "running", "restarting", "completed")
    name = html.escape(json.dumps(run.name, ensure_ascii=False))  # a text of Python, whatever is in it
    parts = [
        f'<b>{html.escape(run.name)}</b> <b style="color: {colour}">{html.escape(status.state)}</b>',
        f"test: {html.escape(scores)}" if scores else "",
        html.escape(status.reason),
        f"explained: <code>lk.explain({name})</code>" if is_completed else "",
        f"to continue: <code>lk.attach({name}).resume()</code>" if is_resumable else "",
        _diagnosis(run),
    ]
    return " · ".join(part for part in parts if part)


def _diagnosis(run: Run) -> str:
    """Return what the doctor says first about a run that has ended, as HTML; empty where nothing is wrong."""
    if run.status.live:
        return ""
    try:
        diagnosis = diagnose(run.folder)
    except LmkitError:  # a damaged file, which the table of runs names
        return ""
    if not diagnosis.is_ill:
        return ""
    return f'doctor: <span style="color: #c62828">{html.escape(diagnosis.headline)}</span> (<code>run.doctor()</code>)'


def display_with_placeholders(widget: Any, text: str, count: int) -> list[str]:
    """Display a widget and ``count - 1`` empty outputs after it; return their display ids.

    Args:
        widget: an anywidget with a trait ``view_id``, by which the page finds the placeholders.
        text: what a page without widgets shows instead.
        count: number of static outputs that will replace them.
    """
    from IPython.display import display

    bundle = widget._repr_mimebundle_()
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    display_ids = [secrets.token_hex(8) for _ in range(count)]
    display({**(data or {}), "text/plain": text}, metadata=metadata, raw=True, display_id=display_ids[0])
    for display_id in display_ids[1:]:
        display({"text/plain": ""}, metadata={"lmkit": widget.view_id}, raw=True, display_id=display_id)
    return display_ids


def replace_outputs(display_ids: Sequence[str], outputs: Sequence[Output]) -> list[dict[str, Any]]:
    """Replace displayed outputs, and return the new ones as plain data for the page; without ids, only return them."""
    from IPython.display import display

    for display_id, (data, metadata) in zip(display_ids, outputs, strict=bool(display_ids)):
        display(data, metadata=metadata, raw=True, display_id=display_id, update=True)
    return [{"data": data, "metadata": metadata} for data, metadata in outputs]


def comparison_outputs(compared: Comparison, constraint: str = "") -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return three outputs of a comparison: the recommendation as text, the table, the chart.

    They are separate outputs because HTML in the same output hides the picture where scripts do not run.
    """
    try:
        text = str(compared.recommend(*([constraint] if constraint else [])))
    except LmkitError as error:
        text = str(error)
    table = compared.table
    chart: tuple[dict[str, Any], dict[str, Any]] = ({"text/plain": ""}, {})
    if compared.measured:
        chart = comparison(compared)._repr_mimebundle_()
    return [({"text/plain": text}, {}), ({"text/html": table.html, "text/plain": table.text}, {}), chart]


def sweep_outputs(sweep: Sweep) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the outputs of a sweep: the table of its best trials, and each of ``SWEEP_CHARTS``, possibly empty."""
    table = sweep.to_table()
    outputs: list[tuple[dict[str, Any], dict[str, Any]]] = [({"text/html": table.html, "text/plain": table.text}, {})]
    for name in SWEEP_CHARTS:
        try:
            outputs.append(getattr(charts, name)(sweep)._repr_mimebundle_())
        except LmkitError:  # too few trials
            outputs.append(({"text/plain": ""}, {}))
    return outputs


def explanation_outputs(explanation: Explanation) -> list[Output]:
    """Return the outputs of an explanation: the chart of each result, and its sentences."""
    outputs: list[Output] = []
    for result in explanation.values():
        outputs.append(result.chart._repr_mimebundle_())
        outputs.append(({"text/html": f"<p>{html.escape(result.text)}</p>", "text/plain": result.text}, {}))
    notes = "\n".join(f"No {method}: {note}" for method, note in explanation.notes.items())
    return [*outputs, ({"text/plain": notes}, {})]
