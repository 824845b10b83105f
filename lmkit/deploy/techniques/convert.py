"""Conversion: the same numbers in a format that another, usually smaller, runtime executes.

An exporter that ends without an error may have written a file that no runtime opens, or one that gives other numbers.
So what it wrote is opened in its own runtime at once, and held to the framework's outputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.proof import TOLERANCE
from lmkit.deploy.runtimes import load
from lmkit.deploy.techniques import NotApplicable, Subject, technique
from lmkit.deploy.techniques.baseline import row
from lmkit.errors import LmkitError

if TYPE_CHECKING:
    import numpy as np

ENTRIES = {
    "onnx": "model.onnx", "program": "model.pt2", "saved_model": "model",
    "litert": "model.tflite", "litert_float16": "model.tflite",
}  # fmt: skip
"""Format → the file, or folder, that holds the model."""

NAMES = {
    "onnx": "ONNX", "program": "exported programs", "saved_model": "SavedModel",
    "litert": "LiteRT", "litert_float16": "LiteRT",
}  # fmt: skip
"""What people call a format."""

ROWS = (1, 3, 8)
"""Numbers of rows at which what was written is held to the framework's outputs."""

_UNKNOWN = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'|'(?:tf|tfl)\.(\w+)' op is neither")
"""How exporters say that they do not know an operator."""


class ExportFailed(LmkitError):
    """An exporter did not write the model: it ended with an error, or what it wrote is another model, or none."""


def export(
    subject: Subject, folder: Path, kind: str, runtime: str, recipe: dict[str, Any], *, tolerance: float = TOLERANCE
) -> Artefact:
    """The model as its framework's exporter writes it, held to the framework's outputs within ``tolerance``.

    Raises:
        NotApplicable: the framework does not write this format, or the exporter does not know an operator of the model.
        ExportFailed: what it wrote cannot be opened, or gives other outputs.
    """
    reason = subject.backend.cannot_export(kind, str(recipe["technique"]))
    if reason:
        raise NotApplicable(reason)
    shape, dtype = row(subject)
    path, model = folder / ENTRIES[kind], subject.model
    artefact = Artefact(runtime, path.name, shape, dtype, recipe, dtype if dtype.startswith("float") else "float32")
    if kind in subject.exports:
        path.write_bytes(subject.exports[kind])
        return artefact
    try:
        subject.backend.export(model, shape, dtype, kind, path)
    except Exception as error:
        if unknown := _UNKNOWN.search(str(error)):
            raise NotApplicable(_unknown(kind, [next(filter(None, unknown.groups()))])) from None
        raise ExportFailed(f"the exporter to {NAMES[kind]} stops: {_first(error)}") from error
    if kind == "onnx":
        _check_onnx(path)
        slim(path)
    _check_outputs(subject, model, folder, artefact, tolerance)
    if path.is_file():
        subject.exports[kind] = path.read_bytes()
    return artefact


def slim(path: Path) -> None:
    """Takes out of an ONNX file what no runtime needs: where in a program each node came from, shapes in between.

    PyTorch's exporter writes the former, quantizers the latter: together up to half of a small model's file.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    del graph.metadata_props[:], graph.value_info[:]
    for told in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        told.ClearField("doc_string")
    for told in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del told.metadata_props[:]
    path.write_bytes(model.SerializeToString())


def _check_onnx(path: Path) -> None:
    """Refuses a file that holds operators that ONNX does not have, or is no valid one."""
    import onnx

    try:
        model = onnx.load(path)
    except Exception as error:
        raise ExportFailed(f"the exporter to ONNX wrote no ONNX file: {_first(error)}") from error
    own = {(f.domain, f.name) for f in model.functions}
    used = {(node.domain, node.op_type) for part in (model.graph, *model.functions) for node in part.node}
    unknown = sorted(name for domain, name in used - own if not onnx.defs.has(name, domain))
    if unknown:
        raise NotApplicable(_unknown("onnx", unknown))
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        raise ExportFailed(f"the exporter to ONNX wrote an invalid file: {_first(error)}") from error


def _check_outputs(subject: Subject, model: Any, folder: Path, artefact: Artefact, tolerance: float) -> None:
    """Refuses what cannot be opened, or gives other outputs than the framework, with one row or several."""
    import numpy as np

    part = subject.data.test if len(subject.data.test.X) else subject.data.training
    X, given = np.asarray(part.X[: max(ROWS)]), f"what the exporter wrote as {artefact.entry}"
    threads = int(subject.backend.environment()["threads"])
    try:
        held(folder, artefact, lambda rows: subject.backend.predict(model, rows), X, tolerance, threads)
    except OtherOutputs as error:
        raise ExportFailed(f"{given} gives other outputs than the model, {error}") from None
    except Exception as error:
        raise ExportFailed(f"{given} does not run on {artefact.runtime}: {_first(error)}") from error


class OtherOutputs(ValueError):
    """What was made gives other outputs than what it was made of; the message says how far off."""


def held(
    folder: Path,
    artefact: Artefact,
    model: Callable[[np.ndarray], np.ndarray],
    X: np.ndarray,
    tolerance: float,
    threads: int = 1,
) -> None:
    """Holds an artefact to what it was made of, at one row and several: what compilers write is not always that.

    Raises:
        OtherOutputs: they differ by more than ``tolerance``, as a share of the largest output.
        Exception: it cannot be opened, or does not run.
    """
    import numpy as np

    loaded = load(folder, artefact, threads)
    largest = float(np.abs(np.asarray(model(X[: max(ROWS)]))).max()) or 1.0
    for n in ROWS:
        wanted, found = np.asarray(model(X[:n])), np.asarray(loaded.predict(X[:n]))
        if found.shape != wanted.shape:
            raise OtherOutputs(f"of shape {found.shape} instead of {wanted.shape}")
        off = float(np.abs(found - wanted).max()) / largest
        if not off <= tolerance:
            raise OtherOutputs(f"{off:.2g} of them off with {n} row{'s' if n > 1 else ''}")


def _unknown(kind: str, names: list[str]) -> str:
    operators = f"the operator{'s' if len(names) > 1 else ''} {', '.join(names)}"
    return f"the exporter to {NAMES[kind]} does not know {operators} of this model; choose another format"


def _first(error: Exception) -> str:
    """What an exporter says first: its messages go on for pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


@technique("onnx", "convert")
def onnx(subject: Subject, folder: Path) -> Artefact:
    """ONNX, any number of rows, on ONNX Runtime."""
    return export(subject, folder, "onnx", "onnxruntime", {"technique": "onnx"})


@technique("torch-export", "convert")
def torch_export(subject: Subject, folder: Path) -> Artefact:
    """PyTorch's exported program: the graph without the Python that made it."""
    return export(subject, folder, "program", "torch", {"technique": "torch-export"})


@technique("saved-model", "convert")
def saved_model(subject: Subject, folder: Path) -> Artefact:
    """TensorFlow's SavedModel, which TensorFlow Serving loads."""
    return export(subject, folder, "saved_model", "tensorflow", {"technique": "saved-model"})


@technique("litert", "convert")
def litert(subject: Subject, folder: Path) -> Artefact:
    """LiteRT (TensorFlow Lite), for phones and small devices."""
    return export(subject, folder, "litert", "litert", {"technique": "litert"})
