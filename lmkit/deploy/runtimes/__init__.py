"""The runtimes: each loads an artefact, gives its outputs, and says what it executed.

A runtime is one module of this package, called as it is. It has

- ``LIBRARIES``: what it imports, so that the import is timed apart;
- ``PACKAGES``: what is installed for it, beside NumPy, where a model is deployed;
- ``load(folder, artefact, threads) -> Loaded``, which imports its library inside, and nothing of lmkit that would
  import another.

What is loaded may also tell ``stored()``, {type: how many numbers of its kernels and tables are kept in it}, without
what has one dimension (biases, scales, norms). It is asked last, once memory is measured, and may import what reads the
file. A runtime that cannot look leaves it out.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from lmkit.deploy.artefact import Artefact

if TYPE_CHECKING:
    import numpy as np

RUNTIMES: dict[str, str] = {}
"""Name → module of the runtimes that users add; lmkit's own are the modules of this package."""


class Operation(NamedTuple):
    """What was executed: an operation, the type that it computed in, and how often a call runs it."""

    name: str
    dtype: str
    times: int


class Loaded(Protocol):
    """An artefact, ready to give outputs."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Rows (rows, …) of the artefact's type → logits (rows, outputs)."""

    def executed(self) -> list[Operation]:
        """What a call executes, as the runtime itself tells it."""


def wide(shape: Iterable[int]) -> bool:
    """Whether a tensor is a kernel or a table, and no bias, scale or norm: it has two dimensions that count."""
    return sum(n > 1 for n in shape) > 1


def find(runtime: str) -> ModuleType:
    """The module of a runtime; none of its libraries is imported yet."""
    return importlib.import_module(RUNTIMES.get(runtime, f"{__name__}.{runtime}"))


def load(folder: Path, artefact: Artefact, threads: int) -> Loaded:
    """The artefact in ``folder``, loaded by its runtime with so many threads."""
    loaded: Loaded = find(artefact.runtime).load(folder, artefact, threads)
    return loaded
