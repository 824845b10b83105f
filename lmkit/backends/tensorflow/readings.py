"""What the doctor reads of a Keras model: one function of its own, traced with the layers' calls observed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from lmkit.backends.probes import curvature_of, mixing_of
from lmkit.backends.reading import EXACT_ROWS, PROBE_NUMBERS, Probe
from lmkit.backends.tensorflow import checkpoints
from lmkit.backends.tensorflow.gradients import first_embedding
from lmkit.backends.tensorflow.models.custom import CustomModel
from lmkit.backends.tensorflow.models.layers import Constants
from lmkit.runfolder.readings import (
    MAX_FROZEN,
    MAX_LAYERS,
    MAX_WEIGHTS,
    SATURATION,
    WeightReading,
    evenly,
    layer_reading,
    pool_places,
)

if TYPE_CHECKING:
    from lmkit.specs.signature import Shape

READS = ("ReadVariableOp", "ResourceGather", "VarHandleOp")
"""Types of operations that read a weight."""


class ModelReader:
    """Reads a model over some rows.

    Args:
        model: as the trainer holds it.
        loss_of: targets and outputs → losses.
        is_sum: whether losses are summed over a batch.
        custom_loss: whether the loss is a person's own.
        shape: of a row, as the model sees it.
    """

    def __init__(
        self,
        model: keras.Model | CustomModel,
        loss_of: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        is_sum: bool,
        custom_loss: bool,
        shape: Shape,
    ) -> None:
        self.model, self.loss_of, self.is_sum, self.custom_loss, self.shape = model, loss_of, is_sum, custom_loss, shape
        learned = checkpoints.learned(model)
        self.names = evenly(list(learned), MAX_WEIGHTS)
        self.variables = [learned[name].value for name in self.names]
        self.is_custom = isinstance(model, CustomModel)
        self.layers = _weight_layers(model)
        self.order: list[tuple[str, str, int]] = []
        self.connected: list[bool] = []
        self.before: list[tf.Tensor] = []
        sizes = _frozen_sizes(model)
        self.frozen = tuple(sizes)[:MAX_FROZEN]
        learned_numbers = sum(int(np.prod(v.shape)) for v in learned.values())
        self.frozen_share = sum(sizes.values()) / max(1, sum(sizes.values()) + learned_numbers)
        self.dropout = max(
            (layer.rate for layer in _all_layers(model) if isinstance(layer, keras.layers.Dropout)), default=0.0
        )
        self.unused: set[str] | None = None
        self._read = tf.function(self._traced, autograph=False)
        self._forward = tf.function(lambda x: model(x, training=False), autograph=False)
        self._changes = tf.function(self._traced_changes, autograph=False)

    def read(self, x: tf.Tensor, y: tf.Tensor, *, exact: bool) -> Probe:
        """Read the model over rows ``x`` and their targets ``y``."""
        with self._state_restored():
            places = len(self.shape) == 2 and x.dtype.is_floating
            has_places = places or not x.dtype.is_floating
            loss, outputs, layer_numbers, weight_numbers, by_place, before = self._read(x, y, places)
            z, value = outputs.numpy(), float(loss)
            layers = tuple(
                layer_reading(name, kind, units, numbers)
                for (name, kind, units), numbers in zip(self.order, layer_numbers.numpy().tolist(), strict=True)
            )
            weights = self._weights(weight_numbers.numpy())
            tests = self._exact(x, y, outputs, value) if exact else (None, None, None)
            if exact and self.is_custom:
                weights = self._find_unused(weights, x)
        self.before = before
        norms = pool_places(by_place.numpy()) if has_places and exact and len(by_place) else ()
        return Probe(value, z, layers, weights, *tests, norms, self.frozen, self.frozen_share, self.dropout)

    def updates(self) -> dict[str, float]:
        """Return the relative change of each weight since the last ``read``."""
        if not self.before:
            return {}
        before, self.before = self.before, []
        return dict(zip(self.names, self._changes(before).numpy().tolist(), strict=True))

    def _traced(self, x: tf.Tensor, y: tf.Tensor, places: bool) -> tuple[Any, ...]:
        vectors: list[tf.Tensor] = []
        graph = tf.compat.v1.get_default_graph()
        with _watched(self.layers) as inputs, tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            if places:
                tape.watch(x)

            def watch(value: tf.Tensor) -> tf.Tensor:
                if len(value.shape) == 3 and getattr(value, "graph", None) is graph:
                    tape.watch(value)
                    vectors.append(value)
                return value

            with first_embedding(self.model, watch):
                outputs = self.model(x, training=False)
            losses = self.loss_of(y, outputs)
            loss = tf.reduce_sum(losses) if self.is_sum else tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [*self.variables, *([x] if places else vectors)])
        of_rows = gradients.pop() if places or vectors else None
        self.connected = [g is not None for g in gradients]
        names = evenly([name for name, _ in self.layers if name in inputs], MAX_LAYERS)
        kinds = {name: type(layer).__name__ for name, layer in self.layers}
        self.order = [(name, kinds[name], int(inputs[name].shape[-1] or 0)) for name in names]
        numbers = tf.stack([_statistics(inputs[name]) for name in names]) if names else tf.zeros((0, 7))
        return (
            loss,
            outputs,
            numbers,
            self._weight_numbers(gradients),
            self._norms_by_place(of_rows) if places or of_rows is not None else tf.zeros(0),
            [tf.reshape(v, [-1])[:PROBE_NUMBERS] for v in self.variables],
        )

    def _weight_numbers(self, gradients: list[Any]) -> tf.Tensor:
        """Return norm, gradient norm and share of zeros of each weight (weights, 3)."""
        rows = []
        for v, gradient in zip(self.variables, gradients, strict=True):
            g = tf.zeros_like(v) if gradient is None else tf.convert_to_tensor(gradient)
            zeros = tf.reduce_mean(tf.cast(tf.equal(g, 0), v.dtype))
            rows.append(tf.stack([tf.norm(v), tf.norm(g), zeros]))
        return tf.stack(rows)

    def _weights(self, numbers: np.ndarray) -> tuple[WeightReading, ...]:
        readings = []
        for name, v, row, is_connected in zip(
            self.names, self.variables, numbers.tolist(), self.connected, strict=True
        ):
            values = {"gradient": row[1], "zeros": row[2]} if is_connected else {}
            size, axes = int(np.prod(v.shape)), len(v.shape)
            readings.append(
                WeightReading(name=name, size=size, axes=axes, norm=row[0], is_connected=is_connected, **values)
            )
        return tuple(readings)

    def _find_unused(self, weights: tuple[WeightReading, ...], x: tf.Tensor) -> tuple[WeightReading, ...]:
        """Mark weights without gradient that do not change the outputs, which is tried once."""
        if self.unused is None:
            self.unused = set()
            pairs = [pair for pair in zip(weights, self.variables, strict=True) if not pair[0].is_connected]
            outputs = self._forward(x).numpy() if pairs else np.zeros(0)
            for weight, v in pairs:
                values = v.numpy()
                v.assign(values + 1 + np.abs(values))
                if np.array_equal(self._forward(x).numpy(), outputs):
                    self.unused.add(weight.name)
                v.assign(values)
        return tuple(replace(w, is_used=w.is_connected or w.name not in self.unused) for w in weights)

    def _norms_by_place(self, gradient: tf.Tensor | None) -> tf.Tensor:
        if gradient is None:
            return tf.zeros(self.shape[0])
        gradient = tf.convert_to_tensor(gradient)
        by_place = gradient if len(gradient.shape) == 3 else tf.reshape(gradient, (-1, *self.shape))
        return tf.norm(by_place, axis=(0, 2))

    def _traced_changes(self, before: list[tf.Tensor]) -> tf.Tensor:
        now = [tf.reshape(v, [-1])[:PROBE_NUMBERS] for v in self.variables]
        # as in PyTorch: NaN where the weight is 0
        return tf.stack([tf.norm(v - b) / tf.norm(b) for v, b in zip(now, before, strict=True)])

    def _exact(
        self, x: tf.Tensor, y: tf.Tensor, outputs: tf.Tensor, loss: float
    ) -> tuple[float | None, float | None, float | None]:
        """Return what ``mixed``, ``curvature`` and ``dealt`` of a reading are."""
        mixed = curvature = dealt = None
        if self.is_custom and len(x) >= 3 * EXACT_ROWS:
            join = lambda groups: tf.concat(groups, 0)  # noqa: E731 (read twice)
            predict = lambda rows: self._forward(rows).numpy()  # noqa: E731
            a, b, c = tf.split(x[: 3 * EXACT_ROWS], 3)
            mixed = mixing_of(predict, a, b, c, join)
            if x.dtype.is_floating:
                curvature = curvature_of(predict, a, b, join)
        if self.custom_loss and len(x) > 1:
            other = tf.roll(y, len(y) // 2, 0)
            differ = bool(tf.reduce_any(tf.not_equal(other, y)))
            if differ and loss and float(tf.reduce_mean(tf.math.reduce_std(outputs, axis=0))) > 0:
                losses = self.loss_of(other, outputs)
                value = float(tf.reduce_sum(losses) if self.is_sum else tf.reduce_mean(losses))
                dealt = abs(value - loss) / abs(loss)
        return mixed, curvature, dealt

    @contextmanager
    def _state_restored(self) -> Iterator[None]:
        """Put back what a custom model may change without training: running statistics and the states of its draws."""
        if not isinstance(self.model, CustomModel):
            yield
            return
        states = [v for v in self.model.module.variables if not v.trainable]
        values = [v.numpy() for v in states]
        try:
            yield
        finally:
            for v, value in zip(states, values, strict=True):
                v.assign(value)


def _weight_layers(model: keras.Model | CustomModel) -> list[tuple[str, Any]]:
    """Return name and layer of those that hold weights themselves; a recurrent layer counts as one."""
    if not isinstance(model, CustomModel):
        return [(layer.name, layer) for layer in model.layers if layer.weights and not isinstance(layer, Constants)]
    layers: list[Any] = []
    cells: set[int] = set()
    for layer in model.module._flatten_layers(include_self=False):  # the public ``layers`` has no layers of layers
        if isinstance(layer, keras.layers.RNN):
            cells |= {id(inner) for inner in layer._flatten_layers(include_self=False)}
            layers.append(layer)
        elif id(layer) not in cells and layer.weights and not layer._layers:
            layers.append(layer)
    names = [layer.name for layer in layers]
    return [
        (name if names.count(name) == 1 else f"{name}.{i}", layer)
        for i, (name, layer) in enumerate(zip(names, layers, strict=True))
    ]


def _all_layers(model: keras.Model | CustomModel) -> list[Any]:
    """Return the model itself, and all layers in it."""
    root = model.module if isinstance(model, CustomModel) else model
    return [root, *root._flatten_layers(include_self=False)]


def _frozen_sizes(model: keras.Model | CustomModel) -> dict[str, int]:
    """Return name → numbers of each weight that could be trained and is not; running statistics are none."""
    return {
        f"{layer.name}.{v.name}": int(np.prod(v.shape))
        for layer in _all_layers(model)
        for v in layer._trainable_variables
        if not v.trainable
    }


@contextmanager
def _watched(layers: list[tuple[str, Any]]) -> Iterator[dict[str, tf.Tensor]]:
    """Collect what comes into each layer while the model is traced; the layers' own calls are put back afterwards."""
    inputs: dict[str, tf.Tensor] = {}
    graph, thread = tf.compat.v1.get_default_graph(), threading.get_ident()

    def observe(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def observed(*arguments: Any, **options: Any) -> Any:
            x: Any = arguments[0] if arguments else None
            # a tensor of an inner graph, such as a loop's body, does not exist outside of it
            is_outer = threading.get_ident() == thread and tf.is_tensor(x) and getattr(x, "graph", None) is graph
            if is_outer and x.dtype.is_floating and not options.get("reverse") and _has_weights(x):
                inputs[name] = x
            return call(*arguments, **options)

        return observed

    try:
        for name, layer in layers:
            object.__setattr__(layer, "call", observe(name, layer.call))
        yield inputs
    finally:
        for _, layer in layers:
            if "call" in vars(layer):
                object.__delattr__(layer, "call")


def _has_weights(tensor: tf.Tensor) -> bool:
    """Return whether a tensor was computed from a weight, or only from the rows."""
    stack, seen = [tensor.op], set()
    while stack:
        operation = stack.pop()
        if operation.name in seen:
            continue
        seen.add(operation.name)
        if operation.type in READS:
            return True
        if operation.type in ("StopGradient", "Shape"):
            continue
        stack += [x.op for x in operation.inputs]
    return False


def _statistics(x: tf.Tensor) -> tf.Tensor:
    """Return the numbers (7,) that ``layer_reading`` takes."""
    units = tf.reshape(x, (-1, tf.shape(x)[-1]))
    silent = 1 - tf.reduce_mean(tf.cast(tf.reduce_any(tf.not_equal(units, 0), axis=0), x.dtype))
    size = tf.abs(x)
    at_ends = tf.abs(x - 0.5) > SATURATION / 2
    numbers = [
        tf.reduce_min(x),
        tf.reduce_max(x),
        tf.math.reduce_std(x),
        tf.reduce_mean(tf.math.reduce_std(x, axis=0)),
        silent,
        tf.reduce_mean(tf.cast(size > SATURATION, x.dtype)),
        tf.reduce_mean(tf.cast(at_ends, x.dtype)),
    ]
    return tf.cast(tf.stack(numbers), tf.float32)
