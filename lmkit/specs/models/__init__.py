"""The model families: their layers and initial weights, independent of a framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from lmkit.exceptions import nearest, shorten
from lmkit.specs.models.base import Layer, ModelSpec, Weights
from lmkit.specs.models.cnn import CNN
from lmkit.specs.models.custom import Custom
from lmkit.specs.models.gcn import GCN
from lmkit.specs.models.mlp import MLP
from lmkit.specs.models.transformer import PRESETS as TRANSFORMERS
from lmkit.specs.models.transformer import Transformer
from lmkit.specs.registry import SpecRegistry

__all__ = [
    "CNN",
    "GCN",
    "MLP",
    "MODELS",
    "PRESETS",
    "Custom",
    "Layer",
    "Model",
    "ModelSpec",
    "Transformer",
    "Weights",
    "preset_of",
]

MODELS = SpecRegistry("model family", "lmkit.models", "family", base=ModelSpec)
"""The model families by name."""

for _family in (MLP, CNN, GCN, Transformer, Custom):
    MODELS.register(_family)

PRESETS: dict[str, dict[str, Any]] = {
    "mlp:standard": {"family": "mlp", "hidden": [128, 128], "activation": "relu"},
    "mlp:tiny": {"family": "mlp", "hidden": [10], "activation": "relu"},
    "mlp:textbook": {"family": "mlp", "hidden": [10], "activation": "relu"},
    "mlp:small": {"family": "mlp", "hidden": [64, 64], "activation": "relu"},
    "mlp:wide": {"family": "mlp", "hidden": [256, 256], "activation": "relu"},
    "cnn:small": {"family": "cnn", "channels": [16, 32], "convolutions": 1, "residual": False, "dense": []},
    "cnn:wide": {"family": "cnn", "channels": [32, 64], "convolutions": 2, "residual": False, "dense": [128]},
    "cnn:residual": {
        "family": "cnn",
        "channels": [16, 32, 64],
        "convolutions": 2,
        "residual": True,
        "normalization": "group",
        "gather": "average",
    },
    "gcn:small": {"family": "gcn", "weighting": "degree", "hidden": [16]},
    "gcn:attention": {"family": "gcn", "weighting": "attention", "hidden": [16], "heads": 4},
    **{f"transformer:{name}": {"family": "transformer", **fields} for name, fields in TRANSFORMERS.items()},
}
"""Ready-made shapes; ``mlp:standard`` is the default, ``mlp:tiny`` the teaching text's 10 → 10 → 1 on ten features
(``data: diabetes``), of which ``mlp:textbook`` is the earlier name."""


def preset_of(model: Mapping[str, Any]) -> str:
    """Return the name of the preset whose fields a model has; empty if there is none.

    >>> preset_of({"family": "gcn", "weighting": "degree", "hidden": [16], "dropout": 0.5})
    'gcn:small'
    """
    return next((name for name, preset in PRESETS.items() if all(model.get(k) == v for k, v in preset.items())), "")


DATA = {
    "mlp": "breast_cancer",
    "cnn": "digits",
    "gcn": "karate_club",
    "transformer": "python_docs",
    "transformer:patches": "digits",
}
"""Family, or one of its presets → default source of data."""

FOR_KIND: dict[str, Any] = {"table": "mlp", "graph": "gcn", "text": "transformer:nano", "loader": "mlp"}
"""Kind of data → default model."""

TRAINING: dict[str, dict[str, Any]] = {
    "gcn": {"epochs": 60, "optimizer": {"name": "adam", "lr": 0.01}},
    "transformer": {
        "optimizer": {"name": "adamw", "lr": 0.001, "beta2": 0.99},
        "schedule": {"name": "cosine", "warmup": 20},
        "clip_norm": 1.0,
    },
}
"""Family → its defaults in ``training``."""

OF_KIND: dict[str, dict[str, Any]] = {
    "text": {"epochs": 50, "validate_every": 50, "optimizer": {"name": "adamw", "lr": 0.003, "beta2": 0.99}},
}
"""Kind of data → its defaults in ``training``: epochs of a text are long, and a small model needs a high
learning rate."""


def _expand(value: Any) -> Any:
    """``mlp``, ``mlp:textbook`` and ``{family: mlp, preset: textbook, …}`` become mappings of fields."""
    if isinstance(value, str):
        value = {"family": value}
    if isinstance(value, dict) and isinstance(value.get("family"), str):
        family, _, preset = value["family"].partition(":")
        value = {**value, "family": family, **({"preset": preset} if preset else {})}
    if isinstance(value, dict) and "preset" not in value:
        meant = [name for name in PRESETS if name.partition(":")[2] == value.get("family")]
        if meant:
            raise ValueError(f"given {shorten(value['family'])}, which is a preset; write model: {meant[0]}")
    if isinstance(value, dict) and "preset" in value:
        fields = dict(value)
        name = f"{fields.get('family', 'mlp')}:{fields.pop('preset')}"
        if name not in PRESETS:
            raise ValueError(f"unknown preset {shorten(name)}; {nearest(name, PRESETS)}")
        value = {**PRESETS[name], **fields}
    if callable(value):
        raise ValueError("given an object, expected a reference: {builder: …}; pass objects to lk.train(model=…)")
    default = "own" if isinstance(value, dict) and "builder" in value else "mlp"
    return {"family": default, **value} if isinstance(value, dict) else value


if TYPE_CHECKING:
    Model = MLP | CNN | GCN | Transformer | Custom
else:

    def __getattr__(name: str) -> Any:
        """Build the union ``Model`` at its first use, so that plugins may import this package."""
        if name != "Model":
            raise AttributeError(f"module {__name__!r} has no attribute {shorten(name)}")
        globals()[name] = Annotated[MODELS.union(), BeforeValidator(_expand)]
        return globals()[name]
