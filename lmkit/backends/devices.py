"""The devices of a machine under one spelling, ``cpu``, ``cuda:0``, ``mps``, and the choice of one for a run."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, Self

from lmkit.exceptions import ConfigError, shorten
from lmkit.system.gpus import may_have_gpus, read_gpus
from lmkit.system.leases import lease

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from lmkit.specs.training import TrainingSpec


class DeviceBackend(Protocol):
    """The part of a backend that concerns its device.

    Attributes:
        name: of the framework.
    """

    name: str

    def devices(self) -> list[str]:
        """Return the devices on which the framework computes here: ``cpu``, ``cuda:0``, …, ``mps``."""

    def on(self, device: str) -> Self:
        """Return the backend whose models, data and steps are on one of the ``devices``."""

    def numerics(self, deterministic: bool) -> AbstractContextManager[None]:
        """Compute float32 in float32 (not in TF32) within a ``with`` block; the earlier settings return at its end.

        Args:
            deterministic: whether only operations run that give the same numbers each time; others raise an error.
        """

    def memory_usage(self) -> tuple[int, int]:
        """Return the bytes that the framework holds of a GPU in this process, now and at most; 0 on the processor."""

    def free_memory(self) -> None:
        """Give back the memory that the framework holds of the device and does not use."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Return whether an error says that the memory of a device ran out."""

    def nondeterministic_operation(self, error: BaseException) -> str:
        """Return the operation that an error says has no deterministic implementation; empty for another error."""

    def is_initialized(self) -> bool:
        """Return whether the framework has begun to use a device, after which this process must not fork."""


def check_device(training: TrainingSpec) -> None:
    """Check, without importing a framework, that this machine has the device of ``training``.

    Where only a framework can tell, its worker does.

    Raises:
        ConfigError: it has no such device.
    """
    if training.device not in ("auto", "cpu") and not may_have_gpus():
        _check(training.device, machine_devices())


def check_named_device(device: str, field: str) -> None:
    """Check that this machine has one certain device, which ``field`` names.

    Raises:
        ConfigError: it has no such device, or the name stands for several.
    """
    devices = machine_devices()
    if device not in devices and not (device.startswith("cuda:") and may_have_gpus()):
        raise ConfigError([f"{field}: given {shorten(device)}, this machine has {_join(devices)}; write {devices[-1]}"])


def machine_devices() -> list[str]:
    """Return the devices that the drivers of this machine report: the processor first."""
    return list(_machine_devices(os.environ.get("CUDA_VISIBLE_DEVICES")))


@lru_cache(maxsize=8)
def _machine_devices(_visible: str | None) -> tuple[str, ...]:
    has_mps = sys.platform == "darwin" and platform.machine() == "arm64"
    return ("cpu", *(f"cuda:{i}" for i in range(len(read_gpus()))), *(["mps"] if has_mps else []))


@contextlib.contextmanager
def device_for(backend: DeviceBackend, training: TrainingSpec) -> Iterator[str]:
    """Choose the device of a run, and hold a lease of it within a ``with`` block if it is a GPU.

    ``auto`` is a GPU where there is one, else the processor; float64 on a Mac is computed on the processor, as its GPU
    has none. ``auto`` and ``cuda`` are the GPU on which the fewest of this user's runs train.

    Raises:
        ConfigError: the framework has no such device here.
    """
    devices = backend.devices()
    _check(training.device, devices, backend.name)
    cards = [device for device in devices if device.startswith("cuda")]
    if training.device == "auto" and not cards:
        has_mps = "mps" in devices and training.precision != "float64"
        yield "mps" if has_mps else "cpu"
    elif training.device in ("cpu", "mps"):
        yield training.device
    else:
        gpus = read_gpus()
        requested = [training.device] if training.device in cards else cards
        numbers = [int(device.removeprefix("cuda:")) for device in requested]
        names = [gpus[n].uuid if n < len(gpus) else f"cuda-{n}" for n in numbers]
        free = [(gpus[n].free or 0) if n < len(gpus) else 0 for n in numbers]
        with lease(names, free) as position:
            yield requested[position]


def own_device(backend: DeviceBackend, training: TrainingSpec, number: int) -> TrainingSpec:
    """Return the training of one of several processes of a machine: the GPU of its number, where there are GPUs."""
    cards = [device for device in backend.devices() if device.startswith("cuda")]
    if not cards or training.device not in ("auto", "cuda"):
        return training
    return training.model_copy(update={"device": cards[number % len(cards)]})


def _check(device: str, devices: Sequence[str], framework: str = "") -> None:
    """Raise a ConfigError for a device that is not among ``devices``."""
    exists = device == "auto" or device in devices or (device == "cuda" and any(d.startswith("cuda") for d in devices))
    if exists:
        return
    owner = f"{framework} on this machine" if framework else "this machine"
    best = devices[-1] if len(devices) > 1 else "cpu"
    raise ConfigError(
        [f"training.device: given {device}, {owner} has {_join(devices)}; write training: {{device: {best}}}, or auto"]
    )


def _join(devices: Sequence[str]) -> str:
    return " and ".join([", ".join(devices[:-1])] * (len(devices) > 1) + [devices[-1]])
