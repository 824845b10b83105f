"""A module written in the formats that other runtimes load."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from lmkit.backends.quiet import quiet
from lmkit.specs.signature import Shape

NEEDS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"), "program": (), "package": (),
    "int8_weights": ("torchao",), "int8_package": ("torchao",),
}  # fmt: skip
"""Format → the packages that write it, and that read it again."""

EXTRAS = {"torchao": "torchao"}


def cannot(kind: str, technique: str) -> str:
    """Why ``kind`` cannot be written for a technique; empty where it can."""
    if kind not in NEEDS:
        return f"PyTorch does not write {kind}; let TensorFlow do it: other-framework+{technique}"
    absent = [name for name in NEEDS[kind] if importlib.util.find_spec(name) is None]
    extra = EXTRAS.get(absent[0], "deploy") if absent else ""
    return f"{absent[0]} is not installed; install it: python -m pip install 'lmkit[{extra}]'" if absent else ""


def export(model: torch.nn.Module, row: Shape, dtype: str, kind: str, path: Path) -> None:
    """Writes ``model`` to ``path``, for any number of rows of shape ``row``.

    The graph is traced at two rows, in inference mode: dropout is off.
    """
    model = model.eval().cpu()
    example = torch.zeros((2, *row), dtype=getattr(torch, dtype))
    rows: dict[int, Any] = {0: "rows" if kind == "onnx" else torch.export.Dim.DYNAMIC}
    with quiet():
        if kind == "onnx":
            torch.onnx.export(model, (example,), path, dynamo=True, dynamic_shapes=(rows,), external_data=False)
        else:
            torch.export.save(torch.export.export(model, (example,), dynamic_shapes=(rows,)), path)
