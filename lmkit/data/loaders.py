"""Data of somebody's own: a loader, a dataset, anything that can be iterated again and again, or a function of it.

``data=`` may be

* a PyTorch ``DataLoader``, or any iterable of batches (x, y) of which each ``iter`` begins anew: it stays a stream,
  whose batches come as it makes them;
* a PyTorch ``Dataset`` (with a length and rows (x, y)), which is read into arrays, split and shuffled as a table is;
* a mapping of parts, ``{"training": …, "validation": …, "test": …}``, each one of the above or arrays (X, y);
* a function of no arguments that returns one of these, or a ``tf.data.Dataset``.

Rows are taken as they come: nothing is scaled, and rows of int32 or int64 stay integers. The parts for validation and
test, and rows that lmkit splits itself, are read into arrays, of 2 GB at most.

A stream is iterated anew each epoch, with the generators of Python, NumPy and the framework seeded by the experiment's
seed and the number of the epoch; draws of the training itself do not disturb them. So a run that is taken up meets the
same batches, as long as the loader draws from these generators in this process. What draws elsewhere (workers of a
loader that seed themselves by the clock, a service) cannot be repeated.
"""

from __future__ import annotations

import random
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data import objects, preparation
from lmkit.data.batches import Part
from lmkit.data.sources import Table, check_sizes
from lmkit.errors import ConfigError, DataError
from lmkit.specs.references import OBJECT
from lmkit.specs.signature import Signature

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.preparation import Dataset
    from lmkit.specs.data import DataSpec

PARTS = ("training", "validation", "test")

READ = 2 * 10**9
"""Bytes that are read into arrays at most, of one part."""

SHOWN = 2_000
"""Rows of a stream's beginning that are kept, to measure the training part on."""


# -- handing over ---------------------------------------------------------------------------------


def is_loader(data: Any) -> bool:
    """Whether ``data`` gives its rows by itself, and is no array, table or pair of them."""
    if isinstance(data, Mapping):
        return "training" in data
    if isinstance(data, list):
        return bool(data) and all(isinstance(batch, tuple) for batch in data)
    if isinstance(data, str | bytes | tuple) or hasattr(data, "dtype") or hasattr(data, "columns"):
        return False
    return callable(data) or hasattr(data, "__iter__") or _is_map_style(data)


def keep(data: Any, root: str | Path | None = None, *, inline: bool = False) -> dict[str, Any]:
    """Keeps what gives data beside the runs, and returns the fields of the experiment that name it.

    Raises:
        ConfigError: it cannot be sent to the worker; the message says why and what to do.
    """
    parts = data if isinstance(data, Mapping) else {"training": data}
    _check_parts(parts)
    for name, part in parts.items():
        if _is_tensorflow(part) and not inline:
            raise ConfigError(
                [f"data: {name} is a tf.data.Dataset, which cannot be sent to the worker; hand over a function that "
                 "makes it: data=make, with def make(): return tf.data.Dataset…; or train here: inline=True"]
            )  # fmt: skip
        if not callable(part) and hasattr(part, "__next__"):
            raise ConfigError(
                [f"data: {name} is a {type(part).__name__}, which can be iterated once only; hand over a function that "
                 "makes it, without calling it"]
            )  # fmt: skip
    fields: dict[str, Any] = {"source": OBJECT + objects.refer(data, "data", root, inline=inline, most=objects.DATA)}
    known = isinstance(data, Mapping) or not (callable(data) or _is_map_style(data))
    return fields | {name: 0 for name in PARTS[1:] if known and name not in parts}


def _check_parts(parts: Mapping[Any, Any]) -> None:
    unknown = [name for name in parts if name not in PARTS]
    if unknown or "training" not in parts:
        given = ", ".join(map(repr, parts))
        raise ConfigError([f"data: given the parts {given}, expected 'training' and if wished 'validation' and 'test'"])


def _is_map_style(data: Any) -> bool:
    """Whether it has rows by number, as a PyTorch ``Dataset`` has."""
    numbered = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    batched = any(c.__name__ == "PyDataset" for c in type(data).__mro__)  # Keras's: a number stands for a batch
    return numbered and not batched and not isinstance(data, list | tuple | Mapping | type)


def _is_tensorflow(data: Any) -> bool:
    return any(c.__name__ == "DatasetV2" and c.__module__.startswith("tensorflow") for c in type(data).__mro__)


# -- preparing ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preprocessing(preparation.Preprocessing):
    """What is known of rows that come as the model takes them.

    Attributes:
        vocabulary: rows are numbers of tokens, below this; 0: they are numbers.
    """

    vocabulary: int = 0

    @property
    def signature(self) -> Signature:
        """What a model takes and gives."""
        return super().signature._replace(vocabulary=self.vocabulary)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the run's folder."""
        return {"kind": "loader", **asdict(self)}

    def apply(self, X: Any) -> np.ndarray:
        """Rows (rows, …) → rows as the model takes them: tokens as they are, numbers flat."""
        import numpy as np

        rows = _rows(_array(X))
        if rows.shape[1:] != self.shape and rows.shape[1:] != (int(np.prod(self.shape)),):
            raise DataError(f"given rows of shape {rows.shape}, expected (rows, {', '.join(map(str, self.shape))})")
        return rows if self.vocabulary else rows.reshape(len(rows), -1)


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """The parts that the object gives, ready for a trainer.

    Raises:
        DataError: it gives something else, or raises.
    """
    given = objects.obtain(spec.source.removeprefix(OBJECT), "data.source", root)

    def made() -> Mapping[str, Any]:
        called = given() if callable(given) and not _is_map_style(given) else given
        parts = called if isinstance(called, Mapping) else {"training": called}
        _check_parts(parts)
        return parts

    try:
        parts = made()
    except (DataError, ConfigError):
        raise
    except Exception as error:
        raise DataError(f"data.source: {spec.source} raised {objects.told(error)}") from error
    if not _in_rows(parts["training"]):
        return _streamed(spec, made, parts, seed, precision)
    if len(parts) > 1:
        read = {name: _read(parts[name], name) for name in parts}
        if spec.batch_size > (rows := len(read["training"].y)):
            raise DataError(f"data.batch_size: given {spec.batch_size}, but training holds {rows} rows; write at most {rows}")
        known = _known(spec, parts["training"], read["training"])
        chosen = {name: _part(rows, known, precision) for name, rows in read.items()}
        empty = _part(Part(read["training"].X[:0], read["training"].y[:0]), known, precision)
        return preparation.Dataset(*(chosen.get(name, empty) for name in PARTS), preprocessing=known)
    X, y = _read(parts["training"], "training")
    check_sizes(spec, len(y))
    known = _known(spec, parts["training"], Part(X, y))
    split = preparation.split(spec, _table(y, known), seed)
    return preparation.Dataset(*(_part(Part(X[r], y[r]), known, precision) for r in split), preprocessing=known)


def _streamed(
    spec: DataSpec, made: Callable[[], Mapping[str, Any]], parts: Mapping[str, Any], seed: int, precision: str
) -> Dataset:
    """The training part as a stream; the other parts as arrays."""
    import numpy as np

    stream = Stream(made, seed)
    read = {name: _read(parts[name], name) for name in PARTS[1:] if name in parts}
    known = stream.survey(spec, parts["training"])
    stream.finish = lambda batch: _part(batch, known, precision)
    first = _part(stream.first, known, precision)
    empty = Part(first.X[:0], first.y[:0])
    others = [_part(read[name], known, precision) if name in read else empty for name in PARTS[1:]]
    for name, part in zip(PARTS[1:], others, strict=True):
        if part.X.shape[1:] != first.X.shape[1:]:
            raise DataError(
                f"data.source: a row of {name} is of shape {part.X.shape[1:]}, and one of training {first.X.shape[1:]}"
            )
    assert np.ndim(first.X) >= 2
    return preparation.Dataset(first, *others, preprocessing=known, batches=stream)


def _in_rows(part: Any) -> bool:
    """Whether a part is arrays, or has rows by number."""
    pair = isinstance(part, tuple) and len(part) == 2 and hasattr(part[0], "shape")
    return pair or (_is_map_style(part) and not hasattr(part, "batch_size"))


def _table(y: np.ndarray, known: Preprocessing) -> Table:
    import pandas as pd

    return Table(pd.DataFrame(index=range(len(y))), pd.Series(y), known.task, {})


def _read(part: Any, name: str) -> Part:
    """A part as two arrays."""
    import numpy as np

    if isinstance(part, tuple) and len(part) == 2 and hasattr(part[0], "shape"):
        return _checked(part, name)
    if len(getattr(part, "tensors", ())) == 2:  # PyTorch's TensorDataset
        return _checked(part.tensors, name)
    pieces: list[Part] = []
    held = 0
    rowwise = _in_rows(part)
    source: Iterator[Any] = (part[i] for i in range(len(part))) if rowwise else iter(part)
    try:
        for item in source:
            piece = _one(item, name) if rowwise else _checked(item, name)
            pieces.append(piece)
            held += piece.X.nbytes + piece.y.nbytes
            if held > READ:
                advice = "hand it over as a DataLoader" if name == "training" else "hand over fewer rows"
                raise DataError(f"data.source: {name} holds more than {READ // 10**9} GB, which is not read; {advice}")
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"data.source: {name} raised {objects.told(error)}") from error
    if not pieces:
        raise DataError(f"data.source: {name} gave no rows")
    shapes = {p.X.shape[1:] for p in pieces}
    if len(shapes) > 1:
        raise DataError(f"data.source: rows of {name} are of several shapes, such as {', '.join(map(str, sorted(shapes)[:2]))}")
    return Part(np.concatenate([p.X for p in pieces]), np.concatenate([p.y for p in pieces]))


def _array(value: Any) -> np.ndarray:
    """A tensor of any framework, or what NumPy takes, as an array."""
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def _pair(item: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    if not (isinstance(item, tuple | list) and len(item) == 2):
        what = f"a mapping of {', '.join(map(str, item))}" if isinstance(item, Mapping) else f"a {type(item).__name__}"
        raise DataError(f"data.source: {name} gave {what}, expected pairs (x, y) of one array and its target")
    if any(isinstance(half, Mapping) for half in item):
        raise DataError(f"data.source: {name} gave several inputs by name, expected one array x and its target y")
    return _array(item[0]), _array(item[1])


def _one(item: Any, name: str) -> Part:
    """One row (x, y) as a batch of one."""
    x, y = _pair(item, name)
    return _checked((x[None], y[None]), name)


def _rows(x: np.ndarray) -> np.ndarray:
    """Rows as they came, one number in each as a column."""
    import numpy as np

    x = x[:, None] if x.ndim == 1 else x
    return x.astype(np.int64) if _tokens(x) else x


def _tokens(x: np.ndarray) -> bool:
    return x.ndim == 2 and x.dtype.kind == "i" and x.dtype.itemsize >= 4


def _checked(item: Any, name: str) -> Part:
    """A batch (x, y) as arrays (rows, …) and (rows,)."""
    x, y = _pair(item, name)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if x.dtype.kind not in "biuf" or y.dtype.kind not in "biuf":
        raise DataError(f"data.source: {name} gave x of {x.dtype} and y of {y.dtype}, expected numbers")
    if y.ndim != 1 or x.ndim < 1 or len(x) != len(y):
        raise DataError(
            f"data.source: {name} gave x of shape {x.shape} and y of shape {y.shape}, expected as many rows of each, "
            "and y (rows,)"
        )
    return Part(_rows(x), y)


def _known(spec: DataSpec, source: Any, rows: Part, classes: Any = None, most: int | None = None) -> Preprocessing:
    """What is known of the data, from its rows, or from what a pass over them found."""
    import numpy as np

    X, y = rows
    task = spec.task
    if task == "auto":
        task = "regression" if y.dtype.kind == "f" else "multiclass"
    found: list[Any] = []
    names = getattr(source, "classes", None) or getattr(getattr(source, "dataset", None), "classes", None) or ()
    if task != "regression":
        found = sorted(preparation.plain_value(v) for v in (np.unique(y) if classes is None else classes))
        if len(names) >= len(found) and set(found) <= set(range(len(names))):
            found = list(range(len(names)))
        if len(found) < 2:
            raise DataError(f"data.source: the target holds one class only ({found[0]!r}); two or more are needed")
        if task == "binary" and len(found) > 2:
            raise DataError(f"data.task: given 'binary', but the target holds {len(found)} classes; leave task out")
        task = "binary" if len(found) == 2 and spec.task != "multiclass" else "multiclass"
    vocabulary = int(X.max() if most is None else most) + 1 if _tokens(X) else 0
    labels = [str(v) for v in (names if len(names) == len(found) else found)]
    return Preprocessing(
        task, {}, {}, [], found, labels, {"shift": 0.0, "scale": 1.0}, X.shape[1:], vocabulary
    )  # fmt: skip


def _part(rows: Part, known: Preprocessing, precision: str) -> Part:
    """Rows as the trainer takes them: numbers flat and in ``precision``, classes by number."""
    import numpy as np

    X, y = rows
    X = X if known.vocabulary else X.reshape(len(X), int(np.prod(X.shape[1:]))).astype(precision)
    if known.task == "regression":
        return Part(X, y.astype(precision)[:, None])
    numbers = np.searchsorted(known.classes, y)
    new = np.array(known.classes)[np.minimum(numbers, len(known.classes) - 1)] != y
    if new.any():
        raise DataError(f"data.source: the target {y[new][0]!r} is none of the classes {known.classes[:10]}")
    return Part(X, numbers.astype(np.int64) if known.task == "multiclass" else numbers.astype(precision)[:, None])


# -- streams --------------------------------------------------------------------------------------


class Stream:
    """The batches of a loader, in the order in which it gives them.

    Args:
        made: makes the parts anew.
        seed: of the experiment.

    Attributes:
        rows: of an epoch, as far as it is known.
        count: batches of an epoch.
        uneven: batches are of any size.
        error: what the loader raised; its batches end before it.
        first: the rows that it begins with.
    """

    uneven = True

    def __init__(self, made: Callable[[], Mapping[str, Any]], seed: int) -> None:
        self.made, self.seed = made, seed
        self.finish: Callable[[Part], Part] = lambda batch: batch
        self.number = 0
        self.rows = self.count = 0
        self.taken: dict[int, int] = {}
        self.error: DataError | None = None

    def survey(self, spec: DataSpec, loader: Any) -> Preprocessing:
        """Reads the beginning, or all where neither length nor classes are told, and returns what is known then."""
        import numpy as np

        self.count = _length(loader)
        classes: set[Any] = set()
        shown: list[Part] = []
        most, seen = 0, 0
        for batch in self._batches(0, "while it was read through to count"):
            seen += 1
            if len(shown) == 0 or sum(len(p.X) for p in shown) < SHOWN:
                shown.append(batch)
            self.rows += len(batch.X)
            regression = spec.task == "regression" or (spec.task == "auto" and batch.y.dtype.kind == "f")
            named = getattr(loader, "classes", None) or getattr(getattr(loader, "dataset", None), "classes", None)
            if not regression:
                classes.update(np.unique(batch.y).tolist())
            if _tokens(batch.X):
                most = max(most, int(batch.X.max()))
            elif self.count and (regression or named):
                break  # all is known
            if seen == self.count:
                break
        if self.error:
            raise self.error
        if not shown:
            raise DataError("data.source: training gave no batches")
        if seen < self.count:
            self.rows = self.count * len(shown[0].X)
        self.count = self.count or seen
        same = [p for p in shown if p.X.shape[1:] == shown[0].X.shape[1:]]
        self.first = Part(np.concatenate([p.X for p in same]), np.concatenate([p.y for p in same]))
        return _known(spec, loader, self.first, classes, most)

    def epoch(self, number: int, order: np.ndarray) -> None:
        """Begins an epoch; the order is the loader's own."""
        self.number = number
        self.taken = {}

    def take(self, first: int) -> Iterator[Part]:
        """The epoch's batches from ``first`` on; those before are made and let go."""
        at = -1
        for at, batch in enumerate(self._batches(self.number, f"of epoch {self.number + 1}")):
            self.taken[at] = len(batch.X)
            if at >= first:
                try:
                    yield self.finish(batch)
                except DataError as error:
                    self.error = error
                    return
            if at + 1 == self.count:
                return
        if self.error is None:
            self.error = DataError(
                f"data.source: the loader gave {at + 1} batches in epoch {self.number + 1}, expected {self.count} as "
                "before; an iterable must begin anew each time it is iterated"
            )

    def sizes(self, first: int, count: int) -> np.ndarray:
        """Rows of each of so many batches that were taken."""
        import numpy as np

        return np.array([self.taken[i] for i in range(first, first + count)])

    def _batches(self, number: int, when: str) -> Iterator[Part]:
        """All batches of an epoch; they end where the loader raises, and the error is kept."""
        import numpy as np

        self.error = None
        draws = Draws(int(np.random.SeedSequence([self.seed, 4, number]).generate_state(1)[0]))
        at = 0
        try:
            with draws:
                draws.reseed(None)
                loader = self.made()["training"]
                draws.reseed(loader)
                batches = iter(loader)
            while True:
                with draws:
                    item = next(batches, self)
                if item is self:
                    return
                batch = _checked(item, "training")
                if at and batch.X.dtype.kind != "i" and batch.X.shape[1:] != shape:
                    raise DataError(f"data.source: batch {at + 1} has rows of shape {batch.X.shape[1:]}, expected {shape}")
                shape = batch.X.shape[1:]
                at += 1
                yield batch
        except GeneratorExit:
            raise
        except DataError as error:
            self.error = error
        except Exception as error:
            traceback.print_exception(error)
            self.error = DataError(f"data.source: the loader raised {objects.told(error)}, at batch {at + 1} {when}")


def _length(loader: Any) -> int:
    """Batches of an epoch, where the loader tells; else 0."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError, AttributeError):
        return 0


class Draws:
    """The global generators as one loader sees them: seeded, and apart from everything else that draws from them."""

    def __init__(self, seed: int) -> None:
        import numpy as np

        self.seed = seed
        outside = _states()
        random.seed(seed)
        np.random.seed(seed)
        torch = sys.modules.get("torch")
        if torch:
            torch.default_generator.manual_seed(seed)
        self.inside = _states()
        _set_states(outside)
        self.outside = outside

    def __enter__(self) -> Draws:
        self.outside = _states()
        _set_states(self.inside)
        return self

    def __exit__(self, *_: object) -> None:
        self.inside = _states()
        _set_states(self.outside)

    def reseed(self, loader: Any) -> None:
        """Seeds the generators that a loader holds itself, and what TensorFlow shuffles by."""
        tensorflow = sys.modules.get("tensorflow")
        if tensorflow and loader is None:
            tensorflow.random.set_seed(self.seed)
        for holder in (loader, getattr(loader, "sampler", None)):
            generator = getattr(holder, "generator", None)
            if hasattr(generator, "manual_seed"):
                generator.manual_seed(self.seed)


def _states() -> tuple[Any, ...]:
    import numpy as np

    torch = sys.modules.get("torch")
    return random.getstate(), np.random.get_state(), torch.default_generator.get_state() if torch else None


def _set_states(states: tuple[Any, ...]) -> None:
    import numpy as np

    random.setstate(states[0])
    np.random.set_state(states[1])
    torch = sys.modules.get("torch")
    if torch and states[2] is not None:
        torch.default_generator.set_state(states[2])
