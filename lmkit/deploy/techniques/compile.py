"""Compilation: the same model and weights, its operations fused into code made for this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.techniques import NotApplicable, Subject, technique
from lmkit.deploy.techniques.baseline import own


@technique("compile", "compile")
def compiled(subject: Subject, folder: Path) -> Artefact:
    """The framework's own compiler: torch.compile (Inductor), or XLA in TensorFlow."""
    needs = subject.backend.compiler
    if needs and shutil.which(needs) is None:
        raise NotApplicable(
            f"the compiler of {subject.backend.name} needs {needs}; install it: apt-get install {needs}"
        )
    return own(subject, folder, {"technique": "compile"}, compiled=True)
