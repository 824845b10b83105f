"""Energy of calls, where the machine measures it: RAPL, from Linux's /sys/class/powercap.

The counters are those of whole processors and include other programs. The power at rest is measured and subtracted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")

REST_SECONDS, BLOCK_SECONDS = 0.3, 0.5
"""Seconds of the measurement at rest, and under calls."""


class Meter:
    """Energy counters, one per processor.

    Args:
        root: the system's folder of counters; ``intel-rapl:N`` is a processor's zone (AMD's, too), and
            ``intel-rapl:N:M`` is a part of it.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self.zones: list[tuple[Path, int]] = []
        for zone in sorted(root.glob("*rapl:*")) if root.is_dir() else []:
            try:
                is_package = zone.name.count(":") == 1 and (zone / "name").read_text().strip().startswith("package")
                if is_package:
                    self.zones.append((zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())))
            except (OSError, ValueError):
                continue

    def read(self) -> list[int] | None:
        """Return the counter of each processor in microjoules; None if no counter is readable."""
        try:
            return [int(path.read_text()) for path, _ in self.zones] or None
        except (OSError, ValueError):  # since 2020 only root may read them (CVE-2020-8694)
            return None

    def between(self, before: list[int], after: list[int]) -> float:
        """Return the joules between two readings; each counter may have wrapped around once."""
        pairs = zip(before, after, self.zones, strict=True)
        return sum((b - a) % (maximum + 1) for a, b, (_, maximum) in pairs) / 1e6


def joules(call: Callable[[], object], meter: Meter | None = None, seconds: float = BLOCK_SECONDS) -> float | None:
    """Return the joules per call above rest: (joules of a block of calls − power at rest · its seconds) ÷ calls.

    Args:
        call: called repeatedly for about ``seconds``.
        meter: the counters.
        seconds: duration of the block.

    Returns:
        None, at once, if the machine has no readable counter; 0 if the calls took no more power than rest.
    """
    meter = meter or Meter()
    if (before := meter.read()) is None:
        return None
    clock = time.perf_counter
    start = clock()
    time.sleep(REST_SECONDS * min(1.0, seconds / BLOCK_SECONDS))
    after_rest, end = meter.read(), clock()
    if after_rest is None:
        return None
    rest_power = meter.between(before, after_rest) / (end - start)
    calls, start = 0, clock()
    while not calls or clock() - start < seconds:
        call()
        calls += 1
    duration = clock() - start
    after = meter.read()
    return None if after is None else max(0.0, meter.between(after_rest, after) - rest_power * duration) / calls
