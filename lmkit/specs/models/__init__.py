"""The model families: their shape and their first weights, free of any framework."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lmkit.errors import nearest
from lmkit.specs.models.base import Layer, ModelSpec, Weights
from lmkit.specs.models.cnn import CNN
from lmkit.specs.models.gcn import GCN
from lmkit.specs.models.mlp import MLP
from lmkit.specs.models.own import Own
from lmkit.specs.models.transformer import PRESETS as TRANSFORMERS
from lmkit.specs.models.transformer import Transformer

__all__ = ["CNN", "GCN", "MLP", "PRESETS", "Layer", "Model", "ModelSpec", "Own", "Transformer", "Weights"]

PRESETS: dict[str, dict[str, Any]] = {
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
"""Ready-made shapes; ``mlp:textbook`` is the teaching text's 10 → 10 → 1 on ten features (``data: diabetes``)."""


DATA = {
    "mlp": "breast_cancer",
    "cnn": "digits",
    "gcn": "karate_club",
    "transformer": "python_docs",
    "transformer:patches": "digits",
}
"""Family, or one of its presets → what it is shown on, where no data is named."""

FOR_KIND: dict[str, Any] = {"table": "mlp", "graph": "gcn", "text": "transformer:nano", "loader": "mlp"}
"""Kind of data → what learns from it, where no model is named."""

TRAINING: dict[str, dict[str, Any]] = {
    "gcn": {"epochs": 60, "optimizer": {"name": "adam", "lr": 0.01}},
    "transformer": {
        "optimizer": {"name": "adamw", "lr": 0.001, "beta2": 0.99},
        "schedule": {"name": "cosine", "warmup": 20},
        "clip_norm": 1.0,
    },
}
"""Family → what of ``training`` suits it better than the defaults, where nothing else is said."""

OF_KIND: dict[str, dict[str, Any]] = {
    "text": {"validate_every": 50, "optimizer": {"name": "adamw", "lr": 0.003, "beta2": 0.99}},
}
"""Kind of data → what of ``training`` suits it better than the defaults: an epoch of a text is long, and a small model
learns from it at a high rate."""


def _expand(value: Any) -> Any:
    """``mlp``, ``mlp:textbook`` and ``{family: mlp, preset: textbook, …}`` become the fields they stand for."""
    if isinstance(value, str):
        value = {"family": value}
    if isinstance(value, dict) and isinstance(value.get("family"), str):
        family, _, preset = value["family"].partition(":")
        value = {**value, "family": family, **({"preset": preset} if preset else {})}
    if isinstance(value, dict) and "preset" not in value:
        meant = [name for name in PRESETS if name.partition(":")[2] == value.get("family")]
        if meant:
            raise ValueError(f"given {value['family']!r}, which is a preset; write model: {meant[0]}")
    if isinstance(value, dict) and "preset" in value:
        given = dict(value)
        name = f"{given.get('family', 'mlp')}:{given.pop('preset')}"
        if name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}; {nearest(name, PRESETS)}")
        value = {**PRESETS[name], **given}
    if callable(value):
        raise ValueError("given an object; an object is handed to lk.train(model=…), and here its name: {builder: …}")
    default = "own" if isinstance(value, dict) and "builder" in value else "mlp"
    return {"family": default, **value} if isinstance(value, dict) else value


Model = Annotated[
    Annotated[MLP | CNN | GCN | Transformer | Own, Field(discriminator="family")], BeforeValidator(_expand)
]
