"""The device of a plan, and its available memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from lmkit.exceptions import ConfigError, shorten
from lmkit.system.gpus import read_gpus

KINDS = ("auto", "cpu", "cuda", "mps")
"""Kinds of devices."""

UNITS = {
    "": 1,
    "b": 1,
    **{f"{p}{s}": k ** (i + 1) for i, p in enumerate("kmgt") for s, k in (("b", 1000), ("ib", 1024))},
}
UNITS |= {p: 1024 ** (i + 1) for i, p in enumerate("kmgt")}


class Device(NamedTuple):
    """The device on which a model would be trained.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``mps``.
        name: its name.
        memory: bytes that are available.
    """

    kind: str
    name: str
    memory: int


def find_device(device: str | None = None, memory: str | float | None = None) -> Device:
    """Return the device of a plan.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; none or ``auto``: a GPU, else the processor. Of
            several GPUs it is the one with the most free memory.
        memory: its memory, in bytes or such as ``24 GB``; default: the memory that is available now.

    Raises:
        ConfigError: the device does not exist, or the amount of memory is invalid.
    """
    memory_bytes = None if memory is None else parse_bytes(memory)
    kind, _, number = (device or "auto").partition(":")
    if kind not in KINDS or (number and (kind != "cuda" or not number.isdigit())):
        raise ConfigError(
            [
                f"device: given {shorten(device)}, expected cpu, cuda, cuda:N or mps; to plan for another machine use "
                "memory: 80 GB"
            ]
        )
    gpus = read_gpus() if kind in ("auto", "cuda") else []
    if kind == "cuda" and memory_bytes is None and len(gpus) <= int(number or 0):
        raise ConfigError(
            [
                f"device: given {shorten(device)}, but this machine has {_count_gpus(len(gpus))}; use device: cpu, or "
                "memory: 80 GB"
            ]
        )
    if gpus[int(number or 0) :]:
        gpu = gpus[int(number)] if number else max(gpus, key=lambda gpu: gpu.free or 0)
        target = Device("cuda", gpu.name, gpu.free or 0)
    elif kind == "cuda":
        target = Device("cuda", "a GPU", 0)
    else:
        is_shared = kind == "mps"  # a Mac's GPU computes in the memory of the machine
        target = Device(kind if is_shared else "cpu", "this machine", _free_memory())
    return target if memory_bytes is None else target._replace(memory=memory_bytes, name="the device")


def _count_gpus(count: int) -> str:
    return {0: "no GPU", 1: "one GPU, cuda:0"}.get(count, f"the GPUs cuda:0 to cuda:{count - 1}")


def parse_bytes(value: str | float) -> int:
    """Return the bytes of an amount of memory.

    >>> parse_bytes("80 GB"), parse_bytes("1.5GiB"), parse_bytes(1024)
    (80000000000, 1610612736, 1024)
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([kmgt]?i?b?)\s*", str(value), re.IGNORECASE)
    try:
        if isinstance(value, bool) or match is None:
            raise ValueError
        size = int(float(match[1]) * UNITS[match[2].lower()])
    except (ValueError, KeyError, OverflowError):
        size = 0
    if size <= 0:
        raise ConfigError([f"memory: given {shorten(value)}, expected an amount such as 80 GB, or a number of bytes"])
    return size


def _free_memory() -> int:
    """Return the bytes that a new process may use, within the limits of its container."""
    import psutil

    free = psutil.virtual_memory().available
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            allowed, in_use = (int((Path("/sys/fs/cgroup") / f).read_text()) for f in (limit, used))
        except (OSError, ValueError):
            continue  # no such limit
        free = min(free, allowed - in_use)
    return max(0, free)
