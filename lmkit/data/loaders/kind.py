"""Loaders as a kind of data: the parts that a loader, a dataset or a function yields, prepared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.custom import objects, trust
from lmkit.data.batches import Part
from lmkit.data.dataset import Dataset
from lmkit.data.loaders.loaders import PARTS, call_factory, check_parts, has_rows, read
from lmkit.data.loaders.streams import PartsFactory, Stream
from lmkit.data.overlap import StreamOverlap
from lmkit.data.tables.fit import split as split_rows
from lmkit.data.tables.sources import check_sizes
from lmkit.data.tables.table import Table
from lmkit.exceptions import ConfigError, DataError
from lmkit.preprocessing.loader import LoaderPreprocessing, is_tokens
from lmkit.specs.inference import Target
from lmkit.specs.references import OBJECT, label
from lmkit.specs.tasks import get_task
from lmkit.specs.values import plain_value

if TYPE_CHECKING:
    import numpy as np

    from lmkit.specs.data import DataSpec
    from lmkit.specs.signature import Signature


def load(spec: DataSpec, root: str | Path | None = None) -> Any:
    """Raise an error: only the worker runs a loader.

    Raises:
        DataError: always.
    """
    del root
    raise DataError(
        f"data.source: {label(spec.source)!r} is a loader, which runs only in training; look at its rows before that"
    )


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """Prepare the parts that a loader yields.

    Raises:
        DataError: it yields something else, or raises.
        UntrustedCode: its source is a text, or a run's, that this user has not run on this machine before.
    """
    trust.require(trust.code_of_source(spec.source), root)
    source = objects.resolve(spec.source.removeprefix(OBJECT), "data.source", root)

    def make_parts() -> Mapping[str, Any]:
        value = call_factory(source)
        parts = value if isinstance(value, Mapping) else {"training": value}
        check_parts(parts)
        return parts

    try:
        parts = make_parts()
        loader = call_factory(parts["training"])
    except (DataError, ConfigError):
        raise
    except Exception as error:
        raise DataError(f"data.source: {label(spec.source)} raised {objects.describe_error(error)}") from error
    held_out = {name: read(call_factory(parts[name]), name) for name in PARTS[1:] if name in parts}
    if not has_rows(loader):
        return _prepare_stream(spec, make_parts, loader, held_out, seed, precision)
    training = read(loader, "training")
    preprocessing, notes = _fit(spec, training, _class_names(loader), Target.of(training.y, labels=True))
    if held_out:
        return _as_dataset(preprocessing, training, held_out, precision, notes)
    check_sizes(spec, len(training.y))
    rows_of_parts = zip(PARTS, split_rows(spec, _target_table(training.y, preprocessing), seed), strict=True)
    (_, first), *others = ((name, Part(training.X[rows], training.y[rows])) for name, rows in rows_of_parts)
    return _as_dataset(preprocessing, first, dict(others), precision, notes)


def check(spec: DataSpec, root: str | Path | None = None) -> Signature | None:
    """Check nothing: only the worker runs a loader."""
    del spec, root
    return None


def read_signature(spec: DataSpec, root: str | Path | None = None) -> tuple[Signature, int | None]:
    """Raise an error: the signature of a loader's rows is unknown before training.

    Raises:
        DataError: always.
    """
    load(spec, root)
    raise AssertionError("load always raises")


def example_rows(spec: DataSpec, seed: int, data: Dataset, count: int, root: str | Path) -> list[Any]:
    """Return rows as the model takes them."""
    del spec, seed, root
    import numpy as np

    part = next(part for part in (data.test, data.validation, data.training) if len(part.X))
    return list(np.asarray(part.X[:count]).tolist())


def _prepare_stream(
    spec: DataSpec,
    make_parts: PartsFactory,
    loader: Any,
    held_out: Mapping[str, Part],
    seed: int,
    precision: str,
) -> Dataset:
    """Return the training part as a stream, and the other parts as arrays."""
    stream = Stream(make_parts, seed)
    names = _class_names(loader)
    scan = stream.scan(loader, names, spec.task)
    preprocessing, notes = _fit(spec, scan.first, names, scan.target, scan.values, scan.max_token)
    stream.prepare = lambda batch: _prepare_part(batch, preprocessing, precision)
    data = _as_dataset(preprocessing, scan.first, held_out, precision, notes)._replace(batches=stream)
    stream.overlap = StreamOverlap({"validation": data.validation, "test": data.test})
    return data


def _as_dataset(
    preprocessing: LoaderPreprocessing,
    training: Part,
    held_out: Mapping[str, Part],
    precision: str,
    notes: tuple[str, ...],
) -> Dataset:
    """Return the prepared parts; a part that does not exist is empty."""
    others = []
    for name in PARTS[1:]:
        part = held_out.get(name, Part(training.X[:0], training.y[:0]))
        if part.X.shape[1:] != training.X.shape[1:]:
            raise DataError(
                f"data.source: rows of {name} have shape {part.X.shape[1:]}, rows of training {training.X.shape[1:]}"
            )
        others.append(_prepare_part(part, preprocessing, precision))
    first = _prepare_part(training, preprocessing, precision)
    return Dataset(first, others[0], others[1], preprocessing, notes=notes)


def _class_names(loader: Any) -> list[str]:
    """Return the names of the classes 0, 1, … of a loader or its dataset, in torchvision's attribute ``classes``."""
    names = getattr(loader, "classes", None) or getattr(getattr(loader, "dataset", None), "classes", None) or ()
    return [str(name) for name in names]


def _target_table(y: np.ndarray, preprocessing: LoaderPreprocessing) -> Table:
    """Return a table of the target alone, as the split needs it."""
    import pandas as pd

    return Table(pd.DataFrame(index=range(len(y))), pd.Series(y), preprocessing.task, {})


def _fit(
    spec: DataSpec,
    training: Part,
    names: list[str],
    summary: Target,
    values: Iterable[Any] | None = None,
    max_token: int | None = None,
) -> tuple[LoaderPreprocessing, tuple[str, ...]]:
    """Return the preprocessing of a training part, and what was inferred.

    Args:
        spec: the data.
        training: rows as the loader yields them.
        names: the names of the classes; empty: unknown.
        summary: what the target holds.
        values: the values of the target; none: those of ``training``.
        max_token: the largest token; none: that of ``training``.
    """
    import numpy as np

    X, y = training
    vocabulary = (int(X.max()) if max_token is None else max_token) + 1 if is_tokens(X) else 0
    target = {"shift": 0.0, "scale": 1.0}
    task, notes = spec.task, tuple[str, ...]()
    if task == "auto" and not names:
        task = summary.infer_task()
        notes = (summary.describe("y", task),)
    if task != "auto" and get_task(task).numeric:
        return LoaderPreprocessing(task, {}, {}, [], [], [], target, X.shape[1:], vocabulary=vocabulary), notes
    classes = sorted(plain_value(v) for v in (np.unique(y) if values is None else values))
    if names and set(classes) <= set(range(len(names))):
        classes = list(range(len(names)))
    if len(classes) < 2:
        raise DataError(f"data.source: the target has only one class ({classes[0]!r}); expected two or more")
    if task == "auto":
        task = "binary" if len(classes) == 2 else "multiclass"
    if len(classes) > 2 and (problem := get_task(task).target_problem(False, len(classes), classes[0], "the loader")):
        raise DataError(f"data.task: {problem}")
    labels = names if len(names) == len(classes) else [str(v) for v in classes]
    shape = X.shape[1:]
    return LoaderPreprocessing(task, {}, {}, [], classes, labels, target, shape, vocabulary=vocabulary), notes


def _prepare_part(part: Part, preprocessing: LoaderPreprocessing, precision: str) -> Part:
    """Return rows as the trainer takes them: numbers flat and in ``precision``, classes as indices."""
    import numpy as np

    X, y = part
    X = X if preprocessing.vocabulary else X.reshape(len(X), int(np.prod(X.shape[1:]))).astype(precision)
    task = get_task(preprocessing.task)
    if task.numeric:
        return Part(X, y.astype(precision)[:, None])
    classes = preprocessing.classes
    indices = np.searchsorted(classes, y)
    unknown = np.array(classes)[np.minimum(indices, len(classes) - 1)] != y
    if unknown.any():
        raise DataError(f"data.source: the target {y[unknown][0].item()!r} is none of the classes {classes[:10]}")
    return Part(X, indices.astype(np.int64) if task.integer_targets else indices.astype(precision)[:, None])
