"""Experiments that between them use every field."""

from __future__ import annotations

from typing import Any

EXPERIMENTS: list[dict[str, Any]] = [
    {},
    {"name": "mine", "framework": "tensorflow", "seed": 7},
    {
        "data": {
            "source": "prices.csv",
            "target": "price",
            "drop": ["id", "a, b"],
            "missing": "median",
            "task": "regression",
        }
    },
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
    {
        "training": {
            "optimizer": {"name": "sgd", "momentum": 0.5, "nesterov": True},
            "schedule": {"name": "step", "every": 3},
        }
    },
    {
        "training": {
            "optimizer": {"name": "adamw", "lr": 3e-7, "epsilon": 1e-12},
            "schedule": {"name": "cosine", "warmup": 9},
        }
    },
    {"training": {"optimizer": "adam", "early_stopping": {"patience": 4, "restore_best": False}}},
    {
        "training": {
            "steps": 3,
            "seconds": 1.5,
            "target_loss": -1.0,
            "gradient_norm": 1e-5,
            "clip_norm": 2,
            "precision": "float64",
        }
    },
    {"data": "diabetes", "training": {"loss": "mean_squared_error", "compile": "off", "checkpoint_seconds": 0.5}},
]
