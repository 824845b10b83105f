"""ExecuTorch, PyTorch's runtime for phones and small devices, with the operations of XNNPACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmkit.backends.quiet import quiet, without_notes
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.model_files import input_spec
from lmkit.deploy.techniques.base import technique
from lmkit.deploy.techniques.convert import check_artifact
from lmkit.deploy.techniques.quantize import calibration
from lmkit.deploy.trained_model import TrainedModel
from lmkit.system.optional import require
from lmkit.system.rpc import NotApplicable

PACKAGES = ("executorch", "torchao")
"""Packages that build these variants."""

ENTRY = "model.pte"

MAX_ROWS = 64
"""Rows per call for which a program's memory is planned; the runtime splits more rows into pieces."""


@technique("executorch", "convert")
def executorch(trained: TrainedModel, folder: Path) -> Artifact:
    """ExecuTorch, on XNNPACK where it has the operation; many rows in several calls."""
    module = _torch_module(trained, "executorch")
    artifact = _lower(module, trained, folder, {"technique": "executorch"})
    check_artifact(trained, module, folder, artifact)
    return artifact


@technique("executorch-int8-static", "quantize")
def static(trained: TrainedModel, folder: Path) -> Artifact:
    """Int8 on ExecuTorch: weights and activations of XNNPACK's operations, with ranges from training rows."""
    module = _torch_module(trained, "executorch-int8-static")
    import torch

    X = calibration(trained)
    recipe = {"technique": "executorch-int8-static", "calibration_rows": len(X)}
    with quiet(), without_notes():
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(_export(module, trained, MAX_ROWS).module(), quantizer)
        for i in range(0, len(X), MAX_ROWS):
            prepared(torch.from_numpy(X[i : i + MAX_ROWS]))
        module = convert_pt2e(prepared)
    return _lower(module, trained, folder, recipe, "int8")


def _torch_module(trained: TrainedModel, name: str) -> Any:
    """Return the model as a PyTorch module.

    Raises:
        NotApplicable: the model is not a PyTorch module, or executorch is not installed.
    """
    reason = trained.backend.cannot_export("program", name)
    if reason:
        raise NotApplicable(reason)
    require("executorch", extra="executorch", error=NotApplicable)
    return trained.model.cpu().eval()  # a new instance


def _export(module: Any, trained: TrainedModel, max_rows: int) -> Any:
    """Export the graph for up to ``max_rows`` rows, traced with that many."""
    import torch

    shape, dtype = input_spec(trained)
    rows = torch.export.Dim("rows", min=1, max=max_rows) if max_rows > 1 else None
    example = torch.zeros((max_rows, *shape), dtype=getattr(torch, dtype))
    return torch.export.export(module, (example,), dynamic_shapes=({0: rows} if rows else {},))


def _lower(
    module: Any, trained: TrainedModel, folder: Path, recipe: dict[str, Any], compute_dtype: str = "float32"
) -> Artifact:
    """Write the program, for up to ``MAX_ROWS`` rows per call if lowering keeps them dynamic, else for one."""
    with quiet(), without_notes():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        for max_rows in (MAX_ROWS, 1):
            edge = to_edge_transform_and_lower(_export(module, trained, max_rows), partitioner=[XnnpackPartitioner()])
            dynamic = [r for r in edge.exported_program().range_constraints.values() if r.lower < r.upper == max_rows]
            if dynamic or max_rows == 1:
                break
        buffer = edge.to_executorch().buffer
    (folder / ENTRY).write_bytes(buffer)
    options = {"most_rows": max_rows}
    return Artifact("executorch", ENTRY, *input_spec(trained), {**recipe, **options}, compute_dtype, options=options)
