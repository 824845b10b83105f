"""A custom model: the module that a user's builder returns, behind the interface of the families."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lmkit.backends.facts import MODEL_CLASSES
from lmkit.backends.torch.models.base import FAMILIES
from lmkit.custom.arguments import arguments_of
from lmkit.custom.checks import axes_hint, check_built, check_outputs, trial_rows
from lmkit.custom.objects import describe_error, get_object, signature_of
from lmkit.exceptions import ConfigError
from lmkit.specs.models import Custom
from lmkit.specs.references import label
from lmkit.specs.signature import Shape, Signature


class CustomModel(nn.Module):
    """Gives a custom module its rows in their own shape, and returns a row of outputs for each.

    Attributes:
        multiplications: in products of matrices that the output of one row takes.
    """

    multiplications = 0

    def __init__(self, module: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.add_module("own", module)  # saved records of pruned layers name them by this prefix
        self.shape = shape

    @property
    def module(self) -> nn.Module:
        """The module as its author wrote it."""
        return self.get_submodule("own")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rows (rows, …), flat or not → outputs (rows, outputs)."""
        outputs = self.module(x.reshape(x.shape[0], *self.shape) if x.is_floating_point() else x)
        outputs = getattr(outputs, "logits", outputs)
        if isinstance(outputs, dict) and "logits" in outputs:
            outputs = outputs["logits"]
        elif isinstance(outputs, tuple | list):
            outputs = outputs[0]
        return _restore_axes(outputs, x.shape[0]) if isinstance(outputs, torch.Tensor) else outputs


def _restore_axes(outputs: torch.Tensor, rows: int) -> torch.Tensor:
    """Return outputs with the axes of rows and outputs: a ``.squeeze()`` takes away one of them, or of one row both."""
    if outputs.ndim == 0 and rows == 1:
        return outputs.reshape(1, 1)
    if outputs.ndim == 1 and (rows == 1 or outputs.shape[0] == rows):
        return outputs.reshape(rows, -1)
    return outputs


@FAMILIES.register(Custom)
def build(spec: Custom, signature: Signature) -> CustomModel:
    """Call the builder and try its module on two rows of zeros, which also initializes lazy layers.

    Raises:
        ConfigError: the builder raises or returns no module, or the module takes no such rows or returns others.
    """
    name = label(spec.builder)
    builder = get_object(spec.builder, "model.builder")
    arguments = arguments_of(signature_of(builder), spec, spec.provided(signature))
    try:
        module = builder(**arguments)
    except Exception as error:
        raise ConfigError([f"model.builder: {name} raised {describe_error(error)}"]) from error
    check_built(module, nn.Module, "torch", name, MODEL_CLASSES)
    model = CustomModel(module, signature.shape)
    rows = torch.from_numpy(trial_rows(signature))
    random_state = torch.get_rng_state()
    counter = FlopCounterMode(display=False)
    model.eval()
    try:
        with torch.no_grad(), counter:
            outputs = model(rows.to(_dtype(module)) if rows.is_floating_point() else rows)
    except Exception as error:
        raise ConfigError(
            [
                f"model.builder: the model of {name} takes no rows {tuple(rows.shape)}: {describe_error(error)}"
                f"{axes_hint(signature)}"
            ]
        ) from error
    finally:
        torch.set_rng_state(random_state)
        model.train()
    check_outputs(
        tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__, signature, name
    )
    if not any(p.requires_grad for p in module.parameters()):
        raise ConfigError([f"model.builder: the model of {name} has no parameter to learn (requires_grad)"])
    model.multiplications = counter.get_total_flops() // (2 * len(rows))  # it counts additions too
    return model


def _dtype(model: nn.Module) -> torch.dtype:
    """Return the type that a module's weights have as it is built."""
    types = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(types, torch.get_default_dtype())


def all_tensors(model: CustomModel) -> dict[str, torch.Tensor]:
    """Return name → parameter or buffer, shared ones once."""
    saved = model.module.state_dict(keep_vars=True)
    tensors: dict[str, Any] = dict(model.module.named_parameters()) | dict(model.module.named_buffers())
    return {name: tensor for name, tensor in tensors.items() if name in saved}
