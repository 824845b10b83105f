"""The update rules θ ← θ − α∇J; all backends implement the same formulas.

With g the gradient, α the learning rate and t the step, counted from 1:

* SGD: v ← μv + g, θ ← θ − αv; Nesterov: θ ← θ − α(g + μv) (Sutskever et al., 2013)
* Adam: m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ − α m̂/(√v̂ + ε) with m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ)
  (Kingma and Ba, 2015, algorithm 1: ε is added to the *corrected* root, as in PyTorch)
* AdamW: θ ← θ − αλθ first, then Adam (Loshchilov and Hutter, 2019)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from lmkit.specs.base import Spec
from lmkit.specs.registry import SpecRegistry

OPTIMIZERS = SpecRegistry("optimizer", "lmkit.optimizers", "name")
"""The optimizers by name; a subclass of ``Spec`` with a field ``lr``, the learning rate, is one."""


@OPTIMIZERS.register
class Adam(Spec):
    """Adaptive moments."""

    name: Literal["adam"] = "adam"
    """Adaptive moments."""
    lr: float = Field(0.001, gt=0)
    """Learning rate α."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    epsilon: float = Field(1e-8, gt=0)
    """Constant ε that keeps the division finite."""


@OPTIMIZERS.register
class SGD(Spec):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = "sgd"
    """Stochastic gradient descent."""
    lr: float = Field(0.01, gt=0)
    """Learning rate α."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """Momentum μ: the decay of the velocity per step."""
    nesterov: bool = False
    """Look ahead along the velocity; needs momentum."""

    @model_validator(mode="after")
    def _check(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum; write momentum: 0.9 or nesterov: false")
        return self


@OPTIMIZERS.register
class AdamW(Spec):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    """Adam with decoupled weight decay."""
    lr: float = Field(0.001, gt=0)
    """Learning rate α."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    epsilon: float = Field(1e-8, gt=0)
    """Constant ε that keeps the division finite."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay λ: each step subtracts λ times the learning rate times the weight."""


def _expand(value: Any) -> Any:
    """Return ``adam`` as ``{name: adam}``; fields without a name are those of the first optimizer that has them all.

    >>> _expand({"lr": 0.1}), _expand({"momentum": 0.9})
    ({'name': 'adam', 'lr': 0.1}, {'name': 'sgd', 'momentum': 0.9})
    """
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict) or "name" in value:
        return value
    kinds = OPTIMIZERS.items()
    name = next((name for name, kind in kinds if value.keys() <= kind.model_fields.keys()), kinds[0][0])
    return {"name": name, **value}


if TYPE_CHECKING:
    Optimizer = SGD | Adam | AdamW
else:

    def __getattr__(name: str) -> Any:
        """Build the union ``Optimizer`` at its first use, so that plugins may import this module."""
        if name != "Optimizer":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = Annotated[OPTIMIZERS.union(), BeforeValidator(_expand)]
        return globals()[name]
