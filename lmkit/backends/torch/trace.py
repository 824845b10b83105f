"""A step of a module, operation by operation: a dispatch mode sees forward and backward, hooks see the layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lmkit.backends.torch import checkpoints
from lmkit.backends.torch.models.custom import CustomModel
from lmkit.backends.trace import Forward, Kind, Range, Trace, Tracer, find_user_line

if TYPE_CHECKING:
    import numpy as np

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("exp", "exp2", "expm1", "sinh", "cosh"), "exp"),
    **dict.fromkeys(("log", "log2", "log10", "log1p", "logit", "xlogy", "special_xlog1py"), "log"),
    **dict.fromkeys(("sqrt", "rsqrt"), "sqrt"),
    **dict.fromkeys(("div", "reciprocal", "remainder", "fmod"), "division"),
    "pow": "power",
    **dict.fromkeys(("addmm", "mm", "bmm", "baddbmm", "addmv", "mv", "dot", "convolution"), "product"),
    "_scaled_dot_product_flash_attention_for_cpu": "product",
    **dict.fromkeys(("acos", "asin", "atanh", "acosh", "erfinv", "lgamma", "digamma"), "domain"),
    **dict.fromkeys(("fill", "full", "full_like", "new_full", "masked_fill", "scalar_tensor", "where"), "fill"),
    **dict.fromkeys(("index_put", "constant_pad_nd", "max_pool2d_with_indices"), "fill"),
}
"""Operation of ATen, without the ``_`` of one in place → its kind."""

UNWRITTEN = ("empty", "new_empty")
"""Operations that return memory as it is."""


class TorchTracer(Tracer):
    """Records the operations of a module."""

    kinds = KINDS

    def __init__(self, rows: int, modules: dict[str, torch.nn.Module]) -> None:
        super().__init__(rows)
        self.modules = modules
        self.forwards: dict[int, Forward] = {}

    def key(self, tensor: torch.Tensor) -> int:
        """Return the address of the memory: views, and results in place, share it."""
        return tensor.untyped_storage().data_ptr() or id(tensor)

    def is_finite(self, tensor: torch.Tensor) -> bool:
        """Return whether all numbers of a tensor are finite."""
        return math.isfinite(tensor.sum().item()) or bool(torch.isfinite(tensor).all())  # a sum is fast

    def to_array(self, tensor: torch.Tensor) -> np.ndarray:
        """Return a tensor as an array."""
        tensor = tensor.detach()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()

    def layer_weights(self, layer: str) -> Range | None:
        """Return the range of a module's own parameters."""
        module = self.modules.get(layer)
        parameters = [] if module is None else [p.detach().flatten() for p in module.parameters(recurse=False)]
        return Range.of(self.to_array(torch.cat(parameters))) if parameters else None


class _Operations(TorchDispatchMode):
    """Hands every operation to a tracer, with the operation that a backward one differentiates."""

    def __init__(self, tracer: TorchTracer) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        tracer, overload = self.tracer, func.overloadpacket.__name__
        if overload.startswith(UNWRITTEN):
            return func(*args, **(kwargs or {}))
        name = overload.removesuffix("_")
        is_in_place = name != overload
        tensors = tuple(_floats((args, kwargs)))
        inputs = tracer.take(tensors) if is_in_place else None
        before = tuple(t.detach().clone() for t in tensors) if is_in_place else tensors
        outputs = func(*args, **(kwargs or {}))
        keys = set() if is_in_place else {tracer.key(t) for t in tensors}
        results = [t for t in _floats(outputs) if tracer.key(t) not in keys]  # no views
        forward = None
        if tracer.stage != "backward":
            number = torch._C._autograd._get_sequence_nr() - 1  # of the node that autograd made for it, if any
            if number not in tracer.forwards:
                layer, kind = (tracer.layers or [""])[-1], KINDS.get(name, "other")
                tracer.forwards[number] = Forward(name, kind, tracer.stage, layer, find_user_line(), before)
        elif (node := torch._C._current_autograd_node()) is not None:
            forward = tracer.forwards.get(node._sequence_nr())
        if not all(map(tracer.is_finite, results)):
            tracer.record(name, (inputs or tracer.take(tensors))._replace(tensors=before), results, forward)
        return outputs


def trace_step(
    model: torch.nn.Module,
    loss_of: Callable[..., torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    backward: bool,
) -> Trace:
    """Compute loss and gradients of a batch; see ``Trainer.trace``."""
    modules = dict(_layers(model))
    tracer = TorchTracer(len(x), modules)
    learned = checkpoints.learned(model)
    gradients: list[Any] = [None] * len(learned)
    by_call: dict[int, torch.Tensor] = {}
    with _watched(tracer, modules, by_call), _Operations(tracer):
        outputs = model(x)
        tracer.stage = "loss"
        loss = loss_of(outputs, y)
        tracer.stage = "backward"
        is_finite = tracer.is_finite(loss)
        if backward and is_finite and loss.requires_grad:
            gradients = list(torch.autograd.grad(loss, list(learned.values()), allow_unused=True))
    connected = {name: g for name, g in zip(learned, gradients, strict=True) if g is not None}
    origin, first_nan = tracer.origin([loss] if not is_finite else connected.values())
    ranges = {name: Range.of(tracer.to_array(g)) for name, g in connected.items()}
    calls = tracer.repeated_calls(by_call)
    return Trace(loss.item(), Range.of(tracer.to_array(outputs)), calls, ranges, origin, first_nan)


@contextmanager
def _watched(
    tracer: TorchTracer, modules: dict[str, torch.nn.Module], by_call: dict[int, torch.Tensor]
) -> Iterator[None]:
    """Record the calls of the modules meanwhile, and the gradients of their outputs in ``by_call``."""
    handles = []
    for name, module in modules.items():

        def enter(_module: torch.nn.Module, _arguments: Any, name: str = name) -> None:
            tracer.layers.append(name)

        def leave(_module: torch.nn.Module, _arguments: Any, output: Any, name: str = name) -> None:
            tracer.layers.pop()
            tensor = next(_floats(output), None)
            if tensor is None:
                return
            if tensor.requires_grad:
                tensor.register_hook(partial(by_call.__setitem__, len(tracer.calls)))
            tracer.calls.append((name, tensor.detach()))

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """Yield name and module of all layers; a family's by the name that it has in both frameworks."""
    root = model.module if isinstance(model, CustomModel) else model
    for path, module in root.named_modules():
        if path:
            yield (path if root is not model else path.rpartition(".")[2]), module


def _floats(values: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of floats in nested arguments."""
    if isinstance(values, torch.Tensor):
        if values.is_floating_point() and values.layout == torch.strided:
            yield values
    elif isinstance(values, dict):
        for value in values.values():
            yield from _floats(value)
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _floats(value)
