"""Latency of a variant relative to the baseline's, in shuffled rounds, with intervals.

The latency is the ratio to the baseline in the same round, so what slows the whole machine cancels; the variation over
rounds is bootstrapped (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13). But two processes
of the same model also differ for their whole lifetime, by the layout of their memory and code (Mytkowicz et al.,
"Producing wrong data without doing anything obviously wrong!", ASPLOS 2009), which no number of rounds shows: here by
about 1 % in PyTorch and 2 % in TensorFlow, several times the interval over rounds. Repetitions are therefore needed on
both levels (Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013): the baseline runs as a chain of
processes, each measured with the previous one, and the differences of neighbours widen all intervals. A prior of such
differences counts as some more processes (Smyth, "Linear models and empirical Bayes methods", 2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmkit.deploy.measure.statistics import BLOCK_SECONDS, ROUNDS, Interval, Latency

if TYPE_CHECKING:
    import numpy as np

    from lmkit.system.rpc import Process

MIN_ROUNDS = 15
"""Smallest number of rounds."""

PRECISION = 0.004
"""Standard error of the ratio's median, as a share, at which rounds end."""

MAX_SECONDS = 4.0
"""Seconds after which rounds end, after ``MIN_ROUNDS``."""

P95_CALLS = 200
"""Number of calls from which the 95th percentile is computed: ten are then beyond it."""

PRIOR_DEVIATION, PRIOR_WEIGHT = 0.012, 4.0
"""Prior standard deviation of processes of the same model, as a share, and the number of processes it counts as."""

DRAWS = 4000


@dataclass
class Spread:
    """By how much processes of the same model differ, estimated from pairs of them as they are measured.

    The mean square of the differences of neighbours in a chain estimates twice their variance (von Neumann et al.,
    1941), as well as 2n² ÷ (3n − 1) independent ones would, for they share the processes in between.

    Attributes:
        squares: squared logarithm of the ratio of each pair of neighbours.
    """

    squares: list[float] = field(default_factory=list)

    def add(self, ratio: float) -> None:
        """Add a pair whose latencies have this ratio."""
        self.squares.append(math.log(ratio) ** 2)

    @property
    def degrees(self) -> float:
        """Degrees of freedom, including those of the prior."""
        n = len(self.squares)
        return PRIOR_WEIGHT + (2 * n**2 / (3 * n - 1) if n else 0.0)

    @property
    def deviation(self) -> float:
        """Standard deviation of a process, as a share.

        >>> spread = Spread()
        >>> for ratio in (1.0, 1.0, 1.0):
        ...     spread.add(ratio)
        >>> f"{Spread().deviation:.4f}, {spread.deviation:.4f}"
        '0.0120, 0.0096'
        """
        observed = self.degrees - PRIOR_WEIGHT
        variance = sum(self.squares) / (2 * len(self.squares)) if self.squares else 0.0
        return math.sqrt((PRIOR_WEIGHT * PRIOR_DEVIATION**2 + observed * variance) / self.degrees)


def measure_latency(
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
    """Measure calls with ``batch`` rows, in rounds of the three processes in shuffled order.

    Args:
        variant: process of the variant.
        baseline, control: two processes of the baseline.
        batch: rows per call.
        spread: by how much processes of the baseline differ; updated with this measurement.
        rounds: largest number of rounds; fewer once the ratio is precise.
        seed: seed of the order and the bootstrap.
        same: the variant is the baseline itself.
    """
    import numpy as np

    draw = np.random.default_rng([seed, batch])
    processes = [variant, baseline, control]
    medians: list[list[float]] = []
    calls: list[float] = []
    for process in processes:
        process.ask("run", batch=batch, seconds=BLOCK_SECONDS)  # warm up for this shape
    elapsed = 0.0
    while len(medians) < rounds:
        round_medians = [0.0, 0.0, 0.0]
        for i in draw.permutation(3):
            seconds = processes[i].ask("run", batch=batch, seconds=BLOCK_SECONDS)["seconds"]
            round_medians[i] = float(np.median(seconds))
            elapsed += sum(seconds)
            if i == 0:
                calls += seconds
        medians.append(round_medians)
        if len(medians) >= MIN_ROUNDS and (
            elapsed > MAX_SECONDS or standard_error(log_ratios(np.asarray(medians))) < PRECISION
        ):
            break
    ratios = np.asarray(medians)
    controls = np.log(ratios[:, 2] / ratios[:, 1])
    if same:
        spread.add(float(np.exp(np.median(np.log(ratios[:, 1] / ratios[:, 0])))))
    spread.add(float(np.exp(np.median(controls))))
    return Latency(
        batch,
        bootstrap(ratios[:, 0], seed),
        float(np.percentile(calls, 95)) if len(calls) >= P95_CALLS else None,
        widened_interval(log_ratios(ratios), spread, 1 + 1 / 2, seed),
        widened_interval(controls, spread, 2, seed),
        len(calls),
        rounds=len(ratios),
    )


def log_ratios(medians: np.ndarray) -> np.ndarray:
    """Return the logarithms of the ratio of the variant (column 0) to both processes of the baseline; (rounds, 3)."""
    import numpy as np

    ratios: np.ndarray = np.log(medians[:, 0]) - np.log(medians[:, 1:]).mean(axis=1)
    return ratios


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of the median of ``values`` (n,), from their absolute deviations, robust to outliers.

    1.4826 times their median estimates the standard deviation of normal values; √(π/2) is the ratio of a median's
    standard error to a mean's.
    """
    import numpy as np

    deviation = 1.4826 * np.median(np.abs(values - np.median(values)))
    return float(math.sqrt(math.pi / 2) * deviation / math.sqrt(len(values)))


def widened_interval(logarithms: np.ndarray, spread: Spread, processes: float, seed: int = 0) -> Interval:
    """Return the median ratio and its interval: over rounds by the bootstrap, over processes by Student's t.

    Args:
        logarithms: logarithm of the ratio in each round (n,).
        spread: by how much processes differ.
        processes: number of process variances in the ratio: 2 for one process to another, 1 + 1/k for one to the mean
            of k.
        seed: seed of the draws.
    """
    import numpy as np

    draw = np.random.default_rng([seed, 1])
    resampled = np.median(logarithms[draw.integers(0, len(logarithms), (DRAWS, len(logarithms)))], axis=1)
    shift = draw.standard_t(spread.degrees, DRAWS) * spread.deviation * math.sqrt(processes)
    middle = float(np.median(logarithms))
    low, high = np.percentile(resampled + shift, [2.5, 97.5])
    return Interval(math.exp(middle), math.exp(min(low, middle)), math.exp(max(high, middle)))


def bootstrap(values: np.ndarray, seed: int = 0, draws: int = 2000) -> Interval:
    """Return the median of ``values`` (n,) and its percentile interval over resamples."""
    import numpy as np

    rows = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    low, high = np.percentile(np.median(values[rows], axis=1), [2.5, 97.5])
    return Interval(float(np.median(values)), float(low), float(high))
