"""One variant measured against the baseline: side by side, in shuffled rounds, with the baseline against itself beside.

A variant's latency is told by the ratio to the baseline of the same round, so what slows the whole machine cancels.
The interval is a bootstrap over rounds (Efron and Tibshirani, *An Introduction to the Bootstrap*, chapter 13); the
baseline runs twice, and a difference inside what baseline against baseline shows is none.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit.errors import LmkitError

if TYPE_CHECKING:
    import numpy as np

ROUNDS, BLOCK_SECONDS = 15, 0.06
"""Rounds that are measured, and how long each process runs in one."""

P95_FROM = 200
"""Calls from which the 95th percentile is told."""


class MeasurementFailed(LmkitError):
    """A variant could not be made, loaded or run."""


class NotApplicable(LmkitError):
    """A technique cannot be used here; the message says why, and what would make it possible."""


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
        control: the baseline to itself, in the same rounds.
        calls: how many were timed.
    """

    batch: int
    p50: Interval
    p95: float | None
    ratio: Interval
    control: Interval
    calls: int

    def differs(self, noise: Interval) -> bool:
        """Whether it is quicker or slower than the baseline beyond ``noise``, what the baseline is to itself."""
        return not (self.ratio.overlaps(noise) or self.ratio.low <= 1 <= self.ratio.high)

    @property
    def rows_per_second(self) -> float:
        """Throughput."""
        return self.batch / self.p50.value


class Process:
    """A process of its own that takes orders: ``python -m MODULE ARGUMENT…``."""

    def __init__(self, module: str, *arguments: object) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            start_new_session=True,  # an interrupt of the notebook's kernel, or in the terminal, is not meant for it
        )

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Gives an order and waits for its answer.

        Raises:
            MeasurementFailed: the variant cannot do it; the message is the runtime's own.
        """
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": f"its process ended ({self.process.wait()}): {self._last()}"}
        if "error" in answer:
            raise (NotApplicable if answer.get("kind") == "NotApplicable" else MeasurementFailed)(answer["error"])
        return dict(answer)

    def _last(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def kill(self) -> None:
        """Ends it at once, with all that it started."""
        if self.process.poll() is None:
            with suppress(OSError):  # it ends by itself just now
                os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Lets it end."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
        self.process.wait()
        self.errors.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:  # whoever asked is no longer there for the answer, which may take minutes
            self.kill()
        self.close()


def latency(
    variant: Process,
    baseline: Process,
    control: Process,
    batch: int,
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
    tell: Callable[[int], None] = lambda _: None,
) -> Latency:
    """Calls with ``batch`` rows, in rounds of the three processes in shuffled order."""
    import numpy as np

    draw = np.random.default_rng([seed, batch])
    processes = [variant, baseline, control]
    medians = np.empty((rounds, 3))
    calls: list[float] = []
    for process in processes:
        process.ask("run", batch=batch, seconds=BLOCK_SECONDS)  # warm, for this shape
    for number in range(rounds):
        for i in draw.permutation(3):
            seconds = processes[i].ask("run", batch=batch, seconds=BLOCK_SECONDS)["seconds"]
            medians[number, i] = np.median(seconds)
            if i == 0:
                calls += seconds
        tell(number + 1)
    return Latency(
        batch,
        bootstrap(medians[:, 0], seed),
        float(np.percentile(calls, 95)) if len(calls) >= P95_FROM else None,
        bootstrap(medians[:, 0] / medians[:, 1], seed),
        bootstrap(medians[:, 2] / medians[:, 1], seed),
        len(calls),
    )


def noise(timed: Iterable[Latency]) -> Interval:
    """What the baseline was to itself in all that was measured with one number of rows, and 1 among it.

    Two processes of the same model may differ for as long as they live, by where their memory lies; rounds within one
    pair of them do not show it, but pairs do.

    >>> one = Interval(1.0, 0.99, 1.01)
    >>> noise([Latency(1, one, None, one, control, 9) for control in (one, Interval(0.95, 0.94, 0.96))])
    Interval(value=1.0, low=0.94, high=1.01)
    """
    controls = [one.control for one in timed]
    return Interval(1.0, min([1.0, *(c.low for c in controls)]), max([1.0, *(c.high for c in controls)]))


def bootstrap(values: np.ndarray, seed: int = 0, draws: int = 2000) -> Interval:
    """The median of ``values`` (n,), and the percentile interval of the medians of resampled ones."""
    import numpy as np

    rows = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    low, high = np.percentile(np.median(values[rows], axis=1), [2.5, 97.5])
    return Interval(float(np.median(values)), float(low), float(high))
