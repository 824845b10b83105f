"""What a saved notebook shows of runs that have ended: figure, picture and text in one output, no dead widget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmkit import charts
from lmkit.charts import comparison, learning_curves
from lmkit.deploy.comparison import Comparison
from lmkit.errors import LmkitError
from lmkit.run import Run
from lmkit.sweeping.sweep import Sweep

SWEEP_CHARTS = ("parallel_coordinates", "sweep_history", "importance")
"""What is drawn of a sweep, in this order."""


def static_output(runs: Sequence[Run]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data of the output, by their type, and its metadata."""
    text = "\n".join(map(repr, runs))
    data: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    if any(len(run.steps) for run in runs):
        data, metadata = learning_curves(runs if len(runs) > 1 else runs[0])._repr_mimebundle_()
        text = f"{text}\n{data['text/plain']}"
    return {**data, "text/plain": text}, metadata


def comparison_outputs(compared: Comparison, constraint: str = "") -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What is kept of a comparison, as three outputs: what to ship in words, the table, the chart.

    They are apart, for HTML beside a figure would hide its picture where scripts do not run.
    """
    try:
        text = str(compared.recommend(*([constraint] if constraint else [])))
    except LmkitError as error:
        text = str(error)
    shown = compared.table
    chart: tuple[dict[str, Any], dict[str, Any]] = ({"text/plain": ""}, {})
    if compared.measured:
        chart = comparison(compared)._repr_mimebundle_()
    return [({"text/plain": text}, {}), ({"text/html": shown.html, "text/plain": shown.text}, {}), chart]


def sweep_outputs(sweep: Sweep) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What is kept of a sweep: its best trials as a table, and each of ``SWEEP_CHARTS``, empty where it has none."""
    shown = sweep.shown()
    found: list[tuple[dict[str, Any], dict[str, Any]]] = [({"text/html": shown.html, "text/plain": shown.text}, {})]
    for name in SWEEP_CHARTS:
        try:
            found.append(getattr(charts, name)(sweep)._repr_mimebundle_())
        except LmkitError:  # too few trials for it
            found.append(({"text/plain": ""}, {}))
    return found
