"""NVIDIA's GPUs, as their driver reports them to ``nvidia-smi``; no framework is imported."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

FIELDS = ("index", "uuid", "name", "memory.total", "memory.used", "memory.free", "utilization.gpu", "power.draw")
"""What ``nvidia-smi`` is queried for, one line per GPU."""

TIMEOUT = 10.0
"""Seconds after which a query is cancelled: a broken driver may never answer."""

OTHER_DRIVERS = ("/dev/kfd", "/dev/dxg", "/proc/driver/nvidia/gpus")
"""Paths that exist where a driver has GPUs: AMD's, Windows's for Linux, and NVIDIA's where ``nvidia-smi`` is absent."""


class Gpu(NamedTuple):
    """One GPU; None for what its driver does not report.

    Attributes:
        number: on this machine, in the order of the bus.
        uuid: its name among all GPUs.
        name: the product.
        total, used, free: bytes of its memory; used by all processes together.
        utilization: the share of the last second in which it computed, 0 to 1.
        power: watts.
    """

    number: int
    uuid: str
    name: str
    total: int | None = None
    used: int | None = None
    free: int | None = None
    utilization: float | None = None
    power: float | None = None


def read_gpus() -> list[Gpu]:
    """Return the GPUs that this process may use, in CUDA's order: the first one is ``cuda:0``.

    CUDA counts those in CUDA_VISIBLE_DEVICES, if it is set. Empty where there is none, or no ``nvidia-smi``.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "-1") or not (tool := shutil.which("nvidia-smi")):
        return []
    query = [tool, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(query, capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    gpus = parse_gpus(text)
    return gpus if visible is None else select_visible(gpus, visible)


def parse_gpus(text: str) -> list[Gpu]:
    """Return the GPUs in the output of ``nvidia-smi``, in which ``[N/A]`` stands for what it cannot say."""
    gpus = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(FIELDS) or not fields[0].isdigit():
            continue
        total, used, free = (_bytes(field) for field in fields[3:6])
        utilization, power = _number(fields[6], 0.01), _number(fields[7])
        gpus.append(Gpu(int(fields[0]), fields[1], fields[2], total, used, free, utilization, power))
    return gpus


def select_visible(gpus: Sequence[Gpu], visible: str) -> list[Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES lists, in its order, up to the first that does not exist.

    It holds numbers, or beginnings of the names ``GPU-…``; of a part of a GPU, ``MIG-…``, only the name is returned.
    """
    selected: list[Gpu] = []
    for word in (word.strip() for word in visible.split(",")):
        is_name = word.startswith("GPU-")
        gpu = next((g for g in gpus if word == str(g.number) or (is_name and g.uuid.startswith(word))), None)
        if gpu is None and word.startswith("MIG-"):
            gpu = Gpu(len(selected), word, "a part of a GPU (MIG)")
        if gpu is None or gpu in selected:
            break
        selected.append(gpu)
    return selected


def may_have_gpus() -> bool:
    """Return whether this process may have GPUs that ``read_gpus`` does not see; only a framework can tell."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and not shutil.which("nvidia-smi") and any(Path(path).exists() for path in OTHER_DRIVERS)


def _number(text: str, unit: float = 1) -> float | None:
    try:
        return float(text) * unit
    except ValueError:
        return None


def _bytes(mebibytes: str) -> int | None:
    number = _number(mebibytes, 2**20)
    return None if number is None else int(number)
