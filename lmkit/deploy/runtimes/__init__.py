"""The runtimes: each loads an artefact, gives its outputs, and says what it executed.

A runtime is one module with ``load(folder, artefact, threads) -> Loaded``; it imports its library inside, and nothing
of lmkit that would import another.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from lmkit.deploy.artefact import Artefact

if TYPE_CHECKING:
    import numpy as np

RUNTIMES = {
    "torch": "lmkit.deploy.runtimes.torch",
    "tensorflow": "lmkit.deploy.runtimes.tensorflow",
    "onnxruntime": "lmkit.deploy.runtimes.onnxruntime",
    "litert": "lmkit.deploy.runtimes.litert",
}
"""Name → module; a user's own is added here."""

LIBRARIES = {
    "torch": ("torch",),
    "tensorflow": ("tensorflow",),
    "onnxruntime": ("onnxruntime",),
    "litert": ("ai_edge_litert.interpreter",),
}
"""What a runtime imports, so that the import is timed apart."""


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


def load(folder: Path, artefact: Artefact, threads: int) -> Loaded:
    """The artefact in ``folder``, loaded by its runtime with so many threads."""
    loaded: Loaded = importlib.import_module(RUNTIMES[artefact.runtime]).load(folder, artefact, threads)
    return loaded
