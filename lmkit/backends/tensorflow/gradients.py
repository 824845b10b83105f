"""Gradients of a model's outputs with respect to the numbers that it computes with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from lmkit.backends.base import NoGradient
from lmkit.backends.tensorflow.models.custom import CustomModel
from lmkit.backends.tensorflow.models.gcn import Nodes
from lmkit.backends.tensorflow.models.transformer import Attention

if TYPE_CHECKING:
    import numpy as np


def continuous_inputs(model: Any, X: np.ndarray) -> np.ndarray:
    """Return the numbers that take the place of rows: the rows, vectors of tokens, or the features of all nodes."""
    if X.dtype.kind == "f":
        return X
    if graph := _graph(model):
        return graph.features.numpy()
    outputs: list[tf.Tensor] = []

    def record(vectors: tf.Tensor) -> tf.Tensor:
        outputs.append(vectors)
        return vectors

    with first_embedding(model, record):
        model(tf.constant(X), training=False)
    if not outputs:
        raise NoGradient("the model has no keras.layers.Embedding: its tokens have no vectors to differentiate by")
    return outputs[0].numpy()


def input_gradients(
    model: Any, X: np.ndarray, inputs: np.ndarray, cotangents: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs at ``inputs``, and the gradient of Σ cotangents · outputs with respect to ``inputs``."""
    dtype = model.dtype if isinstance(model, CustomModel) else model.outputs[0].dtype
    x = tf.constant(inputs, dtype=dtype)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        with _replaced(model, X, x) as rows:
            outputs = model(rows, training=False)
    y = outputs.numpy()
    gradient = tape.gradient(outputs, x, output_gradients=tf.constant(cotangents(y), dtype=outputs.dtype))
    if gradient is None:
        raise NoGradient("the outputs of the model do not depend on its inputs by a gradient (is a part detached?)")
    return y, tf.convert_to_tensor(gradient).numpy()


def hidden(model: Any, X: np.ndarray) -> np.ndarray:
    """Return the inputs (rows, …) of the last layer with weights that is called."""
    last: list[tf.Tensor] = []

    def record(inputs: Any) -> None:
        first = inputs[0] if isinstance(inputs, list | tuple) else inputs
        if tf.is_tensor(first):
            last[:] = [first]

    layers = [layer for layer in _layers(model) if layer._trainable_variables]
    _call(model, X, layers, lambda _layer, inputs, _output: record(inputs))
    if not last:
        raise NoGradient("the model calls no layer with weights, so that it has no hidden layer to compare rows in")
    return last[0].numpy()


def attention_calls(model: Any, X: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return name, input and output of each attention layer of a transformer."""
    calls: list[tuple[str, np.ndarray, np.ndarray]] = []
    layers = [layer for layer in _layers(model) if isinstance(layer, Attention)]
    _call(model, X, layers, lambda layer, inputs, output: calls.append((layer.name, inputs.numpy(), output.numpy())))
    return calls


def _call(model: Any, X: np.ndarray, layers: list[Any], record: Callable[[Any, Any, Any], None]) -> None:
    """Compute the outputs of rows; ``record`` is called with each of the layers, its inputs and its output."""

    def patch(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def patched(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            output = call(inputs, *args, **kwargs)
            record(layer, inputs, output)
            return output

        return patched

    dtype = model.dtype if isinstance(model, CustomModel) else model.inputs[0].dtype
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(patched(layer, partial(patch, layer)))
        model(tf.constant(X, dtype=X.dtype if X.dtype.kind in "iu" else dtype), training=False)


def _layers(model: Any) -> list[Any]:
    """Return all layers of a model."""
    return list((model.module if isinstance(model, CustomModel) else model)._flatten_layers(include_self=False))


@contextmanager
def _replaced(model: Any, X: np.ndarray, x: tf.Tensor) -> Iterator[tf.Tensor]:
    """Let ``x`` take the place of what rows are converted to; the value is what the model is called with."""
    if X.dtype.kind == "f":
        yield x
    elif graph := _graph(model):
        with patched(graph, lambda call: lambda rows: (x, *call(rows)[1:])):
            yield tf.constant(X)
    else:
        with first_embedding(model, lambda _: x):
            yield tf.constant(X)


@contextmanager
def first_embedding(model: Any, replace: Callable[[tf.Tensor], tf.Tensor]) -> Iterator[None]:
    """Replace the output of the first embedding that is called by what ``replace`` returns for it."""
    is_first = True

    def patch(call: Callable[..., Any]) -> Callable[..., Any]:
        def patched(*args: Any, **kwargs: Any) -> Any:
            nonlocal is_first
            is_used, is_first = is_first, False
            vectors = call(*args, **kwargs)
            return replace(vectors) if is_used else vectors

        return patched

    with ExitStack() as stack:
        for layer in _layers(model):
            if isinstance(layer, keras.layers.Embedding):
                stack.enter_context(patched(layer, patch))
        yield


@contextmanager
def patched(layer: Any, patch: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Replace the ``call`` of a layer by what ``patch`` returns for it."""
    vars(layer)["call"] = patch(layer.call)
    try:
        yield
    finally:
        del vars(layer)["call"]


def _graph(model: Any) -> Nodes | None:
    """Return the layer that holds the graph of a graph network."""
    if isinstance(model, CustomModel):
        return None
    return next((layer for layer in model.layers if isinstance(layer, Nodes)), None)
