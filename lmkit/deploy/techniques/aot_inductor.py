"""Compilation ahead of time: the model as machine code in one package, which needs neither Python code nor compiler."""

from __future__ import annotations

import shutil
from pathlib import Path

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.techniques import NotApplicable, Subject, technique
from lmkit.deploy.techniques.baseline import row
from lmkit.deploy.techniques.convert import ROWS, OtherOutputs, held

ENTRY = "model.pt2"

EXACT = 1e-4
"""What compiled code may be off that program, as a share of the largest output: sums in another order."""


@technique("aot-inductor", "compile")
def aot_inductor(subject: Subject, folder: Path) -> Artefact:
    """PyTorch's compiler ahead of time (AOTInductor): machine code for this kind of processor, in one file."""
    import numpy as np

    recipe = {"technique": "aot-inductor"}
    needs(subject, "package", recipe["technique"])
    from lmkit.backends.torch import tools

    X = np.asarray((subject.data.test if len(subject.data.test.X) else subject.data.training).X[: max(ROWS)])
    made = tools.program(subject.model, X)
    built = tools.package(made, folder / ENTRY)
    shape, dtype = row(subject)
    precision = subject.run.experiment.training.precision
    artefact = Artefact("aot_inductor", ENTRY, shape, dtype, {**recipe, **built}, precision)
    try:
        held(folder, artefact, made.outputs, X, EXACT)
    except OtherOutputs as error:
        raise NotApplicable(f"PyTorch's compiler makes another model of this one ({error}); take compile") from None
    return artefact


def needs(subject: Subject, kind: str, name: str) -> None:
    """Refuses where the framework does not write this, or its compiler is not there."""
    if reason := subject.backend.cannot_export(kind, name):
        raise NotApplicable(reason)
    compiler = subject.backend.compiler
    if compiler and shutil.which(compiler) is None:
        raise NotApplicable(
            f"the compiler of {subject.backend.name} needs {compiler}; install it: apt-get install {compiler}"
        )
