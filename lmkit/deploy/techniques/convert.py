"""Conversion: the same model in the format of another, usually smaller, runtime.

An exporter that returns without an error may have written a file that no runtime loads, or one that computes other
outputs. Each exported file is therefore loaded in its runtime and compared with the framework's outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.backends.facts import EXPORT_TECHNIQUES
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.model_files import input_spec
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques.base import TOLERANCE, technique
from lmkit.deploy.techniques.failures import ConversionFailed, alternative, explain
from lmkit.deploy.trained_model import TrainedModel
from lmkit.display.units import format_bytes
from lmkit.system.rpc import NotApplicable

if TYPE_CHECKING:
    import numpy as np

PACKAGES = ("onnx", "onnxscript", "onnxruntime", "tf2onnx", "ai-edge-litert")
"""Packages that build these variants."""

ENTRIES = {
    "onnx": "model.onnx",
    "program": "model.pt2",
    "saved_model": "model",
    "litert": "model.tflite",
    "litert_float16": "model.tflite",
}
"""Format → file or folder that holds the model."""

NAMES = {
    "onnx": "ONNX",
    "program": "exported programs",
    "saved_model": "SavedModel",
    "litert": "LiteRT",
    "litert_float16": "LiteRT",
}
"""Format → its name in messages."""

ROWS = (1, 3, 8)
"""Batch sizes at which outputs are compared with the framework's."""

MAX_BYTES = {"onnx": 2**31, "litert": 2**31, "litert_float16": 2**32}
"""Format whose file holds the weights → bytes of float32 weights from which a file cannot be written."""


class ExportFailed(ConversionFailed):
    """An exporter raised an error, or wrote an invalid file or another model."""


def export(
    trained: TrainedModel,
    folder: Path,
    kind: str,
    runtime: str,
    recipe: dict[str, Any],
    *,
    tolerance: float = TOLERANCE,
) -> Artifact:
    """Export the model by its framework, and compare the outputs with the framework's.

    Args:
        trained: the model.
        folder: receives the file.
        kind: format, a key of ``ENTRIES``.
        runtime: name of the runtime that loads the file.
        recipe: recipe of the artifact.
        tolerance: largest difference, as a share of the largest output.

    Raises:
        NotApplicable: the framework cannot write this format, or does not support an operator of the model.
        ExportFailed: the file cannot be loaded, or computes other outputs.
    """
    reason = trained.backend.cannot_export(kind, str(recipe["technique"]))
    if reason:
        raise NotApplicable(reason)
    _check_size(trained, kind)
    shape, dtype = input_spec(trained)
    path, model = folder / ENTRIES[kind], trained.model
    artifact = Artifact(runtime, path.name, shape, dtype, recipe, dtype if dtype.startswith("float") else "float32")
    if kind in trained.exports:
        path.write_bytes(trained.exports[kind])
        return artifact
    try:
        trained.backend.export(model, shape, dtype, kind, path)
    except Exception as error:
        failure = explain(error)
        if failure.operators:
            raise NotApplicable(_describe_unknown(kind, failure.operators)) from None
        raise ExportFailed(
            f"the exporter to {NAMES[kind]} failed: {failure.reason}; {_use_instead(trained, kind)}"
        ) from error
    if kind == "onnx":
        _check_onnx(path, _use_instead(trained, kind))
        slim(path)
    check_artifact(trained, model, folder, artifact, tolerance)
    if path.is_file():
        trained.exports[kind] = path.read_bytes()
    return artifact


def slim(path: Path) -> None:
    """Remove from an ONNX file what no runtime needs: the nodes' source locations and the intermediate shapes.

    PyTorch's exporter writes the former, quantizers the latter: together up to half of a small model's file.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    del graph.metadata_props[:], graph.value_info[:]
    for message in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        message.ClearField("doc_string")
    for message in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del message.metadata_props[:]
    path.write_bytes(model.SerializeToString())


def _check_size(trained: TrainedModel, kind: str) -> None:
    """Raise NotApplicable if the format cannot hold the weights."""
    size = sum(values.nbytes for values in trained.weights.values())
    if size >= MAX_BYTES.get(kind, math.inf):
        raise NotApplicable(
            f"{NAMES[kind]} holds a model in one file of at most 2 GB, and the weights of this one are "
            f"{format_bytes(size)}; {_use_instead(trained, kind)}"
        )


def _use_instead(trained: TrainedModel, kind: str) -> str:
    """Return what to use where a format cannot be written."""
    exported = EXPORT_TECHNIQUES[trained.framework]
    other = {"onnx": exported, "litert": "onnx", "litert_float16": "onnx"}.get(kind, "onnx")
    return f"use {other} instead"


def _check_onnx(path: Path, instead: str) -> None:
    """Raise if a file is invalid, or holds operators that ONNX does not define."""
    import onnx

    try:
        model = onnx.load(path)
    except Exception as error:
        raise ExportFailed(f"the exporter to ONNX wrote a file that is no model; {instead}") from error
    defined = {(f.domain, f.name) for f in model.functions}
    used = {(node.domain, node.op_type) for part in (model.graph, *model.functions) for node in part.node}
    unknown = sorted(name for domain, name in used - defined if not onnx.defs.has(name, domain))
    if unknown:
        raise NotApplicable(_describe_unknown("onnx", unknown))
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        raise ExportFailed(f"the exporter to ONNX wrote an invalid file; {instead}") from error


def check_artifact(
    trained: TrainedModel, model: Any, folder: Path, artifact: Artifact, tolerance: float = TOLERANCE
) -> None:
    """Raise ExportFailed if the exported file cannot be loaded, or its outputs differ from the framework's."""
    import numpy as np

    part = trained.data.test if len(trained.data.test.X) else trained.data.training
    X, description = np.asarray(part.X[: max(ROWS)]), f"the exported {artifact.entry}"
    threads = int(trained.backend.environment()["threads"])
    try:
        check_outputs(folder, artifact, lambda rows: trained.backend.predict(model, rows), X, tolerance, threads)
    except DifferentOutputs as error:
        raise ExportFailed(f"{description} differs from the model, {error}") from None
    except Exception as error:
        instead = alternative(str(artifact.recipe["technique"]), "convert", trained.framework)
        raise ExportFailed(
            f"{description} does not run on {artifact.runtime}: {explain(error).reason}; use {instead} instead"
        ) from error


class DifferentOutputs(ValueError):
    """An artifact's outputs differ from its model's; the message says by how much."""


def check_outputs(
    folder: Path,
    artifact: Artifact,
    model: Callable[[np.ndarray], np.ndarray],
    X: np.ndarray,
    tolerance: float,
    threads: int = 1,
) -> None:
    """Compare an artifact's outputs with its model's, at the batch sizes ``ROWS``.

    Args:
        folder: the artifact's folder.
        artifact: the artifact.
        model: rows → expected outputs.
        X: rows.
        tolerance: largest difference, as a share of the largest output.
        threads: threads of the runtime.

    Raises:
        DifferentOutputs: the outputs differ by more than ``tolerance``.
        Exception: the artifact cannot be loaded or run.
    """
    import numpy as np

    loaded = load(folder, artifact, threads)
    largest = float(np.abs(np.asarray(model(X[: max(ROWS)]))).max()) or 1.0
    for rows in ROWS:
        expected, outputs = np.asarray(model(X[:rows])), np.asarray(loaded.predict(X[:rows]))
        if outputs.shape != expected.shape:
            raise DifferentOutputs(f"with outputs of shape {outputs.shape} instead of {expected.shape}")
        difference = float(np.abs(outputs - expected).max()) / largest
        if not difference <= tolerance:
            raise DifferentOutputs(
                f"by {difference:.2g} of the largest output with {rows} row{'s' if rows > 1 else ''}"
            )


def _describe_unknown(kind: str, names: Sequence[str]) -> str:
    operators = f"the operator{'s' if len(names) > 1 else ''} {', '.join(names)}"
    return f"the exporter to {NAMES[kind]} does not support {operators} of this model; choose another format"


@technique("onnx", "convert")
def onnx(trained: TrainedModel, folder: Path) -> Artifact:
    """ONNX, any number of rows, on ONNX Runtime."""
    return export(trained, folder, "onnx", "onnxruntime", {"technique": "onnx"})


@technique("torch-export", "convert")
def torch_export(trained: TrainedModel, folder: Path) -> Artifact:
    """PyTorch's exported program: the graph without its Python code."""
    return export(trained, folder, "program", "torch", {"technique": "torch-export"})


@technique("saved-model", "convert")
def saved_model(trained: TrainedModel, folder: Path) -> Artifact:
    """TensorFlow's SavedModel, which TensorFlow Serving loads."""
    return export(trained, folder, "saved_model", "tensorflow", {"technique": "saved-model"})


@technique("litert", "convert")
def litert(trained: TrainedModel, folder: Path) -> Artifact:
    """LiteRT (TensorFlow Lite), for phones and small devices."""
    return export(trained, folder, "litert", "litert", {"technique": "litert"})
