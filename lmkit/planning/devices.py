"""The device of a plan, and its available memory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from lmkit.exceptions import ConfigError, shorten

UNITS = {
    "": 1,
    "b": 1,
    **{f"{p}{s}": k ** (i + 1) for i, p in enumerate("kmgt") for s, k in (("b", 1000), ("ib", 1024))},
}
UNITS |= {p: 1024 ** (i + 1) for i, p in enumerate("kmgt")}


class Device(NamedTuple):
    """The device on which a model would be trained.

    Attributes:
        kind: ``cpu`` or ``cuda``.
        name: its name.
        memory: bytes that are available.
    """

    kind: str
    name: str
    memory: int


def find_device(device: str | None = None, memory: str | float | None = None) -> Device:
    """Return the device of a plan.

    Args:
        device: ``cpu`` or ``cuda``; default: the first GPU, else the processor.
        memory: its memory, in bytes or such as ``24 GB``; default: the memory that is available now.

    Raises:
        ConfigError: the device does not exist, or the amount of memory is invalid.
    """
    if device not in (None, "cpu", "cuda"):
        raise ConfigError(
            [f"device: given {shorten(device)}, expected cpu or cuda; to plan for another machine use memory: 80 GB"]
        )
    memory_bytes = None if memory is None else parse_bytes(memory)
    gpu = None if device == "cpu" else _gpu()
    if device == "cuda" and gpu is None and memory_bytes is None:
        raise ConfigError(["device: given 'cuda', but this machine has no GPU; use device: cpu, or memory: 80 GB"])
    if gpu is None and device != "cuda":
        gpu = Device("cpu", "this machine", _free_memory())
    target = gpu or Device("cuda", "a GPU", 0)
    return target if memory_bytes is None else target._replace(memory=memory_bytes, name="the device")


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


def _gpu() -> Device | None:
    """Return the first GPU that the driver reports; no framework is imported."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not (tool := shutil.which("nvidia-smi")):
        return None
    query = [tool, "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    try:
        line = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()[0]
        name, free = line.rsplit(",", 1)
        return Device("cuda", name.strip(), int(free) * 2**20)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
