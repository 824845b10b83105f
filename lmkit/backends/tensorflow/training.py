"""The training loop in TensorFlow: many steps in one function, the rows gathered in the graph, every loss returned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from lmkit.backends.base import Steps
from lmkit.backends.tensorflow import checkpoints
from lmkit.backends.tensorflow.losses import OwnLoss
from lmkit.backends.tensorflow.models.own import OwnModel
from lmkit.data.batches import Part, evaluated_rows
from lmkit.specs.references import is_reference

if TYPE_CHECKING:
    from lmkit.data.preparation import Dataset
    from lmkit.experiment import Experiment
    from lmkit.specs.losses import LossName
    from lmkit.specs.models import Weights

CALL = 512
"""Steps that one call takes at most: the length of its vectors of rates and losses, fixed so that it compiles once."""

FED_CALL, FED_NUMBERS = 32, 2**22
"""Batches, and the numbers in them, that go from the host to one call at most."""

COMPILE_FROM = 20_000
"""Steps from which compiling pays: it costs a second or so, and saves up to 40 µs a step. By number, not by time: a
repeated run must decide alike."""

# Each takes targets and logits of a batch and returns the loss of each row.
_LOSSES: dict[LossName, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "binary_crossentropy": lambda y, z: tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=z)[:, 0],
    "categorical_crossentropy": lambda y, z: _categorical(y, z),
    "mean_squared_error": lambda y, z: tf.reduce_mean(tf.square(z - y), axis=1),
}


def _categorical(y: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Of classes (rows,), or shares of them (rows, classes); the mean over places of tokens, or of shares of them."""
    if y.dtype.is_floating:
        losses = tf.nn.softmax_cross_entropy_with_logits(labels=y, logits=z)
    else:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=z)
    return losses if losses.shape.rank == 1 else tf.reduce_mean(losses, axis=1)


class Update:
    """An optimizer's rule over resource variables, by TensorFlow's own fused operations.

    Keras's optimizers add ε to the uncorrected root and fold the learning rate into the velocity; these mean what
    ``lmkit.specs.optimizers`` writes, which is also what PyTorch does.
    """

    def __init__(self, spec: Any, variables: Sequence[tf.Variable], names: Sequence[str]) -> None:
        self.spec = spec
        self.variables = list(variables)
        slots = {"sgd": ("velocity",) if getattr(spec, "momentum", 0) else ()}.get(spec.name, ("mean", "square"))
        self.slots = [[tf.Variable(tf.zeros_like(v), trainable=False) for _ in slots] for v in variables]
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.memory = {"step": self.step} | {
            f"{name}/{slot}": v
            for name, kept in zip(names, self.slots, strict=True)
            for slot, v in zip(slots, kept, strict=True)
        }

    def apply(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor) -> None:
        """One step θ ← θ − …, at learning rate ``rate``."""
        spec, ops = self.spec, tf.raw_ops
        t = tf.cast(self.step.assign_add(1), rate.dtype)
        for v, g, slots in zip(self.variables, gradients, self.slots, strict=True):
            if spec.name == "sgd" and not slots:
                ops.ResourceApplyGradientDescent(var=v.handle, alpha=rate, delta=g)
            elif spec.name == "sgd":
                ops.ResourceApplyMomentum(
                    var=v.handle,
                    accum=slots[0].handle,
                    lr=rate,
                    grad=g,
                    momentum=tf.constant(spec.momentum, v.dtype),
                    use_nesterov=spec.nesterov,
                )
            else:
                beta1, beta2 = tf.constant(spec.beta1, v.dtype), tf.constant(spec.beta2, v.dtype)
                power1, power2 = tf.pow(beta1, t), tf.pow(beta2, t)
                if getattr(spec, "weight_decay", 0):
                    v.assign_sub(v * (rate * tf.constant(spec.weight_decay, v.dtype)))
                ops.ResourceApplyAdam(
                    var=v.handle,
                    m=slots[0].handle,
                    v=slots[1].handle,
                    beta1_power=power1,
                    beta2_power=power2,
                    lr=rate,
                    beta1=beta1,
                    beta2=beta2,
                    # the operation adds ε to √v, the rule to √v̂ = √(v/(1−β₂ᵗ))
                    epsilon=tf.constant(spec.epsilon, v.dtype) * tf.sqrt(1 - power2),
                    grad=g,
                )


class TensorFlowTrainer:
    """A model, its optimizer and its data. One ``tf.function`` takes any number of steps up to ``CALL``."""

    def __init__(self, model: keras.Model, experiment: Experiment, dataset: Dataset, loss: LossName) -> None:
        training = experiment.training
        self.model = model
        self.device = "cuda:0" if tf.config.list_physical_devices("GPU") else "cpu"
        self.loss_of: Callable[..., tf.Tensor] = OwnLoss(loss) if is_reference(loss) else _LOSSES[loss]
        self.batch_size = experiment.data.batch_size
        self.clip_norm = training.clip_norm
        self.every_norm = training.gradient_norm is not None or training.clip_norm is not None
        self.parts = {
            name: tuple(_placed(a) for a in getattr(dataset, name)) for name in ("training", "validation", "test")
        }
        self.fed = dataset.batches
        self.feeding: Iterator[Any] | None = None
        self.next_batch = 0
        self.rows_at_once = evaluated_rows(dataset.training.X, self.batch_size)
        rows = self.fed.rows if self.fed else len(dataset.training.X)
        self.per_epoch = self.fed.count if self.fed else -(-rows // self.batch_size)
        # a model or a loss of somebody's own may see a batch as a whole: it is not filled up, and those of a size are
        # taken together
        self.exact = isinstance(model, OwnModel) or is_reference(loss) or getattr(self.fed, "uneven", False)
        self.waiting: Any = None
        self.even = self.exact or (not self.fed and rows % self.batch_size == 0)
        self.call = min(CALL, self.per_epoch)
        if self.fed:
            one = math.prod(dataset.training.X.shape[1:]) * self.batch_size
            self.call = max(1, min(self.call, FED_CALL, FED_NUMBERS // one))
        self.sizes = np.full(self.per_epoch, self.batch_size, dtype=np.int32)
        self.sizes[-1] = rows - (self.per_epoch - 1) * self.batch_size
        named = checkpoints.named(model)
        self.variables = [v.value for v in named.values()]
        self.update = Update(training.optimizer, self.variables, list(named))
        total = min(training.epochs * self.per_epoch, training.steps or training.epochs * self.per_epoch)
        self.compiled = {"on": True, "off": False}.get(training.compile, total >= COMPILE_FROM)
        self.order: tf.Tensor = tf.zeros((self.per_epoch, self.batch_size), tf.int32)
        for i, variable in enumerate(checkpoints.random_states(model)):
            seed = np.random.SeedSequence([experiment.seed, 2, i]).generate_state(1)[0]  # each layer draws its own
            variable.assign(np.array([seed, 0], dtype=variable.dtype))
        self.compiled &= training.compile == "on" or not self.exact  # what is compiled for each size does not pay
        self.dtype = np.dtype(training.precision)
        shapes = self._shapes(dataset.training) if getattr(self.fed, "uneven", False) else None
        self._take = tf.function(self._steps, shapes, jit_compile=self.compiled, autograph=False)
        self._forward = tf.function(lambda x: model(x, training=False), autograph=False, reduce_retracing=True)
        self._losses = tf.function(
            lambda x, y: _each(self.loss_of(y, model(x, training=False)), y), autograph=False, reduce_retracing=True
        )

    def epoch(self, order: np.ndarray, number: int = 0) -> None:
        """Begins an epoch in which the training rows come in ``order``."""
        if self.fed:
            self.fed.epoch(number, order)
            self.feeding = self.waiting = None
            return
        padded = np.zeros(self.per_epoch * self.batch_size, dtype=np.int32)
        padded[: len(order)] = order  # the last batch may be smaller: its rows beyond the end count nothing
        self.order = tf.constant(padded.reshape(self.per_epoch, self.batch_size))

    def advance(self, first: int, rates: np.ndarray) -> Steps:
        """Takes ``len(rates)`` steps from batch ``first`` on."""
        taken = [np.zeros((2, 0))]
        end = first + len(rates)
        begin = first
        while begin < end:
            some = rates[begin - first : begin - first + self.call]
            padded = np.zeros(self.call, dtype=self.dtype)
            padded[: len(some)] = some
            if self.fed:
                given = self._fed_batches(begin, len(some))
                if given is None:
                    break
                at, some = 0, some[: given[3]]
                order, sizes, rows, _ = given
            else:
                at, order, sizes, rows = begin, self.order, self.sizes, self.parts["training"]
                last = self.per_epoch - 1
                if self.exact and begin == last:
                    at, order = 0, order[last:, : self.sizes[last]]
                elif self.exact:
                    some = some[: last - begin]
            numbers = np.array([at, len(some)], dtype=np.int32)
            told = self._take(order, tf.constant(padded), tf.constant(numbers), tf.constant(sizes), *rows)
            taken.append(told.numpy()[:, : len(some)])
            begin += len(some)
        loss, norm = np.concatenate(taken, axis=1).astype(np.float64)
        return Steps(loss, norm)

    def _fed_batches(self, first: int, count: int) -> tuple[Any, np.ndarray, tuple[Any, Any], int] | None:
        """Up to ``count`` batches from the host, one after the other, filled up to the size that a call takes: their
        order, sizes, rows and how many they are. One call goes on where the last one ended."""
        assert self.fed is not None
        if self.feeding is None or self.next_batch != first:
            self.feeding, self.waiting = self.fed.take(first), None
        batches = self._alike(count) if self.exact else list(itertools.islice(self.feeding, count))
        self.next_batch = first + len(batches)
        if not batches:
            return None
        sizes = np.zeros(self.call, dtype=np.int32)
        sizes[: len(batches)] = [len(x) for x, _ in batches]
        rows = []
        width = len(batches[0][0]) if self.exact else self.batch_size
        for arrays in zip(*batches, strict=True):
            whole = np.zeros((self.call, width, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
            for kept, array in zip(whole, arrays, strict=False):
                kept[: len(array)] = array
            rows.append(tf.constant(whole.reshape(-1, *whole.shape[2:])))
        order = np.arange(self.call * width, dtype=np.int32).reshape(self.call, width)
        return tf.constant(order), sizes, (rows[0], rows[1]), len(batches)

    def _shapes(self, rows: Part) -> list[tf.TensorSpec]:
        """What ``_steps`` takes of batches of any size: traced once, so that a run that is resumed rounds alike."""
        x, y = ((None,) * a.ndim if a.dtype.kind == "i" else (None, *a.shape[1:]) for a in rows)
        count = tf.TensorSpec((None,), tf.int32)
        order = tf.TensorSpec((None, None), tf.int32)
        rates, numbers = tf.TensorSpec((self.call,), self.dtype), tf.TensorSpec((2,), tf.int32)
        return [order, rates, numbers, count, tf.TensorSpec(x, rows.X.dtype), tf.TensorSpec(y, rows.y.dtype)]

    def _alike(self, count: int) -> list[Any]:
        """Up to ``count`` batches of one shape; the first of another waits for the next call."""
        batches: list[Any] = []
        while len(batches) < count:
            batch, self.waiting = self.waiting or next(self.feeding or iter(()), None), None
            if batch is None:
                break
            if batches and batch[0].shape != batches[0][0].shape:
                self.waiting = batch
                break
            batches.append(batch)
        return batches

    def gradients(self, rows: np.ndarray) -> dict[str, np.ndarray | None]:
        """The gradient for every weight over training ``rows``, dropout off."""
        x, y = (
            tf.gather(a, rows) if isinstance(a, tf.Tensor) else tf.constant(a[rows]) for a in self.parts["training"]
        )
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self.loss_of(y, self.model(x, training=False)))
        found = tape.gradient(loss, self.variables)
        names = checkpoints.named(self.model)
        return {name: None if g is None else _whole(g).numpy() for name, g in zip(names, found, strict=True)}

    def outputs(self, part: str, rows: int | None = None) -> np.ndarray:
        """Logits (rows, outputs) of one part, or of its first rows, dropout off."""
        return np.concatenate([self._forward(x).numpy() for x, _ in self._slices(part, rows)])

    def losses(self, part: str, rows: int | None = None) -> np.ndarray:
        """The loss of each row of one part, or of its first rows, dropout off."""
        found = [self._losses(x, y).numpy() for x, y in self._slices(part, rows)]
        return np.concatenate(found).astype(np.float64)

    def _slices(self, part: str, rows: int | None) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """A part, some rows at a time."""
        X, Y = self.parts[part]
        end, size = len(X) if rows is None else min(rows, len(X)), self.rows_at_once
        for i in range(0, end, size):
            x, y = (tf.convert_to_tensor(a[i : min(i + size, end)]) for a in (X, Y))
            yield x, y

    def state(self) -> Weights:
        """The optimizer's memory and the random states."""
        return checkpoints.state(self.model, self.update.memory)

    def restore(self, state: Weights) -> None:
        """Takes up a ``state``."""
        checkpoints.restore(self.model, self.update.memory, state)

    def _steps(
        self, order: tf.Tensor, rates: tf.Tensor, numbers: tf.Tensor, sizes: tf.Tensor, X: tf.Tensor, Y: tf.Tensor
    ) -> tf.Tensor:
        """``numbers[1]`` steps from batch ``numbers[0]`` of ``order``: (2, call) of losses and gradient norms."""
        first, count = numbers[0], numbers[1]
        dtype = rates.dtype

        def step(i: tf.Tensor, told: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            rows = tf.gather(order, first + i)
            x, y = tf.gather(X, rows), tf.gather(Y, rows)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(self.variables)
                loss = self._mean(self.loss_of(y, self.model(x, training=True)), tf.gather(sizes, first + i))
                if isinstance(self.model, OwnModel):
                    loss += self.model.penalty()
            found = zip(tape.gradient(loss, self.variables), self.variables, strict=True)
            gradients = [tf.zeros_like(v) if g is None else _whole(g) for g, v in found]
            if self.every_norm:
                norm = tf.linalg.global_norm(gradients)
            else:
                norm = tf.cond(
                    tf.equal(i + 1, count),
                    lambda: tf.linalg.global_norm(gradients),
                    lambda: tf.constant(np.nan, dtype),
                )
            if self.clip_norm is not None:
                # PyTorch's rule, to the letter: the 1e-6 is in its published clip_grad_norm_
                scale = tf.minimum(tf.constant(self.clip_norm, dtype) / (norm + 1e-6), 1)
                gradients = [g * scale for g in gradients]
            self.update.apply(gradients, tf.gather(rates, i))
            return i + 1, told.write(i, tf.stack([loss, norm]))

        told = tf.TensorArray(dtype, size=self.call, element_shape=(2,))
        _, told = tf.while_loop(lambda i, _: i < count, step, (tf.constant(0), told), parallel_iterations=1)
        return tf.transpose(told.stack())

    def _mean(self, losses: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """The mean over a batch's own rows, without those that fill it up."""
        if self.even:
            return tf.reduce_mean(losses)
        kept = tf.where(tf.range(self.batch_size) < size, losses, tf.zeros_like(losses))
        return tf.reduce_sum(kept) / tf.cast(size, losses.dtype)


def _each(losses: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """The loss of each row; one for all of them counts for each."""
    return tf.fill(tf.shape(y)[:1], losses) if losses.shape.rank == 0 else losses


def _whole(gradient: Any) -> tf.Tensor:
    """A gradient as one tensor; that of a table comes as the rows that were looked up."""
    return tf.convert_to_tensor(gradient)


def _placed(values: Any) -> Any:
    """An array as a tensor; one that is mapped from a file, or made as it is asked for, stays where it is."""
    return tf.constant(values) if isinstance(values, np.ndarray) and not isinstance(values, np.memmap) else values
