"""Augmentation: random changes of the training rows, drawn for every batch."""

from __future__ import annotations

from pydantic import Field

from lmkit.specs.base import Spec
from lmkit.specs.signature import Shape


class Augmentation(Spec):
    """Random changes of the training rows, drawn for every batch; validation and test rows are unchanged.

    Each is drawn for each row, uniformly between minus and plus its value. The same seed draws the same in every
    framework.

    >>> Augmentation(shift=1, rotate=10).moves
    True
    """

    shift: float = Field(0.0, ge=0)
    """Largest shift of an image in each direction, in pixels; below 1: as a fraction of the side."""
    rotate: float = Field(0.0, ge=0, le=180)
    """Largest rotation of an image about its center, in degrees."""
    flip: bool = False
    """Mirror half of the images left to right."""
    noise: float = Field(0.0, ge=0)
    """Standard deviation of the normal noise that is added to the scaled features."""
    mixup: float = Field(0.0, ge=0)
    """Parameter α of mixup: rows and targets are mixed in pairs by Beta(α, α), often 0.2 (Zhang et al., 2018)."""

    @property
    def moves(self) -> bool:
        """Whether pixels are moved."""
        return bool(self.shift or self.rotate or self.flip)

    def problem(self, shape: Shape) -> str:
        """Return why it does not suit rows of ``shape``; empty where it does."""
        if not self.moves or len(shape) == 3:
            return ""
        setting = next(
            f"{name}: {'true' if v is True else f'{v:g}'}"
            for name in ("shift", "rotate", "flip")
            if (v := getattr(self, name))
        )
        return (
            f"data.augment: given {setting}, which moves pixels, but a row of the data is of shape {shape}, expected "
            "images (height, width, channels); noise and mixup suit any rows"
        )
