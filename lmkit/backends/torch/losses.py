"""Anyone's own loss in PyTorch."""

from __future__ import annotations

import copy
from typing import Any

import torch

from lmkit.data.objects import find, told
from lmkit.errors import ConfigError
from lmkit.specs.references import label


class OwnLoss:
    """A function ``loss(outputs, targets)``, or a loss module, that gives a scalar or a value a row.

    Of a function that gives a scalar, the loss of each of some rows is the scalar of them all: it has no other.
    """

    def __init__(self, reference: str) -> None:
        self.name = label(reference)
        given = find(reference, "training.loss")
        self.loss = given() if isinstance(given, type) else given
        self.single = self.loss
        if getattr(self.loss, "reduction", None) in ("mean", "sum"):
            self.single = copy.copy(self.loss)
            self.single.reduction = "none"

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        """The mean loss, or with ``reduction="none"`` that of each row."""
        loss = self.loss if reduction == "mean" else self.single
        try:
            value: Any = loss(outputs, targets)
        except Exception as error:
            raise ConfigError(
                [f"training.loss: {self.name} raised {told(error)}; it was given outputs {tuple(outputs.shape)} and "
                 f"targets {tuple(targets.shape)}"]
            ) from error  # fmt: skip
        if not isinstance(value, torch.Tensor):
            raise ConfigError([f"training.loss: {self.name} returned a {type(value).__name__}, expected a tensor"])
        if reduction == "mean":
            if value.ndim and value.shape[0] != len(outputs):
                raise self._wrong(value, outputs)
            return value.mean() if value.ndim else value
        if value.ndim == 0:
            return value.expand(len(outputs))
        if value.shape[0] != len(outputs):
            raise self._wrong(value, outputs)
        return value

    def _wrong(self, value: torch.Tensor, outputs: torch.Tensor) -> ConfigError:
        return ConfigError(
            [f"training.loss: {self.name} returned {tuple(value.shape)} for {len(outputs)} rows, expected a scalar, or "
             "a value a row"]
        )  # fmt: skip
