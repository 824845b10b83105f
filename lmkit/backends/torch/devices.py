"""The devices of PyTorch, how exactly they compute, and their memory."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""The variable without which cuBLAS is not deterministic; it is read when a GPU is first used."""


def list_devices() -> list[str]:
    """Return the devices on which PyTorch computes here."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as nvidia-smi counts
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ["cpu", *(f"cuda:{i}" for i in range(gpus)), *(["mps"] if torch.backends.mps.is_available() else [])]


def default_device() -> torch.device:
    """Return the first GPU, else the processor."""
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def numerics(deterministic: bool) -> Iterator[None]:
    """Compute float32 in float32, without TF32, within a ``with`` block; the earlier settings return at its end.

    Args:
        deterministic: whether only operations run that give the same numbers each time.
    """
    precision, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    if deterministic:
        os.environ.setdefault(WORKSPACE, ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = convolutions
        if deterministic:  # a call imports PyTorch's compiler, for 2 s
            torch.use_deterministic_algorithms(before[0])
            torch.backends.cudnn.benchmark = before[1]


def describe_numerics() -> dict[str, bool]:
    """Return whether float32 is computed in TF32, and whether only deterministic operations run."""
    tf32 = torch.backends.cudnn.allow_tf32 or torch.get_float32_matmul_precision() != "highest"
    return {"tf32": bool(tf32), "deterministic": torch.are_deterministic_algorithms_enabled()}


def device_name(device: torch.device) -> str:
    """Return the product that a GPU is; empty for the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def is_initialized() -> bool:
    """Return whether this process has begun to use a GPU, after which it must not fork."""
    return torch.cuda.is_initialized()


def has_own_memory(device: torch.device) -> bool:
    """Return whether the memory of a device is its own, so that it runs out where the machine's does not."""
    return device.type != "cpu"


def free_memory(device: torch.device) -> None:
    """Give back the memory that PyTorch holds of a GPU and does not use."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def nondeterministic_operation(error: BaseException) -> str:
    """Return the operation that an error says is not deterministic; empty for another error."""
    match = re.match(r"(\S+) does not have a deterministic implementation", str(error))
    if match:
        return match[1]
    return "a matrix product" if WORKSPACE in str(error) else ""


def memory_usage(device: torch.device) -> tuple[int, int]:
    """Return the bytes that this process has reserved on a device, now and at most; zeros for the processor."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device), torch.cuda.max_memory_reserved(device)
    if device.type == "mps":
        used = torch.mps.driver_allocated_memory()
        return used, used
    return 0, 0
