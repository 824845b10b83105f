"""The numbers of a plan for a person to read."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lmkit.planning import sharding
from lmkit.progress import time_text
from lmkit.table import Table


def count_text(n: float) -> str:
    """A number of things: exact up to a million.

    >>> count_text(4160), count_text(13_860_000)
    ('4,160', '13.9 million')
    """
    for unit, name in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if n >= unit:
            return f"{n / unit:.3g} {name}"
    return f"{n:,.0f}"


def operations_text(n: float) -> str:
    """A number of floating-point operations.

    >>> operations_text(0), operations_text(5.2e6), operations_text(3e21)
    ('–', '5.2 MFLOP', '3 ZFLOP')
    """
    if not n:
        return "–"
    power = min(7, int(math.log10(n) // 3))
    return f"{n / 1000**power:.3g} {['', 'k', 'M', 'G', 'T', 'P', 'E', 'Z'][power]}FLOP"


def seconds_text(seconds: float) -> str:
    """The duration of a step.

    >>> seconds_text(0.00031), seconds_text(0.25), seconds_text(750)
    ('0.31 ms', '250 ms', '12 min 30 s')
    """
    return f"{1000 * seconds:.3g} ms" if seconds < 0.9995 else time_text(seconds)


def sharded_table(ways: Sequence[sharding.Sharded]) -> Table:
    """Gigabytes a device, by count and memory of devices × strategy; * where whole blocks must be computed again."""
    rows = []
    for key in dict.fromkeys((way.devices, way.memory) for way in ways):
        cells = {way.strategy: way for way in ways if (way.devices, way.memory) == key}
        told = [_cell(cells[s]) if s in cells else None for s in sharding.STRATEGIES]
        rows.append((f"{key[0]} × {key[1]:g} GB", *told))
    title = "GB on each device, and whether it fits (*: where whole blocks are computed again)"
    return Table(title, ("devices", *sharding.STRATEGIES), tuple(rows))


def _cell(way: sharding.Sharded) -> str:
    again = "*" if way.recomputed == "full" else ""
    return f"{way.bytes / sharding.GB:,.4g}{again} {'fits' if way.fits else 'no'}"
