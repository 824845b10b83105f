"""Weights and training state as NumPy arrays, under the names and in the layout that all backends share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


def state(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Weights:
    """The optimizer's memory, and the random states, as arrays."""
    arrays: dict[str, Any] = {"random.cpu": array(torch.get_rng_state())}
    if torch.cuda.is_available():
        arrays["random.cuda"] = array(torch.cuda.get_rng_state())
    for name, (parameter, _) in named(model).items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                arrays[f"{name}/{key}"] = array(torch.as_tensor(value))
    return arrays


def restore(model: torch.nn.Module, optimizer: torch.optim.Optimizer, arrays: Weights) -> None:
    """Takes up a ``state``."""
    torch.set_rng_state(torch.as_tensor(arrays["random.cpu"]))
    if "random.cuda" in arrays and torch.cuda.is_available():
        torch.cuda.set_rng_state(torch.as_tensor(arrays["random.cuda"]))
    for name, (parameter, _) in named(model).items():
        memory = {
            key.rsplit("/", 1)[1]: torch.as_tensor(value) for key, value in arrays.items() if key.startswith(f"{name}/")
        }
        if memory:  # the step counter stays where the optimizer keeps it, the moments lie with the parameter
            optimizer.state[parameter] = {
                k: v.to(parameter.device) if v.shape == parameter.shape or k == "step" else v for k, v in memory.items()
            }
