"""The device of a run: chosen, shared, and refused with what there is, before anything starts."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import lmkit as lk
from lmkit.backends import devices
from lmkit.backends.devices import check_device, device_for
from lmkit.exceptions import ConfigError
from lmkit.experiment.experiment import Experiment
from lmkit.specs.training import TrainingSpec
from lmkit.system.gpus import Gpu
from lmkit.widgets.obstacles import find_obstacles

GPUS = [Gpu(0, "GPU-a", "A100", 80 * 2**30, 0, 40 * 2**30), Gpu(1, "GPU-b", "A100", 80 * 2**30, 0, 80 * 2**30)]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the GPUs that the driver reports."""
    monkeypatch.setenv("LMKIT_DATA", str(tmp_path / "data"))

    def set_gpus(*gpus: Gpu, system: str = "linux", unknown: bool = False) -> None:
        devices._machine_devices.cache_clear()
        monkeypatch.setattr(devices, "read_gpus", lambda: list(gpus))
        monkeypatch.setattr(devices, "may_have_gpus", lambda: unknown)
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(platform, "machine", lambda: "arm64" if system == "darwin" else "x86_64")

    return set_gpus


@pytest.fixture(autouse=True)
def fresh_cache() -> Any:
    yield
    devices._machine_devices.cache_clear()


def backend(*names: str) -> Any:
    return SimpleNamespace(name="torch", devices=lambda: ["cpu", *names])


def device_of(framework: Any, **training: Any) -> str:
    with device_for(framework, TrainingSpec(**training)) as device:
        return device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:01", "GPU:0", "mps:0", "cpu:1", ""])
def test_another_spelling_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=r"training.device: given .*expected auto, cpu, cuda, cuda:N .* or mps"):
        Experiment.model_validate({}).override({"training.device": device})


def test_float64_is_refused_on_a_macs_gpu() -> None:
    with pytest.raises(ConfigError, match="write device: cpu, or precision: float32"):
        Experiment().override({"device": "mps", "precision": "float64"})


def test_a_machine_without_the_device_says_what_it_has(machine: Callable[..., None]) -> None:
    machine()
    with pytest.raises(
        ConfigError, match=r"training.device: given cuda:3, this machine has cpu; write training: \{device: cpu\}"
    ):
        check_device(TrainingSpec(device="cuda:3"))
    machine(*GPUS)
    with pytest.raises(
        ConfigError, match=r"this machine has cpu, cuda:0 and cuda:1; write training: \{device: cuda:1\}"
    ):
        check_device(TrainingSpec(device="cuda:3"))
    with pytest.raises(ConfigError, match="given mps"):
        check_device(TrainingSpec(device="mps"))
    for device in ("auto", "cpu", "cuda", "cuda:1"):
        check_device(TrainingSpec(device=device))


def test_a_mac_has_its_gpu(machine: Callable[..., None]) -> None:
    machine(system="darwin")
    check_device(TrainingSpec(device="mps"))


def test_where_only_a_framework_can_tell_the_worker_does(machine: Callable[..., None]) -> None:
    machine(unknown=True)
    check_device(TrainingSpec(device="cuda:1"))
    with pytest.raises(ConfigError, match="torch on this machine has cpu and cuda:0"):
        device_of(backend("cuda:0"), device="cuda:1")


def test_train_and_form_refuse_before_work_starts(machine: Callable[..., None], tmp_path: Path) -> None:
    machine()
    with pytest.raises(ConfigError, match="given cuda:3"):
        lk.train(data="wine", device="cuda:3", runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    experiment = Experiment().override({"device": "cuda:3"})
    assert any("given cuda:3" in text for text in find_obstacles(experiment, None, None, ()))
    assert not any("given cuda:3" in text for text in find_obstacles(experiment, None, None, {"training"}))


def test_auto_takes_a_gpu_where_there_is_one(machine: Callable[..., None]) -> None:
    machine()
    assert device_of(backend()) == "cpu"
    assert device_of(backend("mps")) == "mps"
    assert device_of(backend("mps"), precision="float64") == "cpu"
    machine(*GPUS)
    assert device_of(backend("cuda:0", "cuda:1")) == "cuda:1"  # it has more free memory
    assert device_of(backend("cuda:0", "cuda:1"), device="cpu") == "cpu"
    assert device_of(backend("cuda:0", "cuda:1"), device="cuda:0") == "cuda:0"


def test_runs_spread_over_the_gpus(machine: Callable[..., None]) -> None:
    machine(*GPUS)
    framework = backend("cuda:0", "cuda:1")
    with ExitStack() as stack:
        names = [
            stack.enter_context(device_for(framework, TrainingSpec(device=d)))
            for d in ("cuda:1", "cuda", "auto", "cuda")
        ]
    assert names[:2] == ["cuda:1", "cuda:0"]
    assert sorted(names[2:]) == ["cuda:0", "cuda:1"]
