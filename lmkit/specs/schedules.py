"""Learning-rate schedules: a factor of the optimizer's learning rate at each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lmkit.specs.base import Spec, short

if TYPE_CHECKING:
    import numpy as np


class Constant(Spec):
    """A constant learning rate."""

    name: Literal["constant"] = "constant"
    """A constant learning rate."""

    def factors(self, steps: np.ndarray, steps_per_epoch: int, total: int) -> np.ndarray:  # noqa: ARG002 (part of the interface)
        """Return the factor at each of ``steps`` (counted from 0) of ``total``."""
        import numpy as np

        return np.ones(len(steps))


class Step(Spec):
    """Multiply the learning rate by a factor every few epochs."""

    name: Literal["step"] = "step"
    """Multiply the learning rate by a factor every few epochs."""
    every: int = Field(10, ge=1)
    """Epochs between two changes."""
    factor: float = Field(0.5, gt=0, le=1)
    """The factor."""

    def factors(self, steps: np.ndarray, steps_per_epoch: int, total: int) -> np.ndarray:  # noqa: ARG002 (part of the interface)
        """Return the factor at each of ``steps`` (counted from 0) of ``total``."""
        import numpy as np

        return np.asarray(np.power(self.factor, steps // (self.every * steps_per_epoch)))


class Cosine(Spec):
    """Linear warm-up, then half a cosine (Loshchilov and Hutter, 2017)."""

    name: Literal["cosine"] = "cosine"
    """Linear warm-up, then half a cosine."""
    warmup: int = Field(0, ge=0)
    """Steps of the linear warm-up."""
    floor: float = Field(0.0, ge=0, lt=1)
    """Fraction of the learning rate at the end."""

    def factors(self, steps: np.ndarray, steps_per_epoch: int, total: int) -> np.ndarray:  # noqa: ARG002 (part of the interface)
        """Return the factor at each of ``steps`` (counted from 0) of ``total``."""
        import numpy as np

        fall = np.clip((steps - self.warmup) / max(1, total - self.warmup), 0, 1)
        cosine = self.floor + (1 - self.floor) * 0.5 * (1 + np.cos(np.pi * fall))
        return np.where(steps < self.warmup, (steps + 1) / max(1, self.warmup), cosine)


Schedule = Annotated[
    Annotated[Constant | Step | Cosine, Field(discriminator="name")],
    short("name", default="constant"),
]
