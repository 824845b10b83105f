"""The losses in PyTorch: ``loss(outputs, targets, reduction="mean")``, each a sum with its normalizer."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lmkit.backends.base import RowLosses
from lmkit.backends.implementations import NotImplementedHere
from lmkit.custom.objects import describe_error, get_object
from lmkit.exceptions import ConfigError
from lmkit.specs.losses import MASKED, LossFacts, LossName
from lmkit.specs.outputs import EPSILON, OutputKind
from lmkit.specs.references import is_reference, label

LossFunction = Callable[..., torch.Tensor]
"""The mean loss of outputs and targets, or with ``reduction="none"`` that of each row."""

LOSSES: dict[LossName, LossFunction] = {
    "binary_crossentropy": F.binary_cross_entropy_with_logits,
    "categorical_crossentropy": F.cross_entropy,
    "mean_squared_error": F.mse_loss,
}
"""Name → loss of logits, or of values."""

KNOWN_LOSSES: dict[Any, LossFacts] = {
    nn.BCELoss: LossFacts("BCELoss", "probabilities", "nn.BCEWithLogitsLoss()"),
    F.binary_cross_entropy: LossFacts("binary_cross_entropy", "probabilities", "nn.BCEWithLogitsLoss()"),
    nn.BCEWithLogitsLoss: LossFacts("BCEWithLogitsLoss", "logits", "nn.BCELoss()"),
    F.binary_cross_entropy_with_logits: LossFacts("binary_cross_entropy_with_logits", "logits", "nn.BCELoss()"),
    nn.CrossEntropyLoss: LossFacts("CrossEntropyLoss", "logits", per_class=True),
    F.cross_entropy: LossFacts("cross_entropy", "logits", per_class=True),
    nn.NLLLoss: LossFacts("NLLLoss", "log_probabilities", "nn.CrossEntropyLoss()", per_class=True),
    F.nll_loss: LossFacts("nll_loss", "log_probabilities", "nn.CrossEntropyLoss()", per_class=True),
    nn.KLDivLoss: LossFacts("KLDivLoss", "log_probabilities", "nn.CrossEntropyLoss()", per_class=True),
    F.kl_div: LossFacts("kl_div", "log_probabilities", "nn.CrossEntropyLoss()", per_class=True),
}
"""Class or function of PyTorch → what it takes, and what takes logits, or probabilities, in its stead."""

_WEIGHTED = ("CrossEntropyLoss", "cross_entropy", "NLLLoss", "nll_loss")
"""Losses whose mean is weighted by the class of each row: Σwl / Σw."""

_OF_SHARES = ("KLDivLoss", "kl_div")
"""Losses that compare distributions: the class of a row is the one whose share is 1."""


def get_loss(
    name: LossName, targets: np.ndarray, output_kind: OutputKind = "logits", *, masked: bool = False
) -> LossFunction:
    """Return a loss by its name, or a custom one by its reference.

    Args:
        name: of the loss.
        targets: tells by its axes and type whether each place of a row has a target.
        output_kind: what the outputs of the model are; a custom loss gets them as they are.
        masked: whether places of rows are masked.

    Raises:
        NotImplementedHere: PyTorch has no such loss.
    """
    if is_reference(name):
        return CustomLoss(name)
    if name not in LOSSES:
        raise NotImplementedHere(f"PyTorch has no loss {name!r}; expected one of {', '.join(LOSSES)}")
    places = targets.ndim > 2 or (targets.ndim > 1 and targets.dtype.kind in "iu")
    of_places = masked_crossentropy if masked else token_crossentropy
    loss = of_places if name == "categorical_crossentropy" and places else LOSSES[name]
    if output_kind == "logits" or name == "mean_squared_error":
        return loss
    single = name == "binary_crossentropy"
    return lambda outputs, y, reduction="mean": loss(to_logits(outputs, output_kind, single), y, reduction=reduction)


def to_logits(outputs: torch.Tensor, kind: OutputKind, single: bool) -> torch.Tensor:
    """Return the logits of probabilities or log-probabilities, clipped; see ``lmkit.specs.outputs``."""
    if single:
        p = (outputs.exp() if kind == "log_probabilities" else outputs).clamp(EPSILON, 1 - EPSILON)
        return p.log() - torch.log1p(-p)
    if kind == "log_probabilities":
        return outputs
    return (outputs / outputs.sum(-1, keepdim=True)).clamp(EPSILON, 1 - EPSILON).log()


def token_crossentropy(logits: torch.Tensor, tokens: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Cross-entropy at every place: logits (rows, places, vocabulary), tokens (rows, places), or shares of them."""
    target = tokens.flatten(0, 1) if tokens.is_floating_point() else tokens.flatten().long()
    losses = F.cross_entropy(logits.flatten(0, 1), target, reduction=reduction)
    return losses if reduction == "mean" else losses.view(logits.shape[:2])


def masked_crossentropy(logits: torch.Tensor, tokens: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Cross-entropy of the places that are not masked, of which the mean is taken; 0 where all are masked."""
    losses = F.cross_entropy(logits.flatten(0, 1), tokens.flatten().long(), reduction="none", ignore_index=MASKED)
    if reduction == "mean":
        return losses.sum() / (tokens != MASKED).sum().clamp(min=1)
    return losses.view(logits.shape[:2])


def masked_normalizers(tokens: torch.Tensor) -> torch.Tensor:
    """Return the share of the places of each row (rows,) that count, in float64; a Mac's GPU has float32 only."""
    dtype = torch.float32 if tokens.device.type == "mps" else torch.float64
    return (tokens != MASKED).to(dtype).mean(1)


def loss_facts(reference: str) -> LossFacts | None:
    """Return what a custom loss takes, where it is one of PyTorch's own."""
    return _facts(get_object(reference, "training.loss"))


def _facts(loss: Any) -> LossFacts | None:
    """Return what a loss of PyTorch takes: a class, an instance, a function, or a partial of one."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    key = loss if isinstance(loss, type | FunctionType | BuiltinFunctionType) else type(loss)
    return KNOWN_LOSSES.get(key)


class CustomLoss:
    """A function ``loss(outputs, targets)``, or a loss module, that returns a scalar or one value per row.

    A function that returns a scalar has no loss of a single row: each row's is that of its batch.

    Attributes:
        reduction: of a loss module or function of PyTorch: mean, or sum over a batch; empty: the loss gives what it
            gives, and its mean over rows is taken.
        row_loss: the loss without its reduction; None where it cannot be had.
    """

    def __init__(self, reference: str) -> None:
        self.name = label(reference)
        loss = get_object(reference, "training.loss")
        self.loss: Any = loss() if isinstance(loss, type) else loss
        self.reduction: str = ""
        self.row_loss: Any = None
        facts = _facts(self.loss)
        self.one_hot = facts is not None and facts.name in _OF_SHARES
        if getattr(self.loss, "reduction", None) in ("mean", "sum"):
            self.reduction = self.loss.reduction
            self.row_loss = copy.copy(self.loss)
            self.row_loss.reduction = "none"
        elif facts and not isinstance(self.loss, nn.Module):
            self.reduction = getattr(self.loss, "keywords", {}).get("reduction", "mean")
            self.row_loss = functools.partial(self.loss, reduction="none")
        self.is_consistent: bool | None = None
        self.device: Any = None

    @property
    def is_plain_mean(self) -> bool:
        """Whether the loss of a batch is the mean over its rows, as far as its class tells."""
        has_weight, ignored = self._weighting()
        return self.reduction != "sum" and has_weight is None and ignored < 0

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        """Return the loss of a batch, or with ``reduction="none"`` that of each row."""
        value = self._compute(self.loss if reduction == "mean" else self.row_loss or self.loss, outputs, targets)
        if value.ndim and value.shape[0] != len(outputs):
            raise self._wrong_shape(value, outputs)
        if reduction == "mean":
            return value.mean() if value.ndim else value
        return value if value.ndim else value.expand(len(outputs))

    def row_losses(self, outputs: torch.Tensor, targets: torch.Tensor, batch_size: int) -> RowLosses:
        """Return the summands of the loss (rows,), and the normalizer of each.

        A loss that gives only a number is computed for ``batch_size`` rows at a time, as in training: a sum over a
        batch stays one.
        """
        if self.row_loss is not None and self.is_consistent is not False:
            losses = self._rows_of(outputs, targets)
            normalizers = self.normalizers(targets, batch_size)
            if self.is_consistent is None:
                self.is_consistent = self._check(losses, normalizers, self(outputs, targets))
            if self.is_consistent:
                return RowLosses(_numbers(losses), _numbers(normalizers))
        values = []
        for z, y in zip(outputs.split(batch_size), targets.split(batch_size), strict=True):
            value = self._compute(self.loss, z, y)
            values.append(_mean_places(value) if value.ndim else value.expand(len(z)))
        return RowLosses.of(_numbers(torch.cat(values)))

    def batch_total(
        self, loss: torch.Tensor, targets: torch.Tensor, batch_size: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sum and the normalizer of a batch, of which ``loss`` is the loss."""
        dtype = torch.float32 if loss.device.type == "mps" else None  # which has no float64
        normalizer = self.normalizers(targets, batch_size).sum().to(loss.device, dtype)
        return loss.detach() if self.reduction == "sum" else loss.detach() * normalizer, normalizer

    def normalizers(self, targets: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Return the share of each row (rows,) in the normalizer of the loss.

        Rows of a weighted mean Σwl / Σw count by the weight of their class, and not at all where the class is ignored
        (PyTorch's ``CrossEntropyLoss``); those of a sum are a fraction of a batch.
        """
        if self.reduction == "sum":
            return torch.full((len(targets),), 1 / batch_size, dtype=torch.float64)
        weights = self._class_weights(targets)
        return torch.ones(len(targets), dtype=torch.float64) if weights is None else weights

    def _class_weights(self, targets: torch.Tensor) -> torch.Tensor | None:
        """Return the weight of each row (rows,) by its class; None where rows count alike."""
        weight, ignored = self._weighting()
        if targets.is_floating_point() or targets.ndim != 1 or (weight is None and ignored < 0):
            return None
        weights = torch.ones(len(targets), device=targets.device)
        if weight is not None:
            weights = weight.detach().to(targets.device)[targets.clamp(0, len(weight) - 1)]
        return torch.where(targets == ignored, torch.zeros_like(weights), weights)

    def _weighting(self) -> tuple[torch.Tensor | None, int]:
        """Return the weights of the classes (classes,), if any, and the class that does not count; −100 for none."""
        facts, keywords = _facts(self.loss), getattr(self.loss, "keywords", {})
        if facts is None or facts.name not in _WEIGHTED:
            return None, -100
        weight = getattr(self.loss, "weight", keywords.get("weight"))
        return weight, getattr(self.loss, "ignore_index", keywords.get("ignore_index", -100))

    def _rows_of(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row (rows,), without its reduction."""
        losses = self(outputs, targets, "none")
        if self.reduction == "sum":
            return losses.flatten(1).sum(1) if losses.ndim > 1 else losses
        return _mean_places(losses)

    def _check(self, losses: torch.Tensor, normalizers: torch.Tensor, whole: torch.Tensor) -> bool:
        """Return whether ``whole`` is the sum of the rows by their normalizers; a subclass may compute otherwise."""
        total = losses.sum() if self.reduction == "sum" else losses.sum() / normalizers.sum()
        return bool(np.isclose(float(whole), float(total), rtol=1e-3, atol=1e-6, equal_nan=True))

    def _compute(self, loss: Any, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if isinstance(self.loss, nn.Module) and self.device != outputs.device:
            self.device = outputs.device  # weights of classes come as they were written
            self.loss, self.row_loss, loss = (
                copy.deepcopy(m).to(outputs.device, outputs.dtype) if isinstance(m, nn.Module) else m
                for m in (self.loss, self.row_loss, loss)
            )
        if self.one_hot and targets.ndim == outputs.ndim - 1:
            targets = F.one_hot(targets, outputs.shape[-1]).to(outputs.dtype)
        try:
            value: Any = loss(outputs, targets)
        except Exception as error:
            raise ConfigError(
                [
                    f"training.loss: {self.name} raised {describe_error(error)}; it was given outputs "
                    f"{tuple(outputs.shape)} and targets {tuple(targets.shape)}"
                ]
            ) from error
        if not isinstance(value, torch.Tensor):
            raise ConfigError([f"training.loss: {self.name} returned a {type(value).__name__}, expected a tensor"])
        return value

    def _wrong_shape(self, value: torch.Tensor, outputs: torch.Tensor) -> ConfigError:
        return ConfigError(
            [
                f"training.loss: {self.name} returned {tuple(value.shape)} for {len(outputs)} rows, expected a scalar, "
                "or a value a row"
            ]
        )


def _mean_places(losses: torch.Tensor) -> torch.Tensor:
    """Return losses (rows, …) as their means (rows,)."""
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


def _numbers(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.float64)
