"""Quantization for ONNX Runtime: weights and activations in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.techniques.base import technique
from lmkit.deploy.techniques.convert import export, slim
from lmkit.deploy.trained_model import TrainedModel
from lmkit.system.environment import has_vnni
from lmkit.system.rpc import NotApplicable

CALIBRATION_ROWS = 256
"""Training rows from which the ranges of a static quantization are computed."""

OPERATIONS = ("Conv", "Gemm", "MatMul", "Gather", "MaxPool", "Relu")
"""Operations of a static quantization: products, tables, and operations between two products that lose nothing. Others
keep their type: a layer normalization or a softmax in 256 steps costs a transformer more than it saves."""

LARGE_SIZE = 4096
"""Size from which a float array is stored in int8."""


@technique("onnx-int8-dynamic", "quantize")
def dynamic(trained: TrainedModel, folder: Path) -> Artifact:
    """Int8 on ONNX Runtime: static weights, activations with their range in each call."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    reduce = not has_vnni()
    recipe = {"technique": "onnx-int8-dynamic", "reduce_range": reduce}
    prepared = _prepare(trained, folder, recipe)
    quantize_dynamic(
        prepared, folder / "model.onnx", weight_type=QuantType.QInt8, reduce_range=reduce, per_channel=True
    )
    return _finish(prepared, folder / "model.onnx", trained, recipe)


@technique("onnx-int8-static", "quantize")
def static(trained: TrainedModel, folder: Path) -> Artifact:
    """Int8 on ONNX Runtime: weights and activations, with ranges from training rows."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    X = calibration(trained)
    reduce = not has_vnni()
    recipe = {"technique": "onnx-int8-static", "reduce_range": reduce, "calibration_rows": len(X)}
    prepared = _prepare(trained, folder, recipe)

    class Rows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            import onnxruntime

            name = onnxruntime.InferenceSession(prepared, providers=["CPUExecutionProvider"]).get_inputs()[0].name
            self.left = iter([{name: X[i : i + 32]} for i in range(0, len(X), 32)])

        def get_next(self) -> Any:
            return next(self.left, None)

    quantize_static(
        prepared,
        folder / "model.onnx",
        Rows(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=reduce,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=list(OPERATIONS),
    )
    return _finish(prepared, folder / "model.onnx", trained, recipe)


def calibration(trained: TrainedModel) -> Any:
    """Return training rows for calibration (rows, …).

    Raises:
        NotApplicable: the training part is empty, or its rows have another shape or are not finite.
    """
    import numpy as np

    from lmkit.deploy.model_files import input_spec

    X, (shape, _) = np.asarray(trained.data.training.X[:CALIBRATION_ROWS]), input_spec(trained)
    if not len(X):
        raise NotApplicable(
            f"calibration: the training part is empty, expected at least one row of shape {shape}; "
            "enlarge the training part"
        )
    if X.shape[1:] != shape:
        raise NotApplicable(f"calibration: given training rows of shape {X.shape[1:]}, expected {shape}")
    if X.dtype.kind == "f" and (bad := int((~np.isfinite(X.reshape(len(X), -1))).any(1).sum())):
        raise NotApplicable(f"calibration: {bad} of {len(X)} training rows hold NaN or infinity")
    return X


def _prepare(trained: TrainedModel, folder: Path, recipe: dict[str, Any]) -> Path:
    """Export the model to ONNX with inferred shapes; return the path of that intermediate file."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    export(trained, folder, "onnx", "onnxruntime", recipe)
    prepared = folder / "whole.onnx"
    quant_pre_process(folder / "model.onnx", prepared, skip_symbolic_shape=True)
    (folder / "model.onnx").unlink()
    return prepared


def quantize_tables(path: Path) -> None:
    """Store the remaining large float arrays of a quantized file in int8, with one scale per row.

    ONNX Runtime quantizes the operands of products and look-ups. Arrays that are added as a whole, such as positional
    embeddings, it leaves in float32; here they are widened once, when the file is loaded.
    """
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    for tensor in [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2]:
        values = numpy_helper.to_array(tensor)
        if values.size < LARGE_SIZE:
            continue
        scale = np.maximum(np.abs(values).max(axis=1) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        integers = np.clip(np.rint(values / scale[:, None]), -127, 127).astype(np.int8)
        name = tensor.name
        graph.initializer.remove(tensor)
        graph.initializer.extend(
            [numpy_helper.from_array(integers, f"{name}_narrow"), numpy_helper.from_array(scale, f"{name}_scale")]
        )
        inputs = [f"{name}_narrow", f"{name}_scale"]
        graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [name], f"{name}_widened", axis=0))
    onnx.save(model, path)


def _finish(prepared: Path, path: Path, trained: TrainedModel, recipe: dict[str, Any]) -> Artifact:
    from lmkit.deploy.model_files import input_spec

    prepared.unlink()
    quantize_tables(path)
    slim(path)
    return Artifact("onnxruntime", "model.onnx", *input_spec(trained), recipe, "int8")
