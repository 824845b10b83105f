"""What there is to train on: rows, parts, classes, examples, and what is wrong with it."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.experiment import Experiment
from lmkit.run import Run
from lmkit.specs.data import DataSpec
from lmkit.table import Table

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.preparation import Dataset

PARTS = {"training": "to train on", "validation": "validation", "test": "test"}

CLASSES = 20
"""Classes that are listed at most."""

EXAMPLES, COLUMNS, LETTERS = 5, 8, 300
"""Rows, columns of them, or letters of a text that are shown."""

SAMPLES, PICTURED = 3, 10
"""Pictures of a class, and classes of which there are pictures, at most."""


@dataclass(frozen=True)
class Description:
    """Data as it will be trained on. It shows itself as tables, with pictures where rows are images.

    Attributes:
        facts: rows, parts, what a row is, what is predicted.
        balance: the rows of each class, or of each range of a target that is a number, by part.
        warnings: what one should know before trusting a score, a sentence each.
        examples: some rows of the training part with features as they came, or the beginning of a text.
        picture: a PNG: for each class some images of the training part, and below, where they are augmented, the same
            as a model may see them; empty where rows are no images.
    """

    facts: Table
    balance: Table
    warnings: tuple[str, ...]
    examples: Table
    picture: bytes = b""

    @property
    def _tables(self) -> list[Table]:
        return [table for table in (self.facts, self.balance, self.examples) if table.rows]

    def __repr__(self) -> str:
        return "\n\n".join([*(table.text for table in self._tables), *(f"warning: {text}" for text in self.warnings)])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        facts, *others = self._tables
        shown = [facts.html, *(f"<p><b>Warning</b>: {html.escape(text)}</p>" for text in self.warnings)]
        if self.picture:
            told = "Images of each class" + (", and below as they are augmented" if self._augmented else "")
            encoded = base64.b64encode(self.picture).decode()
            shown.append(f'<p><img alt="{told}" src="data:image/png;base64,{encoded}"></p>')
        return {"text/html": "\n".join([*shown, *(table.html for table in others)]), "text/plain": repr(self)}

    @property
    def _augmented(self) -> bool:
        return any(name == "augmented" for name, _ in self.facts.rows)


def describe(data: Any = None, *, runs: str | Path | None = None, **changes: Any) -> Description:
    """Tells what there is to train on, split and prepared as a run would.

    Args:
        data: a source, such as ``digits`` or ``table.csv``; an experiment, a run, or the path of a .yaml file, whose
            data it is; a mapping of the fields of ``data``; or data in memory, as ``train`` takes it.
        runs: where runs, and data kept beside them, are (default: $LMKIT_RUNS or ./runs).
        **changes: fields to change, such as ``target="price"`` or ``seed=1``.

    Raises:
        ConfigError: it is configured in a way that cannot be.
        DataError: it cannot be trained on.

    >>> import lmkit as lk
    >>> lk.describe("wine").facts.rows[0]
    ('rows', 178)
    """
    from lmkit.data.preparation import prepare

    experiment = _experiment(data, runs, changes)
    spec = experiment.data
    if spec.streams:
        return _streamed(spec)
    found = prepare(spec, experiment.seed, "float32", runs)
    return of_dataset(spec, found, spec.source)


def of_dataset(spec: DataSpec, data: Dataset, title: str) -> Description:
    """What a prepared data set holds."""
    from lmkit.data import quality

    known = data.preprocessing
    facts = _facts(spec, data)
    idle = quality.idle(data.training.X, known.features) if _is_table(data) else []
    return Description(
        Table(title, ("what", "value"), tuple(facts)),
        _balance(data),
        (*quality.warnings(data), *idle),
        _examples(data),
        picture(data),
    )


def _experiment(data: Any, runs: str | Path | None, changes: Mapping[str, Any]) -> Experiment:
    from lmkit.data.store import keep

    if isinstance(data, Run):
        data = data.experiment
    if isinstance(data, str | Path) and Path(data).suffix in (".yaml", ".yml", ".json"):
        data = Experiment.load(data)
    if isinstance(data, Mapping) and "data" in data:
        data = Experiment.from_dict(data)
    if data is None or isinstance(data, Experiment):
        return (data or Experiment()).override(changes)
    if isinstance(data, Mapping):
        data = dict(data)
    elif isinstance(data, str | Path):
        data = {"source": str(data)}
    else:
        data = keep(data, runs)
    fields = {name.removeprefix("data."): value for name, value in changes.items()}
    seed = fields.pop("seed", 0)
    return Experiment(data={**data, **fields}, seed=seed)


# -- what it holds --------------------------------------------------------------------------------


def _is_table(data: Dataset) -> bool:
    """Whether rows are prepared features, in memory."""
    import numpy as np

    known = data.preprocessing
    features = bool(getattr(known, "numbers", None)) and known.signature.graph is None
    return isinstance(data.training.X, np.ndarray) and features


def _facts(spec: DataSpec, data: Dataset) -> list[tuple[str, Any]]:
    known = data.preprocessing
    signature = known.signature
    sizes = {part: len(getattr(data, part).y) for part in PARTS}
    found: list[tuple[str, Any]] = [("rows", sum(sizes.values()))]
    found += [(PARTS[part], size) for part, size in sizes.items()]
    shape = " × ".join(map(str, signature.shape))
    if signature.vocabulary:
        found += [("a row", f"{shape} tokens of {signature.vocabulary:,}"), ("to predict", "the next token")]
        return found
    kind = (
        "a node of" if signature.graph else {1: "", 2: "a sequence of", 3: "an image of"}.get(len(signature.shape), "")
    )
    found.append(("a row", f"{kind} {shape}{' features' if len(signature.shape) == 1 else ''}".strip()))
    if signature.graph is not None:
        found.append(("edges", signature.graph.edges.shape[1] // 2))
    predicted = {"binary": "one of two classes", "multiclass": f"one of {signature.outputs} classes"}
    found.append(("to predict", predicted.get(signature.task, "a number")))
    if spec.augment:
        done = spec.augment.model_dump(exclude_defaults=True)
        found.append(("augmented", ", ".join(k if v is True else f"{k} {v:g}" for k, v in done.items())))
    return found


def _balance(data: Dataset) -> Table:
    """Rows of each class, or of each range of the target, by part."""
    import numpy as np

    known = data.preprocessing
    names = [PARTS[part] for part in PARTS if len(getattr(data, part).y)]
    targets = [y for part in PARTS if len(y := getattr(data, part).y)]
    if known.task == "language" or not isinstance(targets[0], np.ndarray) or not hasattr(known, "labels"):
        return Table("", (), ())
    if known.task == "regression":
        values = [known.restore(y) for y in targets]
        edges = round_edges(min(v.min() for v in values), max(v.max() for v in values))
        labels = [f"{a:g} to {b:g}" for a, b in pairwise(edges)]
        counts = np.array([np.histogram(v, bins=edges)[0] for v in values])
    else:
        labels = known.labels
        counts = np.array([np.bincount(y.reshape(-1).astype(int), minlength=len(labels)) for y in targets])
    rows = [(str(label), *map(int, column)) for label, column in zip(labels, counts.T, strict=True)]
    if len(rows) > CLASSES + 1:
        rest = counts.T[CLASSES:].sum(axis=0)
        rows = [*rows[:CLASSES], (f"{len(rows) - CLASSES} more", *map(int, rest))]
    return Table("rows of each", ("range" if known.task == "regression" else "class", *names), tuple(rows))


def round_edges(low: float, high: float) -> list[float]:
    """Edges of at most ten ranges that hold ``low`` to ``high``, at 1, 2 or 5 times a power of ten.

    >>> round_edges(3, 28)
    [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]
    """
    rough = (high - low) / 8 or abs(high) / 8 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    first = math.floor(low / step)
    return [step * i for i in range(first, max(math.ceil(high / step), first + 1) + 1)]


def _examples(data: Dataset) -> Table:
    known: Any = data.preprocessing
    X, y = data.training
    if known.task == "language":
        text = known.text(X[:1].reshape(-1))[:LETTERS]
        return Table("how the training part begins", ("text",), ((text,),))
    if not _is_table(data) or len(known.shape) > 1:
        return Table("", (), ())
    targets = known.restore(y[:EXAMPLES])
    if known.classes:
        targets = [known.labels[known.classes.index(v.item() if hasattr(v, "item") else v)] for v in targets]
    columns: dict[str, list[Any]] = {}
    for name, values in zip(known.numbers, X[:EXAMPLES].T, strict=False):
        fit = known.numbers[name]
        columns[name] = [float(f"{v * fit['scale'] + fit['shift']:.6g}") for v in values.tolist()]
    at = len(known.numbers)
    for name, fit in known.categories.items():
        chosen = X[:EXAMPLES, at : (at := at + len(fit["known"]))]
        columns[name] = [fit["known"][row.argmax()] if row.any() else None for row in chosen]
    names = [name for name in known.columns if name in columns][:COLUMNS]
    more = len(columns) - len(names)
    title = "examples of the training part" + (f", without {more} more columns" if more else "")
    targets = [_plain(target) for target in targets]
    return Table(title, ("target", *names), tuple(zip(targets, *(columns[n] for n in names), strict=True)))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _streamed(spec: DataSpec) -> Description:
    """What is known of a file that is read piece by piece, without reading it."""
    from lmkit.data.streaming import check, contents

    check(spec)
    names, rows = contents(spec)
    facts = [("rows", rows), ("columns", len(names)), ("to predict", spec.target), ("read", "piece by piece")]
    columns = tuple((name,) for name in names[:CLASSES])
    nothing = Table("", (), ())
    return Description(
        Table(spec.source, ("what", "value"), tuple(facts)), Table("columns", ("column",), columns), (), nothing
    )


# -- pictures -------------------------------------------------------------------------------------


def picture(data: Dataset) -> bytes:
    """A PNG of some images of each class, and below the same as they are augmented; empty where rows are no images."""
    import numpy as np

    known = data.preprocessing
    if len(known.shape) != 3 or known.task not in ("binary", "multiclass") or not _is_table(data):
        return b""
    y = data.training.y.reshape(-1)
    rows = [np.flatnonzero(y == i)[:SAMPLES] for i in range(min(PICTURED, len(known.classes)))]
    rows = [np.resize(found, SAMPLES) for found in rows if len(found)]
    chosen = np.concatenate(rows)
    shown = [pixels(data, data.training.X[chosen])]
    change = getattr(data.batches, "change", None)
    if change:
        shown.append(pixels(data, augmented_rows(data, chosen)))
    lines = [images.reshape(len(rows), SAMPLES, *images.shape[1:])[:, i] for images in shown for i in range(SAMPLES)]
    return sheet(np.stack(lines))


def augmented_rows(data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Training ``rows`` (n, features) as they are changed for a batch; never mixed with one of another class."""
    import numpy as np

    from lmkit.data.augmentation import Augment
    from lmkit.data.batches import Part

    change = data.batches.change  # type: ignore[union-attr]
    if isinstance(change, Augment):
        change = Augment(change.spec.model_copy(update={"mixup": 0.0}), data.preprocessing)
    X: np.ndarray = change(Part(data.training.X[rows], data.training.y[rows]), np.random.default_rng(0)).X
    return X


def pixels(data: Dataset, X: np.ndarray) -> np.ndarray:
    """Prepared rows (n, features) of images → (n, height, width, channels), 0 to 1."""
    import numpy as np

    fits = list(data.preprocessing.numbers.values())
    scale, shift = (np.array([fit[name] for fit in fits]) for name in ("scale", "shift"))
    values = X * scale + shift
    high = max(1.0, float((data.training.X * scale + shift).max()))
    return np.asarray(np.clip(values / high, 0, 1)).reshape(len(X), *data.preprocessing.shape)


def sheet(images: np.ndarray) -> bytes:
    """A PNG of images (lines, columns, height, width, channels), 0 to 1, side by side; small ones enlarged."""
    import numpy as np
    from PIL import Image

    lines, columns, height, width, channels = images.shape
    kept = images[..., :3] if channels >= 3 else images.mean(axis=-1, keepdims=True)
    framed = np.ones((lines, columns, height + 1, width + 1, kept.shape[-1]))
    framed[:, :, :height, :width] = kept
    whole = framed.transpose(0, 2, 1, 3, 4).reshape(lines * (height + 1), columns * (width + 1), -1)
    drawn = Image.fromarray(np.round(255 * (whole[..., 0] if whole.shape[-1] == 1 else whole)).astype(np.uint8))
    scale = max(1, 480 // drawn.width)
    file = io.BytesIO()
    large = drawn.resize((drawn.width * scale, drawn.height * scale), Image.Resampling.NEAREST)
    large.save(file, "png", optimize=True)
    return file.getvalue()
