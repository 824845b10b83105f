"""The rows of a part with the predictions of a run: targets, losses and features in the units of the source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit.backends import get_backend
from lmkit.data.fingerprint import locate_data
from lmkit.data.kinds import get_kind
from lmkit.data.tables.fit import split
from lmkit.data.tables.parts import PARTS
from lmkit.display.pictures import channels_last
from lmkit.exceptions import ConfigError, DataError, shorten
from lmkit.explanations.columns import restore_numbers
from lmkit.preprocessing.predict import check_outputs
from lmkit.specs.metrics import softmax
from lmkit.specs.tasks import get_task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmkit.data.dataset import Dataset
    from lmkit.run.run import Run
    from lmkit.specs.tasks import Task

MAX_ROWS = 100_000
"""Rows of a part that are evaluated, at most, the first."""

MAX_NUMBERS = 2**26
"""Numbers in the rows of a part that are evaluated, at most."""

MAX_TOKENS = 2**16
"""Tokens of a part of a text that are evaluated, at most, the first."""

BATCH = 16
"""Rows of a text whose outputs are in memory at once: each position has one for each token of the vocabulary."""

TEXT_LETTERS = 120
"""Letters of a row of text that are shown."""


@dataclass(frozen=True)
class EvaluatedRows:
    """Rows of one or two parts, and what a model makes of them.

    Attributes:
        run: the run whose model it is.
        parts: the names of the parts.
        part: (rows,), the part of each row.
        row: (rows,), the number of each row in its source, from 0; of streams, texts and loaders in its part.
        target, prediction: (rows,), classes, or numbers in their own unit; of a text None.
        losses: (rows,), −log p of the target, the absolute error of a number, or the mean loss per token.
        labels: (rows,), class numbers; None for numbers and texts.
        probabilities: (rows, classes); None for numbers and texts.
        features: (rows, columns), as the slices take them: dates as their parts, images as brightness and contrast.
        columns: (rows, columns), as the source has them, for display.
        images: (rows, height, width, channels) of images; None for other rows.
    """

    run: Run
    parts: tuple[str, ...]
    part: np.ndarray
    row: np.ndarray
    target: np.ndarray | None
    prediction: np.ndarray | None
    losses: np.ndarray
    labels: np.ndarray | None
    probabilities: np.ndarray | None
    features: pd.DataFrame
    columns: pd.DataFrame
    images: np.ndarray | None = None

    @property
    def task(self) -> Task:
        """The task of the model."""
        return get_task(self.run.preprocessing.task)


def evaluate_rows(run: Run, part: str | None = None) -> EvaluatedRows:
    """Return the rows of a part with the predictions of a run's last weights; waits for its end.

    Args:
        run: the run.
        part: training, validation or test; default: validation and test, the rows that it was not trained on.

    Raises:
        ConfigError: there is no such part.
        DataError: the part has no rows, or the data are not what they were.
        RunStateError: the run has no checkpoint.
    """
    import numpy as np

    if part is not None and part not in PARTS:
        raise ConfigError(
            [f"part: given {shorten(part)}, expected {', '.join(PARTS)}, or none for validation and test"]
        )
    model = run.wait().built("last")
    data = run.prepare_data()
    names = tuple(name for name in ((part,) if part else PARTS[1:]) if len(getattr(data, name).X))
    if not names:
        wanted = part or "validation and test"
        raise DataError(f"{run.name} has no rows in {wanted}; look at another part: part='training'")
    if get_task(data.preprocessing.task).per_position:
        return _evaluate_text(run, model, data, names)
    backend = get_backend(run.experiment.framework)
    sizes = [_count_rows(getattr(data, name).X) for name in names]
    X = np.concatenate([np.asarray(getattr(data, name).X[:n]) for name, n in zip(names, sizes, strict=True)])
    y = np.concatenate([np.asarray(getattr(data, name).y[:n]) for name, n in zip(names, sizes, strict=True)])
    outputs = check_outputs(np.asarray(backend.predict(model, X)))
    preprocessing = data.preprocessing
    task = get_task(preprocessing.task)
    target, prediction = preprocessing.restore(y), preprocessing.decode(outputs)
    labels = probabilities = None
    if task.exclusive_classes:
        labels = y.reshape(-1).astype(np.int64)
        probabilities = preprocessing.probabilities(outputs)
        losses = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300))
    elif task.numeric:
        losses = np.abs(prediction - target)
    else:
        losses = (target != prediction).astype(float)
    row, features, columns = _source_rows(run, data, dict(zip(names, sizes, strict=True)), X)
    images = None
    if len(preprocessing.shape) == 3:
        pixels = columns.to_numpy(dtype=np.float64) if len(columns.columns) else X  # a loader's have no columns
        pixels = pixels.reshape(len(X), -1)
        images = channels_last(pixels.reshape(len(X), *preprocessing.shape))
        features = columns.iloc[:, :0].assign(brightness=pixels.mean(axis=1), contrast=pixels.std(axis=1))
        columns = columns.iloc[:, :0]
    return EvaluatedRows(
        run,
        names,
        np.repeat(names, sizes),
        row,
        target,
        prediction,
        losses,
        labels,
        probabilities,
        features,
        columns,
        images,
    )


def _count_rows(X: np.ndarray) -> int:
    """Return how many rows of a part are evaluated."""
    return min(len(X), MAX_ROWS, max(1, MAX_NUMBERS // math.prod(X.shape[1:])))


def _source_rows(
    run: Run, data: Dataset, sizes: dict[str, int], X: np.ndarray
) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Return the numbers of the rows in their source (rows,), and their features, parsed and as in the source.

    ``sizes`` are the numbers of rows of each part.
    """
    import numpy as np
    import pandas as pd

    experiment = locate_data(run.folder, run.experiment)
    spec, root = experiment.data, run.path.parent
    within = np.concatenate([np.arange(size) for size in sizes.values()])
    kind = get_kind(spec)
    if kind.name == "graph":
        nodes = kind.load(spec, root)
        rows = X[:, 0].astype(int)
        (ids,) = data.preprocessing.names(X).items()
        degree = np.bincount(nodes.edges[0], minlength=len(nodes.ids))[rows]
        frame = nodes.table.X.iloc[rows].reset_index(drop=True).assign(neighbours=degree)
        return rows, frame, pd.DataFrame({ids[0]: np.asarray(ids[1])}).join(frame)
    if kind.name == "table" and not spec.streams:
        table = kind.load(spec, root)
        parts = dict(zip(PARTS, split(spec, table, experiment.seed), strict=True))
        rows = np.concatenate([parts[name][:size] for name, size in sizes.items()])
        parsed, raw = (f.iloc[rows].reset_index(drop=True).rename(columns=str) for f in (table.X, _raw(table)))
        return rows, parsed, raw
    frame = _undo(data.preprocessing, X) if hasattr(data.preprocessing, "numbers") else pd.DataFrame(index=within)
    return within, frame, frame


def _raw(table: Any) -> Any:
    return table.X if table.raw is None else table.raw


def _undo(preprocessing: Any, X: np.ndarray) -> pd.DataFrame:
    """Return prepared rows (rows, features) in the units of the source, one-hot columns as one."""
    import numpy as np
    import pandas as pd

    values = X.reshape(len(X), -1).astype(np.float64)
    columns: dict[str, Any] = {}
    for i, (name, fitted) in enumerate(preprocessing.numbers.items()):
        columns[name] = restore_numbers(values[:, i], fitted["shift"], fitted["scale"])
    start = len(preprocessing.numbers)
    for name, fitted in preprocessing.categories.items():
        one_hot = values[:, start : start + len(fitted["known"])]
        known = np.array([*fitted["known"], "(none of training)"], dtype=object)
        columns[name] = known[np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1)]
        start += len(fitted["known"])
    return pd.DataFrame(columns, index=range(len(X)))


def _evaluate_text(run: Run, model: Any, data: Dataset, names: tuple[str, ...]) -> EvaluatedRows:
    """Return rows of tokens with the mean loss over their positions."""
    import numpy as np
    import pandas as pd

    backend, preprocessing = get_backend(run.experiment.framework), data.preprocessing
    losses, texts, sizes = [], [], []
    for name in names:
        part = getattr(data, name)
        count = min(len(part.X), max(1, MAX_TOKENS // part.X.shape[1]))
        sizes.append(count)
        for start in range(0, count, BATCH):
            rows = slice(start, min(start + BATCH, count))
            tokens, following = np.asarray(part.X[rows]), np.asarray(part.y[rows])
            shares = softmax(preprocessing.logits(np.asarray(backend.predict(model, tokens))))
            of_target = np.take_along_axis(shares, following[..., None].astype(np.int64), axis=-1)[..., 0]
            losses.append(-np.log(np.maximum(of_target, 1e-300)).mean(axis=1))
            texts += [preprocessing.text(row)[:TEXT_LETTERS] for row in tokens]  # type: ignore[attr-defined]
    columns = pd.DataFrame({"text": texts})
    within = np.concatenate([np.arange(size) for size in sizes])
    nothing = columns.iloc[:, :0]
    return EvaluatedRows(
        run, names, np.repeat(names, sizes), within, None, None, np.concatenate(losses), None, None, nothing, columns
    )
