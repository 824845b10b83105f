"""Intervals and latencies; the module ``timing`` measures them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ROUNDS, BLOCK_SECONDS = 45, 0.02
"""Largest number of rounds, and seconds of each process in a round."""


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        """Return whether the two intervals overlap."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Latency:
    """The latency of calls at one batch size.

    Attributes:
        batch: rows per call.
        p50, p95: quantiles in seconds; the latter only if enough calls were timed.
        ratio: ratio to the baseline, median over rounds.
        control: ratio of one process of the baseline to another, in the same rounds.
        calls: number of timed calls.
        rounds: number of rounds.
        least: least seconds of a call on this machine; None if unknown.
        joules: energy of a call above rest; None if the machine does not measure it.
    """

    batch: int
    p50: Interval
    p95: float | None
    ratio: Interval
    control: Interval
    calls: int
    rounds: int = 0
    least: float | None = None
    joules: float | None = None

    def differs(self, noise: Interval) -> bool:
        """Return whether it differs from the baseline by more than ``noise``, the baseline's ratio to itself."""
        within = self.control.low <= self.ratio.value <= self.control.high or self.ratio.low <= 1 <= self.ratio.high
        return not (within or self.ratio.overlaps(noise))

    @property
    def closeness(self) -> float | None:
        """The least time of a call as a share of the measured time."""
        return None if self.least is None else self.least / self.p50.value

    @property
    def rows_per_second(self) -> float:
        """Throughput in rows per second."""
        return self.batch / self.p50.value


def noise(latencies: Iterable[Latency]) -> Interval:
    """Return the range of the baseline's ratios to itself at one batch size, including 1.

    A ratio within the extremes of pairs of the baseline's processes is no difference, whatever its interval says.

    >>> one = Interval(1.0, 0.99, 1.01)
    >>> noise([Latency(1, one, None, one, control, 9) for control in (one, Interval(0.95, 0.94, 0.96))])
    Interval(value=1.0, low=0.95, high=1.0)
    """
    controls = [latency.control.value for latency in latencies]
    return Interval(1.0, min([1.0, *controls]), max([1.0, *controls]))
