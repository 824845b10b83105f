"""A step of a Keras model, computed eagerly: TensorFlow calls back after every operation, forward and backward."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_callbacks  # what tf.debugging.enable_check_numerics uses

from lmkit.backends.tensorflow import checkpoints
from lmkit.backends.tensorflow.gradients import patched
from lmkit.backends.tensorflow.models.custom import CustomModel
from lmkit.backends.trace import Forward, Kind, Range, Trace, Tracer, find_user_line, is_finite

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("Exp", "Expm1", "Sinh", "Cosh"), "exp"),
    **dict.fromkeys(("Log", "Log1p", "Xlogy", "Xlog1py"), "log"),
    **dict.fromkeys(("Sqrt", "Rsqrt"), "sqrt"),
    **dict.fromkeys(("RealDiv", "Div", "Reciprocal", "Inv", "Xdivy", "FloorMod"), "division"),
    "Pow": "power",
    **dict.fromkeys(("MatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "Conv1D", "Conv2D", "Conv3D"), "product"),
    **dict.fromkeys(("Acos", "Asin", "Atanh", "Acosh", "Erfinv", "Ndtri", "Lgamma", "Digamma"), "domain"),
    **dict.fromkeys(("Fill", "Select", "SelectV2", "PadV2", "MirrorPad", "Const", "Where"), "fill"),
}
"""Type of an operation → its kind."""


class TensorFlowTracer(Tracer):
    """Records the operations of a Keras model."""

    kinds = KINDS

    def __init__(self, rows: int, layers: dict[str, Any]) -> None:
        super().__init__(rows)
        self.by_name = layers
        self.forwards: list[Forward] = []

    def key(self, tensor: tf.Tensor) -> int:
        """Return the identity: an eager tensor is one object, and is never written into."""
        return id(tensor)

    def is_finite(self, tensor: tf.Tensor) -> bool:
        """Return whether all numbers of a tensor are finite."""
        return is_finite(self.to_array(tensor))

    def to_array(self, tensor: tf.Tensor) -> np.ndarray:
        """Return a tensor as an array."""
        values = tensor.numpy()
        return values if values.dtype in (np.float32, np.float64) else np.asarray(values, dtype=np.float32)

    def layer_weights(self, layer: str) -> Range | None:
        """Return the range of a layer's own weights."""
        weights = getattr(self.by_name.get(layer), "_trainable_variables", None) or []
        values = [np.ravel(v.numpy()) for v in weights if v.dtype.startswith("float")]
        return Range.of(np.concatenate(values)) if values else None

    def operate(
        self,
        op_type: str | bytes,
        inputs: Sequence[Any],
        attrs: Any,  # noqa: ARG002 (TensorFlow passes it)
        outputs: Sequence[Any],
        op_name: str | None = None,  # noqa: ARG002
        graph: Any = None,
    ) -> None:
        """Take an operation that has computed."""
        name = op_type.decode() if isinstance(op_type, bytes) else op_type
        given, results = [t for t in inputs if _is_float(t)], [t for t in outputs if _is_float(t)]
        if graph is not None or not results:  # the operations of a function are not computed one by one
            return
        if self.stage == "backward":
            self.record(name, self.take(given), results, self._differentiated(name, given))
            return
        layer = self.layers[-1] if self.layers else ""
        kind = KINDS.get(name, "other")
        forward = Forward(name, kind, self.stage, layer, find_user_line(), tuple(given), tuple(results))
        self.forwards.append(forward)  # which holds the tensors, so that their identities stay theirs
        self.record(name, self.take(given), results)

    def _differentiated(self, name: str, inputs: Sequence[Any]) -> Forward | None:
        """Return the operation of the forward pass that an operation differentiates: it shares a tensor with it."""
        own = _gradient_function() or name.removesuffix("Grad")
        tensors = {id(t) for t in inputs}
        return next(
            (
                f
                for f in reversed(self.forwards)
                if f.name == own and tensors & {id(t) for t in (*f.inputs, *f.outputs)}
            ),
            None,
        )


def trace_step(
    model: keras.Model | CustomModel,
    loss_of: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    x: tf.Tensor,
    y: tf.Tensor,
    *,
    is_sum: bool,
    training: bool,
    backward: bool,
) -> Trace:
    """Compute loss and gradients of a batch; see ``Trainer.trace``."""
    layers = dict(_layers(model))
    tracer = TensorFlowTracer(len(x), layers)
    learned = {name: v.value for name, v in checkpoints.learned(model).items()}
    gradients: list[Any] = [None] * len(learned)
    with _watched(tracer, layers), tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(list(learned.values()))
        outputs = model(x, training=training)
        tracer.stage = "loss"
        losses = loss_of(y, outputs)
        loss = tf.reduce_sum(losses) if is_sum else tf.reduce_mean(losses)
        if isinstance(model, CustomModel) and training:
            loss += model.penalty()
        tracer.stage = "backward"
    has_loss = tracer.is_finite(loss)
    by_call: dict[int, Any] = {}
    if backward and has_loss:
        outputs_of_calls = [output for _, output in tracer.calls]
        with _operations(tracer):
            results = tape.gradient(loss, [*learned.values(), *outputs_of_calls])
        dense = [None if g is None else tf.convert_to_tensor(g) for g in results]
        gradients, by_call = dense[: len(learned)], dict(enumerate(dense[len(learned) :]))
    connected = {name: g for name, g in zip(learned, gradients, strict=True) if g is not None}
    origin, first_nan = tracer.origin(connected.values() if has_loss else [loss])
    ranges = {name: Range.of(tracer.to_array(g)) for name, g in connected.items()}
    calls = tracer.repeated_calls(by_call)
    return Trace(float(loss), Range.of(tracer.to_array(outputs)), calls, ranges, origin, first_nan)


@contextmanager
def _operations(tracer: TensorFlowTracer) -> Iterator[None]:
    """Hand every eager operation to a tracer meanwhile."""
    op_callbacks.add_op_callback(tracer.operate)
    try:
        yield
    finally:
        op_callbacks.remove_op_callback(tracer.operate)


@contextmanager
def _watched(tracer: TensorFlowTracer, layers: dict[str, Any]) -> Iterator[None]:
    """Record operations and calls of layers meanwhile."""

    def observe(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def patch(call: Callable[..., Any]) -> Callable[..., Any]:
            def observed(*arguments: Any, **options: Any) -> Any:
                tracer.layers.append(name)
                output = call(*arguments, **options)
                tracer.layers.pop()
                tensor = next(_floats(output), None)
                if tensor is not None:
                    tracer.calls.append((name, tensor))
                return output

            return observed

        return patch

    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.enter_context(patched(layer, observe(name)))
        with _operations(tracer):
            yield


def _layers(model: keras.Model | CustomModel) -> Iterator[tuple[str, Any]]:
    """Yield name and layer of all layers inside a model."""
    root = model.module if isinstance(model, CustomModel) else model
    layers = list(root._flatten_layers(include_self=False))  # the public ``layers`` has no layers of layers
    names = [layer.name for layer in layers]
    for i, (name, layer) in enumerate(zip(names, layers, strict=True)):
        yield (name if names.count(name) == 1 else f"{name}.{i}"), layer


def _gradient_function() -> str:
    """Return the type of the operation whose gradient Python computes now: ``_SqrtGrad`` is that of ``Sqrt``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.endswith("_grad.py"):
            name = frame.f_code.co_name
            if name.startswith("_") and name.endswith("Grad"):
                return name[1:].removesuffix("Grad")
        frame = frame.f_back
    return ""


def _is_float(tensor: Any) -> bool:
    return isinstance(tensor, tf.Tensor) and tensor.dtype.is_floating  # no variable, no sparse tensor


def _floats(values: Any) -> Iterator[tf.Tensor]:
    """Yield the tensors of floats in nested arguments."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, tuple | list):
        for value in values:
            yield from _floats(value)
    elif _is_float(values):
        yield values
