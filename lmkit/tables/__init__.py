"""Tables without scripts, displayed in a notebook, on a page and in a terminal."""

from lmkit.tables.findings import findings
from lmkit.tables.frameworks import same_start, speed
from lmkit.tables.runs import (
    common,
    differences,
    environment,
    events,
    metrics,
    operations,
    planned,
    samples,
    side_by_side,
    summary,
)
from lmkit.tables.sweeps import front, sweep_summary, trials

__all__ = [
    "common",
    "differences",
    "environment",
    "events",
    "findings",
    "front",
    "metrics",
    "operations",
    "planned",
    "same_start",
    "samples",
    "side_by_side",
    "speed",
    "summary",
    "sweep_summary",
    "trials",
]
