"""Data of somebody's own, prepared: the parts that a loader, a dataset or a function gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data import objects, preparation
from lmkit.data.batches import Part
from lmkit.data.loaders import PARTS, check_parts, in_rows, opened, read
from lmkit.data.rows import Preprocessing as Preprocessing  # known from here
from lmkit.data.rows import tokens
from lmkit.data.sources import Table, check_sizes, plain_value
from lmkit.data.streams import Made, Stream
from lmkit.errors import ConfigError, DataError
from lmkit.specs.references import OBJECT, label
from lmkit.specs.signature import Task

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.preparation import Dataset
    from lmkit.specs.data import DataSpec


def load(spec: DataSpec, root: str | Path | None = None) -> Any:
    """Refuses to look into what only the worker runs.

    Raises:
        DataError: always.
    """
    raise DataError(
        f"data.source: {label(spec.source)!r} gives its rows itself, and only whoever trains runs it; look into what "
        "it gives before it is handed over"
    )


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """The parts that the object gives, ready for a trainer.

    Raises:
        DataError: it gives something else, or raises.
    """
    given = objects.obtain(spec.source.removeprefix(OBJECT), "data.source", root)

    def made() -> Mapping[str, Any]:
        whole = opened(given)
        parts = whole if isinstance(whole, Mapping) else {"training": whole}
        check_parts(parts)
        return parts

    try:
        parts = made()
        training = opened(parts["training"])
    except (DataError, ConfigError):
        raise
    except Exception as error:
        raise DataError(f"data.source: {label(spec.source)} raised {objects.told(error)}") from error
    held_out = {name: read(opened(parts[name]), name) for name in PARTS[1:] if name in parts}
    if not in_rows(training):
        return _streamed(spec, made, training, held_out, seed, precision)
    whole = read(training, "training")
    known = _known(spec, whole, _named(training))
    if held_out:
        if spec.batch_size > (most := len(whole.y)):
            raise DataError(
                f"data.batch_size: given {spec.batch_size}, but training holds {most} rows; write at most {most}"
            )
        return _dataset(known, whole, held_out, precision)
    check_sizes(spec, len(whole.y))
    split = zip(PARTS, preparation.split(spec, _table(whole.y, known), seed), strict=True)
    first, *others = ((name, Part(whole.X[chosen], whole.y[chosen])) for name, chosen in split)
    return _dataset(known, first[1], dict(others), precision)


def _streamed(
    spec: DataSpec, made: Made, loader: Any, held_out: Mapping[str, Part], seed: int, precision: str
) -> Dataset:
    """The training part as a stream; the other parts as arrays."""
    stream = Stream(made, seed)
    names = _named(loader)
    found = stream.survey(loader, bool(names), spec.task)
    known = _known(spec, found.first, names, found.classes, found.most)
    stream.finish = lambda batch: _part(batch, known, precision)
    return _dataset(known, found.first, held_out, precision)._replace(batches=stream)


def _dataset(known: Preprocessing, training: Part, held_out: Mapping[str, Part], precision: str) -> Dataset:
    """The three parts as the trainer takes them; one that is not given is empty."""
    others = []
    for name in PARTS[1:]:
        part = held_out.get(name, Part(training.X[:0], training.y[:0]))
        if part.X.shape[1:] != training.X.shape[1:]:
            raise DataError(
                f"data.source: rows of {name} are of shape {part.X.shape[1:]}, those of training {training.X.shape[1:]}"
            )
        others.append(_part(part, known, precision))
    return preparation.Dataset(_part(training, known, precision), others[0], others[1], known)


def _named(loader: Any) -> list[str]:
    """What a loader, or the dataset in it, calls its classes, which are then 0, 1, …: torchvision's way to tell."""
    names = getattr(loader, "classes", None) or getattr(getattr(loader, "dataset", None), "classes", None) or ()
    return [str(name) for name in names]


def _table(y: np.ndarray, known: Preprocessing) -> Table:
    """The target alone, as what is split by it."""
    import pandas as pd

    return Table(pd.DataFrame(index=range(len(y))), pd.Series(y), known.task, {})


def _known(
    spec: DataSpec, whole: Part, names: list[str], values: Iterable[Any] | None = None, most: int | None = None
) -> Preprocessing:
    """What is known of the data from its rows, or with ``values`` of the target and the largest token from a look at
    all of them."""
    import numpy as np

    X, y = whole
    vocabulary = (int(X.max()) if most is None else most) + 1 if tokens(X) else 0
    target = {"shift": 0.0, "scale": 1.0}
    if spec.task == "regression" or (spec.task == "auto" and y.dtype.kind == "f"):
        return Preprocessing("regression", {}, {}, [], [], [], target, X.shape[1:], vocabulary)
    found = sorted(plain_value(v) for v in (np.unique(y) if values is None else values))
    if names and set(found) <= set(range(len(names))):
        found = list(range(len(names)))
    if len(found) < 2:
        raise DataError(f"data.source: the target holds one class only ({found[0]!r}); two or more are needed")
    if spec.task == "binary" and len(found) > 2:
        raise DataError(f"data.task: given 'binary', but the target holds {len(found)} classes; leave task out")
    task: Task = "binary" if len(found) == 2 and spec.task != "multiclass" else "multiclass"
    labels = names if len(names) == len(found) else [str(v) for v in found]
    return Preprocessing(task, {}, {}, [], found, labels, target, X.shape[1:], vocabulary)


def _part(given: Part, known: Preprocessing, precision: str) -> Part:
    """Rows as the trainer takes them: numbers flat and in ``precision``, classes by number."""
    import numpy as np

    X, y = given
    X = X if known.vocabulary else X.reshape(len(X), int(np.prod(X.shape[1:]))).astype(precision)
    if known.task == "regression":
        return Part(X, y.astype(precision)[:, None])
    numbers = np.searchsorted(known.classes, y)
    new = np.array(known.classes)[np.minimum(numbers, len(known.classes) - 1)] != y
    if new.any():
        raise DataError(f"data.source: the target {y[new][0].item()!r} is none of the classes {known.classes[:10]}")
    return Part(X, numbers.astype(np.int64) if known.task == "multiclass" else numbers.astype(precision)[:, None])
