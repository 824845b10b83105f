"""Quantization: weights, and what flows between them, in eight bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.techniques import NotApplicable, Subject, technique
from lmkit.deploy.techniques.convert import export, slim
from lmkit.environment import has_vnni

CALIBRATION_ROWS = 256
"""Training rows on which the ranges of a static quantization are taken."""

OPERATIONS = ("Conv", "Gemm", "MatMul", "Gather", "MaxPool", "Relu")
"""What a static quantization quantizes: products, tables, and what stays in eight bits between two products. All else
keeps its type: a layer normalization or a softmax in 256 steps costs a transformer more than it saves."""


@technique("onnx-int8-dynamic", "quantize")
def dynamic(subject: Subject, folder: Path) -> Artefact:
    """Int8 on ONNX Runtime: weights beforehand, activations by their range in each call."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    reduce = not has_vnni()
    recipe = {"technique": "onnx-int8-dynamic", "reduce_range": reduce}
    whole = _prepared(subject, folder, recipe)
    quantize_dynamic(whole, folder / "model.onnx", weight_type=QuantType.QInt8, reduce_range=reduce, per_channel=True)
    return _finished(whole, folder / "model.onnx", subject, recipe)


@technique("onnx-int8-static", "quantize")
def static(subject: Subject, folder: Path) -> Artefact:
    """Int8 on ONNX Runtime: weights and activations, by ranges taken on training rows."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    X = calibration(subject)
    reduce = not has_vnni()
    recipe = {"technique": "onnx-int8-static", "reduce_range": reduce, "calibration_rows": len(X)}
    whole = _prepared(subject, folder, recipe)

    class Rows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            import onnxruntime

            name = onnxruntime.InferenceSession(whole, providers=["CPUExecutionProvider"]).get_inputs()[0].name
            self.left = iter([{name: X[i : i + 32]} for i in range(0, len(X), 32)])

        def get_next(self) -> Any:
            return next(self.left, None)

    quantize_static(
        whole, folder / "model.onnx", Rows(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=reduce,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=list(OPERATIONS),
    )  # fmt: skip
    return _finished(whole, folder / "model.onnx", subject, recipe)


def calibration(subject: Subject) -> Any:
    """Training rows on which ranges are taken (rows, …).

    Raises:
        NotApplicable: there is none, or they are not rows that the model takes.
    """
    import numpy as np

    from lmkit.deploy.techniques.baseline import row

    X, (shape, _) = np.asarray(subject.data.training.X[:CALIBRATION_ROWS]), row(subject)
    if not len(X):
        raise NotApplicable(
            f"calibration: given no training row, expected at least one of shape {shape} to take ranges on; "
            "give the training part some rows"
        )
    if X.shape[1:] != shape:
        raise NotApplicable(f"calibration: given training rows of shape {X.shape[1:]}, expected {shape}")
    if X.dtype.kind == "f" and (bad := int((~np.isfinite(X.reshape(len(X), -1))).any(1).sum())):
        raise NotApplicable(f"calibration: {bad} of {len(X)} training rows hold numbers that are not finite")
    return X


def _prepared(subject: Subject, folder: Path, recipe: dict[str, Any]) -> Path:
    """The model as ONNX with its shapes inferred, beside where the quantized one will be."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    export(subject, folder, "onnx", "onnxruntime", recipe)
    whole = folder / "whole.onnx"
    quant_pre_process(folder / "model.onnx", whole, skip_symbolic_shape=True)
    (folder / "model.onnx").unlink()
    return whole


def _finished(whole: Path, made: Path, subject: Subject, recipe: dict[str, Any]) -> Artefact:
    from lmkit.deploy.techniques.baseline import row

    whole.unlink()
    slim(made)
    return Artefact("onnxruntime", "model.onnx", *row(subject), recipe, "int8")
