"""A technique: an affine model's weights as a NumPy archive."""

from __future__ import annotations

from pathlib import Path

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.model_files import input_spec
from lmkit.deploy.techniques.base import technique
from lmkit.deploy.trained_model import TrainedModel


@technique("weights-npz", "convert")
def weights_npz(trained: TrainedModel, folder: Path) -> Artifact:
    """The weights of an affine model, computed by NumPy."""
    import numpy as np

    np.savez(folder / "weights.npz", **trained.weights)
    return Artifact("npz", "weights.npz", *input_spec(trained), {"technique": "weights-npz"})
