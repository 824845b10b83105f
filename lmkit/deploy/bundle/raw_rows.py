"""Preprocessing inside an ONNX file: fill values, scaling and one-hot encoding, or tokens, become its first operations.

    rows (float64, as in the table) ──> fill ──> (x − shift) / scale ─┐
                                   └──> x = category?, one-hot ───────┴──> the model's own input

Where a column holds names, dates or amounts, rows are texts, numbers among them, and each column is read first
(``raw_text``). The preprocessing of the bundle is then that of values which are passed on as they are, so that
``load_bundle``, the signature, the card and the configuration of a server follow without knowing of it. Of a text model
whose tokens are bytes, a row is a text (``raw_bytes``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.bundle.raw_bytes import DOMAINS, read_tokens
from lmkit.deploy.bundle.raw_text import OPSET, Nodes, read_column, unsupported
from lmkit.deploy.bundle.verify import BundleError
from lmkit.exceptions import join_names
from lmkit.preprocessing.table import TablePreprocessing
from lmkit.preprocessing.text import TextPreprocessing
from lmkit.system.optional import require

if TYPE_CHECKING:
    import numpy as np

Preprocessing = TablePreprocessing | TextPreprocessing

INPUT, PREFIX = "rows", "lmkit_"
"""Name of the file's new input, and the beginning of the names in front of the model."""

NUMBER_OPSET = 13
"""The version of the operations from which Where, Equal and IsNaN take float64."""

MISSING = "(missing)"
"""The category of missing values, where the training part has some."""


def embed_preprocessing(folder: Path, artifact: Artifact, preprocessing: Any) -> tuple[Artifact, Preprocessing]:
    """Rewrite the ONNX file in ``folder`` so that it takes rows as in the table; return its record and preprocessing.

    Args:
        folder: the artifact's folder.
        artifact: its record.
        preprocessing: the run's preprocessing.

    Raises:
        BundleError: the artifact is no ONNX file, or a column cannot be read inside one.
    """
    require("onnx", extra="deploy", purpose="raw rows")
    import onnx

    identity = as_raw(preprocessing, artifact)
    texts = isinstance(identity, TextPreprocessing) or bool(identity.as_text)
    path = folder / artifact.entry
    model = _with_version(onnx.load(str(path), load_external_data=False), OPSET if texts else NUMBER_OPSET)
    weights = {tensor.name for tensor in model.graph.initializer}
    (model_input,) = (value for value in model.graph.input if value.name not in weights)
    name = INPUT if model_input.name != INPUT else f"raw_{INPUT}"  # exporters may call the model's own input so
    graph = Nodes(PREFIX)
    if isinstance(preprocessing, TextPreprocessing):
        parts = [read_tokens(graph, name, preprocessing.length, preprocessing.separator)]
        present = {entry.domain for entry in model.opset_import}
        model.opset_import.extend(
            onnx.helper.make_opsetid(domain, version) for domain, version in DOMAINS.items() if domain not in present
        )
    else:
        parts = (_text_parts if texts else _number_parts)(graph, preprocessing, name)
    prepared = graph.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    kind = onnx.helper.np_dtype_to_tensor_dtype(np_dtype(artifact.dtype))
    shape = row_shape(artifact.row)
    graph.add("Reshape", graph.add("Cast", prepared, to=kind), shape, result=model_input.name)
    element = onnx.TensorProto.STRING if texts else onnx.TensorProto.DOUBLE
    row = (1,) if isinstance(preprocessing, TextPreprocessing) else tuple(identity.shape)
    rows = onnx.helper.make_tensor_value_info(name, element, [None, *row])
    model.graph.input.remove(model_input)
    model.graph.input.insert(0, rows)
    model.graph.initializer.extend(graph.constants)
    own = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*graph.nodes, *own])
    onnx.save(model, str(path))
    recipe = {**artifact.recipe, "raw_rows": True}
    dtype = "str" if texts else "float64"
    return replace(artifact, row=row, dtype=dtype, recipe=recipe).write(folder), identity


def _with_version(model: Any, version: int) -> Any:
    """Return a model whose operations are of a version, at least.

    Raises:
        BundleError: they cannot be converted.
    """
    from onnx import version_converter

    current = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if current >= version:
        return model
    try:
        return version_converter.convert_version(model, version)
    except Exception as error:  # of the converter, in C++
        raise BundleError(
            f"raw_rows: the operations of the file are of version {current}, expected {version} or newer, and cannot "
            f"be converted: {str(error).splitlines()[0][:200]}"
        ) from None


def as_raw(preprocessing: Any, artifact: Artifact) -> Preprocessing:
    """Return the preprocessing that passes rows on; a missing number has the same fill value as in the file.

    Raises:
        BundleError: the artifact is no ONNX file, or rows cannot be read inside one.
    """
    if artifact.runtime != "onnxruntime":
        raise BundleError(
            f"raw_rows: needs ONNX, given {artifact.entry} for {artifact.runtime}; use technique onnx, or bundle it "
            "without raw_rows"
        )
    if isinstance(preprocessing, TextPreprocessing):
        if preprocessing.tokenizer:
            raise BundleError(
                "raw_rows: the tokens are those of a byte-pair encoding, which ONNX cannot make; train with "
                "data: {text: bytes}, or bundle it without raw_rows"
            )
        return replace(preprocessing, raw_texts=True)
    if not isinstance(preprocessing, TablePreprocessing) or not (preprocessing.numbers or preprocessing.categories):
        raise BundleError("raw_rows: the rows of this run are not prepared by columns; bundle it without raw_rows")
    reasons = {name: reason for name, layout in preprocessing.formats.items() if (reason := unsupported(layout))}
    if reasons:
        listed = join_names(f"{name!r} {reason}" for name, reason in reasons.items())
        raise BundleError(
            f"raw_rows: {listed}, which ONNX cannot read; train without, data: {{drop: [{join_names(reasons)}]}}, or "
            "bundle it without raw_rows"
        )
    if _has_texts(preprocessing):
        plain: dict[str, dict[str, Any]] = {
            n: {"fill": None, "shift": 0.0, "scale": 1.0} for n in preprocessing.columns
        }
        return replace(preprocessing, numbers=plain, shape=(), categories={}, as_text=list(preprocessing.categories))
    numbers = {}
    for name in preprocessing.columns:
        if name in preprocessing.categories:
            fill = _number(preprocessing.categories[name]["fill"])
        else:
            fill = preprocessing.numbers[name]["fill"]
        numbers[name] = {"fill": fill, "shift": 0.0, "scale": 1.0}
    shape = preprocessing.shape if len(preprocessing.shape) > 1 else ()
    return replace(preprocessing, numbers=numbers, categories={}, shape=shape)


def _has_texts(preprocessing: TablePreprocessing) -> bool:
    """Whether a column holds texts: names of categories, dates, amounts, or signs for missing values."""
    signs = [sign for values in preprocessing.missing_values.values() for sign in values if isinstance(sign, str)]
    names = any(_numbers(category) is None for category in preprocessing.categories.values())
    return names or bool(preprocessing.formats) or any(_number(sign) is None for sign in signs)


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


def _number_parts(graph: Nodes, preprocessing: TablePreprocessing, name: str) -> list[str]:
    """Return the prepared numbers and categories (rows, …) of rows of numbers, called ``name``."""
    import numpy as np

    rows = graph.add("Reshape", name, row_shape((len(preprocessing.columns),)))
    if any(preprocessing.missing_values.values()):
        gap = np.array([[np.nan]])
        for sign in {s for values in preprocessing.missing_values.values() for s in values if not isinstance(s, str)}:
            has = [[sign in preprocessing.missing_values.get(column, ()) for column in preprocessing.columns]]
            equal = graph.add("And", graph.add("Equal", rows, np.array([[float(sign)]])), np.array(has))
            rows = graph.add("Where", equal, gap, rows)
    parts = []
    if preprocessing.numbers:
        positions = np.array([preprocessing.columns.index(name) for name in preprocessing.numbers], dtype=np.int64)
        parts.append(_scaled(graph, preprocessing, graph.add("Gather", rows, positions, axis=1)))
    for label, category in preprocessing.categories.items():
        column = graph.add("Gather", rows, np.array([preprocessing.columns.index(label)], dtype=np.int64), axis=1)
        fill, known = _number(category["fill"]), np.array(_numbers(category))
        if fill is not None:
            column = graph.add("Where", graph.add("IsNaN", column), np.array([[fill]]), column)
        equal = graph.add("Equal", column, known[None])
        if np.isnan(known).any():
            equal = graph.add("Or", equal, graph.add("And", graph.add("IsNaN", column), np.isnan(known)[None]))
        parts.append(graph.real(equal))
    return parts


def _text_parts(graph: Nodes, preprocessing: TablePreprocessing, name: str) -> list[str]:
    """Return the prepared numbers and categories (rows, …) of rows of texts, called ``name``."""
    import numpy as np

    rows = graph.add("Reshape", name, row_shape((len(preprocessing.columns),)))
    features: dict[str, str] = {}
    categories: dict[str, str] = {}
    for i, label in enumerate(preprocessing.columns):
        text = graph.add("Gather", rows, np.array([i], dtype=np.int64), axis=1)
        signs = ["", *(s for s in preprocessing.missing_values.get(label, ()) if isinstance(s, str) and s)]
        if label in preprocessing.categories:
            category = preprocessing.categories[label]
            filled = graph.add("Where", graph.any_of(text, signs), [[category["fill"]]], text)
            categories[label] = graph.real(graph.add("Equal", filled, [list(category["known"])]))
        else:
            features |= read_column(graph, text, label, preprocessing.formats.get(label), signs)
    parts = []
    if preprocessing.numbers:
        columns = [features[feature] for feature in preprocessing.numbers]
        values = graph.add("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
        parts.append(_scaled(graph, preprocessing, values))
    return [*parts, *(categories[label] for label in preprocessing.categories)]


def _scaled(graph: Nodes, preprocessing: TablePreprocessing, values: str) -> str:
    """Return numbers (rows, numbers), filled and scaled."""
    import numpy as np

    fits = preprocessing.numbers.values()
    fill, shift, scale = (np.array([fit[key] for fit in fits], dtype=np.float64) for key in ("fill", "shift", "scale"))
    if not np.isnan(fill).all():
        values = graph.add("Where", graph.add("IsNaN", values), fill[None], values)
    return graph.add("Div", graph.add("Sub", values, shift[None]), scale[None])


def row_shape(row: Sequence[int]) -> np.ndarray:
    """Return the shape of rows as a constant: any number of them."""
    import numpy as np

    return np.array([-1, *row], dtype=np.int64)


def np_dtype(name: str) -> np.dtype[Any]:
    """Return NumPy's type of a name."""
    import numpy as np

    return np.dtype(name)
