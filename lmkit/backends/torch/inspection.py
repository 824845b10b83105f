"""What a custom module does, found by running it: its last operation, and whether it can train on a single row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_LAST = {
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "LogSigmoid": "log_sigmoid",
    "Hardsigmoid": "sigmoid",
    **dict.fromkeys(("Addmm", "Mm", "Bmm", "Addbmm", "Baddbmm", "Linear", "MkldnnLinear", "Convolution"), "linear"),
}
"""Node of the autograd graph → operation; see ``lmkit.specs.outputs.LAST_OPERATIONS``."""

_AFTER = {("Exp", "log_softmax"): "softmax", ("Log", "softmax"): "log_softmax", ("Log", "sigmoid"): "log_sigmoid"}
"""Node, and the operation before it → what the two are together."""

_SAME_VALUES = (
    *("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Clone", "Alias", "T", "Transpose", "Permute"),
    *("ToCopy", "Expand"),
)
"""Nodes that change the shape or the type of values, not the values."""


def last_operations(model: torch.nn.Module, X: np.ndarray) -> tuple[str, str]:
    """Return the last operation in training and in evaluation; empty where it is none of ``_LAST``."""
    operations = []
    for training in (True, False):
        with sandbox(model, training):
            outputs = model(_rows(model, X))
        operations.append(_operation(outputs.grad_fn))
    return operations[0], operations[1]


def needs_several_rows(model: torch.nn.Module, X: np.ndarray) -> bool:
    """Return whether a training step of a single row fails: batch normalization takes a variance over rows."""
    try:
        with sandbox(model, training=True):
            model(_rows(model, X[:1]))
    except ValueError as error:
        return "more than 1 value per channel" in str(error)
    except Exception:
        return False
    return False


def batch_norm(model: torch.nn.Module) -> str:
    """Return the name of the first layer that normalizes over the rows of a batch; empty if there is none."""
    layers = model.named_modules()
    return next((name for name, m in layers if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)), "").removeprefix(
        "own."
    )


@contextmanager
def sandbox(model: torch.nn.Module, training: bool) -> Iterator[None]:
    """Put back running statistics, random states and modes afterwards."""
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        model.train(training)
        try:
            yield
        finally:
            for buffer, values in buffers:
                buffer.data.copy_(values)
            for module, mode in modes.items():
                module.training = mode


def _rows(model: torch.nn.Module, X: np.ndarray) -> torch.Tensor:
    reference = next(model.parameters())
    tokens = X.dtype.kind in "iu"
    return torch.as_tensor(np.array(X)).to(reference.device, None if tokens else reference.dtype)


def _operation(node: Any) -> str:
    """Return the operation of a node of the autograd graph, or of the first before it that changes values."""
    for _ in range(16):
        if node is None:
            return ""
        name = re.sub(r"(Safe)?Backward\d*$", "", type(node).__name__)
        before = node.next_functions[0][0] if node.next_functions else None
        if name in _LAST:
            return _LAST[name]
        if name in ("Exp", "Log"):
            return _AFTER.get((name, _operation(before)), "")
        if name not in _SAME_VALUES:
            return ""
        node = before
    return ""
