"""The trained model, unchanged: the reference of a comparison."""

from __future__ import annotations

from pathlib import Path

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.model_files import save_model
from lmkit.deploy.techniques.base import technique
from lmkit.deploy.trained_model import TrainedModel


@technique("baseline", "baseline")
def baseline(trained: TrainedModel, folder: Path) -> Artifact:
    """The trained model in its own framework, unchanged."""
    return save_model(trained, folder, {"technique": "baseline"})
