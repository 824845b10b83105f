"""What a custom Keras model does, found in its graph: its last operation, and batch normalization over rows."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

_LAST = {
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    **dict.fromkeys(("MatMul", "BatchMatMulV2", "Conv1D", "Conv2D", "Conv3D", "BiasAdd"), "linear"),
}
"""Type of an operation of the graph → operation; see ``lmkit.specs.outputs.LAST_OPERATIONS``."""

_AFTER = {("Exp", "log_softmax"): "softmax", ("Log", "softmax"): "log_softmax", ("Log", "sigmoid"): "log_sigmoid"}
"""Operation, and the one before it → what the two are together."""

_SAME_VALUES = ("Identity", "Reshape", "Squeeze", "ExpandDims", "Cast", "Transpose", "StopGradient", "EnsureShape")
"""Operations that change the shape or the type of values, not the values."""


def last_operations(model: Any, X: np.ndarray) -> tuple[str, str]:
    """Return the last operation in training and in evaluation; empty where it is none of ``_LAST``.

    The model is traced, not run: nothing in it changes.
    """
    dtype = X.dtype if X.dtype.kind in "iu" else model.dtype
    shape = tf.TensorSpec((None, *X.shape[1:]), dtype)
    operations = []
    for training in (True, False):
        traced = tf.function(lambda x, training=training: model(x, training=training), autograph=False)
        graph = traced.get_concrete_function(shape).graph
        operations.append(_operation(graph.outputs[0]))
    return operations[0], operations[1]


def _operation(tensor: Any) -> str:
    """Return the operation of a tensor, or of the first before it that changes values."""
    for _ in range(16):
        kind = tensor.op.type
        if kind in _LAST:
            return _LAST[kind]
        if not len(tensor.op.inputs):
            return ""
        before = tensor.op.inputs[0]
        if kind in ("Exp", "Log"):
            return _AFTER.get((kind, _operation(before)), "")
        if kind in ("Add", "AddV2"):  # of a bias, which Keras adds apart
            return "linear" if _operation(before) == "linear" and tensor.op.inputs[1].shape.rank == 1 else ""
        if kind not in _SAME_VALUES:
            return ""
        tensor = before
    return ""


def batch_norm(model: Any) -> str:
    """Return the name of the first layer that normalizes over the rows of a batch; empty if there is none."""
    layers = getattr(model, "module", model)._flatten_layers(include_self=False)
    return next((v.name for v in layers if isinstance(v, keras.layers.BatchNormalization) and v.trainable), "")


def needs_several_rows(model: keras.Model) -> bool:
    """Return whether a layer normalizes over the rows of a batch alone: a single row has no variance."""
    every = model._flatten_layers(include_self=False)  # the public ``layers`` has no layers of layers
    layers = [layer for layer in every if isinstance(layer, keras.layers.BatchNormalization)]
    return any(getattr(layer.input_spec, "ndim", None) == 2 and layer.trainable for layer in layers)
