"""Compilation by the framework: the same model and weights, with fused operations."""

from __future__ import annotations

import shutil
from pathlib import Path

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.model_files import save_model
from lmkit.deploy.techniques.base import technique
from lmkit.deploy.trained_model import TrainedModel
from lmkit.system.rpc import NotApplicable


@technique("compile", "compile")
def compiled(trained: TrainedModel, folder: Path) -> Artifact:
    """The framework's own compiler: torch.compile (Inductor), or XLA in TensorFlow."""
    require_compiler(trained)
    return save_model(trained, folder, {"technique": "compile"}, compiled=True)


def require_compiler(trained: TrainedModel) -> None:
    """Raise NotApplicable if the C++ compiler that the framework calls is not installed."""
    compiler = trained.backend.compiler
    if compiler and shutil.which(compiler) is None:
        raise NotApplicable(
            f"the compiler of {trained.backend.name} needs {compiler}; install it: apt-get install {compiler}"
        )
