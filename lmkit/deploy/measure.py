"""What is measured: an interval, the latency of calls; how it is timed is ``timing``'s."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ROUNDS, BLOCK_SECONDS = 45, 0.02
"""Rounds that are measured at most, and how long each process runs in one."""


@dataclass(frozen=True)
class Interval:
    """A value, and the 95 % interval that it lies in."""

    value: float
    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        """Whether the two cannot be told apart."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Latency:
    """Calls with one number of rows.

    Attributes:
        p50, p95: seconds; the latter only where there are enough calls.
        ratio: to the baseline, median over rounds.
        control: one process of the baseline to another, in the same rounds.
        calls: how many were timed.
        rounds: in so many.
        least: seconds that this machine takes for it at best; None where that is not known.
        joules: of a call, above what the machine takes at rest; None where it does not tell.
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
        """Whether it is quicker or slower than the baseline beyond ``noise``, what the baseline is to itself."""
        within = self.control.low <= self.ratio.value <= self.control.high or self.ratio.low <= 1 <= self.ratio.high
        return not (within or self.ratio.overlaps(noise))

    @property
    def closeness(self) -> float | None:
        """What the machine takes at best, as a share of what it took."""
        return None if self.least is None else self.least / self.p50.value

    @property
    def rows_per_second(self) -> float:
        """Throughput."""
        return self.batch / self.p50.value


def noise(timed: Iterable[Latency]) -> Interval:
    """What the baseline was to itself in all that was measured with one number of rows, and 1 among it.

    What is between the extremes of what pairs of its processes showed is no difference, whatever an interval says.

    >>> one = Interval(1.0, 0.99, 1.01)
    >>> noise([Latency(1, one, None, one, control, 9) for control in (one, Interval(0.95, 0.94, 0.96))])
    Interval(value=1.0, low=0.95, high=1.0)
    """
    controls = [one.control.value for one in timed]
    return Interval(1.0, min([1.0, *controls]), max([1.0, *controls]))
