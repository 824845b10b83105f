"""The model families: their shape and their first weights, free of any framework."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from lmkit.errors import nearest
from lmkit.specs.models.base import Layer, ModelSpec, Weights
from lmkit.specs.models.mlp import MLP

__all__ = ["MLP", "PRESETS", "Layer", "Model", "ModelSpec", "Weights"]

PRESETS: dict[str, dict[str, Any]] = {
    "mlp:textbook": {"family": "mlp", "hidden": [10], "activation": "relu"},
    "mlp:small": {"family": "mlp", "hidden": [64, 64], "activation": "relu"},
    "mlp:wide": {"family": "mlp", "hidden": [256, 256], "activation": "relu"},
}
"""Ready-made shapes; ``mlp:textbook`` is the teaching text's 10 → 10 → 1 on ten features (``data: diabetes``)."""


def _expand(value: Any) -> Any:
    """``mlp``, ``mlp:textbook`` and ``{family: mlp, preset: textbook, …}`` become the fields they stand for."""
    if isinstance(value, str):
        value = {"family": value}
    if isinstance(value, dict) and isinstance(value.get("family"), str):
        family, _, preset = value["family"].partition(":")
        value = {**value, "family": family, **({"preset": preset} if preset else {})}
    if isinstance(value, dict) and "preset" in value:
        given = dict(value)
        name = f"{given.get('family', 'mlp')}:{given.pop('preset')}"
        if name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}; {nearest(name, PRESETS)}")
        value = {**PRESETS[name], **given}
    return value


Model = Annotated[MLP, BeforeValidator(_expand)]
