"""Experiments that between them use every field."""

from __future__ import annotations

from typing import Any

EXPERIMENTS: list[dict[str, Any]] = [
    {},
    {"name": "mine", "framework": "tensorflow", "seed": 7},
    {"data": {"source": "prices.csv", "target": "price", "drop": ["id", "a, b"], "missing": "median"}},
    {"data": {"source": "x.npz", "task": "regression", "scale_target": False, "scale": "minmax"}},
    {
        "data": {
            "source": "wine",
            "categorical": ["hue"],
            "scale": "none",
            "validation": 0,
            "test": 0.0,
            "batch_size": 1,
        }
    },
    {"model": "mlp:wide"},
    {"model": {"hidden": [], "activation": "gelu", "dropout": 0.125}},
    {"model": {"hidden": [8, 8], "residual": True, "normalization": "layer"}},
    {"data": "digits", "model": "cnn:residual"},
    {
        "data": {"source": "digits", "axes": "sequence"},
        "model": {
            "family": "cnn",
            "channels": [6],
            "convolutions": 2,
            "kernel": 5,
            "pooling": "average",
            "residual": True,
            "normalization": "group",
            "groups": 3,
            "activation": "tanh",
            "dropout": 0.5,
            "gather": "average",
            "dense": [7, 8],
        },
    },
    {"training": {"optimizer": {"name": "sgd", "momentum": 0.5, "nesterov": True}}},
    {"training": {"optimizer": {"name": "adamw", "lr": 3e-7, "epsilon": 1e-12, "weight_decay": 0.5, "beta1": 0.0}}},
    {"training": {"optimizer": "adam", "early_stopping": {"patience": 4, "restore_best": False, "min_delta": 0.1}}},
    {"training": {"schedule": {"name": "step", "every": 3, "factor": 0.1}}},
    {"training": {"schedule": {"name": "cosine", "warmup": 9, "floor": 0.25}, "steps": 10}},
    {"training": {"seconds": 1.5, "target_loss": -1.0, "gradient_norm": 1e-5, "clip_norm": 2, "precision": "float64"}},
    {"data": "diabetes", "training": {"loss": "mean_squared_error", "compile": "off", "checkpoint_seconds": 0.5}},
]
