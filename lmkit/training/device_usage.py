"""The memory, utilization and power of the device that a run trains on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lmkit.system.gpus import Gpu, read_gpus

if TYPE_CHECKING:
    from lmkit.backends import Backend

QUERY_SECONDS = 5.0
"""Interval between two queries of the driver, at least: each starts a process."""


class DeviceUsage:
    """Measures a run's device: its own memory by the framework, utilization and power by the driver.

    Args:
        backend: of the device.
        device: its name; the processor has no values.
    """

    def __init__(self, backend: Backend, device: str) -> None:
        self.backend, self.device = backend, device
        self.gpu: Gpu | None = None
        self.queried = 0.0

    def refresh(self) -> None:
        """Query the driver, if that is due; a heartbeat does, so that no step waits."""
        now = time.monotonic()
        if self.device.startswith("cuda") and (not self.queried or now - self.queried >= QUERY_SECONDS):
            self.queried = now
            gpus, number = read_gpus(), int(self.device.rpartition(":")[2])
            self.gpu = gpus[number] if number < len(gpus) else None

    def status(self) -> dict[str, Any]:
        """Return the fields of the status: bytes, the share of time in which the device computed, and watts."""
        used, peak = self.backend.memory_usage()
        return {
            "device_memory": used,
            "device_peak_memory": peak,
            "utilization": self.gpu.utilization if self.gpu else None,
            "power": self.gpu.power if self.gpu else None,
        }

    def describe(self) -> dict[str, Any]:
        """Return what the environment records of a GPU: its name among all GPUs, and its memory in bytes."""
        self.refresh()
        return {"gpu": self.gpu.uuid, "gpu_memory_bytes": self.gpu.total} if self.gpu else {}
