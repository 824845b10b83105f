"""The trainer in TensorFlow: many steps in one function, the rows gathered in the graph, every loss returned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from lmkit.backends.base import RowLosses, Steps, scale_columns
from lmkit.backends.evaluation import evaluate_rows
from lmkit.backends.out_of_memory import halve_evaluation, halve_micro_batch
from lmkit.backends.reading import Probe
from lmkit.backends.tensorflow import checkpoints, devices
from lmkit.backends.tensorflow.losses import CustomLoss, get_loss, masked_normalizers
from lmkit.backends.tensorflow.models.custom import CustomModel
from lmkit.backends.tensorflow.optimizers import build_optimizer
from lmkit.backends.tensorflow.readings import ModelReader
from lmkit.backends.tensorflow.step import Step
from lmkit.backends.tensorflow.strategies import SingleDevice, Strategy
from lmkit.backends.tensorflow.trace import trace_step
from lmkit.data.batches import Part, evaluation_batch_size
from lmkit.specs.losses import has_masked
from lmkit.specs.references import is_reference

if TYPE_CHECKING:
    from lmkit.backends.trace import Trace
    from lmkit.data.dataset import Dataset
    from lmkit.experiment.experiment import Experiment
    from lmkit.specs.losses import LossName
    from lmkit.specs.models import Weights

CALL_STEPS = 512
"""Steps in one call of the compiled function, at most: the length of its vectors, fixed so that it compiles once."""

HOST_CALL_STEPS, HOST_CALL_NUMBERS = 32, 2**22
"""Batches, and numbers in them, that are transferred from the host for one call, at most."""

CALL_OUTPUTS = 2**22
"""Outputs that one call returns, at most."""

COMPILE_FROM = 20_000
"""Steps from which compiling pays: it costs a second or so, and saves up to 40 µs a step. By number, not by time: a
repeated run must decide alike."""


class TensorFlowTrainer:
    """A model, its optimizer and its data. One ``tf.function`` takes any number of steps up to ``CALL_STEPS``."""

    def __init__(
        self,
        model: keras.Model | CustomModel,
        experiment: Experiment,
        dataset: Dataset,
        loss: LossName,
        strategy: Strategy | None = None,
        *,
        collect_outputs: bool = False,
    ) -> None:
        self.strategy = strategy or SingleDevice()
        self.device = self.strategy.device
        with devices.scope(self.device):
            self._set_up(model, experiment, dataset, loss, collect_outputs)

    def _set_up(
        self,
        model: keras.Model | CustomModel,
        experiment: Experiment,
        dataset: Dataset,
        loss: LossName,
        collect_outputs: bool,
    ) -> None:
        training = experiment.training
        self.model = model
        self.is_repeatable, self.has_computed = self.device != "cpu", False
        self.notes: list[str] = []
        parts = (dataset.training, dataset.validation, dataset.test)
        self.masked = not is_reference(loss) and any(has_masked(part.y) for part in parts)
        self.loss_of = get_loss(loss, dataset.output_kind, masked=self.masked)
        self.targets = dataset.training.y
        self.outputs_per_row = _outputs_per_row(model, dataset) if collect_outputs else 0
        self.custom_loss = self.loss_of if isinstance(self.loss_of, CustomLoss) else None
        self.is_sum = self.custom_loss is not None and self.custom_loss.is_sum
        self.batch_size = experiment.data.batch_size
        self.splits = {
            name: tuple(_place_split(a, self.device, can_stay=name != "training") for a in getattr(dataset, name))
            for name in ("training", "validation", "test")
        }
        self.row_shape = dataset.preprocessing.shape if dataset.preprocessing is not None else ()
        self.batches = dataset.batches
        self.batch_iterator: Iterator[Any] | None = None
        self.next_batch = 0
        self.rows_at_once = evaluation_batch_size(
            dataset.training.X.shape[1:], self.batch_size, has_tokens=dataset.training.X.dtype.kind in "iu"
        )
        rows = dataset.rows
        self.steps_per_epoch = dataset.steps_per_epoch(self.batch_size)
        # a custom model or loss may see a batch as a whole: no padding, and batches of one size are taken together
        uneven = getattr(self.batches, "uneven", False)
        self.unpadded = isinstance(model, CustomModel) or is_reference(loss) or uneven
        self.next_shape: Any = None
        even = self.unpadded or (not self.batches and rows % self.batch_size == 0)
        self.call_steps = min(CALL_STEPS, self.steps_per_epoch, self.strategy.max_steps or CALL_STEPS)
        if self.batches:
            numbers = math.prod(dataset.training.X.shape[1:]) * self.batch_size
            self.call_steps = max(1, min(self.call_steps, HOST_CALL_STEPS, HOST_CALL_NUMBERS // numbers))
        if self.outputs_per_row:
            self.call_steps = max(1, min(self.call_steps, CALL_OUTPUTS // (self.batch_size * self.outputs_per_row)))
        self.sizes = np.full(self.steps_per_epoch, self.batch_size, dtype=np.int32)
        self.sizes[-1] = rows - (self.steps_per_epoch - 1) * self.batch_size
        learned = {name: v.value for name, v in checkpoints.learned(model).items()}
        self.variables = list(learned.values())
        self.optimizer = build_optimizer(training.optimizer, learned)
        total = min(training.epochs * self.steps_per_epoch, training.steps or training.epochs * self.steps_per_epoch)
        self.compiled = {"on": True, "off": False}.get(training.compile, total >= COMPILE_FROM)
        self.order: tf.Tensor = tf.zeros((self.steps_per_epoch, self.batch_size), tf.int32)
        for i, variable in enumerate(checkpoints.random_states(model)):
            seed = np.random.SeedSequence([experiment.seed, 2, i]).generate_state(1)[0]  # each layer draws its own
            variable.assign(np.array([seed, 0], dtype=variable.dtype))
        self.compiled &= self.strategy.compiles
        self.compiled &= training.compile == "on" or not self.unpadded  # compiling for every size does not pay
        self.dtype = np.dtype(training.weight_dtype)
        self.shapes = self._shapes(dataset.training) if uneven else None
        self.step = Step(
            *(model, self.loss_of, self.optimizer, self.strategy, experiment),
            has_graph=dataset.preprocessing is not None and dataset.preprocessing.signature.graph is not None,
            unpadded=self.unpadded,
            even=even,
            masked=self.masked,
        )
        self.step.call_steps, self.step.outputs_per_row = self.call_steps, self.outputs_per_row
        self.set_micro_batch(self.step.micro_batch)
        self._forward = tf.function(lambda x: model(x, training=False), autograph=False, reduce_retracing=True)
        self._losses = tf.function(
            lambda x, y: self.loss_of(y, model(x, training=False)), autograph=False, reduce_retracing=True
        )

    @property
    def micro_batch(self) -> int:
        """Rows of a micro-batch."""
        return self.step.micro_batch

    @devices.computed_on_device
    def set_micro_batch(self, rows: int) -> None:
        """Take micro-batches of ``rows`` rows from the next step on; the step is traced anew."""
        self.step.divide(rows, lambda count: self._training_rows(np.arange(min(count, len(self.targets)))))
        self._take = tf.function(self.step.take_steps, self.shapes, jit_compile=self.compiled, autograph=False)

    @devices.computed_on_device
    def epoch(self, order: np.ndarray, number: int = 0) -> None:
        """Begin an epoch in which the training rows come in ``order``."""
        if self.batches:
            self.batches.epoch(number, order)
            self.batch_iterator = self.next_shape = None
            return
        padded = np.zeros(self.steps_per_epoch * self.batch_size, dtype=np.int32)
        padded[: len(order)] = order  # the last batch may be smaller: its rows beyond the end count nothing
        self.order = tf.constant(padded.reshape(self.steps_per_epoch, self.batch_size))

    @devices.computed_on_device
    def advance(self, first: int, rates: np.ndarray) -> Steps:
        """Take ``len(rates)`` steps from batch ``first`` on."""
        columns = [np.zeros((self.step.columns, 0))]
        count = [np.zeros(0, dtype=np.int64)]
        outputs, targets = [], []
        end = first + len(rates)
        begin = first
        while begin < end:
            some = rates[begin - first : begin - first + self.call_steps]
            padded = np.zeros(self.call_steps, dtype=self.dtype)
            padded[: len(some)] = some
            if self.batches:
                batches = self._host_batches(begin, len(some))
                if batches is None:
                    break
                order, sizes, rows, n = batches
                start, some = 0, some[:n]
            else:
                start, order, sizes, rows = begin, self.order, self.sizes, self.splits["training"]
                last = self.steps_per_epoch - 1
                if self.unpadded and begin == last:
                    start, order = 0, order[last:, : self.sizes[last]]
                elif self.unpadded:
                    some = some[: last - begin]
            numbers = np.array([start, len(some)], dtype=np.int32)
            values, *z = self._call(order, tf.constant(padded), tf.constant(numbers), tf.constant(sizes), *rows)
            columns.append(values.numpy()[:, : len(some)])
            first_size = 0 if self.batches else begin
            count.append(sizes[first_size : first_size + len(some)].astype(np.int64))
            if z:
                is_row = np.arange(z[0].shape[1]) < count[-1][:, None]  # the others pad the last batch
                outputs.append(self.strategy.reduce(z[0].numpy()[: len(some)][is_row]))
                indices = order.numpy()[start : start + len(some)][is_row]
                targets.append((rows[1].numpy() if self.batches else self.targets)[indices])
            begin += len(some)
        loss, norm, *more = np.concatenate(columns, axis=1).astype(np.float64)
        sizes_of_steps = np.concatenate(count)
        steps = Steps(loss, norm, sizes_of_steps, scale_columns(more[0], norm) if self.step.loss_scale else {})
        if self.masked:
            steps = replace(steps, sums=loss * more[-1], normalizers=more[-1])
        if self.is_sum:
            steps = replace(steps, sums=loss, normalizers=sizes_of_steps / self.batch_size)
        if outputs:
            steps = replace(steps, outputs=np.concatenate(outputs), targets=np.concatenate(targets))
        return steps

    def _call(self, *arguments: tf.Tensor) -> list[tf.Tensor]:
        """Call the function of steps; where the memory runs out in the first call, once more in smaller micro-batches.

        Every step needs the same memory, so the first shows whether it suffices. Its call is repeated from a copy of
        weights and states, for it may have changed some of them.
        """
        while self.is_repeatable and not self.has_computed and self.strategy.world == 1:
            variables = self._all_variables()
            saved = [np.array(v.numpy()) for v in variables]
            try:
                result: list[tf.Tensor] = self._take(*arguments)
            except tf.errors.ResourceExhaustedError:
                pass
            else:
                self.has_computed = True
                return result
            for variable, value in zip(variables, saved, strict=True):
                variable.assign(value)
            halve_micro_batch(self)
        return self._take(*arguments)

    def _all_variables(self) -> list[Any]:
        """Return every variable that a step may change."""
        model = checkpoints.named(self.model).values()
        states = {id(v): v for v in (*checkpoints.random_states(self.model), *self.step.counters)}
        return [*model, *self.step.state.values(), *states.values()]

    def _host_batches(self, first: int, count: int) -> tuple[Any, np.ndarray, tuple[Any, Any], int] | None:
        """Return up to ``count`` batches from the host, padded to the size that a call takes: order, sizes, rows and
        the number of batches. A call continues where the last one ended."""
        assert self.batches is not None
        if self.batch_iterator is None or self.next_batch != first:
            self.batch_iterator, self.next_shape = self.batches.take(first), None
        batches = self._of_one_shape(count) if self.unpadded else list(itertools.islice(self.batch_iterator, count))
        self.next_batch = first + len(batches)
        if not batches:
            return None
        sizes = np.zeros(self.call_steps, dtype=np.int32)
        sizes[: len(batches)] = [len(x) for x, _ in batches]
        rows = []
        width = len(batches[0][0]) if self.unpadded else self.batch_size
        for arrays in zip(*batches, strict=True):
            padded = np.zeros((self.call_steps, width, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
            for target, array in zip(padded, arrays, strict=False):
                target[: len(array)] = array
            rows.append(tf.constant(padded.reshape(-1, *padded.shape[2:])))
        order = np.arange(self.call_steps * width, dtype=np.int32).reshape(self.call_steps, width)
        return tf.constant(order), sizes, (rows[0], rows[1]), len(batches)

    def _shapes(self, rows: Part) -> list[tf.TensorSpec]:
        """Return the signature of a call for batches of any size: traced once, so a resumed run rounds alike."""
        x, y = ((None,) * a.ndim if a.dtype.kind == "i" else (None, *a.shape[1:]) for a in rows)
        count = tf.TensorSpec((None,), tf.int32)
        order = tf.TensorSpec((None, None), tf.int32)
        rates, numbers = tf.TensorSpec((self.call_steps,), self.dtype), tf.TensorSpec((2,), tf.int32)
        return [order, rates, numbers, count, tf.TensorSpec(x, rows.X.dtype), tf.TensorSpec(y, rows.y.dtype)]

    def _of_one_shape(self, count: int) -> list[Any]:
        """Return up to ``count`` batches of one shape; the first of another one is left for the next call."""
        batches: list[Any] = []
        while len(batches) < count:
            batch, self.next_shape = self.next_shape or next(self.batch_iterator or iter(()), None), None
            if batch is None:
                break
            if batches and batch[0].shape != batches[0][0].shape:
                self.next_shape = batch
                break
            batches.append(batch)
        return batches

    @devices.computed_on_device
    def gradients(self, rows: np.ndarray) -> dict[str, np.ndarray | None]:
        """Return the gradient of every learned weight over training ``rows``, dropout off."""
        x, y = self._training_rows(rows)
        with tf.GradientTape() as tape:
            losses = self.loss_of(y, self.model(x, training=False))
            loss = tf.reduce_sum(losses) if self.is_sum else tf.reduce_mean(losses)
        gradients = tape.gradient(loss, self.variables)
        names = checkpoints.learned(self.model)
        return {name: None if g is None else _dense(g).numpy() for name, g in zip(names, gradients, strict=True)}

    def _training_rows(self, rows: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        x, y = (
            tf.gather(a, rows) if isinstance(a, tf.Tensor) else tf.constant(a[rows]) for a in self.splits["training"]
        )
        return x, y

    @cached_property
    def _reader(self) -> ModelReader:
        return ModelReader(self.model, self.loss_of, self.is_sum, self.custom_loss is not None, self.row_shape)

    @devices.computed_on_device
    def reading(self, rows: np.ndarray, *, exact: bool = False) -> Probe:
        """Read layers, weights and outputs over training ``rows``; nothing changes."""
        return self._reader.read(*self._training_rows(rows), exact=exact)

    @devices.computed_on_device
    def updates(self) -> dict[str, float]:
        """Return the relative change of each learned weight since the last reading."""
        return self._reader.updates()

    @devices.computed_on_device
    def trace(self, batch: Part, *, training: bool = True) -> Trace:
        """Compute loss and gradients of a batch, operation by operation."""
        x, y = (tf.constant(np.asarray(a)) for a in batch)
        return trace_step(self.model, self.loss_of, x, y, is_sum=self.is_sum, training=training, backward=training)

    @devices.computed_on_device
    def outputs(self, part: str, rows: int | None = None) -> np.ndarray:
        """Return outputs (rows, outputs) of one part, or of its first rows, dropout off."""
        return self._evaluate(part, rows, lambda x, _: (self._forward(x).numpy(),))[0]

    @devices.computed_on_device
    def losses(self, part: str, rows: int | None = None) -> RowLosses:
        """Return the loss of each row of one part, or of its first rows, dropout off."""
        return RowLosses(*self._evaluate(part, rows, self._row_losses, divisible=self.custom_loss is None))

    def _row_losses(self, x: tf.Tensor, y: tf.Tensor) -> RowLosses:
        if self.custom_loss:
            return self.custom_loss.row_losses(y, self._forward(x), self.batch_size)
        losses = self._losses(x, y).numpy().astype(np.float64)
        return RowLosses(losses, masked_normalizers(y, tf.float64).numpy()) if self.masked else RowLosses.of(losses)

    def _evaluate(
        self,
        part: str,
        rows: int | None,
        compute: Callable[[tf.Tensor, tf.Tensor], tuple[np.ndarray, ...]],
        *,
        divisible: bool = True,
    ) -> tuple[np.ndarray, ...]:
        """Return what ``compute`` returns of rows and targets of a part, some rows at a time."""
        X, Y = self.splits[part]

        def compute_slice(begin: int, end: int) -> tuple[np.ndarray, ...]:
            x, y = (tf.convert_to_tensor(a[begin:end]) for a in (X, Y))
            return compute(x, y)

        count = len(X) if rows is None else min(rows, len(X))
        while True:
            try:
                return evaluate_rows(count, self.rows_at_once, compute_slice, self.strategy, divisible=divisible)
            except tf.errors.ResourceExhaustedError:
                if self.strategy.processes > 1 or not divisible:  # the others compute the slices of this size
                    raise
            halve_evaluation(self, count)

    def state(self) -> Weights:
        """Return the optimizer's state and the random states."""
        return checkpoints.state(self.model, self.step.state, self.strategy)

    def restore(self, state: Weights) -> None:
        """Set the optimizer's state and the random states."""
        checkpoints.restore(self.model, self.step.state, state, self.strategy)


def _outputs_per_row(model: keras.Model | CustomModel, dataset: Dataset) -> int:
    """Return the number of outputs of a row."""
    if not isinstance(model, CustomModel):
        return int(model.outputs[0].shape[-1])
    return int(model(tf.convert_to_tensor(dataset.training.X[:2]), training=False).shape[-1])


def _dense(gradient: Any) -> tf.Tensor:
    """Return a gradient as one tensor; that of an embedding comes as the rows that were looked up."""
    return tf.convert_to_tensor(gradient)


def _place_split(values: Any, device: str, *, can_stay: bool) -> Any:
    """Return an array as a tensor; one that is mapped from a file, or computed on access, stays on the host.

    So does one that would take much of the memory of a GPU, if it ``can_stay``.
    """
    if not isinstance(values, np.ndarray) or isinstance(values, np.memmap):
        return values
    return values if can_stay and not devices.fits(values.nbytes, device) else tf.constant(values)
