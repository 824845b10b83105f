"""Preprocessing inside an ONNX file: fill values, scaling and one-hot encoding become its first operations.

    rows (float64, as in the table) ──> fill ──> (x − shift) / scale ─┐
                                   └──> x = category?, one-hot ───────┴──> the model's own input

The preprocessing of the bundle is then that of numbers which are passed on as they are, so that ``load_bundle``, the
signature, the card and the configuration of a server follow without knowing of it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.bundle.verify import BundleError
from lmkit.exceptions import join_names
from lmkit.preprocessing.table import TablePreprocessing
from lmkit.system.optional import require

if TYPE_CHECKING:
    import numpy as np

INPUT, PREFIX = "rows", "lmkit_"
"""Name of the file's new input, and the beginning of the names in front of the model."""

OPSET = 13
"""The version of the operations from which Where, Equal and IsNaN take float64."""

MISSING = "(missing)"
"""The category of missing values, where the training part has some."""


def embed_preprocessing(folder: Path, artifact: Artifact, preprocessing: Any) -> tuple[Artifact, TablePreprocessing]:
    """Rewrite the ONNX file in ``folder`` so that it takes rows as in the table; return its record and preprocessing.

    Args:
        folder: the artifact's folder.
        artifact: its record.
        preprocessing: the run's preprocessing.

    Raises:
        BundleError: the artifact is no ONNX file, or a column is no number.
    """
    require("onnx", extra="deploy", purpose="raw rows")
    import onnx

    identity = _identity(preprocessing, artifact)
    path = folder / artifact.entry
    model = onnx.load(str(path), load_external_data=False)
    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if version < OPSET:
        raise BundleError(f"raw_rows: {artifact.entry} has operations of version {version}, expected {OPSET} or newer")
    weights = {tensor.name for tensor in model.graph.initializer}
    (model_input,) = (value for value in model.graph.input if value.name not in weights)
    name = INPUT if model_input.name != INPUT else f"raw_{INPUT}"  # exporters may call the model's own input so
    nodes, constants = _nodes(preprocessing, artifact, name, model_input.name)
    shape = [None, *identity.shape]
    rows = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, shape)
    model.graph.input.remove(model_input)
    model.graph.input.insert(0, rows)
    model.graph.initializer.extend(constants)
    own = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *own])
    onnx.save(model, str(path))
    recipe = {**artifact.recipe, "raw_rows": True}
    return replace(artifact, row=tuple(identity.shape), dtype="float64", recipe=recipe).write(folder), identity


def _identity(preprocessing: Any, artifact: Artifact) -> TablePreprocessing:
    """Return the preprocessing that passes numbers on; a missing one has the same fill value as in the file."""
    if artifact.runtime != "onnxruntime":
        raise BundleError(
            f"raw_rows: needs ONNX, given {artifact.entry} for {artifact.runtime}; use technique onnx, or bundle it "
            "without raw_rows"
        )
    if not isinstance(preprocessing, TablePreprocessing) or not (preprocessing.numbers or preprocessing.categories):
        raise BundleError("raw_rows: the rows of this run are not prepared by columns; bundle it without raw_rows")
    texts = [*preprocessing.formats, *(n for n, c in preprocessing.categories.items() if _numbers(c) is None)]
    if texts:
        raise BundleError(
            f"raw_rows: {join_names(map(repr, texts))} hold text or dates, and the file takes numbers alone; "
            f"train without them, data: {{drop: [{join_names(texts)}]}}, or bundle it without raw_rows"
        )
    numbers = {}
    for name in preprocessing.columns:
        if name in preprocessing.categories:
            fill = _number(preprocessing.categories[name]["fill"])
        else:
            fill = preprocessing.numbers[name]["fill"]
        numbers[name] = {"fill": fill, "shift": 0.0, "scale": 1.0}
    shape = preprocessing.shape if len(preprocessing.shape) > 1 else ()
    return replace(preprocessing, numbers=numbers, categories={}, shape=shape)


def _number(text: str) -> float | None:
    """Return the number that a category's name is; None for any other."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _numbers(category: dict[str, Any]) -> list[float] | None:
    """Return the categories of a column as numbers, NaN for missing values; None if one is a text."""
    values = [math.nan if text == MISSING else _number(text) for text in category["known"]]
    return None if None in values else [value for value in values if value is not None]


def _nodes(
    preprocessing: TablePreprocessing, artifact: Artifact, name: str, output: str
) -> tuple[list[Any], list[Any]]:
    """Return the operations from raw rows, called ``name``, to the input of the model, and their constants."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def add(operation: str, *inputs: Any, result: str = "", **attributes: Any) -> str:
        names = []
        for value in inputs:
            if isinstance(value, str):
                names.append(value)
                continue
            constants.append(numpy_helper.from_array(np.asarray(value), f"{PREFIX}constant_{len(constants)}"))
            names.append(constants[-1].name)
        name = result or f"{PREFIX}{len(nodes)}"
        nodes.append(helper.make_node(operation, names, [name], name=f"{PREFIX}{operation}_{len(nodes)}", **attributes))
        return name

    rows = add("Reshape", name, np.array([-1, len(preprocessing.columns)], dtype=np.int64))
    parts = []
    if preprocessing.numbers:
        fit = {key: _column_values(preprocessing, key) for key in ("fill", "shift", "scale")}
        positions = np.array([preprocessing.columns.index(name) for name in preprocessing.numbers], dtype=np.int64)
        values = add("Gather", rows, positions, axis=1)
        if not np.isnan(fit["fill"]).all():
            values = add("Where", add("IsNaN", values), fit["fill"][None], values)
        parts.append(add("Div", add("Sub", values, fit["shift"][None]), fit["scale"][None]))
    for label, category in preprocessing.categories.items():
        column = add("Gather", rows, np.array([preprocessing.columns.index(label)], dtype=np.int64), axis=1)
        fill, known = _number(category["fill"]), np.array(_numbers(category))
        if fill is not None:
            column = add("Where", add("IsNaN", column), np.array([[fill]]), column)
        equal = add("Equal", column, known[None])
        if np.isnan(known).any():
            equal = add("Or", equal, add("And", add("IsNaN", column), np.isnan(known)[None]))
        parts.append(add("Cast", equal, to=TensorProto.DOUBLE))
    prepared = add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(artifact.dtype))
    shape = np.array([-1, *artifact.row], dtype=np.int64)
    add("Reshape", add("Cast", prepared, to=kind), shape, result=output)
    return nodes, constants


def _column_values(preprocessing: TablePreprocessing, key: str) -> np.ndarray:
    """Return a fitted value of each number (numbers,); NaN for none."""
    import numpy as np

    return np.array([fit[key] for fit in preprocessing.numbers.values()], dtype=np.float64)
