"""What a saved notebook shows of runs that have ended: figure, picture and text in one output, no dead widget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmkit.charts import learning_curves
from lmkit.run import Run


def static_output(runs: Sequence[Run]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data of the output, by their type, and its metadata."""
    text = "\n".join(map(repr, runs))
    data: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    if any(len(run.steps) for run in runs):
        data, metadata = learning_curves(runs if len(runs) > 1 else runs[0])._repr_mimebundle_()
        text = f"{text}\n{data['text/plain']}"
    return {**data, "text/plain": text}, metadata
