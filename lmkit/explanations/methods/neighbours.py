"""Nearest training rows in the last hidden layer, and the nearest row of which another class is predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.display.figure import Chart
from lmkit.display.panels import SignedBars
from lmkit.display.pictures import Picture
from lmkit.display.table import Table, format_cell
from lmkit.explanations.methods.base import METHODS, Request
from lmkit.explanations.methods.saliency import to_picture
from lmkit.explanations.model import MAX_NUMBERS, ExplainedModel, take_rows

if TYPE_CHECKING:
    import numpy as np

TRAINING_ROWS = 20_000
"""Training rows that are searched, at most."""

NEIGHBOURS, MAX_ROWS = 5, 20
"""Neighbours of a row, and rows whose neighbours are searched."""

PIECE_NUMBERS = 2**20
"""Numbers in the rows whose distances are computed at once, at most."""

MAX_DIFFERENCES = 12
"""Columns of a counterfactual that are drawn."""


class Neighbour(NamedTuple):
    """A training row.

    Attributes:
        row: its number among the training rows that were searched.
        distance: Euclidean, to the row that is explained.
        target: its target, as in the data.
        prediction: of it, in words.
        X: the row in the unit of the data: (features,), or (height, width, channels) of an image.
    """

    row: int
    distance: float
    target: Any
    prediction: str
    X: np.ndarray


@dataclass(frozen=True)
class Neighbours:
    """Training rows like those that are explained.

    Attributes:
        rows: the names of the rows, and ``predictions`` in words.
        nearest: of each row, the training rows with the nearest activations of the last hidden layer.
        counterfactuals: of each row, the nearest training row (by its prepared features) of which another class is
            predicted; None where there is none.
        differences: of each row and its counterfactual, column → values of both; empty for images.
        searched: the number of training rows that were searched.
        images: of each row, (height, width, channels) in the unit of the data; None for other rows.
    """

    rows: tuple[str, ...]
    predictions: tuple[str, ...]
    nearest: tuple[tuple[Neighbour, ...], ...]
    counterfactuals: tuple[Neighbour | None, ...]
    differences: tuple[dict[str, tuple[Any, Any, float]], ...]
    searched: int
    images: tuple[np.ndarray, ...] | None = None

    @property
    def table(self) -> Table:
        """The neighbours of each row, and its counterfactual."""
        rows = []
        for name, prediction, near, other in zip(
            self.rows, self.predictions, self.nearest, self.counterfactuals, strict=True
        ):
            rows += [
                (name, prediction, f"neighbour {i}", n.row, format_cell(n.target), n.prediction, n.distance)
                for i, n in enumerate(near, start=1)
            ]
            if other:
                rows.append(
                    (
                        name,
                        prediction,
                        "other class",
                        other.row,
                        format_cell(other.target),
                        other.prediction,
                        other.distance,
                    )
                )
        columns = ("row", "prediction", "training row is", "number", "its target", "its prediction", "distance")
        return Table(f"Nearest of {self.searched:,} training rows", columns, tuple(rows))

    @property
    def chart(self) -> Chart:
        """The first row beside its neighbours, of images; else what differs from its counterfactual."""
        return self.row_chart(0)

    def row_chart(self, row: int) -> Chart:
        """Return the chart of one row."""
        other = self.counterfactuals[row]
        if self.images is not None:
            panels = [Picture(self.rows[row], to_picture(self.images[row]))]
            near = [(f"nearest {i}: {n.target}", n) for i, n in enumerate(self.nearest[row][:3], start=1)]
            near += [(f"other class: {other.target}", other)] if other else []
            panels += [Picture(title, to_picture(n.X)) for title, n in near]
            return Chart(f"{self.rows[row]}: nearest training rows", tuple(panels), self.text)
        if other and self.differences[row]:
            largest = sorted(self.differences[row].items(), key=lambda item: -abs(item[1][2]))[:MAX_DIFFERENCES]
            names = tuple(f"{c}: {format_cell(a)} → {format_cell(b)}" for c, (a, b, _) in largest)
            bars = SignedBars("change in standard deviations", names, tuple(size for _, (_, _, size) in largest))
            title = f"{self.rows[row]} ({self.predictions[row]}) → nearest row predicted as {other.prediction}"
            return Chart(title, (bars,), self.text)
        near_rows = self.nearest[row]
        names = tuple(f"training {n.row}: {format_cell(n.target)}" for n in near_rows)
        bars = SignedBars("distance in the last hidden layer", names, tuple(n.distance for n in near_rows))
        return Chart(f"{self.rows[row]}: nearest training rows", (bars,), self.text)

    @property
    def text(self) -> str:
        """The neighbours and the counterfactual of the first row."""
        near = ", ".join(f"{n.row} ({format_cell(n.target)})" for n in self.nearest[0])
        words = [f"Nearest training rows of {self.rows[0]} in the last hidden layer, with their targets: {near}."]
        other = self.counterfactuals[0]
        if other:
            largest = sorted(self.differences[0].items(), key=lambda item: -abs(item[1][2]))[:3]
            listed = ", ".join(f"{c} {format_cell(a)} → {format_cell(b)}" for c, (a, b, _) in largest)
            words.append(
                f"Nearest row that is predicted otherwise, {other.prediction}: training row {other.row}"
                + (f" ({listed})." if listed else ".")
            )
        return " ".join(words)


class NeighboursMethod:
    """Nearest training rows of rows of numbers."""

    order = 3

    def suits(self, explained: ExplainedModel) -> bool:
        """Tables, images and sequences suit."""
        return explained.kind.name in ("table", "image", "sequence")

    def explain(self, request: Request) -> Neighbours:
        """Return the neighbours of at most ``MAX_ROWS`` rows."""
        import numpy as np

        explained, (X, names, _) = request.explained, request.rows
        X, names = X[:MAX_ROWS], names[:MAX_ROWS]
        is_image = explained.kind.name == "image"
        outside = hidden(explained, X)
        count = min(TRAINING_ROWS, max(NEIGHBOURS, MAX_NUMBERS // outside.shape[1]))
        part = take_rows(explained.data.training, count)
        training = explained.cast(part.X)
        targets = _target_names(explained, part.y)
        answers, training_answers = explained.answers(X), explained.answers(training)
        words = explained.describe_answers(training_answers)

        def neighbour(row: int, distance: float) -> Neighbour:
            original = explained.original(training[row : row + 1])
            values = explained.shape_rows(original)[0] if is_image else original[0]
            return Neighbour(row, distance, targets[row], words[row], values)

        inside = hidden(explained, training)
        nearest = []
        for activation in outside:
            distances = measure_distances(inside, activation)
            order = np.argsort(distances, kind="stable")[:NEIGHBOURS]
            nearest.append(tuple(neighbour(int(i), float(distances[i])) for i in order))
        others: list[Neighbour | None] = [None] * len(X)
        if explained.task.has_classes:
            predicted, classes = training_answers.argmax(axis=1), answers.argmax(axis=1)
            for i, row in enumerate(X):
                candidates = np.flatnonzero(predicted != classes[i])
                if len(candidates):
                    distances = measure_distances(training, row)
                    best = int(candidates[distances[candidates].argmin()])
                    others[i] = neighbour(best, float(distances[best]))
        is_table = explained.kind.name == "table"
        differences = [
            _differences(explained, row, training[other.row]) if other and is_table else {}
            for row, other in zip(X, others, strict=True)
        ]
        return Neighbours(
            names,
            tuple(explained.describe_answers(answers)),
            tuple(nearest),
            tuple(others),
            tuple(differences),
            len(training),
            tuple(explained.shape_rows(explained.original(X))) if is_image else None,
        )


def _target_names(explained: ExplainedModel, y: np.ndarray) -> list[Any]:
    """Return the targets (rows,) as the names of their classes, or as numbers in their own unit."""
    if explained.task.has_classes:
        return [explained.labels[int(number)] for number in y.reshape(-1)]
    return [float(f"{value:.6g}") for value in explained.preprocessing.restore(y).tolist()]


def measure_distances(rows: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return the Euclidean distances (rows,) of rows (rows, n) to a row (n,), a piece at a time."""
    import numpy as np

    size = max(1, PIECE_NUMBERS // len(row))
    differences = (rows[i : i + size].astype(np.float64) - row for i in range(0, len(rows), size))
    return np.concatenate([np.sqrt((difference**2).sum(axis=1)) for difference in differences])


def hidden(explained: ExplainedModel, X: np.ndarray) -> np.ndarray:
    """Return the activations (rows, units) of the last hidden layer, a piece at a time."""
    import numpy as np

    size = explained.piece
    parts = [
        explained.backend.hidden(explained.wrapped, explained.cast(X[i : i + size])) for i in range(0, len(X), size)
    ]
    return np.concatenate([part.reshape(len(part), -1) for part in parts])


def _differences(explained: ExplainedModel, row: np.ndarray, other: np.ndarray) -> dict[str, tuple[Any, Any, float]]:
    """Return column → the values of both rows, and their difference in prepared features, where they differ."""
    import numpy as np

    pair = np.stack([row, other])
    differences = {}
    for column in explained.columns:
        features = list(column.features)
        change = pair[1, features] - pair[0, features]
        if np.abs(change).max() > 0:
            before, after = column.original(pair)
            size = float(change[0]) if len(features) == 1 else float(np.sqrt((change**2).sum()))
            differences[column.name] = (before, after, size)
    return differences


METHODS.add("neighbours", NeighboursMethod())
