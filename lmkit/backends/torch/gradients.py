"""Gradients of a model's outputs with respect to the numbers that it computes with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lmkit.backends.base import NoGradient
from lmkit.backends.torch.models.gcn import NodeModel
from lmkit.backends.torch.models.transformer import Attention

if TYPE_CHECKING:
    import numpy as np


def continuous_inputs(model: nn.Module, X: np.ndarray) -> np.ndarray:
    """Return the numbers that take the place of rows: the rows, vectors of tokens, or the features of all nodes."""
    if X.dtype.kind == "f":
        return X
    if isinstance(model, NodeModel):
        return model.features.cpu().numpy()
    outputs: list[torch.Tensor] = []
    with _evaluating(model), torch.inference_mode(), first_embedding(model, outputs.append):
        model(_rows(model, X))
    if not outputs:
        raise NoGradient("the model has no nn.Embedding: its tokens have no vectors to differentiate by")
    return outputs[0].cpu().numpy()


def input_gradients(
    model: nn.Module, X: np.ndarray, inputs: np.ndarray, cotangents: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs at ``inputs``, and the gradient of Σ cotangents · outputs with respect to ``inputs``."""
    reference = next(model.parameters())
    x = torch.tensor(inputs, dtype=reference.dtype, device=reference.device, requires_grad=True)
    # cuDNN differentiates no recurrent layer of a model that is evaluated
    with _evaluating(model), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        with _replaced(model, X, x) as rows:
            outputs = model(rows)
        if not outputs.requires_grad:
            raise NoGradient("the outputs of the model do not depend on its inputs (is a part of it detached?)")
        y = outputs.detach().cpu().numpy()
        vector = torch.as_tensor(cotangents(y)).to(outputs)
        (gradient,) = torch.autograd.grad(outputs, x, vector, allow_unused=True)
    if gradient is None:
        raise NoGradient("the outputs of the model do not depend on its inputs by a gradient (is a part detached?)")
    return y, gradient.cpu().numpy()


def hidden(model: nn.Module, X: np.ndarray) -> np.ndarray:
    """Return the inputs (rows, …) of the last layer with weights that is called."""
    last: list[torch.Tensor] = []

    def hook(_module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        if inputs and isinstance(inputs[0], torch.Tensor):
            last[:] = [inputs[0]]

    _call(model, X, {m: hook for m in model.modules() if any(True for _ in m.parameters(recurse=False))})
    if not last:
        raise NoGradient("the model calls no layer with weights, so that it has no hidden layer to compare rows in")
    return last[0].cpu().numpy()


def attention_calls(model: nn.Module, X: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return name, input and output of each attention layer of a transformer."""
    calls: list[tuple[str, np.ndarray, np.ndarray]] = []

    def record(name: str) -> Callable[..., None]:
        return lambda _, inputs, output: calls.append((name, inputs[0].cpu().numpy(), output.cpu().numpy()))

    layers = {name.rpartition(".")[2]: m for name, m in model.named_modules() if isinstance(m, Attention)}
    _call(model, X, {layer: record(name) for name, layer in layers.items()})
    return calls


def _call(model: nn.Module, X: np.ndarray, hooks: dict[nn.Module, Callable[..., None]]) -> None:
    """Compute the outputs of rows, with a hook on some modules."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    try:
        with _evaluating(model), torch.inference_mode():
            rows = _rows(model, X)
            model(rows.to(next(model.parameters()).dtype) if rows.is_floating_point() else rows)
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _replaced(model: nn.Module, X: np.ndarray, x: torch.Tensor) -> Iterator[torch.Tensor]:
    """Let ``x`` take the place of what rows are converted to; the value is what the model is called with."""
    if X.dtype.kind == "f":
        yield x
    elif isinstance(model, NodeModel):
        features, model.features = model.features, x
        try:
            yield _rows(model, X)
        finally:
            model.features = features
    else:
        with first_embedding(model, lambda _: x):
            yield _rows(model, X)


@contextmanager
def first_embedding(model: nn.Module, replace: Callable[[torch.Tensor], torch.Tensor | None]) -> Iterator[None]:
    """Call ``replace`` with the output of the first embedding that is called; a tensor that it returns replaces it."""
    is_first = True

    def hook(_module: nn.Module, _inputs: Any, vectors: torch.Tensor) -> torch.Tensor | None:
        nonlocal is_first
        is_used, is_first = is_first, False
        return replace(vectors) if is_used else None

    handles = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, nn.Embedding)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout off."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _rows(model: nn.Module, X: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(X).to(next(model.parameters()).device)
