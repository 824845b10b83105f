"""OpenVINO: the model in float32, with float16 weights, or in int8."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from lmkit.backends.quiet import quiet
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.model_files import input_spec
from lmkit.deploy.runtimes import find
from lmkit.deploy.techniques.base import technique
from lmkit.deploy.techniques.convert import check_artifact
from lmkit.deploy.techniques.failures import ConversionFailed, Failure, explain
from lmkit.deploy.techniques.quantize import calibration
from lmkit.deploy.trained_model import TrainedModel
from lmkit.exceptions import LmkitError
from lmkit.system.environment import has_vnni
from lmkit.system.optional import require
from lmkit.system.rpc import NotApplicable

PACKAGES = ("openvino", "nncf")
"""Packages that build these variants."""

ENTRY = "model.xml"

MAX_OPERATIONS = 15
"""Operations per weight tensor from which a program is taken to be unrolled; a transformer has about 5."""

FORMATS = {"program": "model.pt2", "saved_model": "model", "onnx": "model.onnx"}
"""Formats that OpenVINO converts, the most direct first → name of the intermediate file."""


@technique("openvino", "convert")
def openvino(trained: TrainedModel, folder: Path) -> Artifact:
    """OpenVINO, any number of rows, float32 on the CPU."""
    artifact = _save(_convert(trained, "openvino"), trained, folder, {"technique": "openvino"})
    check_artifact(trained, trained.model, folder, artifact)
    return artifact


@technique("openvino-float16", "quantize")
def float16(trained: TrainedModel, folder: Path) -> Artifact:
    """OpenVINO with weights stored in float16, widened at load time: half the size, float32 on the CPU."""
    return _save(
        _convert(trained, "openvino-float16"),
        trained,
        folder,
        {"technique": "openvino-float16"},
        weight_dtype="float16",
    )


@technique("openvino-int8-static", "quantize")
def static(trained: TrainedModel, folder: Path) -> Artifact:
    """Int8 on OpenVINO: weights and activations, with NNCF's ranges from training rows."""
    _require("nncf")
    model = _convert(trained, "openvino-int8-static")
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    X = calibration(trained)
    reduce = not has_vnni()
    has_attention = any(layer.kind == "attention" for layer in trained.spec.layers(trained.signature))
    recipe = {
        "technique": "openvino-int8-static",
        "reduce_range": reduce,
        "calibration_rows": len(X),
        "attention_aware": has_attention,
    }
    with quiet(), find("openvino").preserve_signal_stack():
        model = nncf.quantize(
            model,
            nncf.Dataset([X[i : i + 1] for i in range(len(X))]),
            subset_size=len(X),
            target_device=nncf.TargetDevice.CPU,
            model_type=nncf.ModelType.TRANSFORMER if has_attention else None,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE if reduce else nncf.OverflowFix.DISABLE,
                # the default, the mean of each row's extremes, clips rows with larger ones
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
                # the default for transformers: outputs differ by half of their size; by 3 % without it
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=-1, convolution=-1),
            ),
        )
    if all(node.get_type_name() != "FakeQuantize" for node in model.get_ops()):
        raise NotApplicable("NNCF finds nothing to quantize in this model; use openvino-float16 instead")
    return _save(model, trained, folder, recipe, compute_dtype="int8")


def _convert(trained: TrainedModel, name: str) -> Any:
    """Convert the model to OpenVINO, for any number of rows, by the first format from which it can be.

    A format may unroll a loop over time: of such a program and that of the next format the smaller is returned.

    Raises:
        NotApplicable: no format can be written, or OpenVINO does not support an operator of the model.
        ConversionFailed: no format can be converted.
    """
    _require("openvino")
    find("openvino")  # before the library: disables its telemetry
    reasons = {kind: trained.backend.cannot_export(kind, name) for kind in FORMATS}
    kinds = [kind for kind, reason in reasons.items() if not reason]
    if not kinds:
        raise NotApplicable(reasons["onnx"])
    models, failures = [], list[Failure]()
    for kind in kinds:
        try:
            models.append(_convert_from(trained, kind))
        except (LmkitError, OSError, MemoryError):
            raise
        except Exception as error:
            failures.append(explain(error))
            continue
        if not _is_unrolled(models[-1], trained):
            break
    if models:
        return min(models, key=_program_size)
    if operators := list(dict.fromkeys(name for failure in failures for name in failure.operators)):
        raise NotApplicable(f"OpenVINO does not support {', '.join(operators)} of this model; use onnx instead")
    raise ConversionFailed(f"OpenVINO cannot convert this model: {failures[0].reason}; use onnx instead")


def _convert_from(trained: TrainedModel, kind: str) -> Any:
    """Convert the model by one format."""
    import openvino

    shape, dtype = input_spec(trained)
    with tempfile.TemporaryDirectory() as scratch, quiet():
        path = Path(scratch) / FORMATS[kind]
        trained.backend.export(trained.model, shape, dtype, kind, path)
        model = openvino.convert_model(path)
        model.reshape({0: [-1, *shape]})
        # read again from another file: the converted model may map the temporary one
        openvino.save_model(model, Path(scratch) / ENTRY, compress_to_fp16=False)
        return openvino.Core().read_model(
            (Path(scratch) / ENTRY).read_bytes(), (Path(scratch) / ENTRY).with_suffix(".bin").read_bytes()
        )


def _is_unrolled(model: Any, trained: TrainedModel) -> bool:
    """Return whether a program has so many operations that it must repeat some for each step of a sequence."""
    return _program_size(model) > MAX_OPERATIONS * max(1, len(trained.weights))


def _program_size(model: Any) -> int:
    """Return the number of operations, constants aside."""
    return sum(node.get_type_name() != "Constant" for node in model.get_ops())


def _save(
    model: Any,
    trained: TrainedModel,
    folder: Path,
    recipe: dict[str, Any],
    compute_dtype: str = "float32",
    weight_dtype: str = "",
) -> Artifact:
    """Write the graph and its weights. On the CPU float64 is computed in float32, too."""
    import openvino

    openvino.save_model(model, folder / ENTRY, compress_to_fp16=weight_dtype == "float16")
    return Artifact("openvino", ENTRY, *input_spec(trained), recipe, compute_dtype, weight_dtype)


def _require(package: str) -> None:
    require(package, extra="openvino", error=NotApplicable)
