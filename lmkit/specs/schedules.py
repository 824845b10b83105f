"""How the learning rate changes while training: a factor on the optimizer's own rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lmkit.specs.base import Spec, short

if TYPE_CHECKING:
    import numpy as np


class Constant(Spec):
    """The optimizer's own rate, throughout."""

    name: Literal["constant"] = "constant"
    """The optimizer's own rate, throughout."""

    def factors(self, steps: np.ndarray, steps_per_epoch: int, total: int) -> np.ndarray:
        """The factor at each of ``steps`` (counted from 0), of ``total``."""
        import numpy as np

        return np.ones(len(steps))


class Step(Spec):
    """Multiplied by a factor every so many epochs."""

    name: Literal["step"] = "step"
    """Multiplied by a factor every so many epochs."""
    every: int = Field(10, ge=1)
    """Epochs between two changes."""
    factor: float = Field(0.5, gt=0, le=1)
    """What the rate is multiplied by."""

    def factors(self, steps: np.ndarray, steps_per_epoch: int, total: int) -> np.ndarray:
        """The factor at each of ``steps`` (counted from 0), of ``total``."""
        import numpy as np

        return np.asarray(np.power(self.factor, steps // (self.every * steps_per_epoch)))


class Cosine(Spec):
    """Rises over the warm-up, then falls along half a cosine (Loshchilov and Hutter, 2017)."""

    name: Literal["cosine"] = "cosine"
    """Rises over the warm-up, then falls along half a cosine."""
    warmup: int = Field(0, ge=0)
    """Steps over which the rate rises from near zero."""
    floor: float = Field(0.0, ge=0, lt=1)
    """Share of the rate that is left at the end."""

    def factors(self, steps: np.ndarray, steps_per_epoch: int, total: int) -> np.ndarray:
        """The factor at each of ``steps`` (counted from 0), of ``total``."""
        import numpy as np

        fall = np.clip((steps - self.warmup) / max(1, total - self.warmup), 0, 1)
        cosine = self.floor + (1 - self.floor) * 0.5 * (1 + np.cos(np.pi * fall))
        return np.where(steps < self.warmup, (steps + 1) / max(1, self.warmup), cosine)


Schedule = Annotated[
    Annotated[Constant | Step | Cosine, Field(discriminator="name")],
    short("name", default="constant"),
]
