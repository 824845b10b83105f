"""AOTInductor: the model compiled ahead of time into one package, which needs no Python code and no compiler."""

from __future__ import annotations

from pathlib import Path

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.model_files import input_spec
from lmkit.deploy.techniques.base import technique
from lmkit.deploy.techniques.compile import require_compiler
from lmkit.deploy.techniques.convert import ROWS, DifferentOutputs, check_outputs
from lmkit.deploy.trained_model import TrainedModel
from lmkit.system.rpc import NotApplicable

ENTRY = "model.pt2"

SUMMATION_TOLERANCE = 1e-4
"""Largest difference from the exported program, as a share of the largest output: sums are in another order."""


@technique("aot-inductor", "compile")
def aot_inductor(trained: TrainedModel, folder: Path) -> Artifact:
    """PyTorch's compiler ahead of time (AOTInductor): machine code for this kind of processor, in one file."""
    import numpy as np

    recipe = {"technique": "aot-inductor"}
    check_compiler(trained, "package", recipe["technique"])
    from lmkit.backends.torch import quantization

    X = np.asarray((trained.data.test if len(trained.data.test.X) else trained.data.training).X[: max(ROWS)])
    program = quantization.program(trained.model, X)
    details = quantization.package(program, folder / ENTRY)
    shape, dtype = input_spec(trained)
    precision = trained.run.experiment.training.weight_dtype
    artifact = Artifact("aot_inductor", ENTRY, shape, dtype, {**recipe, **details}, precision)
    try:
        check_outputs(folder, artifact, program.outputs, X, SUMMATION_TOLERANCE)
    except DifferentOutputs as error:
        raise NotApplicable(f"the compiled model differs from the original, {error}; use compile instead") from None
    return artifact


def check_compiler(trained: TrainedModel, kind: str, name: str) -> None:
    """Raise NotApplicable if the framework cannot export this, or its compiler is not installed."""
    if reason := trained.backend.cannot_export(kind, name):
        raise NotApplicable(reason)
    require_compiler(trained)
