"""The device's memory, utilization and power, in the status of a run and in what shows it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lmkit.runfolder.status import Status
from lmkit.system.gpus import Gpu
from lmkit.tables.runs import memory_text
from lmkit.training import device_usage
from lmkit.training.device_usage import DeviceUsage

GPU = Gpu(1, "GPU-b", "A100", 80 * 2**30, 3 * 2**30, 77 * 2**30, 0.75, 311.5)


def usage(monkeypatch: pytest.MonkeyPatch, device: str, *gpus: Gpu) -> tuple[DeviceUsage, list[int]]:
    queries: list[int] = []

    def read() -> list[Gpu]:
        queries.append(1)
        return list(gpus)

    monkeypatch.setattr(device_usage, "read_gpus", read)
    backend: Any = SimpleNamespace(memory_usage=lambda: (2 * 2**30, 5 * 2**30))
    return DeviceUsage(backend, device), queries


def test_memory_is_the_frameworks_the_rest_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    measured, queries = usage(monkeypatch, "cuda:1", GPU._replace(number=0), GPU)
    assert measured.status()["utilization"] is None
    assert measured.describe() == {"gpu": "GPU-b", "gpu_memory_bytes": 80 * 2**30}
    measured.refresh()
    assert len(queries) == 1  # five seconds are not over
    status = Status(device="cuda:1", peak_memory=10**9, **measured.status())
    assert (status.device_memory, status.device_peak_memory) == (2 * 2**30, 5 * 2**30)
    assert (status.utilization, status.power) == (0.75, 311.5)
    assert memory_text(status) == "5.37 GB on cuda:1 at most, 1 GB of its process, 75% of the time computing, 312 W"


def test_the_processor_is_not_queried(monkeypatch: pytest.MonkeyPatch) -> None:
    measured, queries = usage(monkeypatch, "cpu", GPU)
    assert measured.describe() == {}
    assert not queries
    assert memory_text(Status(device="cpu", peak_memory=10**9)) is None


def test_a_driver_that_no_longer_answers_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    measured, _ = usage(monkeypatch, "cuda:1", GPU)
    measured.refresh()
    assert measured.status()["power"] is None
    assert measured.status()["device_memory"] == 2 * 2**30
