"""A module written in the formats that other runtimes load."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lmkit.backends.quiet import quiet
from lmkit.specs.signature import Shape
from lmkit.system.optional import describe_missing, missing_modules

WRITERS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "program": (),
    "package": (),
    "int8_weights": ("torchao",),
    "int8_package": ("torchao",),
}
"""Format → the packages that write and read it."""

EXTRAS = {"torchao": "torchao"}


def cannot(kind: str, technique: str) -> str:
    """Return why ``kind`` cannot be written for a technique; empty where it can."""
    if kind not in WRITERS:
        return f"PyTorch does not write {kind}; let TensorFlow do it: other-framework+{technique}"
    missing = missing_modules(WRITERS[kind])
    return describe_missing(missing[0], EXTRAS.get(missing[0], "deploy")) if missing else ""


@contextlib.contextmanager
def for_inference(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Yield a model on the CPU in inference mode: itself, put back afterwards, or a copy of one on another device."""
    parameter = next(model.parameters(), None)
    if parameter is not None and parameter.device.type != "cpu":
        yield copy.deepcopy(model).cpu().eval()
        return
    training = {module: module.training for module in model.modules()}
    try:
        yield model.eval()
    finally:
        for module, mode in training.items():
            module.training = mode


def export(model: torch.nn.Module, row: Shape, dtype: str, kind: str, path: Path) -> None:
    """Write ``model`` to ``path``, for any number of rows of shape ``row``.

    The graph is traced at two rows, in inference mode: dropout is off.
    """
    example = torch.zeros((2, *row), dtype=getattr(torch, dtype))
    rows: dict[int, Any] = {0: "rows" if kind == "onnx" else torch.export.Dim.DYNAMIC}
    with for_inference(model) as model, quiet():
        if kind == "onnx":
            torch.onnx.export(model, (example,), path, dynamo=True, dynamic_shapes=(rows,), external_data=False)
        else:
            torch.export.save(torch.export.export(model, (example,), dynamic_shapes=(rows,)), path)
