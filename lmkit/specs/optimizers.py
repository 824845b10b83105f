"""The update rules θ ← θ − α∇J and what they add to it; the backends give them the same meaning.

With g the gradient, α the learning rate and t the step, counted from 1:

* SGD: v ← μv + g, θ ← θ − αv; Nesterov: θ ← θ − α(g + μv) (Sutskever et al., 2013)
* Adam: m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ − α m̂/(√v̂ + ε) with m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ)
  (Kingma and Ba, 2015, algorithm 1: ε is added to the *corrected* root, as in PyTorch)
* AdamW: θ ← θ − αλθ first, then Adam (Loshchilov and Hutter, 2019)
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lmkit.specs.base import Spec, short


class SGD(Spec):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = "sgd"
    """Stochastic gradient descent."""
    lr: float = Field(0.01, gt=0)
    """Learning rate α."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """Share μ of the last step's velocity that is kept."""
    nesterov: bool = False
    """Look ahead along the velocity; needs momentum."""

    @model_validator(mode="after")
    def _check(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum; write momentum: 0.9 or nesterov: false")
        return self


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
    """Keeps the division finite."""


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
    """Keeps the division finite."""
    weight_decay: float = Field(0.01, ge=0)
    """Share λ of each weight taken away a step, times the learning rate."""


Optimizer = Annotated[
    Annotated[SGD | Adam | AdamW, Field(discriminator="name")],
    short("name", default="sgd"),
]
