"""Data of any kind, read, split and prepared; preprocessing is fitted on the training part alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmkit.data.dataset import Dataset
from lmkit.data.kinds import get_kind
from lmkit.specs.data import DataSpec


def read(spec: DataSpec, root: str | Path | None = None) -> Any:
    """Read the data of ``spec``, unprepared: a table, or an object with a table's ``y``, ``task`` and ``signature``."""
    return get_kind(spec).load(spec, root)


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """Read the data of ``spec``, split it by ``seed`` (stratified for classes) and prepare it.

    Args:
        spec: the data and its preparation.
        seed: the seed of the split.
        precision: dtype of the arrays, ``float32`` or ``float64``.
        root: the folder of the runs, which contains the data stored with them.

    Raises:
        DataError: the data cannot be trained on.
    """
    return get_kind(spec).prepare(spec, seed, precision, root)
