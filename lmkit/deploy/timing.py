"""How long calls take beside the baseline's, in shuffled rounds, and how far that can be trusted.

A variant's latency is told by its ratio to the baseline of the same round, so what slows the whole machine cancels; the
rest of what rounds differ by is bootstrapped (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter
13). But two processes of the very same model differ too, for as long as they live, by where their memory and code lie
(Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!", ASPLOS 2009), and no number of rounds
shows it: here by about 1 % in PyTorch, 2 % in TensorFlow, several times what rounds alone would make one believe. So
repetitions count on both levels, as Kalibera and Jones have it ("Rigorous benchmarking in reasonable time", ISMM 2013):
the baseline runs as a chain of processes, each measured beside the one before, and what neighbours differ by widens all
intervals. While there are few of them, what is known of such differences beforehand counts as some more (Smyth,
"Linear models and empirical Bayes methods", 2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmkit.deploy.measure import BLOCK_SECONDS, ROUNDS, Interval, Latency

if TYPE_CHECKING:
    import numpy as np

    from lmkit.deploy.process import Process

LEAST_ROUNDS = 15
"""Rounds that are measured at least."""

CLOSE = 0.004
"""Rounds end once the ratio's median over them is known so well: its standard error, as a share."""

SECONDS = 4.0
"""And once they have taken so long, after the least number of them."""

P95_FROM = 200
"""Calls from which the 95th percentile is told: ten are then beyond it."""

KNOWN, WEIGHT = 0.012, 4.0
"""By what processes of the same model differ beforehand (standard deviation, as a share), and as how many it counts."""

DRAWS = 4000


@dataclass
class Spread:
    """By how much processes of the same model differ, learnt from pairs of them as they are measured.

    The mean square of the differences of neighbours in a chain estimates twice their variance (von Neumann et al.,
    1941), as well as 2n² ÷ (3n − 1) independent ones would, for they share the processes in between.

    Attributes:
        squares: of the logarithms of the ratios of neighbours, one a pair.
    """

    squares: list[float] = field(default_factory=list)

    def add(self, ratio: float) -> None:
        """One more pair, whose latencies have this ratio."""
        self.squares.append(math.log(ratio) ** 2)

    @property
    def degrees(self) -> float:
        """Of freedom, those that are known beforehand among them."""
        n = len(self.squares)
        return WEIGHT + (2 * n**2 / (3 * n - 1) if n else 0.0)

    @property
    def deviation(self) -> float:
        """The standard deviation of a process, as a share.

        >>> spread = Spread()
        >>> for ratio in (1.0, 1.0, 1.0):
        ...     spread.add(ratio)
        >>> f"{Spread().deviation:.4f}, {spread.deviation:.4f}"
        '0.0120, 0.0096'
        """
        own = self.degrees - WEIGHT
        found = sum(self.squares) / (2 * len(self.squares)) if self.squares else 0.0
        return math.sqrt((WEIGHT * KNOWN**2 + own * found) / self.degrees)


def latency(
    variant: Process,
    baseline: Process,
    control: Process,
    batch: int,
    spread: Spread,
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
    same: bool = False,
) -> Latency:
    """Calls with ``batch`` rows, in rounds of the three processes in shuffled order.

    Args:
        variant: what is measured.
        baseline, control: two processes of what it is measured beside.
        batch: rows a call.
        spread: what is known of such processes; learns from these.
        rounds: at most; there are fewer once the ratio is known well.
        seed: of the order and the bootstrap.
        same: the variant is the baseline, and one more process of it.
    """
    import numpy as np

    draw = np.random.default_rng([seed, batch])
    processes = [variant, baseline, control]
    medians: list[list[float]] = []
    calls: list[float] = []
    for process in processes:
        process.ask("run", batch=batch, seconds=BLOCK_SECONDS)  # warm, for this shape
    taken = 0.0
    while len(medians) < rounds:
        one = [0.0, 0.0, 0.0]
        for i in draw.permutation(3):
            seconds = processes[i].ask("run", batch=batch, seconds=BLOCK_SECONDS)["seconds"]
            one[i] = float(np.median(seconds))
            taken += sum(seconds)
            if i == 0:
                calls += seconds
        medians.append(one)
        if len(medians) >= LEAST_ROUNDS and (taken > SECONDS or error(beside(np.asarray(medians))) < CLOSE):
            break
    found = np.asarray(medians)
    controls = np.log(found[:, 2] / found[:, 1])
    if same:
        spread.add(float(np.exp(np.median(np.log(found[:, 1] / found[:, 0])))))
    spread.add(float(np.exp(np.median(controls))))
    return Latency(
        batch,
        bootstrap(found[:, 0], seed),
        float(np.percentile(calls, 95)) if len(calls) >= P95_FROM else None,
        widened(beside(found), spread, 1 + 1 / 2, seed),
        widened(controls, spread, 2, seed),
        len(calls),
        rounds=len(found),
    )


def beside(medians: np.ndarray) -> np.ndarray:
    """Logarithms of the ratio of the variant (first column) to both processes of the baseline (rounds, 3)."""
    import numpy as np

    found: np.ndarray = np.log(medians[:, 0]) - np.log(medians[:, 1:]).mean(axis=1)
    return found


def error(values: np.ndarray) -> float:
    """The standard error of the median of ``values`` (n,), from their absolute deviations, that outliers do not move.

    1.4826 times their median is the standard deviation of normal values, and √(π/2) what a median's is above a mean's.
    """
    import numpy as np

    deviation = 1.4826 * np.median(np.abs(values - np.median(values)))
    return float(math.sqrt(math.pi / 2) * deviation / math.sqrt(len(values)))


def widened(logarithms: np.ndarray, spread: Spread, processes: float, seed: int = 0) -> Interval:
    """The median ratio, and its interval: over rounds by the bootstrap, over processes by Student's t.

    Args:
        logarithms: of the ratio in each round (n,).
        spread: by how much processes differ.
        processes: how many such variances the ratio has: two of a process to another, 1 + 1/k of one to the mean of k.
        seed: of the draws.
    """
    import numpy as np

    draw = np.random.default_rng([seed, 1])
    own = np.median(logarithms[draw.integers(0, len(logarithms), (DRAWS, len(logarithms)))], axis=1)
    shift = draw.standard_t(spread.degrees, DRAWS) * spread.deviation * math.sqrt(processes)
    middle = float(np.median(logarithms))
    low, high = np.percentile(own + shift, [2.5, 97.5])
    return Interval(math.exp(middle), math.exp(min(low, middle)), math.exp(max(high, middle)))


def bootstrap(values: np.ndarray, seed: int = 0, draws: int = 2000) -> Interval:
    """The median of ``values`` (n,), and the percentile interval of the medians of resampled ones."""
    import numpy as np

    rows = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    low, high = np.percentile(np.median(values[rows], axis=1), [2.5, 97.5])
    return Interval(float(np.median(values)), float(low), float(high))
