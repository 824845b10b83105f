"""PyTorch's own quantization, torchao: weights in int8, or what is computed too, compiled into a package."""

from __future__ import annotations

from pathlib import Path

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.runtimes.torchao import WEIGHTS as INT8
from lmkit.deploy.techniques import NotApplicable, Subject, technique
from lmkit.deploy.techniques.aot_inductor import ENTRY, needs
from lmkit.deploy.techniques.baseline import WEIGHTS, own, row
from lmkit.deploy.techniques.convert import OtherOutputs, held
from lmkit.deploy.techniques.quantize import calibration
from lmkit.environment import has_vnni

SIMULATED = 0.2
"""What integers computed may be off what the same program gives that simulates them, as a share of the largest output:
where a number lies between two steps, one rounds it up and the other down."""


@technique("torchao-int8-weights", "quantize")
def weights(subject: Subject, folder: Path) -> Artefact:
    """Weights of dense layers in int8, a scale a row, computed in float32 by PyTorch (torchao)."""
    from safetensors.numpy import save_file

    recipe = {"technique": "torchao-int8-weights"}
    _quantizes(subject, "int8_weights", recipe["technique"])
    from lmkit.backends.torch import tools

    try:
        arrays, told = tools.int8_weights(subject.model)
    except tools.CannotQuantize as error:
        raise NotApplicable(str(error)) from None
    own(subject, folder, {})
    (folder / WEIGHTS).unlink()
    save_file(arrays, folder / INT8)
    return Artefact("torchao", "model.json", *row(subject), {**recipe, **told}, "float32", stores="int8")


@technique("pt2e-int8-static", "quantize")
def static(subject: Subject, folder: Path) -> Artefact:
    """Int8 in PyTorch: weights and activations, by ranges taken on training rows; compiled ahead of time (PT2E)."""
    import numpy as np

    recipe = {"technique": "pt2e-int8-static"}
    _quantizes(subject, "int8_package", recipe["technique"])
    needs(subject, "int8_package", recipe["technique"])
    from lmkit.backends.torch import tools

    X = np.asarray(calibration(subject))
    try:
        made = tools.static_int8(subject.model, X, reduce_range=not has_vnni())
    except tools.CannotQuantize as error:
        raise NotApplicable(str(error)) from None
    built = tools.package(made, folder / ENTRY)
    artefact = Artefact("aot_inductor", ENTRY, *row(subject), {**recipe, **made.recipe, **built}, "int8")
    try:
        held(folder, artefact, made.outputs, X, SIMULATED)
    except OtherOutputs as error:
        raise NotApplicable(
            f"PyTorch's compiler makes other integers of this model than were asked for ({error}); "
            "take onnx-int8-static, or openvino-int8-static"
        ) from None
    return artefact


def _quantizes(subject: Subject, kind: str, name: str) -> None:
    """Refuses a framework that does not, torchao that is not there, and a precision that it does not know."""
    if reason := subject.backend.cannot_export(kind, name):
        raise NotApplicable(reason)
    precision = subject.run.experiment.training.precision
    if precision != "float32":
        raise NotApplicable(f"torchao quantizes float32; this run was trained in {precision}")
