"""How training rows are changed anew each time they are shown, so that a model sees more than there is."""

from __future__ import annotations

from pydantic import Field

from lmkit.specs.base import Spec
from lmkit.specs.signature import Shape


class Augmentation(Spec):
    """Changes of the training rows, drawn anew for every batch; validation and test stay as they are.

    Each is drawn evenly between minus and plus what is given, for each row by itself. The same seed draws the same,
    in every framework.

    >>> Augmentation(shift=1, rotate=10).moves
    True
    """

    shift: float = Field(0.0, ge=0)
    """Moves images up and down, left and right: by so many pixels at most; below 1, by that share of a side."""
    rotate: float = Field(0.0, ge=0, le=180)
    """Turns images about their middle, by so many degrees at most either way."""
    flip: bool = False
    """Mirrors half of the images, left to right."""
    noise: float = Field(0.0, ge=0)
    """Adds normal noise of this deviation to the scaled features."""
    mixup: float = Field(0.0, ge=0)
    """Mixes rows, and their targets, in pairs by shares from Beta(α, α) with this α, often 0.2 (Zhang et al., 2018)."""

    @property
    def moves(self) -> bool:
        """Whether pixels change places."""
        return bool(self.shift or self.rotate or self.flip)

    def problem(self, shape: Shape) -> str:
        """What keeps it from rows of ``shape``; empty where nothing does."""
        if not self.moves or len(shape) == 3:
            return ""
        given = next(
            f"{name}: {'true' if v is True else f'{v:g}'}"
            for name in ("shift", "rotate", "flip")
            if (v := getattr(self, name))
        )
        return (
            f"data.augment: given {given}, which moves pixels, but a row of the data is of shape {shape}, expected "
            "images (height, width, channels); noise and mixup serve any rows"
        )
