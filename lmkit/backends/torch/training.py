"""The training loop in PyTorch: whole batches gathered by index, a fused optimizer, every loss recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from lmkit.backends.base import Steps
from lmkit.backends.torch import checkpoints
from lmkit.backends.torch.losses import OwnLoss
from lmkit.backends.torch.models.own import OwnModel
from lmkit.data.batches import evaluated_rows
from lmkit.specs.references import is_reference

if TYPE_CHECKING:
    from lmkit.data.preparation import Dataset
    from lmkit.experiment import Experiment
    from lmkit.specs.losses import LossName
    from lmkit.specs.models import Weights

GATHER = 2**20
"""Numbers that are gathered at once, as whole batches: cheaper than batch by batch, and soon done."""

_LOSSES: dict[LossName, Callable[..., torch.Tensor]] = {
    "binary_crossentropy": F.binary_cross_entropy_with_logits,
    "categorical_crossentropy": F.cross_entropy,
    "mean_squared_error": F.mse_loss,
}


def _over_places(logits: torch.Tensor, tokens: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Cross-entropy at every place: logits (rows, places, vocabulary), tokens (rows, places), or shares of them."""
    target = tokens.flatten(0, 1) if tokens.is_floating_point() else tokens.flatten().long()
    found = F.cross_entropy(logits.flatten(0, 1), target, reduction=reduction)
    return found if reduction == "mean" else found.view(logits.shape[:2])


def device() -> torch.device:
    """Where tensors are put: the first GPU, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Update:
    """An optimizer's rule over parameters, by PyTorch's fused operations, as functions.

    The classes of ``torch.optim`` call the same functions, but wrap them for hooks and profilers, which costs more
    than a small step itself.
    """

    def __init__(self, spec: Any, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        self.parameters = list(parameters.values())
        self.values = [p.detach() for p in self.parameters]  # the same numbers; what is done to them leaves no graph
        self.memory: dict[str, torch.Tensor] = {}

        def kept(slot: str, make: Callable[[torch.Tensor], torch.Tensor] = torch.zeros_like) -> list[torch.Tensor]:
            tensors = [make(v) for v in self.values]
            self.memory |= {f"{name}/{slot}": t for name, t in zip(parameters, tensors, strict=True)}
            return tensors

        common = {"weight_decay": getattr(spec, "weight_decay", 0.0), "maximize": False, "fused": True}
        if spec.name == "sgd":
            self.rule = partial(
                sgd,
                momentum_buffer_list=kept("velocity") if spec.momentum else [None] * len(self.values),
                momentum=spec.momentum,
                nesterov=spec.nesterov,
                dampening=0.0,
                **common,
            )
        else:
            self.rule = partial(
                adam if spec.name == "adam" else adamw,
                exp_avgs=kept("mean"),
                exp_avg_sqs=kept("square"),
                max_exp_avg_sqs=[],
                state_steps=kept("step", lambda v: torch.zeros((), dtype=torch.float32, device=v.device)),
                beta1=spec.beta1,
                beta2=spec.beta2,
                eps=spec.epsilon,
                amsgrad=False,
                **common,
            )

    def apply(self, rate: float) -> None:
        """One step θ ← θ − …, at learning rate ``rate``; the gradients are used up."""
        self.rule(self.values, [p.grad for p in self.parameters], lr=rate)
        for p in self.parameters:
            p.grad = None


class TorchTrainer:
    """A model, its optimizer and its data. On a CPU each loss is taken at once; on a GPU the tensors of a call are
    fetched together at its end, so the device never waits for a number."""

    def __init__(self, model: torch.nn.Module, experiment: Experiment, dataset: Dataset, loss: LossName) -> None:
        self.model = model
        self.place = next(model.parameters()).device
        self.device = str(self.place)
        self.loss: Callable[..., torch.Tensor] = OwnLoss(loss) if is_reference(loss) else _LOSSES[loss]
        y = dataset.training.y
        if loss == "categorical_crossentropy" and (y.ndim > 2 or (y.ndim > 1 and y.dtype.kind in "iu")):
            self.loss = _over_places
        self.batch_size = experiment.data.batch_size
        self.clip_norm = experiment.training.clip_norm
        self.every_norm = experiment.training.gradient_norm is not None or self.clip_norm is not None
        learned = {name: p for name, (p, _) in checkpoints.named(model).items() if p.requires_grad}
        self.parameters = list(learned.values())
        self.own = isinstance(model, OwnModel)
        self.update = Update(experiment.training.optimizer, learned)
        self.parts = {
            name: tuple(_placed(a, self.place) for a in getattr(dataset, name))
            for name in ("training", "validation", "test")
        }
        self.fed = dataset.batches
        self.feeding: Iterator[Any] | None = None
        self.next_batch = 0
        self.rows_at_once = evaluated_rows(dataset.training.X, self.batch_size)
        self.order = torch.zeros(0, dtype=torch.int64)
        self.block = max(1, GATHER // max(1, math.prod(self.parts["training"][0][: self.batch_size].shape)))
        self.gathered: tuple[int, Any] = (-1, None)
        torch.manual_seed(experiment.seed)
        model.train()

    def epoch(self, order: np.ndarray, number: int = 0) -> None:
        """Begins an epoch in which the training rows come in ``order``."""
        if self.fed:
            self.fed.epoch(number, order)
            self.feeding = None
            return
        self.order = torch.as_tensor(order).to(self.place)
        self.gathered = (-1, None)

    def advance(self, first: int, rates: np.ndarray) -> Steps:
        """Takes ``len(rates)`` steps from batch ``first`` on."""
        model, loss_of, parameters, apply = self.model, self.loss, self.parameters, self.update.apply
        on_cpu = self.place.type == "cpu"
        last = len(rates) - 1
        losses: list[Any] = []
        norms: list[Any] = []
        for i, (rate, (x, y)) in enumerate(zip(rates.tolist(), self._batches(first), strict=False)):
            loss = loss_of(model(x), y)
            loss.backward()
            if self.own:
                _fill(parameters)
            if self.every_norm or i == last:
                norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
                if self.clip_norm is not None:
                    torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm)
                norms.append(norm)
            apply(rate)
            losses.append(loss.item() if on_cpu else loss.detach())
        skipped = [float("nan")] * (len(losses) - len(norms))
        return Steps(_fetch(losses), np.concatenate([skipped, _fetch(norms)]))

    def _batches(self, first: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The epoch's batches from ``first`` on: views into blocks of batches, each gathered at once.

        Blocks begin at fixed batches, so that a batch lies in memory, and its sums are rounded, the same way wherever
        training was taken up.
        """
        if self.fed:
            yield from self._fed_batches(first)
            return
        size = self.block * self.batch_size
        for block in range(first // self.block, math.ceil(len(self.order) / size)):
            if self.gathered[0] != block:
                rows = self.order[block * size : (block + 1) * size]
                parts = (part.index_select(0, rows).split(self.batch_size) for part in self.parts["training"])
                self.gathered = (block, list(zip(*parts, strict=True)))
            yield from self.gathered[1][first % self.block :]
            first = 0

    def _fed_batches(self, first: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches from the host, in which one call goes on where the last one ended."""
        assert self.fed is not None
        if self.feeding is None or self.next_batch != first:
            self.feeding = self.fed.take(first)
        self.next_batch = first
        for x, y in self.feeding:
            self.next_batch += 1
            yield _tensor(x, self.place), _tensor(y, self.place)

    def gradients(self, rows: np.ndarray) -> dict[str, np.ndarray | None]:
        """The gradient for every weight over training ``rows``, dropout off."""
        x, y = (_tensor(a[rows], self.place) for a in self.parts["training"])
        self.model.eval()
        loss = self.loss(self.model(x), y)
        self.model.train()
        if loss.requires_grad:  # else no weight has a part in it
            loss.backward()
        found: dict[str, np.ndarray | None] = {}
        for name, (parameter, axes) in checkpoints.named(self.model).items():
            if not parameter.requires_grad:
                continue
            gradient = None if parameter.grad is None else checkpoints.array(parameter.grad)
            found[name] = None if gradient is None else gradient.transpose(axes)
            parameter.grad = None
        return found

    def outputs(self, part: str, rows: int | None = None) -> np.ndarray:
        """Logits (rows, outputs) of one part, or of its first rows, dropout off."""
        return np.concatenate([z.cpu().numpy() for z, _ in self._evaluated(part, rows)])

    def losses(self, part: str, rows: int | None = None) -> np.ndarray:
        """The loss of each row of one part, or of its first rows, dropout off."""
        found = [self.loss(z, y, reduction="none") for z, y in self._evaluated(part, rows)]
        return torch.cat([f.flatten(1).mean(1) if f.ndim > 1 else f for f in found]).cpu().numpy().astype(np.float64)

    def _evaluated(self, part: str, rows: int | None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Logits and targets of a part, some rows at a time."""
        X, Y = self.parts[part]
        end, size = len(X) if rows is None else min(rows, len(X)), self.rows_at_once
        self.model.eval()
        try:
            with torch.inference_mode():
                for i in range(0, end, size):
                    x, y = (_tensor(a[i : min(i + size, end)], self.place) for a in (X, Y))
                    yield self.model(x), y
        finally:
            self.model.train()

    def state(self) -> Weights:
        """The optimizer's memory and the random states."""
        return checkpoints.state(self.update.memory)

    def restore(self, state: Weights) -> None:
        """Takes up a ``state``."""
        checkpoints.restore(self.update.memory, state)


def _fill(parameters: list[torch.nn.Parameter]) -> None:
    """Gives a gradient of zero to what a model of somebody's own has left out of this step."""
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)


def _placed(values: Any, place: torch.device) -> Any:
    """An array on the device; one that is mapped from a file, or made as it is asked for, stays where it is."""
    kept = isinstance(values, np.ndarray) and not isinstance(values, np.memmap)
    return torch.as_tensor(values).to(place) if kept else values


def _tensor(rows: Any, place: torch.device) -> torch.Tensor:
    """Some rows on the device; of a file that may only be read, as a copy."""
    return (rows if isinstance(rows, torch.Tensor) else torch.from_numpy(np.array(rows))).to(place)


def _fetch(values: list[Any]) -> np.ndarray:
    """Numbers, or scalar tensors in one transfer, as an array."""
    if values and isinstance(values[0], torch.Tensor):
        return torch.stack(values).cpu().numpy().astype(np.float64)
    return np.array(values, dtype=np.float64)
