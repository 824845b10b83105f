"""The devices of TensorFlow under the names that all frameworks share, how exactly they compute, and their memory."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import tensorflow as tf

from lmkit.system.gpus import read_gpus

P = ParamSpec("P")
R = TypeVar("R")

SPLIT_SHARE = 0.25
"""The share of a GPU's free memory that a part of the data may take; a larger one stays on the host."""

GPU = "mps" if sys.platform == "darwin" else "cuda"
"""What TensorFlow's ``GPU:N`` is on this platform."""


def allow_memory_growth() -> None:
    """Let TensorFlow take a GPU's memory as it needs it, and not all at once, so that several runs share a GPU.

    The variable is read when a GPU is first used; the import of TensorFlow alone uses none.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def list_devices() -> list[str]:
    """Return the devices on which TensorFlow computes here; once it has begun to compute, those that it sees."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as nvidia-smi counts
    allow_memory_growth()
    gpus = _physical()
    for gpu in gpus:
        with contextlib.suppress(RuntimeError, ValueError):  # it is in use: the variable was in force
            tf.config.experimental.set_memory_growth(gpu, True)
    usable = tf.config.get_visible_devices("GPU") if is_initialized() else gpus
    return ["cpu", *(_name(i) for i, gpu in enumerate(gpus) if gpu in usable)]


def select_device(device: str) -> None:
    """Let TensorFlow see one GPU only, where it has not begun to compute: it occupies some memory of all it sees."""
    gpus = _physical()
    index = _index(device)
    if not device.startswith("cpu") and index < len(gpus):
        with contextlib.suppress(RuntimeError):  # too late: it computes on the one that is passed, all the same
            tf.config.set_visible_devices([gpus[index]], "GPU")


def default_device() -> str:
    """Return the first GPU that TensorFlow sees, else the processor."""
    gpus, visible = _physical(), tf.config.get_visible_devices("GPU")
    return _name(gpus.index(visible[0])) if visible else "cpu"


@functools.cache
def has_one_device() -> bool:
    """Return whether the processor is all that TensorFlow computes on; the question lets it begin to compute."""
    return len(tf.config.list_logical_devices()) == 1


def scope(device: str) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which TensorFlow computes on a device; one that does nothing for the default device.

    ``cpu:1`` is a second logical device of the processor.
    """
    if has_one_device() or device == default_device():
        return contextlib.nullcontext()
    kind, index = ("CPU" if device.startswith("cpu") else "GPU"), _index(device)
    if kind == "GPU":
        visible = tf.config.get_visible_devices("GPU")
        gpu = _physical()[index : index + 1]
        index = visible.index(gpu[0]) if gpu and gpu[0] in visible else index
    return tf.device(f"/device:{kind}:{index}")


def computed_on_device(method: Callable[P, R]) -> Callable[P, R]:
    """Return a method whose computations are on the ``device`` of its object."""

    @functools.wraps(method)
    def compute(*args: P.args, **settings: P.kwargs) -> R:
        with scope(args[0].device):  # type: ignore[attr-defined]
            return method(*args, **settings)

    return compute


def computed_on_model(method: Callable[P, R]) -> Callable[P, R]:
    """Return a method whose computations are where its first argument, a model, has its weights."""

    @functools.wraps(method)
    def compute(*args: P.args, **settings: P.kwargs) -> R:
        if has_one_device():  # its weights need not be asked
            return method(*args, **settings)
        model: Any = args[1]
        variables = list(getattr(model, "module", model).variables)
        with scope(shared_name(variables[0].value.device)) if variables else contextlib.nullcontext():
            return method(*args, **settings)

    return compute


def shared_name(device: str) -> str:
    """Return the shared name of a device as TensorFlow spells it, such as ``/job:…/device:GPU:0``."""
    kind, index = device.rpartition("device:")[2].split(":")
    if kind == "CPU":
        return "cpu" if index == "0" else f"cpu:{index}"
    visible = tf.config.get_visible_devices("GPU")
    return _name(_physical().index(visible[int(index)]))


@contextlib.contextmanager
def numerics(deterministic: bool) -> Iterator[None]:
    """Compute float32 in float32, without TF32, within a ``with`` block; the earlier settings return at its end.

    Args:
        deterministic: whether only operations run that give the same numbers each time.
    """
    from tensorflow.python.framework import config  # what was enabled is disabled here only

    tf32, before = tf.config.experimental.tensor_float_32_execution_enabled(), config.is_op_determinism_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        if deterministic and not before:
            config.disable_op_determinism()


def describe_numerics() -> dict[str, bool]:
    """Return whether float32 is computed in TF32, and whether only deterministic operations run."""
    from tensorflow.python.framework import config

    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    return {"tf32": bool(tf32), "deterministic": bool(config.is_op_determinism_enabled())}


def device_name(device: str) -> str:
    """Return the product that a GPU is; empty for the processor."""
    gpus = [] if device.startswith("cpu") else _physical()[_index(device) :]
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "")) if gpus else ""


def is_initialized() -> bool:
    """Return whether TensorFlow has begun to compute in this process, after which it must not fork."""
    from tensorflow.python.eager.context import context

    return context()._context_handle is not None


def nondeterministic_operation(error: BaseException) -> str:
    """Return the operation that an error says is not deterministic; empty for another error."""
    text = str(error)
    if "eterminis" not in text or not isinstance(error, tf.errors.OpError):
        return ""
    match = re.search(r"(?:implementation of|supported for) ([A-Za-z][\w ]*?)(?= that| with| is| op| not|\.|$)", text)
    return match[1] if match else "an operation"


def fits(size: int, device: str) -> bool:
    """Return whether ``size`` bytes of data are a small part of a GPU's free memory; true for the processor."""
    if device.startswith("cpu"):
        return True
    gpus, index = read_gpus(), _index(device)
    free = gpus[index].free if index < len(gpus) else None
    return free is None or size <= SPLIT_SHARE * free


def memory_usage(device: str) -> tuple[int, int]:
    """Return the bytes that TensorFlow has allocated on a device, now and at most; zeros for the processor."""
    if device.startswith("cpu"):
        return 0, 0
    visible = tf.config.get_visible_devices("GPU")
    gpu = _physical()[_index(device)]
    info = tf.config.experimental.get_memory_info(f"GPU:{visible.index(gpu)}")
    return int(info["current"]), int(info["peak"])


def _physical() -> list[Any]:
    return list(tf.config.list_physical_devices("GPU"))


def _name(index: int) -> str:
    return GPU if GPU == "mps" else f"{GPU}:{index}"


def _index(device: str) -> int:
    """Return the number in the name of a device; 0 where it has none."""
    match = re.search(r":(\d+)$", device)
    return int(match[1]) if match else 0
