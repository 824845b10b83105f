"""The recorder of a run: its steps in blocks, and its status. One process writes."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.ranks import read_ranks
from lmkit.runfolder.status import Status
from lmkit.system.environment import peak_memory
from lmkit.training.fit import Block, Callback, Fit, StopTraining
from lmkit.training.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from lmkit.experiment.experiment import Experiment
    from lmkit.training.device_usage import DeviceUsage
    from lmkit.training.progress import Progress

FLUSH_SECONDS = 0.2
"""Interval between two writes of steps, at least."""

STATUS_SECONDS = 0.5


class Recorder(Callback):
    """Writes the steps and the status of a run into its folder.

    Attributes:
        progress: of training, once it is set up.
        ranks: the processes that train the run; the first one writes.
        total: steps of the whole training.
        device: measures the device, once it is set up.
    """

    def __init__(self, folder: RunFolder, experiment: Experiment, ranks: Ranks = ALONE) -> None:
        self.folder, self.experiment, self.ranks = folder, experiment, ranks
        self.status = Status(state="running", **ranks.owner)
        self.progress: Progress | None = None
        self.total = 0
        self.device: DeviceUsage | None = None
        self.lock = threading.Lock()
        self.status_step: int | None = None
        self.pending: list[Block] = []
        self.flushed = self.status_written = time.monotonic()

    def on_steps_end(self, fit: Fit, block: Block) -> None:  # noqa: ARG002 (part of the interface)
        """Record the steps of a call; write steps and status where that is due."""
        if len(block.steps.loss):
            self.pending.append(block)
        now = time.monotonic()
        if now - self.flushed >= FLUSH_SECONDS:
            self.flush()
        if now - self.status_written >= STATUS_SECONDS:
            self.write_status()

    def on_train_end(self, fit: Fit, stop: StopTraining) -> None:  # noqa: ARG002 (part of the interface)
        """Write the last steps."""
        self.flush()

    def flush(self) -> None:
        """Write the steps since the last flush as one record: columns as arrays, or one number for all steps."""
        self.flushed = time.monotonic()
        if not self.pending:
            return
        blocks = self.pending
        rates = np.concatenate([block.rates for block in blocks])
        record: dict[str, Any] = {"step": blocks[0].first, "time": round(time.time(), 3)}
        record["loss"] = np.concatenate([block.steps.loss for block in blocks]).tolist()
        record["lr"] = float(rates[0]) if np.all(rates == rates[0]) else rates.tolist()
        norms = np.concatenate([block.steps.gradient_norm for block in blocks])
        record["gradient_norm"] = norms.tolist() if np.isfinite(norms).any() else None
        for name in dict.fromkeys(name for block in blocks for name in block.steps.columns):
            record[name] = np.concatenate([block.steps.column(name) for block in blocks]).tolist()
        self.folder.metrics.append(record)
        self.pending = []  # kept where the append fails, for the next flush

    def write_status(self, **changes: Any) -> None:
        """Replace the status."""
        now, progress = time.monotonic(), self.progress
        if progress is not None:
            # wall-clock time, validation included: the remaining time depends on it
            steps = progress.step - (progress.step if self.status_step is None else self.status_step)
            seconds = now - self.status_written
            if steps > 0 and seconds >= STATUS_SECONDS / 2:
                rate, old = steps / seconds, self.status.steps_per_second
                smooth = rate if old is None else 0.7 * old + 0.3 * rate
                self.status = replace(self.status, steps_per_second=smooth)
            self.status_step = progress.step
        self.status_written = now
        with self.lock:
            status = replace(
                self.status,
                heartbeat=time.time(),
                **_memory(self._memory_of_others()),
                **self._device_status(),
                **changes,
            )
            if progress is not None:
                speed = status.steps_per_second
                status = replace(
                    status,
                    step=progress.step,
                    seconds=round(progress.seconds, 4),
                    epoch=min(progress.epoch + 1, self.experiment.training.epochs),
                    samples_per_second=speed and speed * self.experiment.data.batch_size,
                    seconds_left=changes.get("seconds_left", speed and (self.total - progress.step) / speed),
                )
            self.status = status
            self.folder.write_status(status)

    def _memory_of_others(self) -> int:
        """Return the resident memory of the other processes of the run, in bytes."""
        if self.ranks.world == 1:
            return 0
        return sum(record.memory for record in read_ranks(self.folder)[1 : self.ranks.world])

    def renew_heartbeat(self) -> None:
        """Replace the status by itself with the time of now; called from another thread than the other methods."""
        if self.device:
            self.device.refresh()
        with self.lock, contextlib.suppress(OSError):  # training meets the same error and reports it
            self.folder.write_status(replace(self.status, heartbeat=time.time()))

    def _device_status(self) -> dict[str, Any]:
        return self.device.status() if self.device else {}


def _memory(others: int = 0) -> dict[str, Any]:
    """Return the resident memory of this process, now and at its peak, in bytes, and that of ``others``."""
    now = psutil.Process().memory_info().rss
    return {"memory": now + others, "peak_memory": max(now, peak_memory()) + others}
