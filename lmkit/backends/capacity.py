"""Whether the weights of a model fit into the memory of this machine, asked before they are allocated."""

from __future__ import annotations

from lmkit.display.units import format_bytes
from lmkit.exceptions import ConfigError
from lmkit.specs.models.base import ModelSpec
from lmkit.specs.signature import Signature

NUMBER_BYTES = {"float64": 8}
"""Precision → bytes of a weight, where they are not four."""


def check_capacity(model: ModelSpec, signature: Signature, precision: str) -> None:
    """Check that the weights of a model fit into memory, whoever wrote its specification.

    Raises:
        ConfigError: they do not.
    """
    import psutil

    if model.is_custom:
        return
    parameters = sum(layer.parameters for layer in model.layers(signature))
    size, memory = parameters * NUMBER_BYTES.get(precision, 4), psutil.virtual_memory().total
    if size > memory:
        raise ConfigError(
            [
                f"model: has {parameters:,} parameters, {format_bytes(size)} at {precision}, and this machine has "
                f"{format_bytes(memory)} of memory; use a smaller model (lmkit plan shows what fits)"
            ]
        )
