"""The status of a run."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lmkit.system.processes import is_alive
from lmkit.system.records import Count, Seconds, parse_record

Cause = Literal[
    "",
    "condition",
    "converted",
    "requested",
    "signal",
    "idle",
    "diverged",
    "unwritable",
    "error",
    "vanished",
    "unknown",
]
"""Why a run ended.

Empty: it trained all its epochs, or has not ended. ``condition``: one of the other ends of the experiment was reached.
``converted``: it was not trained, its model comes from another run. ``requested``: stopped by a command. ``signal``:
stopped by SIGTERM, SIGHUP or Ctrl-C. ``idle``: stopped after a long pause. ``diverged``: a loss was no longer finite.
``unwritable``: the folder could not be written. ``error``: anything else that was raised. ``vanished``: the worker's
process is gone. ``unknown``: a cause that a later version wrote.
"""

LIVE = ("pending", "running", "paused", "restarting")
"""The states in which a worker trains or waits; ``restarting``: one of several processes failed, and all come back."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """The status of a run.

    Attributes:
        state: pending, running, paused, restarting, completed, stopped, failed, or lost (its worker vanished).
        epoch, epochs: the current epoch, counted from 1, and the maximum number of epochs.
        step, steps: the steps taken, and the maximum number of steps.
        steps_per_second, samples_per_second: the rate over about the last second.
        seconds: the training time so far.
        seconds_left: the remaining time at this rate.
        heartbeat: the time of the worker's last heartbeat, in seconds since 1970.
        pid, pid_started, host: the worker's process, when it started (in seconds since boot), and its machine.
        memory: the worker's resident memory in bytes.
        peak_memory: the maximum of ``memory``.
        device: the device of the tensors.
        device_memory, device_peak_memory: bytes of a GPU that the worker holds, now and at most; 0 on the processor.
        utilization: the share of time in which the GPU computed, 0 to 1, for all its processes.
        power: of the GPU, in watts.
        cause: why the run ended, for programs.
        reason: the same as a sentence, for people; empty where it trained all its epochs.
        metrics: of the test part, once the run has ended.
    """

    state: str = "pending"
    epoch: Count = 0
    epochs: Count = 0
    step: Count = 0
    steps: Count = 0
    steps_per_second: float | None = None
    samples_per_second: float | None = None
    seconds: Seconds = 0.0
    seconds_left: float | None = None
    heartbeat: Seconds = 0.0
    pid: Count = 0
    pid_started: float = 0.0
    host: str = ""
    memory: Count = 0
    peak_memory: Count = 0
    device: str = ""
    device_memory: Count = 0
    device_peak_memory: Count = 0
    utilization: float | None = None
    power: float | None = None
    reason: str = ""
    metrics: dict[str, float] | None = None
    cause: Cause = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], path: Path = Path("status.json")) -> Status:
        """Return the status in ``status.json``; one of an older version gets its cause from its reason.

        Args:
            values: the content of the file.
            path: the file, for messages.

        Raises:
            DamagedFile: a value has another type than its field.
        """
        status = dict(values)
        if "cause" not in status:
            status["cause"] = _cause_of_reason(str(status.get("state", "")), str(status.get("reason", "")))
        elif status["cause"] not in get_args(Cause):
            status["cause"] = "unknown"
        if isinstance(metrics := status.get("metrics"), Mapping):  # JSON of other tools has null for NaN
            status["metrics"] = {name: math.nan if value is None else value for name, value in metrics.items()}
        return parse_record(cls, status, path)

    @property
    def progress(self) -> float:
        """The fraction of the steps that were taken, 0 to 1."""
        return 1.0 if self.state == "completed" else self.step / self.steps if self.steps else 0.0

    @property
    def live(self) -> bool:
        """Whether a worker trains or waits."""
        return self.state in LIVE

    @property
    def rate(self) -> float | None:
        """Steps per second."""
        return self.steps_per_second


LOST_AFTER = 15.0
"""Seconds without a heartbeat after which a worker on another machine counts as vanished."""


def vanished(status: Status) -> bool:
    """Whether the process that a status names is gone; of one on another machine, whether it is silent."""
    if status.host != socket.gethostname():
        return time.time() - status.heartbeat > LOST_AFTER
    return not is_alive(status.pid, status.pid_started)


def _cause_of_reason(state: str, reason: str) -> Cause:
    """Return the cause of a status without one: lmkit 0.1 wrote the reason alone."""
    if state == "failed":
        if reason.startswith("cannot write to "):
            return "unwritable"
        return "diverged" if "training diverged" in reason else "error"
    if state == "stopped":
        return "requested" if reason == "on request" else "signal"
    if state == "completed" and reason:
        return "converted" if reason.startswith("converted from ") else "condition"
    return ""


def describe_end(status: Status) -> str:
    """Return how a run ended, as a predicate with its reason."""
    verb = {"failed": "failed", "lost": "was lost"}[status.state]
    return verb + (f" ({status.reason})" if status.reason else "")


def describe_state(status: Status) -> str:
    """Return the state of a run that has ended, with its reason: ``stopped on request``."""
    if not status.reason:
        return status.state
    return f"{status.state} {status.reason}" if status.cause == "requested" else f"{status.state}: {status.reason}"
