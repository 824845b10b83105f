"""Quantization for LiteRT: of the file that the converter wrote, by AI Edge Quantizer.

TensorFlow's own converter quantizes all that it can, a layer normalization in 256 steps among it: that costs a
transformer far more than it saves. Here the products and what passes their numbers on are quantized, and no more. Four
bits are not offered: what runs then gives other numbers, and says nothing.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmkit.backends.quiet import quiet, without_notes
from lmkit.deploy.artefact import Artefact
from lmkit.deploy.techniques import NotApplicable, Subject, technique
from lmkit.deploy.techniques.convert import ENTRIES, export
from lmkit.deploy.techniques.quantize import calibration

PRODUCTS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
"""Operations that multiply by weights."""

TABLES = ("GATHER",)
"""What looks rows of a table up: the range of one is known beforehand."""

PASSING = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "RELU", "RESHAPE")
"""Operations that stay in eight bits between two products, and lose nothing."""

ROUNDED = 2e-2
"""Weights rounded to float16 may move an output by this share of the largest one, before the file is held to be wrong:
2⁻¹¹ a weight, and a deep model adds up."""


@technique("litert-int8-dynamic", "quantize")
def dynamic(subject: Subject, folder: Path) -> Artefact:
    """Int8 on LiteRT: weights beforehand, activations by the range of each row."""
    recipe = {"technique": "litert-int8-dynamic", "operations": [*PRODUCTS, *TABLES]}
    return _quantized(subject, folder, recipe, PRODUCTS, TABLES)


@technique("litert-int8-static", "quantize")
def static(subject: Subject, folder: Path) -> Artefact:
    """Int8 on LiteRT: weights and activations, by ranges taken on training rows."""
    names = (*PRODUCTS, *TABLES, *PASSING)
    recipe = {
        "technique": "litert-int8-static",
        "operations": list(names),
        "calibration_rows": len(calibration(subject)),
    }
    return _quantized(subject, folder, recipe, (), names)


@technique("litert-float16", "quantize")
def float16(subject: Subject, folder: Path) -> Artefact:
    """Weights kept in float16 on LiteRT: half the size; a CPU widens them as it loads, and computes in float32."""
    recipe: dict[str, Any] = {"technique": "litert-float16"}
    made = export(subject, folder, "litert_float16", "litert", recipe, tolerance=ROUNDED)
    return replace(made, claims="float32", stores="float16")


def _quantized(
    subject: Subject, folder: Path, recipe: dict[str, Any], by_row: tuple[str, ...], by_range: tuple[str, ...]
) -> Artefact:
    """The converter's file with these operations quantized: by the range of each row, and by one known beforehand."""
    artefact = export(subject, folder, "litert", "litert", recipe)
    if importlib.util.find_spec("ai_edge_quantizer") is None:
        raise NotApplicable("ai_edge_quantizer is not installed; install it: python -m pip install 'lmkit[deploy]'")
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe_manager
    from ai_edge_quantizer.qtyping import TFLOperationName

    path, asked = folder / ENTRIES["litert"], recipe_manager.RecipeManager()
    with quiet(), without_notes():
        for name in by_row:
            asked.add_dynamic_config(".*", TFLOperationName(name), num_bits=8)
        for name in by_range:
            asked.add_static_config(".*", TFLOperationName(name), activation_num_bits=8, weight_num_bits=8)
        worker = quantizer.Quantizer(str(path))
        worker.load_quantization_recipe(asked.get_quantization_recipe())
        ((signature, names),) = Interpreter(str(path)).get_signature_list().items()
        # all rows at once: of several calls the quantizer takes a moving average, and cuts what is rare
        ranges = worker.calibrate({signature: [{names["inputs"][0]: calibration(subject)}]})
        path.write_bytes(bytes(worker.quantize(ranges).quantized_model))
    return replace(artefact, claims="int8")
