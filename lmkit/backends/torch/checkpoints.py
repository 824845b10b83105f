"""Weights and training state as NumPy arrays, under the names and in the layout that all backends share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from lmkit.backends.torch.dropout import random_states, set_random_states
from lmkit.backends.torch.models.custom import CustomModel, all_tensors

if TYPE_CHECKING:
    from lmkit.backends.torch.strategies import Strategy
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
    """Return shared name → parameter, frozen or not, and its axes in the shared order.

    A layer is named by its own name, in whatever module it lies. A custom model keeps PyTorch's names and axes.
    """
    if isinstance(model, CustomModel):
        return {name: (p, tuple(range(p.ndim))) for name, p in model.module.named_parameters()}
    parameters: dict[str, tuple[torch.nn.Parameter, tuple[int, ...]]] = {}
    for path, module in model.named_modules():
        layer = path.rpartition(".")[2]
        for name, parameter in module.named_parameters(recurse=False):
            axes = tuple(range(parameter.ndim))
            order = next((order for kind, order in KERNELS.items() if isinstance(module, kind)), None)
            if order is None:
                name = (TABLES if isinstance(module, torch.nn.Embedding) else NORMALIZATIONS)[name]
            elif name == "weight":
                name, axes = "kernel", order
            parameters[f"{layer}.{name}"] = (parameter, axes)
    return parameters


def learned(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return shared name → parameter that training changes: those that are not frozen."""
    return {name: p for name, (p, _) in named(model).items() if p.requires_grad}


def weights(model: torch.nn.Module, strategy: Strategy) -> Weights:
    """Return a copy of the weights, frozen ones included; of a custom model, its buffers too."""
    to_array = strategy.to_array
    if isinstance(model, CustomModel):
        return {name: to_array(tensor) for name, tensor in all_tensors(model).items()}
    return {name: np.ascontiguousarray(to_array(p).transpose(axes)) for name, (p, axes) in named(model).items()}


@torch.no_grad()
def set_weights(model: torch.nn.Module, values: Weights, strategy: Strategy) -> None:
    """Set the weights."""
    if isinstance(model, CustomModel):
        for name, tensor in all_tensors(model).items():
            strategy.assign(tensor, torch.as_tensor(values[name]))
        return
    for name, (parameter, axes) in named(model).items():
        strategy.assign(parameter, torch.as_tensor(values[name].transpose(np.argsort(axes))))


def state(optimizer: Mapping[str, torch.Tensor], strategy: Strategy) -> Weights:
    """Return the optimizer's state and the random states as arrays."""
    arrays = {name: strategy.to_array(tensor) for name, tensor in optimizer.items()}
    cpu, device = random_states(strategy.device)
    arrays["random.cpu"] = strategy.to_array(cpu)
    if device is not None:
        arrays[f"random.{strategy.device.type}"] = strategy.to_array(device)
    return arrays


def restore(optimizer: Mapping[str, torch.Tensor], arrays: Weights, strategy: Strategy) -> bool:
    """Set the optimizer's state and the random states; return whether those of the device were among them."""
    for name, tensor in optimizer.items():
        strategy.assign(tensor, torch.as_tensor(arrays[name]))
    device, name = strategy.device, f"random.{strategy.device.type}"
    state = torch.as_tensor(arrays[name]) if name in arrays and name != "random.cpu" else None
    set_random_states((torch.as_tensor(arrays["random.cpu"]), state), device)
    return name in arrays and sum(key.startswith("random.") for key in arrays) == 1 + (device.type != "cpu")
