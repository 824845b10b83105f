"""Quantization for LiteRT: AI Edge Quantizer applied to the converter's file.

TensorFlow's own converter quantizes every operation that it can, such as layer normalizations, which costs a
transformer far more accuracy than it saves time. Here only products, tables and the operations between two products
are quantized. Four bits are not offered, since LiteRT then computes wrong numbers without an error.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from lmkit.backends.quiet import quiet, without_notes
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.techniques.base import technique
from lmkit.deploy.techniques.convert import ENTRIES, export
from lmkit.deploy.techniques.quantize import calibration
from lmkit.deploy.trained_model import TrainedModel
from lmkit.system.optional import require
from lmkit.system.rpc import NotApplicable

PACKAGES = ("ai-edge-quantizer",)
"""Packages that build these variants."""

PRODUCTS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
"""Operations that multiply by weights."""

TABLES = ("GATHER",)
"""Operations that look up rows of a table, whose range is static."""

PASSING = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "RELU", "RESHAPE")
"""Operations between two products that lose nothing in eight bits."""

ROUNDING_TOLERANCE = 2e-2
"""Largest difference of outputs with float16 weights, as a share of the largest output: 2⁻¹¹ per weight, which adds up
in a deep model."""


@technique("litert-int8-dynamic", "quantize")
def dynamic(trained: TrainedModel, folder: Path) -> Artifact:
    """Int8 on LiteRT: static weights, activations with the range of each row."""
    recipe = {"technique": "litert-int8-dynamic", "operations": [*PRODUCTS, *TABLES]}
    return _quantize(trained, folder, recipe, PRODUCTS, TABLES)


@technique("litert-int8-static", "quantize")
def static(trained: TrainedModel, folder: Path) -> Artifact:
    """Int8 on LiteRT: weights and activations, with ranges from training rows."""
    names = (*PRODUCTS, *TABLES, *PASSING)
    recipe = {
        "technique": "litert-int8-static",
        "operations": list(names),
        "calibration_rows": len(calibration(trained)),
    }
    return _quantize(trained, folder, recipe, (), names)


@technique("litert-float16", "quantize")
def float16(trained: TrainedModel, folder: Path) -> Artifact:
    """Weights stored in float16 on LiteRT: half the size; widened at load time, computed in float32 on the CPU."""
    recipe: dict[str, Any] = {"technique": "litert-float16"}
    artifact = export(trained, folder, "litert_float16", "litert", recipe, tolerance=ROUNDING_TOLERANCE)
    return replace(artifact, compute_dtype="float32", weight_dtype="float16")


def _quantize(
    trained: TrainedModel, folder: Path, recipe: dict[str, Any], dynamic: tuple[str, ...], static: tuple[str, ...]
) -> Artifact:
    """Export the model; quantize operations, ``dynamic`` by the range of each row, ``static`` by calibrated ones."""
    artifact = export(trained, folder, "litert", "litert", recipe)
    require("ai_edge_quantizer", extra="deploy", error=NotApplicable)
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe_manager
    from ai_edge_quantizer.qtyping import TFLOperationName

    path, manager = folder / ENTRIES["litert"], recipe_manager.RecipeManager()
    with quiet(), without_notes():
        for name in dynamic:
            manager.add_dynamic_config(".*", TFLOperationName(name), num_bits=8)
        for name in static:
            manager.add_static_config(".*", TFLOperationName(name), activation_num_bits=8, weight_num_bits=8)
        worker = quantizer.Quantizer(str(path))
        worker.load_quantization_recipe(manager.get_quantization_recipe())
        ((signature, names),) = Interpreter(str(path)).get_signature_list().items()
        # all rows in one call: over several the quantizer takes a moving average, which clips rare values
        ranges = worker.calibrate({signature: [{names["inputs"][0]: calibration(trained)}]})
        path.write_bytes(bytes(worker.quantize(ranges).quantized_model))
    return replace(artifact, compute_dtype="int8")
