"""The names of runs in a legend: what differs between them, else their own names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lmkit.charts.values import shorten

if TYPE_CHECKING:
    from lmkit.run.run import Run

MAX_DIFFERENCES = 3
"""Settings that a name may consist of."""

MAX_NAME = 32
"""Characters of a name."""


def legend_names(runs: Sequence[Run]) -> list[str]:
    """Return a distinct name for each run, such as ``lr=0.01, seed=2`` where only these differ."""
    names = [shorten(run.name.split("-", 2)[-1], MAX_NAME) for run in runs]
    settings = [run.experiment.settings() for run in runs]
    paths = list(dict.fromkeys(path for values in settings for path in values if path != "name"))
    differing = [path for path in paths if any(values.get(path) != settings[0].get(path) for values in settings)]
    if not 0 < len(differing) <= MAX_DIFFERENCES:
        return names
    texts = [", ".join(_text(path, values.get(path)) for path in differing) for values in settings]
    is_distinct = len(set(texts)) == len(texts) and max(map(len, texts)) <= MAX_NAME
    return texts if is_distinct else names


def _text(path: str, value: Any) -> str:
    name = path.rpartition(".")[2]
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if path in ("framework", "data.source", "model.family") else f"{name}={text}"
