"""torchao, PyTorch's quantization: int8 weights, or int8 weights and activations in a compiled package."""

from __future__ import annotations

from pathlib import Path

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.model_files import WEIGHTS, input_spec, save_model
from lmkit.deploy.runtimes.torchao import WEIGHTS as INT8
from lmkit.deploy.techniques.aot_inductor import ENTRY, check_compiler
from lmkit.deploy.techniques.base import technique
from lmkit.deploy.techniques.convert import DifferentOutputs, check_outputs
from lmkit.deploy.techniques.quantize import calibration
from lmkit.deploy.trained_model import TrainedModel
from lmkit.system.environment import has_vnni
from lmkit.system.rpc import NotApplicable

PACKAGES = ("torchao",)
"""Packages that build these variants."""

SIMULATION_TOLERANCE = 0.2
"""Largest difference between the compiled integer program and its simulation, as a share of the largest output: a value
between two steps may be rounded up by one and down by the other."""


@technique("torchao-int8-weights", "quantize")
def weights(trained: TrainedModel, folder: Path) -> Artifact:
    """Weights of dense layers in int8, one scale per row, computed in float32 by PyTorch (torchao)."""
    from safetensors.numpy import save_file

    recipe = {"technique": "torchao-int8-weights"}
    _check_quantizable(trained, "int8_weights", recipe["technique"])
    from lmkit.backends.torch import quantization

    try:
        arrays, details = quantization.int8_weights(trained.model)
    except quantization.CannotQuantize as error:
        raise NotApplicable(str(error)) from None
    save_model(trained, folder, {})
    (folder / WEIGHTS).unlink()
    save_file(arrays, folder / INT8)
    return Artifact(
        "torchao", "model.json", *input_spec(trained), {**recipe, **details}, "float32", weight_dtype="int8"
    )


@technique("pt2e-int8-static", "quantize")
def static(trained: TrainedModel, folder: Path) -> Artifact:
    """Int8 in PyTorch: weights and activations, with ranges from training rows; compiled ahead of time (PT2E)."""
    import numpy as np

    recipe = {"technique": "pt2e-int8-static"}
    _check_quantizable(trained, "int8_package", recipe["technique"])
    check_compiler(trained, "int8_package", recipe["technique"])
    from lmkit.backends.torch import quantization

    X = np.asarray(calibration(trained))
    try:
        quantized = quantization.static_int8(trained.model, X, reduce_range=not has_vnni())
    except quantization.CannotQuantize as error:
        raise NotApplicable(str(error)) from None
    details = quantization.package(quantized, folder / ENTRY)
    artifact = Artifact("aot_inductor", ENTRY, *input_spec(trained), {**recipe, **quantized.recipe, **details}, "int8")
    try:
        check_outputs(folder, artifact, quantized.outputs, X, SIMULATION_TOLERANCE)
    except DifferentOutputs as error:
        raise NotApplicable(
            f"the compiled integer model differs from the quantized one, {error}; "
            "use onnx-int8-static or openvino-int8-static instead"
        ) from None
    return artifact


def _check_quantizable(trained: TrainedModel, kind: str, name: str) -> None:
    """Raise NotApplicable if the framework cannot quantize, torchao is missing, or the precision is not float32."""
    if reason := trained.backend.cannot_export(kind, name):
        raise NotApplicable(reason)
    precision = trained.run.experiment.training.weight_dtype
    if precision != "float32":
        raise NotApplicable(f"torchao quantizes float32; this run was trained in {precision}")
