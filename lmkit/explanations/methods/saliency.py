"""Images and sequences: integrated gradients of each pixel, and saliency |∂score/∂x| (Simonyan et al., 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmkit.display.figure import Chart
from lmkit.display.pictures import Picture
from lmkit.display.table import Table
from lmkit.display.units import format_number
from lmkit.explanations.integrated_gradients import describe_remainder, integrated_gradients
from lmkit.explanations.methods.base import METHODS, Request
from lmkit.explanations.model import ExplainedModel

if TYPE_CHECKING:
    import numpy as np

MAX_IMAGES = 50
"""Images that are explained at once, at most: each has a number for every pixel."""


@dataclass(frozen=True)
class Saliency:
    """Which pixels of an image, or times of a sequence, the score depends on.

    Attributes:
        score: what is explained, in words.
        inputs: (rows, height, width, channels) or (rows, length, channels), in the unit of the data.
        attributions: integrated gradients, in the shape of the inputs; those of a row sum to its score minus that of
            the baseline.
        gradients: ∂score/∂feature, of the prepared features, in the shape of the inputs.
        rows: the names of the rows, and ``predictions`` in words.
        scores: of each row, and ``baseline`` that of the baseline, (rows,).
        remainders: what is missing from completeness, as a share, (rows,); ``points`` of the quadrature, (rows,).
    """

    score: str
    inputs: np.ndarray
    attributions: np.ndarray
    gradients: np.ndarray
    rows: tuple[str, ...]
    predictions: tuple[str, ...]
    scores: np.ndarray
    baseline: np.ndarray
    remainders: np.ndarray
    points: np.ndarray

    @property
    def maps(self) -> np.ndarray:
        """The attributions summed over channels, (rows, height, width); of sequences as they are."""
        return self.attributions.sum(axis=-1) if self.attributions.ndim == 4 else self.attributions

    @property
    def saliency(self) -> np.ndarray:
        """The largest |gradient| of the channels, (rows, height, width); of sequences as they are."""
        sizes = abs(self.gradients)
        return sizes.max(axis=-1) if sizes.ndim == 4 else sizes

    @property
    def table(self) -> Table:
        """Score, baseline and remainder of each row."""
        rows = [
            (name, prediction, float(score), float(start), float(remainder), int(points))
            for name, prediction, score, start, remainder, points in zip(
                self.rows, self.predictions, self.scores, self.baseline, self.remainders, self.points, strict=True
            )
        ]
        columns = ("row", "prediction", "score", "at the baseline", "remainder", "points")
        return Table(f"Attributions to the {self.score}", columns, tuple(rows))

    @property
    def chart(self) -> Chart:
        """The first row beside its attributions and its saliency."""
        return self.row_chart(0)

    def row_chart(self, row: int) -> Chart:
        """Return a row beside its attributions and its saliency."""
        title = f"{self.rows[row]}: {self.predictions[row]}; attributions to the {self.score}"
        if self.inputs.ndim == 4:
            panels: tuple[Picture, ...] = (
                Picture("image", to_picture(self.inputs[row])),
                Picture("integrated gradients", self.maps[row], is_signed=True),
                Picture("saliency |gradient|", self.saliency[row]),
            )
        else:
            shown = (self.inputs[row].T, self.maps[row].T, self.saliency[row].T)
            titles = ("sequence, by time", "integrated gradients", "saliency |gradient|")
            panels = tuple(
                Picture("", values, is_signed=i == 1, x_title=name, y_title="channel")
                for i, (values, name) in enumerate(zip(shown, titles, strict=True))
            )
        return Chart(title, panels, self.text)

    @property
    def text(self) -> str:
        """How concentrated the attributions of the first row are, and how exact."""
        import numpy as np

        sizes = np.sort(np.abs(self.maps[0]).reshape(-1))[::-1]
        count = int(np.searchsorted(np.cumsum(sizes), sizes.sum() / 2)) + 1
        what = "pixels" if self.inputs.ndim == 4 else "numbers"
        return (
            f"Attributions to the {self.score} by integrated gradients. {self.rows[0]}, {self.predictions[0]}: "
            f"{count} of {len(sizes):,} {what} hold half of all |attributions|; "
            f"{format_number(self.baseline[0])} at the baseline, {format_number(self.scores[0])} here. "
            f"{describe_remainder(self.remainders, self.points)}"
        )


def to_picture(image: np.ndarray) -> np.ndarray:
    """Return an image (height, width, channels) as (height, width) or (height, width, 3) from 0 to 255."""
    import numpy as np

    if image.shape[-1] != 3:
        return np.asarray(image.mean(axis=-1))
    low, high = float(image.min()), float(image.max())
    if low >= 0 and 1.5 < high <= 255:
        return image
    return np.asarray((image - low) / ((high - low) or 1.0) * 255)


class SaliencyMethod:
    """Integrated gradients and saliency of images and sequences."""

    order = 0

    def suits(self, explained: ExplainedModel) -> bool:
        """Images and sequences suit."""
        return explained.kind.name in ("image", "sequence")

    def explain(self, request: Request) -> Saliency:
        """Return the attributions of the rows, at most ``MAX_IMAGES`` of them."""
        import numpy as np

        explained, (X, names, _) = request.explained, request.rows
        X, names = X[:MAX_IMAGES], names[:MAX_IMAGES]
        classes = explained.select_classes(X, request.target)
        slopes = explained.slopes(X, classes)
        result = integrated_gradients(slopes, X, explained.baseline(request.baseline), piece=explained.piece)
        size = explained.piece
        indices = np.arange(len(X))
        gradients = [slopes(indices[i : i + size], X[i : i + size])[1] for i in range(0, len(X), size)]
        return Saliency(
            explained.score_name(request.target),
            explained.shape_rows(explained.original(X)),
            explained.shape_rows(result.values),
            explained.shape_rows(np.concatenate(gradients)),
            names,
            tuple(explained.describe(X)),
            result.ends,
            result.starts,
            result.remainders,
            result.points,
        )


METHODS.add("saliency", SaliencyMethod())
