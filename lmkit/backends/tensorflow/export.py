"""A Keras model written in the formats that other runtimes load."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lmkit.backends.quiet import quiet
from lmkit.specs.signature import Shape
from lmkit.system.optional import describe_missing, missing_modules

WRITERS = {
    "onnx": ("onnx", "tf2onnx", "onnxruntime"),
    "saved_model": (),
    "litert": ("ai_edge_litert",),
    "litert_float16": ("ai_edge_litert",),
}
"""Format → the packages that write and read it."""


def cannot(kind: str, technique: str) -> str:
    """Return why ``kind`` cannot be written for a technique; empty where it can."""
    if kind not in WRITERS:
        return f"TensorFlow does not write {kind}; let PyTorch do it: other-framework+{technique}"
    missing = missing_modules(WRITERS[kind])
    return describe_missing(missing[0], "deploy") if missing else ""


def export(model: keras.Model, row: Shape, dtype: str, kind: str, path: Path) -> None:
    """Write ``model`` to ``path``, for any number of rows of shape ``row``; dropout is off."""
    signature = [tf.TensorSpec((None, *row), dtype, name="rows")]

    @tf.function(input_signature=signature, autograph=False)
    def forward(rows: tf.Tensor) -> tf.Tensor:
        return model(rows, training=False)

    with quiet():
        if kind == "saved_model":
            _save(forward, path)
        elif kind.startswith("litert"):
            # by way of a SavedModel: from the function alone the converter leaves the weights out, without a warning
            with tempfile.TemporaryDirectory() as folder:
                _save(forward, Path(folder))
                converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
                if kind == "litert_float16":
                    converter.optimizations = [tf.lite.Optimize.DEFAULT]
                    converter.target_spec.supported_types = [tf.float16]
                path.write_bytes(converter.convert())
        else:
            import tf2onnx

            _register_erfc()
            tf2onnx.convert.from_function(forward, signature, opset=18, output_path=str(path))


def _save(forward: Any, path: Path) -> None:
    """Save the function and the variables that it reads, each once: Keras's own archive holds them twice."""
    served = tf.train.Checkpoint()
    served.variables, served.serve = list(forward.get_concrete_function().variables), forward
    tf.saved_model.save(served, str(path), signatures=forward)


@functools.cache
def _register_erfc() -> None:
    """Register Erfc, of which the exact GELU consists, with tf2onnx: it writes a file that no runtime opens."""
    from tf2onnx.handler import tf_op
    from tf2onnx.utils import map_onnx_to_numpy_type

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
            """1 − erf(x)."""
            node.type = "Erf"
            one = ctx.make_const(f"{node.name}_one", np.ones((), map_onnx_to_numpy_type(ctx.get_dtype(node.output[0]))))
            ctx.insert_new_node_on_output("Sub", node.output[0], inputs=[one.output[0], node.output[0]])
