"""The trainer in PyTorch: batches gathered by index in large blocks, a fused optimizer, every loss recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lmkit.backends.base import RowLosses, Steps, scale_columns
from lmkit.backends.evaluation import evaluate_rows
from lmkit.backends.out_of_memory import halve_evaluation, halve_micro_batch
from lmkit.backends.reading import Probe
from lmkit.backends.torch import checkpoints
from lmkit.backends.torch.devices import free_memory, has_own_memory
from lmkit.backends.torch.dropout import random_states, set_random_states
from lmkit.backends.torch.losses import CustomLoss, get_loss, masked_normalizers
from lmkit.backends.torch.optimizers import build_optimizer
from lmkit.backends.torch.readings import ModelReader
from lmkit.backends.torch.step import Batch, Step
from lmkit.backends.torch.strategies import SingleDevice, Strategy
from lmkit.backends.torch.trace import trace_step
from lmkit.backends.torch.transfer import load_batches, place_split, to_columns, to_device
from lmkit.data.batches import evaluation_batch_size
from lmkit.specs.losses import has_masked
from lmkit.specs.references import is_reference

if TYPE_CHECKING:
    from lmkit.backends.trace import Trace
    from lmkit.data.batches import Part
    from lmkit.data.dataset import Dataset
    from lmkit.experiment.experiment import Experiment
    from lmkit.specs.losses import LossName
    from lmkit.specs.models import Weights

GATHER = 2**20
"""Numbers that are gathered at once, as many batches: cheaper than batch by batch, and soon done."""


class TorchTrainer:
    """A model, its optimizer and its data.

    On a CPU each loss is read at once; on a GPU the tensors of a call are transferred together at its end, so that the
    device never waits.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        experiment: Experiment,
        dataset: Dataset,
        loss: LossName,
        strategy: Strategy | None = None,
        *,
        collect_outputs: bool = False,
    ) -> None:
        training = experiment.training
        self.strategy = strategy or SingleDevice()
        self.model = model
        self.step_model = self.strategy.setup(model)
        self.torch_device = next(model.parameters()).device
        self.device = str(self.torch_device)
        parts = (dataset.training, dataset.validation, dataset.test)
        self.masked = not is_reference(loss) and any(has_masked(part.y) for part in parts)
        self.loss = get_loss(loss, dataset.training.y, dataset.output_kind, masked=self.masked)
        self.custom_loss = self.loss if isinstance(self.loss, CustomLoss) else None
        self.has_plain_mean = self.custom_loss is None or self.custom_loss.is_plain_mean
        self.batch_size = experiment.data.batch_size
        learned = checkpoints.learned(model)
        self.optimizer = build_optimizer(training.optimizer, learned)
        self.splits = {
            name: tuple(place_split(a, self.torch_device, can_stay=name != "training") for a in getattr(dataset, name))
            for name in ("training", "validation", "test")
        }
        self.collect_outputs = collect_outputs
        self.is_repeatable = has_own_memory(self.torch_device)
        self.notes: list[str] = []
        self.row_shape = dataset.preprocessing.shape if dataset.preprocessing is not None else ()
        self.rows = dataset.rows
        self.batches = dataset.batches
        self.batch_iterator: Iterator[Any] | None = None
        self.next_batch = 0
        self.host_sizes: dict[int, int] = {}
        self.rows_at_once = evaluation_batch_size(
            dataset.training.X.shape[1:], self.batch_size, has_tokens=dataset.training.X.dtype.kind in "iu"
        )
        self.order = torch.zeros(0, dtype=torch.int64)
        self.block = max(1, GATHER // max(1, math.prod(self.splits["training"][0][: self.batch_size].shape)))
        self.gathered: tuple[int, list[Batch]] = (-1, [])
        has_graph = dataset.preprocessing is not None and dataset.preprocessing.signature.graph is not None
        self.step = Step(
            self.step_model,
            self.loss,
            self.optimizer,
            self.strategy,
            experiment,
            has_graph=has_graph,
            masked=self.masked,
        )
        self.step.collects = collect_outputs
        self.compiled = self.step.forward_pass.compiles
        self.set_micro_batch(self.step.micro_batch)
        torch.manual_seed(experiment.seed)
        model.train()

    @property
    def micro_batch(self) -> int:
        """Rows of a micro-batch."""
        return self.step.micro_batch

    def set_micro_batch(self, rows: int) -> None:
        """Take micro-batches of ``rows`` rows from the next step on."""
        self.step.divide(rows, self._first_rows)

    def _first_rows(self, count: int) -> Batch:
        x, y = (to_device(a[:count], self.torch_device) for a in self.splits["training"])
        return x, y

    def epoch(self, order: np.ndarray, number: int = 0) -> None:
        """Begin an epoch in which the training rows come in ``order``."""
        if self.batches:
            self.batches.epoch(number, order)
            self.batch_iterator = None
            return
        self.order = torch.as_tensor(order).to(self.torch_device)
        self.gathered = (-1, [])

    def advance(self, first: int, rates: np.ndarray) -> Steps:
        """Take ``len(rates)`` steps from batch ``first`` on."""
        strategy, on_cpu, collect = self.strategy, self.torch_device.type == "cpu", self.collect_outputs
        accumulate = self._accumulate_again if self.is_repeatable else self.step.accumulate
        update, loss_scale = self.step.update, self.step.loss_scale
        last = len(rates) - 1
        losses: list[Any] = []
        norms: list[Any] = []
        totals: list[Any] = []
        outputs: list[torch.Tensor] = []
        targets: list[torch.Tensor] = []
        scales: list[float] = []
        for i, (rate, (x, y)) in enumerate(zip(rates.tolist(), self._batches(first), strict=False)):
            loss, z = accumulate(x, y)
            norm = update(rate, log_norm=i == last)
            if norm is not None:
                norms.append(norm)
            if loss_scale is not None:
                scales.append(float(loss_scale.value))
            losses.append(loss.item() if on_cpu else loss.detach())
            if collect:
                outputs.append(z.detach())
                targets.append(y)
            if self.masked:
                normalizer = masked_normalizers(y).sum()
                totals.append((loss.detach() * normalizer, normalizer))
            elif not self.has_plain_mean and self.custom_loss:
                totals.append(self.custom_loss.batch_total(loss, y, self.batch_size))
        count = self._batch_sizes(first, len(losses))
        loss_column, norm_column, sums, normalizers = to_columns(
            losses, norms, [total[0] for total in totals], [total[1] for total in totals]
        )
        skipped = np.full(len(losses) - len(norms), np.nan)
        steps = Steps(strategy.reduce(loss_column), np.concatenate([skipped, norm_column]), count)
        if scales:
            steps = replace(steps, columns=scale_columns(np.array(scales), norm_column))
        if outputs:
            z, y = torch.cat(outputs), torch.cat(targets)
            steps = replace(steps, outputs=strategy.reduce(z.cpu().numpy()), targets=y.cpu().numpy())
        if not totals:
            return steps
        return replace(steps, sums=strategy.reduce(sums), normalizers=normalizers)

    def _accumulate_again(self, x: torch.Tensor, y: torch.Tensor) -> Batch:
        """Add the gradients of a batch; where the memory runs out, once more in smaller micro-batches."""
        states = random_states(self.torch_device)
        while True:
            try:
                return self.step.accumulate(x, y)
            except torch.OutOfMemoryError:
                if self.strategy.world > 1:  # the others wait for the gradients of this micro-batch
                    raise
            # the clause has ended, and with it the frames that hold tensors
            self.step.drop_gradients()
            free_memory(self.torch_device)
            halve_micro_batch(self)
            set_random_states(states, self.torch_device)

    def _batches(self, first: int) -> Iterator[Batch]:
        """Yield the epoch's batches from ``first`` on: views into blocks of batches, each block gathered at once.

        Blocks begin at fixed batches, so that a batch lies in memory, and its sums are rounded, the same way wherever
        training is resumed.
        """
        if self.batches:
            yield from self._host_batches(first)
            return
        size = self.block * self.batch_size
        for block in range(first // self.block, math.ceil(len(self.order) / size)):
            if self.gathered[0] != block:
                rows = self.order[block * size : (block + 1) * size]
                parts = (part.index_select(0, rows).split(self.batch_size) for part in self.splits["training"])
                self.gathered = (block, list(zip(*parts, strict=True)))
            yield from self.gathered[1][first % self.block :]
            first = 0

    def _host_batches(self, first: int) -> Iterator[Batch]:
        """Yield batches from the host; a call continues where the last one ended."""
        assert self.batches is not None
        if self.batch_iterator is None or self.next_batch != first:
            self.batch_iterator = load_batches(self.batches.take(first), self.torch_device)
        self.next_batch = first
        for x, y in self.batch_iterator:
            self.host_sizes[self.next_batch] = len(x)
            self.next_batch += 1
            yield x, y

    def _batch_sizes(self, first: int, n: int) -> np.ndarray:
        """Return the rows of each of ``n`` batches that were taken from batch ``first`` on."""
        if self.batches:
            return np.array([self.host_sizes.pop(i) for i in range(first, first + n)], dtype=np.int64)
        sizes = np.full(n, self.batch_size)
        if (first + n) * self.batch_size > self.rows:
            sizes[-1] = self.rows - (first + n - 1) * self.batch_size
        return sizes

    def gradients(self, rows: np.ndarray) -> dict[str, np.ndarray | None]:
        """Return the gradient of every learned weight over training ``rows``, dropout off."""
        x, y = (to_device(a[rows], self.torch_device) for a in self.splits["training"])
        self.model.eval()
        loss = self.loss(self.model(x), y)
        self.model.train()
        if loss.requires_grad:  # else no weight has a part in it
            self.strategy.backward(loss)
        gradients: dict[str, np.ndarray | None] = {}
        for name, (tensor, axes) in checkpoints.named(self.model).items():
            if not tensor.requires_grad:
                continue
            gradient = None if tensor.grad is None else self.strategy.to_array(tensor.grad)
            gradients[name] = None if gradient is None else gradient.transpose(axes)
            tensor.grad = None
        return gradients

    @cached_property
    def _reader(self) -> ModelReader:
        return ModelReader(self.model, self.loss, self.custom_loss is not None, self.row_shape)

    def reading(self, rows: np.ndarray, *, exact: bool = False) -> Probe:
        """Read layers, weights and outputs over training ``rows``; nothing changes."""
        x, y = (to_device(a[rows], self.torch_device) for a in self.splits["training"])
        return self._reader.read(x, y, exact=exact)

    def updates(self) -> dict[str, float]:
        """Return the relative change of each learned weight since the last reading."""
        return self._reader.updates()

    def trace(self, batch: Part, *, training: bool = True) -> Trace:
        """Compute loss and gradients of a batch, operation by operation."""
        x, y = (to_device(a, self.torch_device) for a in batch)
        self.model.train(training)
        try:
            return trace_step(self.model, self.loss, x, y, backward=training)
        finally:
            self.model.train()

    def outputs(self, part: str, rows: int | None = None) -> np.ndarray:
        """Return outputs (rows, outputs) of one part, or of its first rows, dropout off."""
        return self._evaluate(part, rows, lambda z, _: (z.cpu().numpy(),))[0]

    def losses(self, part: str, rows: int | None = None) -> RowLosses:
        """Return the loss of each row of one part, or of its first rows, dropout off."""
        return RowLosses(*self._evaluate(part, rows, self._row_losses, divisible=self.custom_loss is None))

    def _row_losses(self, z: torch.Tensor, y: torch.Tensor) -> RowLosses:
        if self.custom_loss:
            return self.custom_loss.row_losses(z, y, self.batch_size)
        losses = self.loss(z, y, reduction="none")
        if self.masked:
            return RowLosses(losses.double().mean(1).cpu().numpy(), masked_normalizers(y).cpu().numpy())
        values = losses.flatten(1).mean(1) if losses.ndim > 1 else losses
        return RowLosses.of(values.cpu().numpy().astype(np.float64))

    def _evaluate(
        self,
        part: str,
        rows: int | None,
        compute: Callable[[torch.Tensor, torch.Tensor], tuple[np.ndarray, ...]],
        *,
        divisible: bool = True,
    ) -> tuple[np.ndarray, ...]:
        """Return what ``compute`` returns of outputs and targets of a part, of which a few rows are in memory."""
        X, Y = self.splits[part]

        def compute_slice(begin: int, end: int) -> tuple[np.ndarray, ...]:
            x, y = (to_device(a[begin:end], self.torch_device) for a in (X, Y))
            return compute(self.model(x), y)

        count = len(X) if rows is None else min(rows, len(X))
        self.model.eval()
        try:
            while True:
                try:
                    with self.strategy.evaluation():
                        return evaluate_rows(
                            count, self.rows_at_once, compute_slice, self.strategy, divisible=divisible
                        )
                except torch.OutOfMemoryError:
                    if self.strategy.processes > 1 or not divisible:  # the others compute the slices of this size
                        raise
                free_memory(self.torch_device)
                halve_evaluation(self, count)
        finally:
            self.model.train()

    def state(self) -> Weights:
        """Return the optimizer's state and the random states."""
        return checkpoints.state(self.step.state, self.strategy)

    def restore(self, state: Weights) -> None:
        """Set the optimizer's state and the random states."""
        if not checkpoints.restore(self.step.state, state, self.strategy) and self.step.draws:
            self.notes.append(
                f"resumed on {self.device}, and the checkpoint is of another device: dropout draws other numbers"
            )
