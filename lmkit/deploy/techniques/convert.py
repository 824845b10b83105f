"""Conversion: the same numbers in a format that another, usually smaller, runtime executes."""

from __future__ import annotations

from pathlib import Path

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.techniques import NotApplicable, Subject, technique
from lmkit.deploy.techniques.baseline import row

ENTRIES = {"onnx": "model.onnx", "program": "model.pt2", "saved_model": "model", "litert": "model.tflite"}
"""Format → the file, or folder, that holds the model."""


def export(subject: Subject, folder: Path, kind: str, runtime: str, recipe: dict[str, object]) -> Artefact:
    """The model as its framework's exporter writes it."""
    reason = subject.backend.cannot_export(kind)
    if reason:
        raise NotApplicable(reason)
    shape, dtype = row(subject)
    subject.backend.export(subject.model, shape, dtype, kind, folder / ENTRIES[kind])
    return Artefact(runtime, ENTRIES[kind], shape, dtype, recipe, dtype if dtype.startswith("float") else "float32")


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
