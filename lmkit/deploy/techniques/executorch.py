"""ExecuTorch, PyTorch's programs for phones and small devices, whose heavy operations XNNPACK computes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from lmkit.backends.quiet import quiet, without_notes
from lmkit.deploy.artefact import Artefact
from lmkit.deploy.techniques import NotApplicable, Subject, technique
from lmkit.deploy.techniques.baseline import row
from lmkit.deploy.techniques.quantize import calibration

ENTRY = "model.pte"

MOST_ROWS = 64
"""Rows that a program takes at once, for which its memory is planned; more are given in pieces."""


@technique("executorch", "convert")
def executorch(subject: Subject, folder: Path) -> Artefact:
    """ExecuTorch, on XNNPACK where that has the operation; rows in pieces where there are many."""
    module = _module(subject, "executorch")
    return _lowered(module, subject, folder, {"technique": "executorch"})


@technique("executorch-int8-static", "quantize")
def static(subject: Subject, folder: Path) -> Artefact:
    """Int8 on ExecuTorch: weights and activations of what XNNPACK computes, by ranges taken on training rows."""
    module = _module(subject, "executorch-int8-static")
    import torch

    X = calibration(subject)
    recipe = {"technique": "executorch-int8-static", "calibration_rows": len(X)}
    with quiet(), without_notes():
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(_exported(module, subject, MOST_ROWS).module(), quantizer)
        for i in range(0, len(X), MOST_ROWS):
            prepared(torch.from_numpy(X[i : i + MOST_ROWS]))
        module = convert_pt2e(prepared)
    return _lowered(module, subject, folder, recipe, "int8")


def _module(subject: Subject, name: str) -> Any:
    """The model as PyTorch's own."""
    reason = subject.backend.cannot_export("program", name)
    if reason:
        raise NotApplicable(reason)
    if importlib.util.find_spec("executorch") is None:
        raise NotApplicable("executorch is not installed; install it: python -m pip install 'lmkit[executorch]'")
    return subject.model.eval().cpu()


def _exported(module: Any, subject: Subject, most: int) -> Any:
    """Its graph, for up to ``most`` rows; traced at the most, for what is decided by their number."""
    import torch

    shape, dtype = row(subject)
    rows = torch.export.Dim("rows", min=1, max=most) if most > 1 else None
    example = torch.zeros((most, *shape), dtype=getattr(torch, dtype))
    return torch.export.export(module, (example,), dynamic_shapes=({0: rows} if rows else {},))


def _lowered(
    module: Any, subject: Subject, folder: Path, recipe: dict[str, Any], claims: str = "float32"
) -> Artefact:  # fmt: skip
    """The program, for several rows at once where the lowering leaves their number open, and else for one."""
    with quiet(), without_notes():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        for most in (MOST_ROWS, 1):
            edge = to_edge_transform_and_lower(_exported(module, subject, most), partitioner=[XnnpackPartitioner()])
            open_ = [r for r in edge.exported_program().range_constraints.values() if r.lower < r.upper == most]
            if open_ or most == 1:
                break
        buffer = edge.to_executorch().buffer
    (folder / ENTRY).write_bytes(buffer)
    told = {"most_rows": most}
    return Artefact("executorch", ENTRY, *row(subject), {**recipe, **told}, claims, options=told)
