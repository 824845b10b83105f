"""Anyone's own model: what a function or class of theirs builds, behind the interface of the families."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lmkit.data.objects import arguments_of, find, signature_of, told
from lmkit.data.trial import check_built, check_outputs, trial_rows
from lmkit.errors import ConfigError
from lmkit.specs.models import Own
from lmkit.specs.references import label
from lmkit.specs.signature import Shape, Signature


class OwnModel(nn.Module):
    """Gives a model its rows in their own shape, and takes the logits out of what it gives.

    Attributes:
        own: the model as its author knows it.
        multiplications: in products of matrices that the output of one row takes.
    """

    multiplications = 0

    def __init__(self, own: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.own, self.shape = own, shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rows (rows, …), flat or not → logits (rows, outputs)."""
        given = self.own(x.reshape(x.shape[0], *self.shape) if x.is_floating_point() else x)
        given = getattr(given, "logits", given)
        if isinstance(given, dict) and "logits" in given:
            given = given["logits"]
        elif isinstance(given, tuple | list):
            given = given[0]
        return given[:, None] if isinstance(given, torch.Tensor) and given.ndim == 1 else given


def build(spec: Own, signature: Signature) -> OwnModel:
    """Calls the builder and tries what it gives on two rows of zeros, which also makes its lazy layers.

    Raises:
        ConfigError: the builder raises or gives something else, or the model takes no such rows or gives others.
    """
    name = label(spec.builder)
    builder = find(spec.builder, "model.builder")
    arguments = arguments_of(signature_of(builder), spec, spec.provided(signature))
    try:
        own = builder(**arguments)
    except Exception as error:
        raise ConfigError([f"model.builder: {name} raised {told(error)}"]) from error
    check_built(own, nn.Module, "torch", name)
    model = OwnModel(own, signature.shape)
    rows = torch.from_numpy(trial_rows(signature))
    states = torch.get_rng_state()
    counter = FlopCounterMode(display=False)
    model.eval()
    try:
        with torch.no_grad(), counter:
            given = model(rows.to(_dtype(own)) if rows.is_floating_point() else rows)
    except Exception as error:
        raise ConfigError(
            [f"model.builder: the model of {name} takes no rows {tuple(rows.shape)}: {told(error)}"]
        ) from error
    finally:
        torch.set_rng_state(states)
        model.train()
    check_outputs(tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__, signature, name)
    if not any(p.requires_grad for p in own.parameters()):
        raise ConfigError([f"model.builder: the model of {name} has no parameter to learn (requires_grad)"])
    model.multiplications = counter.get_total_flops() // (2 * len(rows))  # it counts additions too
    return model


def _dtype(model: nn.Module) -> torch.dtype:
    """The type that a model's weights have as it is built."""
    kinds = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(kinds, torch.get_default_dtype())


def held(model: OwnModel) -> dict[str, torch.Tensor]:
    """Name → all that the model holds: its parameters and its buffers, what is shared once."""
    kept = model.own.state_dict(keep_vars=True)
    every: dict[str, Any] = dict(model.own.named_parameters()) | dict(model.own.named_buffers())
    return {name: tensor for name, tensor in every.items() if name in kept}
