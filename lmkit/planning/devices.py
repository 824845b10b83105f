"""The device that a plan is for, and how much of its memory is free."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from lmkit.errors import ConfigError

UNITS = {
    "": 1,
    "b": 1,
    **{f"{p}{s}": k ** (i + 1) for i, p in enumerate("kmgt") for s, k in (("b", 1000), ("ib", 1024))},
}
UNITS |= {p: 1024 ** (i + 1) for i, p in enumerate("kmgt")}


class Device(NamedTuple):
    """Where a model would be trained.

    Attributes:
        kind: ``cpu`` or ``cuda``.
        name: what it is called.
        memory: bytes of it that are free, or that were given.
    """

    kind: str
    name: str
    memory: int


def find(device: str | None = None, memory: str | float | None = None) -> Device:
    """The device of a plan.

    Args:
        device: ``cpu``, ``cuda``, or none: the first GPU that there is, else the processor.
        memory: how much it has, in bytes or such as ``24 GB``; none: what is free now.

    Raises:
        ConfigError: there is no such device, or that is no amount of memory.
    """
    if device not in (None, "cpu", "cuda"):
        raise ConfigError(
            [f"device: given {device!r}, expected cpu or cuda; for one that is not here write memory: 80 GB"]
        )
    given = None if memory is None else amount(memory)
    gpu = None if device == "cpu" else _gpu()
    if device == "cuda" and gpu is None and given is None:
        raise ConfigError(["device: given 'cuda', but there is no GPU here; write device: cpu, or memory: 80 GB"])
    if gpu is None and device != "cuda":
        gpu = Device("cpu", "this machine", _free_memory())
    found = gpu or Device("cuda", "a GPU", 0)
    return found if given is None else found._replace(memory=given, name="the device")


def amount(value: str | float) -> int:
    """Bytes of an amount as a person writes it.

    >>> amount("80 GB"), amount("1.5GiB"), amount(1024)
    (80000000000, 1610612736, 1024)
    """
    read = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([kmgt]?i?b?)\s*", str(value), re.IGNORECASE)
    try:
        if isinstance(value, bool) or read is None:
            raise ValueError
        found = int(float(read[1]) * UNITS[read[2].lower()])
    except (ValueError, KeyError, OverflowError):
        found = 0
    if found <= 0:
        raise ConfigError([f"memory: given {value!r}, expected an amount such as 80 GB, or a number of bytes"])
    return found


def amount_text(n: float) -> str:
    """Bytes for a person to read, in powers of ten as makers of devices count.

    >>> amount_text(512), amount_text(1_284_000), amount_text(80e9)
    ('512 B', '1.28 MB', '80 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n < 999.5:  # three digits, and no fourth before the next unit
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"


def _free_memory() -> int:
    """What a new process may take, in a container too."""
    import psutil

    free = psutil.virtual_memory().available
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            allowed, taken = (int((Path("/sys/fs/cgroup") / f).read_text()) for f in (limit, used))
        except (OSError, ValueError):
            continue  # no such limit
        free = min(free, allowed - taken)
    return max(0, free)


def _gpu() -> Device | None:
    """The first GPU, as its driver tells; no framework is asked."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not (tool := shutil.which("nvidia-smi")):
        return None
    query = [tool, "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()[0]
        name, free = told.rsplit(",", 1)
        return Device("cuda", name.strip(), int(free) * 2**20)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
