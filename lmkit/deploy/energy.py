"""The energy that calls take, where the machine counts it: RAPL, by Linux's /sys/class/powercap.

The counters are of whole processors: what other programs take meanwhile counts too. What the machine takes at rest
is measured beside, and taken off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")

REST_SECONDS, BLOCK_SECONDS = 0.3, 0.5
"""How long the machine is watched at rest, and under calls."""


class Meter:
    """Counters of energy, one a processor.

    Args:
        root: where the system lists them; a zone is a folder ``intel-rapl:N`` (of AMD's processors too), and those
            within it, ``intel-rapl:N:M``, are parts of what it counts.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self.zones: list[tuple[Path, int]] = []
        for zone in sorted(root.glob("*rapl:*")) if root.is_dir() else []:
            try:
                whole = zone.name.count(":") == 1 and (zone / "name").read_text().strip().startswith("package")
                if whole:
                    self.zones.append((zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())))
            except (OSError, ValueError):
                continue

    def read(self) -> list[int] | None:
        """Microjoules of each processor since some moment; None where none may be read."""
        try:
            return [int(path.read_text()) for path, _ in self.zones] or None
        except (OSError, ValueError):  # since 2020 only root may, for timing reveals secrets (CVE-2020-8694)
            return None

    def between(self, before: list[int], after: list[int]) -> float:
        """Joules from one reading to another, each counter having begun anew at most once."""
        pairs = zip(before, after, self.zones, strict=True)
        return sum((b - a) % (most + 1) for a, b, (_, most) in pairs) / 1e6


def joules(call: Callable[[], object], meter: Meter | None = None, seconds: float = BLOCK_SECONDS) -> float | None:
    """Joules of one call above rest: (joules of a block of calls − power at rest · its seconds) ÷ calls.

    Args:
        call: what is called for about ``seconds``.
        meter: the counters.
        seconds: the block's.

    Returns:
        None where the machine does not tell, which takes no time; 0 where it took no more than at rest.
    """
    meter = meter or Meter()
    if (before := meter.read()) is None:
        return None
    clock = time.perf_counter
    began = clock()
    time.sleep(REST_SECONDS * min(1.0, seconds / BLOCK_SECONDS))
    rested, ended = meter.read(), clock()
    if rested is None:
        return None
    rest = meter.between(before, rested) / (ended - began)
    calls, began = 0, clock()
    while not calls or clock() - began < seconds:
        call()
        calls += 1
    taken = clock() - began
    after = meter.read()
    return None if after is None else max(0.0, meter.between(rested, after) - rest * taken) / calls
