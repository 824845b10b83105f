"""What a worker writes down while it trains: its steps in blocks, where it stands, signs of life."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from lmkit.environment import peak_memory
from lmkit.runfolder import RunFolder, Status, process

if TYPE_CHECKING:
    from lmkit.backends import Steps
    from lmkit.experiment import Experiment

FLUSH_SECONDS = 0.2
"""How often numbers are written at most."""

STATUS_SECONDS = 0.5
HEARTBEAT_SECONDS = 2.0


@dataclass
class Progress:
    """Where training stands: with the weights and the optimizer, all that is needed to go on."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    loss_sum: float = 0.0
    rows_seen: int = 0
    best_loss: float = math.inf
    best_epoch: float = 0
    last_norm: float = math.nan
    validated: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint; ``from_dict`` reads them again."""
        state = {k: v if not isinstance(v, float) or math.isfinite(v) else None for k, v in asdict(self).items()}
        state["best_loss"] = self.best_loss if math.isfinite(self.best_loss) else 1e308
        return state

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        """What ``to_dict`` wrote."""
        whole: dict[str, Any] = {k: math.nan if v is None else v for k, v in values.items()}
        return cls(**whole)


class Recorder:
    """Writes into a run's folder what its worker does.

    Attributes:
        at: where training stands, once it is known.
        total: steps in all.
    """

    def __init__(self, folder: RunFolder, experiment: Experiment) -> None:
        self.folder, self.experiment = folder, experiment
        self.status = Status(state="running", host=socket.gethostname(), **process())
        self.at: Progress | None = None
        self.total = 0
        self.lock = threading.Lock()
        self.paced: int | None = None
        self.pending: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        self.flushed = self.shown = time.monotonic()

    def add(self, first: int, steps: Steps, rates: np.ndarray) -> None:
        """Takes note of consecutive steps from the ``first`` on, counted from 1."""
        self.pending.append((first, steps.loss, rates, steps.gradient_norm))

    def due(self) -> None:
        """Writes what it is time to write."""
        now = time.monotonic()
        if now - self.flushed >= FLUSH_SECONDS:
            self.flush()
        if now - self.shown >= STATUS_SECONDS:
            self.show()

    def flush(self) -> None:
        """Writes the steps since the last flush as one block."""
        self.flushed = time.monotonic()
        if not self.pending:
            return
        first = self.pending[0][0]
        loss, rates, norms = (np.concatenate([p[i] for p in self.pending]) for i in (1, 2, 3))
        block: dict[str, Any] = {"step": first, "time": round(time.time(), 3), "loss": loss.tolist()}
        block["lr"] = float(rates[0]) if np.all(rates == rates[0]) else rates.tolist()
        block["gradient_norm"] = norms.tolist() if np.isfinite(norms).any() else None
        self.folder.metrics.append(block)
        self.pending = []

    def show(self, **changes: Any) -> None:
        """Replaces the status."""
        now = time.monotonic()
        at = self.at
        if at is not None:
            # by the clock on the wall, validation and all: that is what the time left depends on
            done, took = at.step - (at.step if self.paced is None else self.paced), now - self.shown
            if done > 0 and took >= STATUS_SECONDS / 2:
                now_rate, old = done / took, self.status.steps_per_second
                smooth = now_rate if old is None else 0.7 * old + 0.3 * now_rate
                self.status = replace(self.status, steps_per_second=smooth)
            self.paced = at.step
        self.shown = now
        with self.lock:
            status = replace(self.status, heartbeat=time.time(), **_memory(), **changes)
            if at is not None:
                rate = status.steps_per_second
                status = replace(
                    status,
                    step=at.step,
                    seconds=round(at.seconds, 4),
                    epoch=min(at.epoch + 1, self.experiment.training.epochs),
                    samples_per_second=rate and rate * self.experiment.data.batch_size,
                    seconds_left=changes.get("seconds_left", rate and (self.total - at.step) / rate),
                )
            self.status = status
            self.folder.write_status(status)

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Gives signs of life meanwhile, for a step, or a compilation, may take long."""
        stopper = threading.Event()
        heart = threading.Thread(target=self._beat, args=(stopper,), daemon=True)
        heart.start()
        try:
            yield
        finally:
            stopper.set()
            heart.join()

    def _beat(self, stopper: threading.Event) -> None:
        while not stopper.wait(HEARTBEAT_SECONDS):
            with self.lock, contextlib.suppress(OSError):  # the loop meets the same error and says so
                self.folder.write_status(replace(self.status, heartbeat=time.time()))


def _memory() -> dict[str, Any]:
    """The resident memory of this process as the status tells it, in bytes."""
    now = psutil.Process().memory_info().rss
    return {"memory": now, "peak_memory": max(now, peak_memory())}
