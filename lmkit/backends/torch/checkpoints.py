"""Weights and training state as NumPy arrays, under the names and in the layout that all backends share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from lmkit.specs.models import Weights


def named(model: torch.nn.Module) -> dict[str, tuple[torch.nn.Parameter, bool]]:
    """Shared name → parameter, and whether it lies transposed (``nn.Linear`` keeps (outputs, inputs))."""
    found = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            kernel = isinstance(module, torch.nn.Linear) and name == "weight"
            found[f"{path}.{'kernel' if kernel else name}".lstrip(".")] = (parameter, kernel)
    return found


def array(tensor: torch.Tensor) -> np.ndarray:
    """A copy of a tensor on the host."""
    return tensor.detach().cpu().numpy().copy()


def weights(model: torch.nn.Module) -> Weights:
    """A copy of the weights."""
    return {
        name: np.ascontiguousarray(array(p).T if turned else array(p)) for name, (p, turned) in named(model).items()
    }


@torch.no_grad()
def set_weights(model: torch.nn.Module, values: Weights) -> None:
    """Sets the weights."""
    for name, (parameter, turned) in named(model).items():
        value = torch.as_tensor(values[name])
        parameter.copy_(value.T if turned else value)


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
