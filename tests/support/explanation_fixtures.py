"""Runs to explain: trained for an epoch in this process, on small data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import lmkit as lk


def houses(rows: int = 120) -> pd.DataFrame:
    """A table with numbers, a category, a date, and a column that nothing depends on."""
    rng = np.random.default_rng(1)
    area = rng.uniform(30, 200, rows)
    town = rng.choice(["Bern", "Uri", "Zug"], rows)
    built = pd.Timestamp("2000-01-01") + pd.to_timedelta(rng.integers(0, 7000, rows), "D")
    price = 3000 * area + np.select([town == "Bern", town == "Zug"], [5e4, 9e4], 0) + rng.normal(0, 2e4, rows)
    frame = {"area": area, "rooms": area / 25 + rng.normal(0, 0.4, rows), "town": town, "noise": rng.normal(size=rows)}
    return pd.DataFrame({**frame, "built": built.strftime("%Y-%m-%d"), "price": price})


def house_run(**changes: Any) -> lk.Run:
    """A regression on ``houses``; with ``hidden=[]`` a linear one."""
    return trained({"source": houses(), "target": "price"}, **changes)


def trained(data: Any, **changes: Any) -> lk.Run:
    """A run that was trained in this process."""
    settings = {"epochs": 2, "training.precision": "float64", "training.optimizer.lr": 0.01, "inline": True}
    model = {"hidden": [8]} if "model" not in changes else changes.pop("model")
    run = lk.train(data=data, model=model, **{**settings, **changes})
    assert run.state == "completed", run.status.reason
    return run
