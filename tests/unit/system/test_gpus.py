"""What ``nvidia-smi`` printed on machines with GPUs, and which of them CUDA would see."""

from __future__ import annotations

import shutil
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from lmkit.system.gpus import parse_gpus, read_gpus, select_visible

TWO = """\
0, GPU-5d3a1f1e-0001-aaaa-bbbb-0123456789ab, NVIDIA A100-SXM4-80GB, 81920, 1024, 80896, 37, 212.45
1, GPU-77c0d2aa-0002-cccc-dddd-0123456789ab, NVIDIA A100-SXM4-80GB, 81920, 0, 81920, 0, 61.02
"""

OLD = "0, GPU-0f00ba11-0003-eeee-ffff-0123456789ab, Quadro K620, 1998, 412, 1586, [N/A], [Not Supported]\n"


def test_memory_is_in_bytes_and_utilization_a_share() -> None:
    first, second = parse_gpus(TWO)
    assert (first.number, first.name) == (0, "NVIDIA A100-SXM4-80GB")
    assert (first.total, first.used, first.free) == (81920 * 2**20, 2**30, 80896 * 2**20)
    assert first.utilization == pytest.approx(0.37)
    assert first.power == 212.45
    assert second.utilization == 0.0


def test_what_a_driver_does_not_report_is_none() -> None:
    (gpu,) = parse_gpus(OLD)
    assert gpu.used == 412 * 2**20
    assert gpu.utilization is None
    assert gpu.power is None


@pytest.mark.parametrize(
    "text", ["", "No devices were found\n", "Failed to initialize NVML: Driver/library mismatch\n"]
)
def test_other_lines_are_no_gpus(text: str) -> None:
    assert parse_gpus(text) == []


@pytest.mark.parametrize(
    ("visible", "numbers"),
    [
        ("1", [1]),
        ("1,0", [1, 0]),
        ("0, 1", [0, 1]),
        ("1,7,0", [1]),
        ("-1", []),
        ("GPU-77c0", [1]),
        ("0,0", [0]),
        ("nonsense", []),
    ],
)
def test_visible_gpus_are_those_of_cuda(visible: str, numbers: list[int]) -> None:
    assert [gpu.number for gpu in select_visible(parse_gpus(TWO), visible)] == numbers


def test_a_part_of_a_gpu_has_its_name_only() -> None:
    (part,) = select_visible(parse_gpus(TWO), "MIG-3f0a")
    assert part.uuid == "MIG-3f0a"
    assert part.free is None


def test_the_variable_hides_gpus_from_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")

    def run(*_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(stdout=TWO)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [gpu.number for gpu in read_gpus()] == [0, 1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.number for gpu in read_gpus()] == [1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert read_gpus() == []


def test_a_driver_that_fails_or_hangs_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    for error in (subprocess.TimeoutExpired("nvidia-smi", 10), subprocess.CalledProcessError(9, "nvidia-smi")):

        def run(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(subprocess, "run", run)
        assert read_gpus() == []
