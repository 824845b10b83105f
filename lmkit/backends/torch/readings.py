"""What the doctor reads of a module: hooks on its layers for one pass, gradients apart from those of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lmkit.backends.probes import curvature_of, mixing_of
from lmkit.backends.reading import EXACT_ROWS, PROBE_NUMBERS, Probe
from lmkit.backends.torch import checkpoints
from lmkit.backends.torch.gradients import first_embedding
from lmkit.backends.torch.inspection import sandbox
from lmkit.backends.torch.models.custom import CustomModel
from lmkit.runfolder.readings import (
    MAX_FROZEN,
    MAX_LAYERS,
    MAX_WEIGHTS,
    SATURATION,
    LayerReading,
    WeightReading,
    evenly,
    layer_reading,
    pool_places,
)

if TYPE_CHECKING:
    from lmkit.specs.signature import Shape

CHANNELS_FIRST = (
    torch.nn.modules.conv._ConvNd,
    torch.nn.modules.batchnorm._BatchNorm,
    torch.nn.GroupNorm,
    torch.nn.modules.instancenorm._InstanceNorm,
)
"""Layers whose units are on the second axis; those of others are on the last one."""

Batch = tuple[torch.Tensor, torch.Tensor]
"""Rows and targets."""


class ModelReader:
    """Reads a model over some rows.

    Args:
        model: as the trainer holds it.
        loss: of outputs and targets.
        custom_loss: whether the loss is a person's own.
        shape: of a row, as the model sees it.
    """

    def __init__(self, model: torch.nn.Module, loss: Callable[..., torch.Tensor], custom_loss: bool, shape: Shape):
        self.model, self.loss, self.custom_loss, self.shape = model, loss, custom_loss, shape
        learned = checkpoints.learned(model)
        self.names = evenly(list(learned), MAX_WEIGHTS)
        self.parameters = [learned[name] for name in self.names]
        self.is_custom = isinstance(model, CustomModel)
        self.layers = evenly(list(_weight_layers(model)), MAX_LAYERS)
        self.data_layers: set[str] | None = None
        self.before: list[torch.Tensor] = []
        named = checkpoints.named(model)
        sizes = {name: p.numel() for name, (p, _) in named.items() if not p.requires_grad}
        self.frozen = tuple(sizes)[:MAX_FROZEN]
        self.frozen_share = sum(sizes.values()) / max(1, sum(p.numel() for p, _ in named.values()))
        dropouts = [m.p for m in model.modules() if isinstance(m, torch.nn.modules.dropout._DropoutNd)]
        self.dropout = max(dropouts, default=0.0)
        self.unused: set[str] | None = None

    def read(self, x: torch.Tensor, y: torch.Tensor, *, exact: bool) -> Probe:
        """Read the model over rows ``x`` and their targets ``y``."""
        with sandbox(self.model, training=False):
            places = exact and len(self.shape) == 2 and x.is_floating_point()
            x = x.detach().requires_grad_(places)
            vectors: list[torch.Tensor] = []
            with self._watch(x) as inputs, first_embedding(self.model, vectors.append):
                outputs = self.model(x)
            vectors = [v for v in vectors if exact and v.ndim == 3 and v.requires_grad]
            loss = self.loss(outputs, y)
            leaves = [*self.parameters, *([x] if places else vectors)]
            gradients: list[Any] = [None] * len(leaves)
            if loss.requires_grad:
                gradients = list(torch.autograd.grad(loss, leaves, allow_unused=True))
            with torch.no_grad():
                layers = self._layers(inputs)
                norms = pool_places(self._norms_by_place(gradients.pop())) if places or vectors else ()
                weights = self._weights(gradients)
                if exact and self.is_custom:
                    weights = self._find_unused(weights, x.detach(), outputs.detach())
                tests = self._exact(x.detach(), y, outputs.detach(), loss.item()) if exact else (None, None, None)
                self.before = [p.detach().reshape(-1)[:PROBE_NUMBERS].clone() for p in self.parameters]
        values = outputs.detach().cpu().numpy()
        return Probe(loss.item(), values, layers, weights, *tests, norms, self.frozen, self.frozen_share, self.dropout)

    def updates(self) -> dict[str, float]:
        """Return the relative change of each weight since the last ``read``."""
        if not self.before:
            return {}
        before, self.before = self.before, []
        now = [p.detach().reshape(-1)[:PROBE_NUMBERS] for p in self.parameters]
        sizes = torch.stack(torch._foreach_norm(before))
        changes = torch.stack(torch._foreach_norm(torch._foreach_sub(now, before)))
        ratios = torch.where(sizes > 0, changes / sizes, torch.nan).tolist()
        return dict(zip(self.names, ratios, strict=True))

    @contextmanager
    def _watch(self, x: torch.Tensor) -> Iterator[dict[str, tuple[torch.nn.Module, torch.Tensor]]]:
        """Collect what comes into each layer meanwhile; the hooks are removed afterwards."""
        inputs: dict[str, tuple[torch.nn.Module, torch.Tensor]] = {}
        handles = []
        for name, module in self.layers:

            def hook(module: torch.nn.Module, arguments: tuple[Any, ...], name: str = name) -> None:
                value = arguments[0] if arguments else None
                if not isinstance(value, torch.Tensor) or value.ndim < 2:  # a single vector has no rows
                    return
                if value.is_floating_point() and value.requires_grad:
                    inputs[name] = (module, value)

            handles.append(module.register_forward_pre_hook(hook))
        try:
            yield inputs
        finally:
            for handle in handles:
                handle.remove()
        if x.requires_grad and self.data_layers is None:  # else rows need no gradient, and are not collected
            self.data_layers = {name for name, (_, value) in inputs.items() if not _has_weights(value.grad_fn, x)}
        for name in self.data_layers or ():
            inputs.pop(name, None)

    def _layers(self, inputs: dict[str, tuple[torch.nn.Module, torch.Tensor]]) -> tuple[LayerReading, ...]:
        order = [name for name, _ in self.layers if name in inputs]
        if not order:
            return ()
        pairs = [inputs[name] for name in order]
        numbers = torch.stack([_statistics(module, value) for module, value in pairs]).tolist()
        units = [value.shape[_axis(module, value)] for module, value in pairs]
        kinds = [type(module).__name__ for module, _ in pairs]
        return tuple(map(layer_reading, order, kinds, units, numbers))

    def _weights(self, gradients: list[Any]) -> tuple[WeightReading, ...]:
        sizes = torch.stack(torch._foreach_norm([p.detach() for p in self.parameters])).tolist()
        connected = [g for g in gradients if g is not None]
        norms = iter(torch.stack(torch._foreach_norm(connected)).tolist() if connected else [])
        zeros = iter(torch.stack([(g == 0).float().mean() for g in connected]).tolist() if connected else [])
        readings = []
        for name, p, size, gradient in zip(self.names, self.parameters, sizes, gradients, strict=True):
            values = {"gradient": next(norms), "zeros": next(zeros)} if gradient is not None else {}
            is_connected = gradient is not None
            readings.append(
                WeightReading(name=name, size=p.numel(), axes=p.ndim, norm=size, is_connected=is_connected, **values)
            )
        return tuple(readings)

    def _find_unused(
        self, weights: tuple[WeightReading, ...], x: torch.Tensor, outputs: torch.Tensor
    ) -> tuple[WeightReading, ...]:
        """Mark weights without gradient that do not change the outputs, which is tried once."""
        if self.unused is None:
            self.unused = set()
            for name, p in list(zip(self.names, self.parameters, strict=True)):
                if next(w for w in weights if w.name == name).is_connected:
                    continue
                values = p.detach().clone()
                p.data.add_(1 + values.abs())
                if torch.equal(self.model(x), outputs):
                    self.unused.add(name)
                p.data.copy_(values)
        return tuple(replace(w, is_used=w.is_connected or w.name not in self.unused) for w in weights)

    def _norms_by_place(self, gradient: torch.Tensor | None) -> np.ndarray:
        if gradient is None:
            return np.zeros(self.shape[0])
        by_place = gradient if gradient.ndim == 3 else gradient.reshape(-1, *self.shape)
        by_place = by_place.movedim(1, 0).flatten(1)
        return torch.linalg.vector_norm(by_place, dim=1).cpu().numpy()

    def _exact(
        self, x: torch.Tensor, y: torch.Tensor, outputs: torch.Tensor, loss: float
    ) -> tuple[float | None, float | None, float | None]:
        """Return what ``mixed``, ``curvature`` and ``dealt`` of a reading are."""
        mixed = curvature = dealt = None
        if self.is_custom and len(x) >= 3 * EXACT_ROWS:
            predict = lambda rows: self.model(rows).cpu().numpy()  # noqa: E731 (read twice)
            a, b, c = x[: 3 * EXACT_ROWS].split(EXACT_ROWS)
            mixed = mixing_of(predict, a, b, c, torch.cat)
            if x.is_floating_point():
                curvature = curvature_of(predict, a, b, torch.cat)
        if self.custom_loss and len(x) > 1:
            other = y.roll(len(y) // 2, 0)
            if not torch.equal(other, y) and float(outputs.std(0).mean()) > 0 and loss:
                dealt = abs(float(self.loss(outputs, other)) - loss) / abs(loss)
        return mixed, curvature, dealt


def _weight_layers(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """Yield name and module of the layers that hold weights themselves; a family's by the name that it has in both
    frameworks."""
    root = model.module if isinstance(model, CustomModel) else model
    for path, module in root.named_modules():
        if next(module.parameters(recurse=False), None) is not None and path:
            yield (path if root is not model else path.rpartition(".")[2]), module


def _has_weights(node: Any, x: torch.Tensor) -> bool:
    """Return whether a value was computed from a weight, or only from the rows ``x``."""
    stack, seen = [node], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            if node.variable is not x:
                return True
            continue
        stack += [before for before, _ in node.next_functions]
    return False


def _axis(module: torch.nn.Module, value: torch.Tensor) -> int:
    """Return the axis of units of what comes into a layer."""
    is_first = isinstance(module, CHANNELS_FIRST) or type(module).__name__ == "ChannelNorm"
    return 1 if is_first and value.ndim > 1 else -1


def _statistics(module: torch.nn.Module, value: torch.Tensor) -> torch.Tensor:
    """Return the numbers (7,) that ``layer_reading`` takes."""
    x = value.detach().movedim(_axis(module, value), -1)
    low, high = x.aminmax()
    silent = 1 - (x != 0).flatten(0, -2).any(0).to(x.dtype).mean()
    variances, means = torch.var_mean(x, 0, correction=0)
    spread = (variances.mean() + means.var(correction=0)).sqrt()  # of groups of equal size
    beyond = at_ends = torch.zeros_like(low)
    if low >= -1 and high <= 1:  # else the activation has no flat ends
        beyond = (x.abs() > SATURATION).to(x.dtype).mean()
        at_ends = ((x - 0.5).abs() > SATURATION / 2).to(x.dtype).mean()
    return torch.stack([low, high, spread, variances.sqrt().mean(), silent, beyond, at_ends])
