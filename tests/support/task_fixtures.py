"""A task that lmkit does not have, and data for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmkit.specs.metrics import Metric
from lmkit.specs.tasks import TASKS, Task, get_task, register_task
from lmkit.specs.values import TargetEncoding


@pytest.fixture
def multilabel() -> Iterator[Task]:
    """A task in which a row may belong to any of several classes, written a|b in the data; taken out afterwards."""

    @register_task
    class Multilabel(Task):
        name = "multilabel"
        title = "classification with {outputs} labels"
        loss = "binary_crossentropy"
        metrics = (Metric("subset_accuracy", "share of rows with every label right", "", True, 1.0),)
        has_classes = True

        def outputs(self, classes: int) -> int:
            return classes

        def class_values(self, values: Iterable[Any]) -> list[Any]:
            return sorted({label for value in values for label in value.split("|")})

        def encode(self, y: Any, encoding: TargetEncoding) -> np.ndarray:
            return np.array([[float(c in value.split("|")) for c in encoding.classes] for value in y])

        def restore(self, y: np.ndarray, encoding: TargetEncoding) -> np.ndarray:
            return np.array(["|".join(c for c, on in zip(encoding.classes, row, strict=True) if on) for row in y])

        def decode(self, logits: np.ndarray, encoding: TargetEncoding) -> np.ndarray:
            return self.restore(logits > 0, encoding)

        def probabilities(self, logits: np.ndarray) -> np.ndarray:
            shares: np.ndarray = 1 / (1 + np.exp(-logits.astype(np.float64)))
            return shares

        def measure(self, logits: np.ndarray, y: np.ndarray, encoding: TargetEncoding) -> dict[str, float]:
            return {"subset_accuracy": float(np.mean(((logits > 0) == (y > 0.5)).all(axis=1)))}

    yield get_task("multilabel")
    del TASKS["multilabel"]


@pytest.fixture
def tags(tmp_path: Path) -> dict[str, str]:
    """A table whose target holds the signs of two columns."""
    rows = np.random.default_rng(0).normal(size=(120, 2))
    lines = [f"{a:.4f},{b:.4f},{'|'.join(['up'] * int(a > 0) + ['right'] * int(b > 0)) or 'none'}" for a, b in rows]
    path = tmp_path / "tags.csv"
    path.write_text("\n".join(["a,b,tags", *lines]) + "\n")
    return {"source": str(path), "target": "tags", "task": "multilabel"}
