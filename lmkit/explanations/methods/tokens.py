"""Texts: integrated gradients at the output of the embedding, summed to one signed number for each token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmkit.display.figure import Chart
from lmkit.display.panels import SignedBars
from lmkit.display.table import Table
from lmkit.exceptions import ConfigError
from lmkit.explanations.integrated_gradients import describe_remainder, integrated_gradients
from lmkit.explanations.methods.base import METHODS, Request
from lmkit.explanations.model import ExplainedModel

if TYPE_CHECKING:
    import numpy as np

MAX_TEXTS = 8
"""Texts that are explained at once, at most."""

MAX_BARS = 16
"""Tokens that are drawn: those before the prediction."""

BASELINE_ROWS = 64
"""Training rows whose tokens the mean vector is taken of."""


@dataclass(frozen=True)
class Tokens:
    """How much each token of a text adds to the logit of the prediction, or to a predicted number.

    Attributes:
        rows: the names of the texts.
        tokens: of each text, its tokens as text.
        values: the attributions (rows, length); those of a row sum to its score minus that of the baseline.
        positions: of each row, the position whose output is explained; −1 where a row has one output.
        predictions: of each row, the token or class whose logit is explained, or the number.
        is_numeric: whether a number is predicted.
        scores: of each row, and ``baseline`` that of the baseline, (rows,).
        remainders: what is missing from completeness, as a share, (rows,); ``points`` of the quadrature, (rows,).
    """

    rows: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...]
    values: np.ndarray
    positions: np.ndarray
    predictions: tuple[str, ...]
    is_numeric: bool
    scores: np.ndarray
    baseline: np.ndarray
    remainders: np.ndarray
    points: np.ndarray

    def _last(self, row: int) -> int:
        """The number of tokens that are shown: up to the position that is explained."""
        position = int(self.positions[row])
        return position + 1 if position >= 0 else len(self.tokens[row])

    def _score(self, row: int) -> str:
        """What is explained, in words."""
        return f"prediction {self.predictions[row]}" if self.is_numeric else f"logit of {self.predictions[row]}"

    @property
    def table(self) -> Table:
        """The tokens of the first text and their attributions."""
        rows = [(i, repr(self.tokens[0][i]), float(self.values[0, i])) for i in range(self._last(0))]
        return Table(
            f"{self.rows[0]}: attributions to the {self._score(0)}",
            ("place", "token", "attribution"),
            tuple(rows),
        )

    @property
    def chart(self) -> Chart:
        """The last tokens of the first text before the prediction."""
        return self.row_chart(0)

    def row_chart(self, row: int) -> Chart:
        """Return the chart of one text."""
        end = self._last(row)
        start = max(0, end - MAX_BARS)
        names = tuple(repr(token) for token in self.tokens[row][start:end])
        bars = SignedBars("attribution", names, tuple(float(v) for v in self.values[row, start:end]))
        title = f"{self.rows[row]}: attributions to the {self._score(row)}"
        return Chart(title, (bars,), self.text)

    @property
    def text(self) -> str:
        """The strongest tokens of the first text, and how exact their attributions are."""
        row, end = self.values[0], self._last(0)
        strongest = sorted(range(end), key=lambda i: -abs(row[i]))[:5]
        listed = ", ".join(f"{self.tokens[0][i]!r} at {i}: {row[i]:+.3g}" for i in strongest)
        return (
            f"Attributions of tokens to the {self._score(0)} after {self.rows[0]}: {listed}. {self.baseline[0]:.4g} at "
            f"the baseline, {self.scores[0]:.4g} here. {describe_remainder(self.remainders, self.points)}"
        )


class TokensMethod:
    """Attributions of the tokens of a text."""

    order = 0

    def suits(self, explained: ExplainedModel) -> bool:
        """Rows of tokens suit."""
        return explained.kind.name == "text"

    def explain(self, request: Request) -> Tokens:
        """Return the attributions of the tokens of at most ``MAX_TEXTS`` texts.

        Raises:
            NoGradient: the model has no embedding.
        """
        import numpy as np

        explained, (X, names, _) = request.explained, request.rows
        X, names = X[:MAX_TEXTS], names[:MAX_TEXTS]
        positions = None
        if explained.task.per_position:
            positions = last_positions(X, getattr(explained.preprocessing, "separator", -1))
        classes = explained.select_classes(X, request.target, positions)
        slopes = explained.slopes(X, classes, positions)
        vectors = explained.backend.continuous_inputs(explained.wrapped, X)
        start = self._baseline(explained, request.baseline, vectors)
        piece = max(1, explained.piece // vectors.shape[-1] * 64) if vectors.shape[-1] > 64 else explained.piece
        result = integrated_gradients(slopes, vectors, start, piece=piece)
        texts = token_texts(explained, X)
        if explained.task.per_position:
            predictions = [repr(text) for (text,) in token_texts(explained, classes[:, None])]
        elif explained.task.numeric:
            predictions = [f"{score:.4g}" for score in result.ends]
        else:
            predictions = [repr(explained.labels[number]) for number in classes]
        return Tokens(
            names,
            tuple(texts),
            result.values.sum(axis=-1),
            np.full(len(X), -1) if positions is None else positions,
            tuple(predictions),
            explained.task.numeric,
            result.ends,
            result.starts,
            result.remainders,
            result.points,
        )

    @staticmethod
    def _baseline(explained: ExplainedModel, name: str, vectors: np.ndarray) -> np.ndarray:
        """Return the vector (1, 1, width) in place of each token: the mean of the tokens in training, or zero."""
        import numpy as np

        if name == "zero":
            mean = np.zeros(vectors.shape[-1])
        elif name == "mean":
            rows = explained.cast(explained.reference.X[:BASELINE_ROWS])
            mean = (
                explained.backend.continuous_inputs(explained.wrapped, rows).reshape(-1, vectors.shape[-1]).mean(axis=0)
            )
        else:
            raise ConfigError([f"baseline: given {name!r}, expected mean or zero"])
        return np.broadcast_to(mean, (1, *vectors.shape[1:]))


def last_positions(X: np.ndarray, separator: int) -> np.ndarray:
    """Return the position (rows,) of the last token of each row that is not padded with separators."""
    import numpy as np

    is_text = np.not_equal(X, separator)
    length = X.shape[1]
    return np.asarray(np.where(is_text.any(axis=1), length - 1 - is_text[:, ::-1].argmax(axis=1), length - 1))


def token_texts(explained: ExplainedModel, X: np.ndarray) -> list[tuple[str, ...]]:
    """Return the tokens of each row as text; of a loader, whose tokens have no text, their numbers."""
    strings: Any = getattr(explained.preprocessing, "strings", None)
    if strings is None:
        return [tuple(str(token) for token in row) for row in X.tolist()]
    return [tuple(piece.decode(errors="replace") for piece in strings(row)) for row in X]


METHODS.add("tokens", TokensMethod())
