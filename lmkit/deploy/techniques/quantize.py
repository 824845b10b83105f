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


LARGE = 4096
"""Numbers from which a float array is kept in eight bits."""


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


def narrow_tables(path: Path) -> None:
    """Keeps in eight bits, each row with a scale of its own, the large float arrays that quantizing has left in a file.

    ONNX Runtime quantizes what products and look-ups read. What is added whole, as the places of a text are, it leaves;
    here it is widened once, while the file loads.
    """
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    for tensor in [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2]:
        values = numpy_helper.to_array(tensor)
        if values.size < LARGE:
            continue
        scale = np.maximum(np.abs(values).max(axis=1) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        whole = np.clip(np.rint(values / scale[:, None]), -127, 127).astype(np.int8)
        name = tensor.name
        graph.initializer.remove(tensor)
        graph.initializer.extend(
            [numpy_helper.from_array(whole, f"{name}_narrow"), numpy_helper.from_array(scale, f"{name}_scale")]
        )
        inputs = [f"{name}_narrow", f"{name}_scale"]
        graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [name], f"{name}_widened", axis=0))
    onnx.save(model, path)


def _finished(whole: Path, made: Path, subject: Subject, recipe: dict[str, Any]) -> Artefact:
    from lmkit.deploy.techniques.baseline import row

    whole.unlink()
    narrow_tables(made)
    slim(made)
    return Artefact("onnxruntime", "model.onnx", *row(subject), recipe, "int8")
