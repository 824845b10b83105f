"""A Keras model written in the formats that other runtimes load."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from lmkit.backends.quiet import quiet
from lmkit.backends.tensorflow.models.own import OwnModel
from lmkit.specs.signature import Shape

NEEDS = {"onnx": ("onnx", "tf2onnx"), "saved_model": (), "litert": ("ai_edge_litert",)}
"""Format → the packages that write it, or that read it again."""

EXTRAS = {"onnx": "deploy", "tf2onnx": "deploy", "ai_edge_litert": "litert"}


def cannot(kind: str) -> str:
    """Why ``kind`` cannot be written; empty where it can."""
    if kind not in NEEDS:
        return f"TensorFlow does not write {kind}; convert the run to PyTorch first: lmkit convert RUN torch"
    absent = [name for name in NEEDS[kind] if importlib.util.find_spec(name) is None]
    extra = EXTRAS.get(absent[0], "deploy") if absent else ""
    return f"{absent[0]} is not installed; install it: python -m pip install 'lmkit[{extra}]'" if absent else ""


def export(model: keras.Model, row: Shape, dtype: str, kind: str, path: Path) -> None:
    """Writes ``model`` to ``path``, for any number of rows of shape ``row``; dropout is off."""
    given = [tf.TensorSpec((None, *row), dtype, name="rows")]

    @tf.function(input_signature=given, autograph=False)
    def forward(rows: tf.Tensor) -> tf.Tensor:
        return model(rows, training=False)

    with quiet():
        if kind == "saved_model":
            _save(model, forward, path)
        elif kind == "litert":
            # by way of a SavedModel: from the function alone the converter leaves the weights out, and says nothing
            with tempfile.TemporaryDirectory() as folder:
                _save(model, forward, Path(folder))
                path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"]).convert())
        else:
            import tf2onnx

            tf2onnx.convert.from_function(forward, given, opset=18, output_path=str(path))


def _save(model: keras.Model, forward: Any, path: Path) -> None:
    archive = keras.export.ExportArchive()
    archive.track(model.own if isinstance(model, OwnModel) else model)
    archive.add_endpoint("serve", forward)
    archive.write_out(str(path), verbose=False)
