"""The summary of a dataset: rows, splits, classes, examples, and warnings."""

from __future__ import annotations

import base64
import html
import io
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.kinds import row_kind
from lmkit.display.table import Table
from lmkit.run.resolve import resolve_experiment
from lmkit.specs.data import DataSpec
from lmkit.specs.tasks import get_task

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.dataset import Dataset

SPLITS = ("training", "validation", "test")

MAX_CLASSES = 20
"""Maximum number of classes to list."""

EXAMPLE_ROWS, EXAMPLE_COLUMNS, EXCERPT_CHARACTERS = 5, 8, 300
"""Example rows, columns of an example, and characters of a text."""

IMAGES_PER_CLASS, IMAGE_CLASSES = 3, 10
"""Maximum images per class, and maximum number of classes with images."""


@dataclass(frozen=True)
class DatasetSummary:
    """The summary of a dataset as a run would train on it, displayed as tables and, for images, a picture.

    Attributes:
        facts: number of rows, sizes of the splits, shape of a row, task.
        balance: rows per class, or the distribution of a numeric target, by split.
        warnings: problems that make a score unreliable, one sentence each.
        examples: some rows of the training split before scaling and encoding, or the beginning of a text.
        picture: a PNG with some training images of each class and, below them, the same images augmented; empty
            unless rows are images.
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
        parts = [facts.html, *(f"<p><b>Warning</b>: {html.escape(text)}</p>" for text in self.warnings)]
        if self.picture:
            caption = "Images per class" + (", below them the same images augmented" if self._augmented else "")
            encoded = base64.b64encode(self.picture).decode()
            parts.append(f'<p><img alt="{caption}" src="data:image/png;base64,{encoded}"></p>')
        return {"text/html": "\n".join([*parts, *(table.html for table in others)]), "text/plain": repr(self)}

    @property
    def _augmented(self) -> bool:
        return any(name == "augmented" for name, _ in self.facts.rows)


def describe(data: Any = None, *, runs: str | Path | None = None, **changes: Any) -> DatasetSummary:
    """Summarize a dataset, split and preprocessed as a run would.

    Args:
        data: a source, such as ``digits`` or ``table.csv``; an experiment, a run, or the path of a .yaml file; a
            mapping of the fields of ``data``; or data in memory, as ``train`` takes it.
        runs: the folder of the runs and of the data stored with them (default: $LMKIT_RUNS or ./runs).
        **changes: fields to change, such as ``target="price"`` or ``seed=1``.

    Raises:
        ConfigError: the configuration is invalid.
        DataError: the data cannot be used for training.

    >>> import lmkit as lk
    >>> lk.describe("wine").facts.rows[0]
    ('rows', 178)
    """
    from lmkit.data.preparation import prepare

    experiment = resolve_experiment(data, changes, runs=runs)
    spec = experiment.data
    if spec.streams:
        return _summarize_streamed(spec)
    dataset = prepare(spec, experiment.seed, "float32", runs)
    return summarize(spec, dataset, spec.source)


def summarize(spec: DataSpec, data: Dataset, title: str) -> DatasetSummary:
    """Summarize a prepared dataset."""
    from lmkit.data import quality

    preprocessing = data.preprocessing
    facts = _facts(spec, data)
    constant = quality.constant_columns(data.training.X, preprocessing.features) if _is_table(data) else []
    return DatasetSummary(
        Table(title, ("what", "value"), tuple(facts)),
        _balance(data),
        (*quality.warnings(data), *constant),
        _examples(data),
        picture(data),
    )


# -- tables ---------------------------------------------------------------------------------------


def _is_table(data: Dataset) -> bool:
    """Whether the rows are preprocessed features in memory."""
    import numpy as np

    preprocessing = data.preprocessing
    features = bool(getattr(preprocessing, "numbers", None)) and preprocessing.signature.graph is None
    return isinstance(data.training.X, np.ndarray) and features


def _facts(spec: DataSpec, data: Dataset) -> list[tuple[str, Any]]:
    preprocessing = data.preprocessing
    signature = preprocessing.signature
    task = get_task(signature.task).describe(signature.outputs)
    sizes = {split: len(getattr(data, split).y) for split in SPLITS}
    facts: list[tuple[str, Any]] = [("rows", sum(sizes.values()))]
    facts += sizes.items()
    shape = " × ".join(map(str, signature.shape))
    if signature.vocabulary:
        facts += [
            ("row", f"{shape} tokens of {signature.vocabulary:,}"),
            ("task", task),
        ]
        return facts
    facts.append(
        ("row", f"{row_kind(signature).row} {shape}{' features' if len(signature.shape) == 1 else ''}".strip())
    )
    if signature.graph is not None:
        facts.append(("edges", signature.graph.edges.shape[1] // 2))
    facts.append(("task", task))
    facts += [("inferred", note) for note in data.notes]
    if spec.augment:
        changes = spec.augment.model_dump(exclude_defaults=True)
        facts.append(("augmented", ", ".join(k if v is True else f"{k} {v:g}" for k, v in changes.items())))
    return facts


def _balance(data: Dataset) -> Table:
    """Rows per class, or the distribution of the target, by split."""
    import numpy as np

    preprocessing = data.preprocessing
    task = get_task(preprocessing.task)
    names = [split for split in SPLITS if len(getattr(data, split).y)]
    targets = [getattr(data, split).y for split in names]
    if (
        not (task.numeric or task.exclusive_classes)
        or not isinstance(targets[0], np.ndarray)
        or not hasattr(preprocessing, "labels")
    ):
        return Table("", (), ())
    regression = task.numeric
    if regression:
        values = [preprocessing.restore(y) for y in targets]
        edges = round_edges(min(v.min() for v in values), max(v.max() for v in values))
        labels = [f"{a:g} to {b:g}" for a, b in pairwise(edges)]
        counts = np.array([np.histogram(v, bins=edges)[0] for v in values])
    else:
        labels = preprocessing.labels
        counts = np.array([np.bincount(y.reshape(-1).astype(int), minlength=len(labels)) for y in targets])
    rows = [(str(label), *map(int, column)) for label, column in zip(labels, counts.T, strict=True)]
    if len(rows) > MAX_CLASSES + 1:
        rest = counts.T[MAX_CLASSES:].sum(axis=0)
        rows = [*rows[:MAX_CLASSES], (f"{len(rows) - MAX_CLASSES} more", *map(int, rest))]
    title, label = ("Distribution of the target", "range") if regression else ("Rows per class", "class")
    return Table(title, (label, *names), tuple(rows))


def round_edges(low: float, high: float) -> list[float]:
    """Edges of at most ten bins that cover ``low`` to ``high``, at 1, 2 or 5 times a power of ten.

    >>> round_edges(3, 28)
    [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]
    """
    rough = (high - low) / 8 or abs(high) / 8 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    first = math.floor(low / step)
    return [step * i for i in range(first, max(math.ceil(high / step), first + 1) + 1)]


def _examples(data: Dataset) -> Table:
    preprocessing: Any = data.preprocessing
    X, y = data.training
    if get_task(preprocessing.task).per_position:
        text = preprocessing.text(X[:1].reshape(-1))[:EXCERPT_CHARACTERS]
        return Table("Beginning of the training split", ("text",), ((text,),))
    if not _is_table(data) or len(preprocessing.shape) > 1:
        return Table("", (), ())
    targets = preprocessing.restore(y[:EXAMPLE_ROWS])
    if get_task(preprocessing.task).exclusive_classes:
        targets = [
            preprocessing.labels[preprocessing.classes.index(v.item() if hasattr(v, "item") else v)] for v in targets
        ]
    columns: dict[str, list[Any]] = {}
    for name, values in zip(preprocessing.numbers, X[:EXAMPLE_ROWS].T, strict=False):
        scaling = preprocessing.numbers[name]
        columns[name] = [float(f"{v * scaling['scale'] + scaling['shift']:.6g}") for v in values.tolist()]
    offset = len(preprocessing.numbers)
    for name, scaling in preprocessing.categories.items():
        one_hot = X[:EXAMPLE_ROWS, offset : (offset := offset + len(scaling["known"]))]
        columns[name] = [scaling["known"][row.argmax()] if row.any() else None for row in one_hot]
    names = [name for name in preprocessing.columns if name in columns][:EXAMPLE_COLUMNS]
    more = len(columns) - len(names)
    title = "Examples from the training split" + (f" ({more} more columns not shown)" if more else "")
    targets = [_plain(target) for target in targets]
    return Table(title, ("target", *names), tuple(zip(targets, *(columns[n] for n in names), strict=True)))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _summarize_streamed(spec: DataSpec) -> DatasetSummary:
    """Summarize a file that is streamed, without reading all of it."""
    from lmkit.data.tables.pieces import infer_features, read_header
    from lmkit.data.tables.streaming import check

    check(spec)
    names, rows = read_header(spec)
    facts = [("rows", rows), ("columns", len(names)), ("target", spec.target), ("read", "streamed")]
    features = infer_features(spec)
    facts += [("inferred", note) for note in features.notes]
    columns = tuple((name,) for name in names[:MAX_CLASSES])
    nothing = Table("", (), ())
    return DatasetSummary(
        Table(spec.source, ("what", "value"), tuple(facts)),
        Table("Columns", ("column",), columns),
        tuple(features.warnings),
        nothing,
    )


# -- images ---------------------------------------------------------------------------------------


def picture(data: Dataset) -> bytes:
    """Return a PNG with some images of each class, below them the same augmented; empty unless rows are images."""
    import numpy as np

    preprocessing = data.preprocessing
    if len(preprocessing.shape) != 3 or not get_task(preprocessing.task).exclusive_classes or not _is_table(data):
        return b""
    y = data.training.y.reshape(-1)
    rows = [np.flatnonzero(y == i)[:IMAGES_PER_CLASS] for i in range(min(IMAGE_CLASSES, len(preprocessing.classes)))]
    rows = [np.resize(indices, IMAGES_PER_CLASS) for indices in rows if len(indices)]
    selection = np.concatenate(rows)
    images = [pixels(data, data.training.X[selection])]
    augment = getattr(data.batches, "change", None)
    if augment:
        images.append(pixels(data, augmented_rows(data, selection)))
    lines = [
        batch.reshape(len(rows), IMAGES_PER_CLASS, *batch.shape[1:])[:, i]
        for batch in images
        for i in range(IMAGES_PER_CLASS)
    ]
    return sheet(np.stack(lines))


def augmented_rows(data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return training ``rows`` (n, features) augmented as in a batch, without mixup."""
    import numpy as np

    from lmkit.data.augmentation import Augment, augment_for
    from lmkit.data.batches import Part

    augment = data.batches.change  # type: ignore[union-attr]
    if isinstance(augment, Augment):
        augment = augment_for(augment.spec.model_copy(update={"mixup": 0.0}), data.preprocessing)
    X: np.ndarray = augment(Part(data.training.X[rows], data.training.y[rows]), np.random.default_rng(0)).X
    return X


def pixels(data: Dataset, X: np.ndarray) -> np.ndarray:
    """Convert preprocessed rows (n, features) to images (n, height, width, channels) in 0 to 1."""
    import numpy as np

    fits = list(data.preprocessing.numbers.values())
    scale, shift = (np.array([fit[name] for fit in fits]) for name in ("scale", "shift"))
    values = X * scale + shift
    high = max(1.0, float((data.training.X * scale + shift).max()))
    return np.asarray(np.clip(values / high, 0, 1)).reshape(len(X), *data.preprocessing.shape)


def sheet(images: np.ndarray) -> bytes:
    """Return a PNG of a grid of images (lines, columns, height, width, channels) in 0 to 1; small images enlarged."""
    import numpy as np
    from PIL import Image

    lines, columns, height, width, channels = images.shape
    colors = images[..., :3] if channels >= 3 else images.mean(axis=-1, keepdims=True)
    framed = np.ones((lines, columns, height + 1, width + 1, colors.shape[-1]))
    framed[:, :, :height, :width] = colors
    canvas = framed.transpose(0, 2, 1, 3, 4).reshape(lines * (height + 1), columns * (width + 1), -1)
    image = Image.fromarray(np.round(255 * (canvas[..., 0] if canvas.shape[-1] == 1 else canvas)).astype(np.uint8))
    scale = max(1, 480 // image.width)
    file = io.BytesIO()
    large = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    large.save(file, "png", optimize=True)
    return file.getvalue()
