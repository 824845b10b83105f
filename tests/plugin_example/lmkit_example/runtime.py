"""A runtime: one product of matrices in NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.runtimes import Operation

LIBRARIES, PACKAGES = (), ()


class Affine:
    """Weights of an affine model."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as weights:
            self.kernel, self.bias = weights["dense_0.kernel"], weights["dense_0.bias"]

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the logits of rows."""
        return np.asarray(X @ self.kernel + self.bias)

    def executed(self) -> list[Operation]:
        """Return the one operation."""
        return [Operation("matmul", str(self.kernel.dtype), 1)]


def load(folder: Path, artifact: Artifact, threads: int) -> Affine:
    """Load the archive."""
    return Affine(folder / artifact.entry)
