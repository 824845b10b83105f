"""Weights and training state as NumPy arrays, under the names and in the layout that all backends share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from lmkit.backends.torch.models.own import OwnModel, held

if TYPE_CHECKING:
    from lmkit.specs.models import Weights


KERNELS: dict[type[torch.nn.Module], tuple[int, ...]] = {
    torch.nn.Linear: (1, 0),
    torch.nn.Conv1d: (2, 1, 0),
    torch.nn.Conv2d: (2, 3, 1, 0),
}
"""The axes of PyTorch's (outputs, inputs, …) in the order of the shared layout (…, inputs, outputs)."""

NORMALIZATIONS = {"weight": "gamma", "bias": "beta"}

TABLES = {"weight": "embeddings"}


def named(model: torch.nn.Module) -> dict[str, tuple[torch.nn.Parameter, tuple[int, ...]]]:
    """Shared name → parameter, and its axes in the shared order.

    A layer is known by its own name, in whatever module it lies. What is somebody's own keeps PyTorch's names and axes.
    """
    if isinstance(model, OwnModel):
        return {name: (p, tuple(range(p.ndim))) for name, p in model.own.named_parameters()}
    found: dict[str, tuple[torch.nn.Parameter, tuple[int, ...]]] = {}
    for path, module in model.named_modules():
        layer = path.rpartition(".")[2]
        for name, parameter in module.named_parameters(recurse=False):
            axes = tuple(range(parameter.ndim))
            order = next((order for kind, order in KERNELS.items() if isinstance(module, kind)), None)
            if order is None:
                name = (TABLES if isinstance(module, torch.nn.Embedding) else NORMALIZATIONS)[name]
            elif name == "weight":
                name, axes = "kernel", order
            found[f"{layer}.{name}"] = (parameter, axes)
    return found


def array(tensor: torch.Tensor) -> np.ndarray:
    """A copy of a tensor on the host."""
    return tensor.detach().cpu().numpy().copy()


def weights(model: torch.nn.Module) -> Weights:
    """A copy of the weights; of a model of somebody's own, of its buffers too."""
    if isinstance(model, OwnModel):
        return {name: array(tensor) for name, tensor in held(model).items()}
    return {name: np.ascontiguousarray(array(p).transpose(axes)) for name, (p, axes) in named(model).items()}


@torch.no_grad()
def set_weights(model: torch.nn.Module, values: Weights) -> None:
    """Sets the weights."""
    if isinstance(model, OwnModel):
        for name, tensor in held(model).items():
            tensor.copy_(torch.as_tensor(values[name]))
        return
    for name, (parameter, axes) in named(model).items():
        parameter.copy_(torch.as_tensor(values[name].transpose(np.argsort(axes))))


def state(memory: Mapping[str, torch.Tensor]) -> Weights:
    """The optimizer's memory, and the random states, as arrays."""
    arrays = {name: array(tensor) for name, tensor in memory.items()}
    arrays["random.cpu"] = array(torch.get_rng_state())
    if torch.cuda.is_available():
        arrays["random.cuda"] = array(torch.cuda.get_rng_state())
    return arrays


def restore(memory: Mapping[str, torch.Tensor], arrays: Weights) -> None:
    """Takes up a ``state``."""
    for name, tensor in memory.items():
        tensor.copy_(torch.as_tensor(arrays[name]))
    torch.set_rng_state(torch.as_tensor(arrays["random.cpu"]))
    if "random.cuda" in arrays and torch.cuda.is_available():
        torch.cuda.set_rng_state(torch.as_tensor(arrays["random.cuda"]))
