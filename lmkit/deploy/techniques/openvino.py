"""OpenVINO, whose files hold a model of either framework: as it is, with halved weights, or in eight bits."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any

from lmkit.backends.quiet import quiet
from lmkit.deploy.artefact import Artefact
from lmkit.deploy.runtimes import find
from lmkit.deploy.techniques import NotApplicable, Subject, technique
from lmkit.deploy.techniques.baseline import row
from lmkit.deploy.techniques.quantize import calibration
from lmkit.environment import has_vnni

ENTRY = "model.xml"

FORMATS = {"program": "model.pt2", "saved_model": "model", "onnx": "model.onnx"}
"""What OpenVINO reads, the most direct first → where it is written in between."""


@technique("openvino", "convert")
def openvino(subject: Subject, folder: Path) -> Artefact:
    """OpenVINO, any number of rows, float32 on the CPU."""
    return _saved(_converted(subject, "openvino"), subject, folder, {"technique": "openvino"})


@technique("openvino-float16", "quantize")
def float16(subject: Subject, folder: Path) -> Artefact:
    """OpenVINO with weights kept in float16, widened while they load: half the size, float32 on the CPU."""
    return _saved(
        _converted(subject, "openvino-float16"), subject, folder, {"technique": "openvino-float16"}, stores="float16"
    )


@technique("openvino-int8-static", "quantize")
def static(subject: Subject, folder: Path) -> Artefact:
    """Int8 on OpenVINO: weights and activations, by ranges that NNCF takes on training rows."""

    _needs("nncf")
    model = _converted(subject, "openvino-int8-static")
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    X = calibration(subject)
    reduce = not has_vnni()
    attends = any(layer.kind == "attention" for layer in subject.spec.layers(subject.signature))
    recipe = {
        "technique": "openvino-int8-static", "reduce_range": reduce, "calibration_rows": len(X),
        "attention_aware": attends,
    }  # fmt: skip
    with quiet(), find("openvino").signals_kept():
        model = nncf.quantize(
            model,
            nncf.Dataset([X[i : i + 1] for i in range(len(X))]),
            subset_size=len(X),
            target_device=nncf.TargetDevice.CPU,
            model_type=nncf.ModelType.TRANSFORMER if attends else None,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE if reduce else nncf.OverflowFix.DISABLE,
                # the mean of each row's extremes, which is the default, cuts off what rows differ in
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
                # of transformers it is the default, and puts outputs off by half of their size; without it by 3 %
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=-1, convolution=-1),
            ),
        )
    if all(node.get_type_name() != "FakeQuantize" for node in model.get_ops()):
        raise NotApplicable("NNCF finds nothing to quantize in this model; take openvino-float16")
    return _saved(model, subject, folder, recipe, claims="int8")


def _converted(subject: Subject, name: str) -> Any:
    """The model in OpenVINO's own form, for any number of rows."""
    _needs("openvino")
    find("openvino")  # before the library, which then tells nobody that it is imported
    import openvino

    reasons = {kind: subject.backend.cannot_export(kind, name) for kind in FORMATS}
    kind = next((kind for kind, reason in reasons.items() if not reason), None)
    if kind is None:
        raise NotApplicable(reasons["onnx"])
    shape, dtype = row(subject)
    with tempfile.TemporaryDirectory() as scratch, quiet():
        path = Path(scratch) / FORMATS[kind]
        subject.backend.export(subject.model, shape, dtype, kind, path)
        try:
            model = openvino.convert_model(path)
        except openvino.frontend.OpConversionFailure as error:
            unknown = sorted(set(re.findall(r"^-- aten\.(\w+)", str(error), re.MULTILINE)))
            raise NotApplicable(
                f"OpenVINO does not know {', '.join(unknown) or 'an operator'} of this model; take onnx"
            ) from None
        model.reshape({0: [-1, *shape]})
        # read again from a file of its own: what was converted may look into the one that is about to go
        openvino.save_model(model, Path(scratch) / ENTRY, compress_to_fp16=False)
        return openvino.Core().read_model(
            (Path(scratch) / ENTRY).read_bytes(), (Path(scratch) / ENTRY).with_suffix(".bin").read_bytes()
        )


def _saved(
    model: Any, subject: Subject, folder: Path, recipe: dict[str, Any], claims: str = "float32", stores: str = ""
) -> Artefact:
    """The files: the graph, and its weights beside it. On the CPU float64 is computed in float32 as well."""
    import openvino

    openvino.save_model(model, folder / ENTRY, compress_to_fp16=stores == "float16")
    return Artefact("openvino", ENTRY, *row(subject), recipe, claims, stores)


def _needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise NotApplicable(f"{package} is not installed; install it: python -m pip install 'lmkit[openvino]'")
