"""The training loop in PyTorch: whole batches gathered by index, a fused optimizer, every loss recorded."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from lmkit.backends.base import Steps
from lmkit.backends.torch import checkpoints

if TYPE_CHECKING:
    from lmkit.data.preparation import Dataset
    from lmkit.experiment import Experiment
    from lmkit.specs.losses import LossName
    from lmkit.specs.models import Weights

GATHER = 2**20
"""Numbers that are gathered at once, as whole batches: cheaper than batch by batch, and soon done."""

_LOSSES: dict[LossName, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "binary_crossentropy": F.binary_cross_entropy_with_logits,
    "categorical_crossentropy": F.cross_entropy,
    "mean_squared_error": F.mse_loss,
}


def device() -> torch.device:
    """Where tensors are put: the first GPU, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_optimizer(spec: Any, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """PyTorch's own optimizer for ``spec``, fused where it exists."""
    fused = {"fused": True}
    if spec.name == "sgd":
        return torch.optim.SGD(parameters, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov, **fused)
    common = {"lr": spec.lr, "betas": (spec.beta1, spec.beta2), "eps": spec.epsilon, **fused}
    if spec.name == "adam":
        return torch.optim.Adam(parameters, **common)
    return torch.optim.AdamW(parameters, weight_decay=spec.weight_decay, **common)


def bare_step(optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
    """The optimizer's step without the wrappers for profiling and hooks, which cost more than a small step itself.

    Only while nobody hooked into the step; else, and where PyTorch keeps it in another way, the step as it is.
    """
    module = sys.modules[torch.optim.Optimizer.__module__]
    hooked = [
        getattr(optimizer, "_optimizer_step_pre_hooks", True),
        getattr(optimizer, "_optimizer_step_post_hooks", True),
        getattr(module, "_global_optimizer_pre_hooks", True),
        getattr(module, "_global_optimizer_post_hooks", True),
    ]
    bare = inspect.unwrap(type(optimizer).step)
    if any(hooked) or list(inspect.signature(bare).parameters) != ["self", "closure"]:
        return optimizer.step
    without_gradients = torch.no_grad()

    def step() -> None:
        with without_gradients:
            bare(optimizer)

    return step


class TorchTrainer:
    """A model, its optimizer and its data. On a CPU each loss is taken at once; on a GPU the tensors of a call are
    fetched together at its end, so the device never waits for a number."""

    def __init__(self, model: torch.nn.Module, experiment: Experiment, dataset: Dataset, loss: LossName) -> None:
        self.model = model
        self.place = next(model.parameters()).device
        self.device = str(self.place)
        self.loss = _LOSSES[loss]
        self.batch_size = experiment.data.batch_size
        self.clip_norm = experiment.training.clip_norm
        self.every_norm = experiment.training.gradient_norm is not None or self.clip_norm is not None
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(experiment.training.optimizer, self.parameters)
        self.parts = {
            name: tuple(torch.as_tensor(a).to(self.place) for a in getattr(dataset, name))
            for name in ("training", "validation", "test")
        }
        self.order = torch.zeros(0, dtype=torch.int64)
        self.block = max(1, GATHER // max(1, self.parts["training"][0][: self.batch_size].numel()))
        self.gathered: tuple[int, Any] = (-1, None)
        torch.manual_seed(experiment.seed)
        model.train()

    def epoch(self, order: np.ndarray) -> None:
        """Begins an epoch in which the training rows come in ``order``."""
        self.order = torch.as_tensor(order).to(self.place)
        self.gathered = (-1, None)

    def advance(self, first: int, rates: np.ndarray) -> Steps:
        """Takes ``len(rates)`` steps from batch ``first`` on."""
        model, loss_of, parameters, group = self.model, self.loss, self.parameters, self.optimizer.param_groups[0]
        step = bare_step(self.optimizer)
        on_cpu = self.place.type == "cpu"
        last = len(rates) - 1
        losses: list[Any] = []
        norms: list[Any] = []
        for i, rate in enumerate(rates.tolist()):
            x, y = self._batch(first + i)
            loss = loss_of(model(x), y)
            loss.backward()
            if self.every_norm or i == last:
                norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
                if self.clip_norm is not None:
                    torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm)
                norms.append(norm)
            group["lr"] = rate
            step()
            for p in parameters:
                p.grad = None
            losses.append(loss.item() if on_cpu else loss.detach())
        skipped = [float("nan")] * (len(losses) - len(norms))
        return Steps(_fetch(losses), np.concatenate([skipped, _fetch(norms)]))

    def _batch(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The epoch's batch ``number``: a view into a block of batches.

        Blocks begin at fixed batches, so that a batch lies in memory, and its sums are rounded, the same way wherever
        training was taken up.
        """
        block, place = divmod(number, self.block)
        if self.gathered[0] != block:
            size = self.block * self.batch_size
            rows = self.order[block * size : (block + 1) * size]
            parts = (part.index_select(0, rows).split(self.batch_size) for part in self.parts["training"])
            self.gathered = (block, list(zip(*parts, strict=True)))
        return self.gathered[1][place]

    def gradients(self, rows: np.ndarray) -> dict[str, np.ndarray | None]:
        """The gradient for every weight over training ``rows``, dropout off."""
        X, Y = self.parts["training"]
        chosen = torch.as_tensor(rows).to(self.place)
        self.model.eval()
        loss = self.loss(self.model(X[chosen]), Y[chosen])
        self.model.train()
        if loss.requires_grad:  # else no weight has a part in it
            loss.backward()
        found: dict[str, np.ndarray | None] = {}
        for name, (parameter, turned) in checkpoints.named(self.model).items():
            gradient = None if parameter.grad is None else checkpoints.array(parameter.grad)
            found[name] = gradient.T if turned and gradient is not None else gradient
            parameter.grad = None
        return found

    def outputs(self, part: str, rows: int | None = None) -> np.ndarray:
        """Logits (rows, outputs) of one part, or of its first rows, dropout off."""
        self.model.eval()
        with torch.inference_mode():
            logits = torch.cat([self.model(x) for x in self.parts[part][0][:rows].split(8192)])
        self.model.train()
        return logits.cpu().numpy()

    def state(self) -> Weights:
        """The optimizer's memory and the random states."""
        return checkpoints.state(self.model, self.optimizer)

    def restore(self, state: Weights) -> None:
        """Takes up a ``state``."""
        checkpoints.restore(self.model, self.optimizer, state)


def _fetch(values: list[Any]) -> np.ndarray:
    """Numbers, or scalar tensors in one transfer, as an array."""
    if values and isinstance(values[0], torch.Tensor):
        return torch.stack(values).cpu().numpy().astype(np.float64)
    return np.array(values, dtype=np.float64)
