"""A training step in PyTorch: gradients added up over micro-batches, and the update."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import torch

from lmkit.backends.micro_batches import TRIAL_ROWS, Additivity, DividedStep, find_additivity, micro_batch_size
from lmkit.backends.torch import inspection
from lmkit.backends.torch.dropout import BatchDropout, random_states, set_random_states
from lmkit.backends.torch.forward import ForwardPass
from lmkit.backends.torch.loss_scale import LossScale
from lmkit.backends.torch.losses import CustomLoss, LossFunction, masked_normalizers
from lmkit.backends.torch.models.custom import CustomModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lmkit.backends.torch.optimizers import Optimizer
    from lmkit.backends.torch.strategies import Strategy
    from lmkit.experiment.experiment import Experiment

Batch = tuple[torch.Tensor, torch.Tensor]
"""Rows and targets."""


class Step(DividedStep[Batch]):
    """A step: ``accumulate`` adds the gradients of a batch, ``update`` applies them.

    Args:
        model: whose outputs are trained, as the strategy returned it.
        loss: of outputs and targets.
        optimizer: of its parameters.
        strategy: which rows of a micro-batch this process computes.
        experiment: with the sizes of batch and micro-batch, and the clipping.
        has_graph: whether the rows are nodes of a graph, which cannot be divided.
        masked: whether places of rows are masked, and do not count.

    Attributes:
        collects: whether the outputs of all rows are needed; else those of the last micro-batch are returned, for
            all of them may be larger than everything else.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: LossFunction,
        optimizer: Optimizer,
        strategy: Strategy,
        experiment: Experiment,
        *,
        has_graph: bool = False,
        masked: bool = False,
    ) -> None:
        self.model, self.loss, self.optimizer, self.strategy = model, loss, optimizer, strategy
        self.forward_pass = ForwardPass(model, experiment.training)
        self.forward = self.forward_pass.compute
        self.loss_scale = LossScale() if experiment.training.precision == "float16" else None
        self.custom_loss = loss if isinstance(loss, CustomLoss) else None
        self.loss_name = self.custom_loss.name if self.custom_loss else ""
        self.world, self.batch_size = strategy.world, experiment.data.batch_size
        self.clip_norm = experiment.training.clip_norm
        self.log_norm = experiment.training.gradient_norm is not None or self.clip_norm is not None
        self.has_graph, self.masked = has_graph, masked
        self.is_custom = any(isinstance(module, CustomModel) for module in model.modules())
        self.parameters = optimizer.parameters
        draws = self.is_custom or any(
            isinstance(m, torch.nn.modules.dropout._DropoutNd) and m.p > 0 for m in model.modules()
        )
        self.draws = draws and not self.forward_pass.compiles  # compiled dropout draws by itself
        self.additivity: Additivity = "mean"
        self.micro_batch = micro_batch_size(experiment)
        self.collects = True

    def _batch_norm(self) -> str:
        return inspection.batch_norm(self.model)

    @torch.no_grad()
    def _find_additivity(self, sample: Callable[[int], Batch]) -> Additivity:
        """Return how the losses of micro-batches add up."""
        if self.custom_loss is None or self.custom_loss.row_loss is not None:
            return "sum" if self.custom_loss and self.custom_loss.reduction == "sum" else "mean"
        training = self.model.training
        x, y = sample(TRIAL_ROWS)
        self.model.eval()
        z = self.model(x)
        self.model.train(training)
        return find_additivity(lambda rows: float(self.loss(z[rows], y[rows])), len(x))

    def accumulate(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the gradients of a batch; return this process's part of its loss, and of its outputs (rows, …)."""
        if len(x) <= self.micro_batch and self.world == 1:
            z = self.forward(x)
            loss = self.loss(z, y)
            self._backward(loss)
            return loss, z
        return self._accumulate_parts(x, y)

    def _accumulate_parts(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, states = len(x), random_states(x.device) if self.draws else None
        losses: list[torch.Tensor] = []
        outputs: torch.Tensor | None = None
        for begin, end in self._micro_batches(rows):
            if states:
                set_random_states(states, x.device)
            first, stop = self.strategy.local_rows(begin, end)
            is_empty = stop <= first
            if is_empty:
                first, stop = begin, begin + 1
            with contextlib.ExitStack() as contexts:
                if end < rows:
                    contexts.enter_context(self.strategy.no_sync(self.model))
                if states:
                    self.forward_pass.row_context = partial(BatchDropout, rows, first, stop)
                    contexts.enter_context(self.forward_pass.row_context())
                share = 0.0 if is_empty else self._share(y[first:stop], y)
                loss, z = self.micro(x[first:stop], y[first:stop], share)
            losses.append(loss)
            if not self.collects:
                outputs = z
                continue
            if outputs is None:
                outputs = z.new_zeros((rows, *z.shape[1:]))
            if not is_empty:
                outputs[first:stop] = z
        assert outputs is not None
        return torch.stack(losses).sum(), outputs

    def _micro_batches(self, rows: int) -> Iterator[tuple[int, int]]:
        """Yield the first row and the end of each micro-batch."""
        for begin in range(0, rows, self.micro_batch):
            yield begin, min(begin + self.micro_batch, rows)

    def micro(self, x: torch.Tensor, y: torch.Tensor, share: float | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the gradients of a micro-batch, whose loss has a ``share`` in that of the batch; return both."""
        z = self.forward(x)
        loss = self.loss(z, y) * share
        self._backward(loss * self.world if self.strategy.averages else loss)
        return loss.detach(), z.detach()

    def _backward(self, loss: torch.Tensor) -> None:
        self.strategy.backward(loss if self.loss_scale is None else loss * self.loss_scale.value)

    def _share(self, y: torch.Tensor, batch: torch.Tensor) -> float | torch.Tensor:
        """Return the share that the loss of rows with targets ``y`` has in that of the batch."""
        if self.additivity == "sum":
            return 1.0
        if self.masked:
            part, whole = (masked_normalizers(a).sum() for a in (y, batch))
            return part / torch.where(whole > 0, whole, 1.0)
        if self.custom_loss:
            part, whole = (self.custom_loss.normalizers(a, self.batch_size).sum() for a in (y, batch))
            return float(part) / (float(whole) or 1.0)
        return len(y) / len(batch)

    def update(self, rate: float, *, log_norm: bool = False) -> torch.Tensor | None:
        """Apply the gradients at a learning rate, clipped; return their norm before that, where it is computed.

        Gradients that overflowed float16 are not applied: their norm is NaN.
        """
        if self.is_custom:
            self._fill_gradients()
        norm = None
        if self.loss_scale is not None:
            self.loss_scale.unscale([p.grad for p in self.parameters])  # type: ignore[misc]
        if self.log_norm or log_norm or self.loss_scale is not None:
            norm = self.strategy.gradient_norm([p.grad for p in self.parameters])  # type: ignore[misc]
            if self.clip_norm is not None and (self.loss_scale is None or norm.isfinite()):
                torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        if self.loss_scale is not None and norm is not None:
            is_finite = bool(norm.isfinite())
            self.loss_scale.update(is_finite)
            if not is_finite:
                self.drop_gradients()
                return norm * float("nan")
        self.optimizer.step(rate)
        return norm

    def _fill_gradients(self) -> None:
        """Set the gradient of parameters that a custom model did not use in this step to zero."""
        for p in self.parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds of a step: the optimizer's state, and the scale of the loss."""
        return self.optimizer.state | (self.loss_scale.state if self.loss_scale else {})

    def drop_gradients(self) -> None:
        """Forget the gradients of a step that failed."""
        for p in self.parameters:
            p.grad = None
