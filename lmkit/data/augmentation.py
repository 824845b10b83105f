"""Augmentation of batches, in NumPy: the same in every framework, drawn from the generator of the batch alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmkit.data.batches import Part
from lmkit.specs.tasks import get_task

if TYPE_CHECKING:
    import numpy as np

    from lmkit.preprocessing.table import TablePreprocessing
    from lmkit.specs.augmentation import Augmentation
    from lmkit.specs.signature import Shape


class Augment:
    """Augments a batch: moves images, adds noise, mixes rows.

    Rows stay flat (rows, features) and scaled. Pixels from beyond the edge of an image are black, 0 before scaling.

    Args:
        spec: the augmentation.
        shape: of a row.
        classes: number of classes, whose targets become shares where rows are mixed; 0: the target is numeric.
        black: (channels,), a black pixel after scaling; needed where images move.
    """

    def __init__(self, spec: Augmentation, shape: Shape, classes: int, black: np.ndarray) -> None:
        self.spec, self.shape, self.classes, self.black = spec, shape, classes, black

    def __call__(self, part: Part, draw: np.random.Generator) -> Part:
        """Return the augmented batch: X (rows, features) in the same type, y unchanged, or mixed shares of classes."""
        X, y = part
        if self.spec.moves:
            X = self._move(X, draw)
        if self.spec.noise:
            X = X + draw.normal(0.0, self.spec.noise, X.shape).astype(X.dtype)
        return self._mix(X, y, draw) if self.spec.mixup else Part(X, y)

    def _move(self, X: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        import numpy as np

        spec, n = self.spec, len(X)
        height, width, channels = self.shape
        reach = np.array([height, width]) * spec.shift if spec.shift < 1 else np.full(2, spec.shift)
        shifts = draw.uniform(-1, 1, (n, 2)) * reach
        angles = np.deg2rad(draw.uniform(-1, 1, n) * spec.rotate)
        mirrored = draw.random(n) < 0.5 if spec.flip else np.zeros(n, dtype=bool)
        images = X.reshape(n, height, width, channels)
        return move_images(images, shifts, angles, mirrored, self.black.astype(X.dtype)).reshape(X.shape)

    def _mix(self, X: np.ndarray, y: np.ndarray, draw: np.random.Generator) -> Part:
        import numpy as np

        others = draw.permutation(len(X))
        share = draw.beta(self.spec.mixup, self.spec.mixup, (len(X), 1)).astype(X.dtype)
        if self.classes:
            y = np.eye(self.classes, dtype=X.dtype)[y]
        return Part(share * X + (1 - share) * X[others], share * y + (1 - share) * y[others])


def augment_for(spec: Augmentation, preprocessing: TablePreprocessing) -> Augment:
    """Return the augmentation ``spec`` of rows that ``preprocessing`` prepared."""
    import numpy as np

    fits = list(preprocessing.numbers.values())[: preprocessing.shape[-1]] if spec.moves else []  # alike per channel
    black = np.array([-fit["shift"] / fit["scale"] for fit in fits])
    classes = preprocessing.outputs if get_task(preprocessing.task).integer_targets else 0
    return Augment(spec, preprocessing.shape, classes, black)


def move_images(
    images: np.ndarray, shifts: np.ndarray, angles: np.ndarray, mirrored: np.ndarray, beyond: np.ndarray
) -> np.ndarray:
    """Mirror, then rotate about the center, then shift each image by its own parameters, with bilinear interpolation.

    Args:
        images: (rows, height, width, channels).
        shifts: (rows, 2), in pixels down and to the right.
        angles: (rows,), in radians, from the x axis (to the right) towards the y axis (down).
        mirrored: (rows,), whether left becomes right.
        beyond: (channels,), the pixels beyond the edges.

    >>> import numpy as np
    >>> image = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    >>> down = move_images(image, np.array([[1.0, 0.0]]), np.zeros(1), np.zeros(1, bool), np.zeros(1))
    >>> down.reshape(2, 2).tolist()
    [[0.0, 0.0], [1.0, 2.0]]
    """
    import numpy as np

    n, height, width, channels = images.shape
    padded = np.empty((n, height + 2, width + 2, channels), dtype=images.dtype)
    padded[:] = beyond
    padded[:, 1:-1, 1:-1] = images
    # the source of each pixel of the result: the inverse transformation about the center of the image
    middle = np.array([height - 1, width - 1]) / 2
    down = np.arange(height)[None, :, None] - middle[0] - shifts[:, 0, None, None]
    right = np.arange(width)[None, None, :] - middle[1] - shifts[:, 1, None, None]
    cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    top = cos * down - sin * right + middle[0]
    left = np.where(mirrored, -1, 1)[:, None, None] * (sin * down + cos * right) + middle[1]
    # all pixels beyond the edge are equal: one of them is enough
    top, left = np.clip(top, -1, height) + 1, np.clip(left, -1, width) + 1
    row, column = np.minimum(top.astype(np.intp), height), np.minimum(left.astype(np.intp), width)
    lower, righter = ((top - row)[..., None].astype(images.dtype), (left - column)[..., None].astype(images.dtype))
    pixels = padded.reshape(-1, channels)
    first = (np.arange(n)[:, None, None] * (height + 2) + row) * (width + 2) + column
    below = first + width + 2
    upper_side = pixels[first] + righter * (pixels[first + 1] - pixels[first])
    lower_side = pixels[below] + righter * (pixels[below + 1] - pixels[below])
    result: np.ndarray = upper_side + lower * (lower_side - upper_side)
    return result
