"""The training step in TensorFlow: gradients added up over micro-batches, and the update; many steps in a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from lmkit.backends.micro_batches import TRIAL_ROWS, Additivity, DividedStep, find_additivity, micro_batch_size
from lmkit.backends.tensorflow import inspection
from lmkit.backends.tensorflow.dropout import batch_dropout, counters
from lmkit.backends.tensorflow.forward import ForwardPass
from lmkit.backends.tensorflow.loss_scale import LossScale
from lmkit.backends.tensorflow.losses import CustomLoss, LossFunction, masked_normalizers
from lmkit.backends.tensorflow.models.custom import CustomModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmkit.backends.tensorflow.optimizers import Optimizer
    from lmkit.backends.tensorflow.strategies import Strategy
    from lmkit.experiment.experiment import Experiment

Batch = tuple[tf.Tensor, tf.Tensor]
"""Rows and targets."""

Gradients = tuple[tf.Tensor, list[tf.Tensor], tf.Tensor]
"""The loss of a batch, its gradients, and the outputs of its rows."""


class Step(DividedStep[Batch]):
    """A step: ``accumulate`` computes the gradients of a batch, ``update`` applies them.

    Args:
        model: whose outputs are trained.
        loss: of each row, from targets and outputs.
        optimizer: of its variables.
        strategy: which rows of a micro-batch this process computes.
        experiment: with the sizes of batch and micro-batch, and the clipping.
        has_graph: whether the rows are nodes of a graph, which cannot be divided.
        unpadded: whether batches come in their own size; else the last of an epoch is padded.
        even: whether no batch has padding.
        masked: whether places of rows are masked, and do not count.

    Attributes:
        call_steps: steps in one call, at most.
        outputs_per_row: that a call returns; 0 where they are not collected.
    """

    def __init__(
        self,
        model: keras.Model | CustomModel,
        loss: LossFunction,
        optimizer: Optimizer,
        strategy: Strategy,
        experiment: Experiment,
        *,
        has_graph: bool = False,
        unpadded: bool = False,
        even: bool = False,
        masked: bool = False,
    ) -> None:
        self.model, self.loss, self.optimizer, self.strategy = model, loss, optimizer, strategy
        self.variables = optimizer.variables
        self.forward = ForwardPass(model, experiment.training).compute
        self.loss_scale = LossScale() if experiment.training.precision == "float16" else None
        self.custom_loss = loss if isinstance(loss, CustomLoss) else None
        self.is_sum = self.custom_loss is not None and self.custom_loss.is_sum
        self.loss_name = self.custom_loss.name if self.custom_loss else ""
        self.world, self.batch_size = strategy.world, experiment.data.batch_size
        self.clip_norm = experiment.training.clip_norm
        self.log_norm = experiment.training.gradient_norm is not None or self.clip_norm is not None
        self.has_graph, self.unpadded, self.even, self.masked = has_graph, unpadded, even, masked
        self.call_steps, self.outputs_per_row = 1, 0
        self.counters = counters(model)
        self.additivity: Additivity = "mean"
        self.micro_batch = micro_batch_size(experiment)

    def _batch_norm(self) -> str:
        return inspection.batch_norm(self.model)

    def _find_additivity(self, sample: Callable[[int], Batch]) -> Additivity:
        """Return how the losses of micro-batches add up."""
        if self.custom_loss is None or self.is_sum:
            return "sum" if self.is_sum else "mean"
        x, y = sample(TRIAL_ROWS)
        z = self.model(x, training=False)
        if self.loss(y, z).shape.rank:
            return "mean"
        return find_additivity(lambda rows: float(self.loss(y[rows], z[rows])), len(z))

    def take_steps(
        self, order: tf.Tensor, rates: tf.Tensor, numbers: tf.Tensor, sizes: tf.Tensor, X: tf.Tensor, Y: tf.Tensor
    ) -> list[tf.Tensor]:
        """Take ``numbers[1]`` steps from batch ``numbers[0]`` of ``order`` (batches, rows).

        Return losses and norms (columns, call_steps), in float16 the scales of the loss as a further row, and the
        normalizers where places are masked; and the outputs (call_steps, batch, outputs) where they are collected.
        """
        first, count = numbers[0], numbers[1]
        dtype = rates.dtype

        def step(i: tf.Tensor, columns: tf.TensorArray, *outputs: tf.TensorArray) -> tuple[Any, ...]:
            rows, size = tf.gather(order, first + i), tf.gather(sizes, first + i)
            loss, gradients, z = self.accumulate(rows, size, X, Y)
            loss, gradients = self.strategy.reduce_gradients(loss, gradients)
            norm = self.update(gradients, tf.gather(rates, i), tf.equal(i + 1, count))
            written = [array.write(i, tf.cast(z, dtype)) for array in outputs]
            more = [] if self.loss_scale is None else [tf.cast(self.loss_scale.value, dtype)]
            more += [self._normalizer(tf.gather(Y, rows), size)] if self.masked else []
            return i + 1, columns.write(i, tf.stack([loss, norm, *more])), *written

        width = (self.columns,)
        shapes = [width, (order.shape[1], self.outputs_per_row)] if self.outputs_per_row else [width]
        arrays = [tf.TensorArray(dtype, size=self.call_steps, element_shape=shape) for shape in shapes]
        _, *arrays = tf.while_loop(lambda i, *_: i < count, step, (tf.constant(0), *arrays), parallel_iterations=1)
        columns, *outputs = (array.stack() for array in arrays)
        return [tf.transpose(columns), *outputs]

    @property
    def columns(self) -> int:
        """Numbers that a call returns for each step."""
        return 2 + (self.loss_scale is not None) + self.masked

    def accumulate(self, rows: tf.Tensor, size: tf.Tensor, X: tf.Tensor, Y: tf.Tensor) -> Gradients:
        """Return this process's part of the loss of a batch, its gradients and the outputs of its rows.

        Args:
            rows: (width,), indices of the rows; those from ``size`` on are padding.
            size: rows of the batch.
            X, Y: the rows and targets that they index.
        """
        if self.micro_batch < self.batch_size or self.world > 1:
            return self._accumulate_parts(rows, size, X, Y)
        x, y = tf.gather(X, rows), tf.gather(Y, rows)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            z = self.forward(x)
            loss = self._mean(self.loss(y, z), size, self._normalizer(y, size))
            if isinstance(self.model, CustomModel):
                loss += self.model.penalty()
            scaled = self._scale(loss)
        return loss, self._gradients(tape, scaled), z

    def _scale(self, loss: tf.Tensor) -> tf.Tensor:
        return loss if self.loss_scale is None else loss * tf.cast(self.loss_scale.value, loss.dtype)

    def _gradients(self, tape: tf.GradientTape, loss: tf.Tensor) -> list[tf.Tensor]:
        """Return the gradient of each variable; zeros where it has no part in the loss."""
        pairs = zip(tape.gradient(loss, self.variables), self.variables, strict=True)
        return [tf.zeros_like(v) if g is None else tf.convert_to_tensor(g) for g, v in pairs]

    def _accumulate_parts(self, rows: tf.Tensor, size: tf.Tensor, X: tf.Tensor, Y: tf.Tensor) -> Gradients:
        micro, width = self.micro_batch, tf.shape(rows)[0] if self.unpadded else self.batch_size
        size = width if self.unpadded else size
        local_width = -(-micro // self.world)
        index = rows if self.unpadded else tf.pad(rows, [[0, micro + local_width]])
        normalizer = (
            self._normalizer(tf.gather(Y, rows), size) if self.masked else tf.cast(size, self.variables[0].dtype)
        )
        states = [counter.value.read_value() for counter in self.counters]
        outputs = tf.zeros((width, self.outputs_per_row), self.variables[0].dtype)

        def replica(begin: tf.Tensor, first: tf.Tensor, stop: tf.Tensor, z_all: tf.Tensor) -> tuple[Any, ...]:
            """Return loss, gradients and outputs of the rows ``first:stop`` of the micro-batch from ``begin`` on."""
            for counter, state in zip(self.counters, states, strict=True):
                counter.assign(state)
            count = tf.maximum(stop - first, 0)
            first = tf.where(count > 0, first, begin)
            local = (
                index[first : first + tf.maximum(count, 1)]
                if self.unpadded
                else tf.slice(index, [first], [local_width])
            )
            x, y = tf.gather(X, local), tf.gather(Y, local)
            with batch_dropout(width, first):
                loss, gradients, z = self.micro(x, y, count, size, normalizer)
            if self.outputs_per_row:
                target = tf.boolean_mask(tf.range(tf.shape(z)[0]), tf.range(tf.shape(z)[0]) < count)
                values = tf.cast(tf.gather(z, target), z_all.dtype)
                z_all = tf.tensor_scatter_nd_update(z_all, (first + target)[:, None], values)
            return loss, gradients, z_all

        def part(begin: tf.Tensor, total: tf.Tensor, z_all: tf.Tensor, *sums: tf.Tensor) -> tuple[Any, ...]:
            end = tf.minimum(begin + micro, size)
            for device, first, stop in self.strategy.replicas(begin, end):
                with device:
                    loss, gradients, z_all = replica(begin, first, stop, z_all)
                total, sums = total + loss, tuple(a + g for a, g in zip(sums, gradients, strict=True))
            return begin + micro, total, z_all, *sums

        zeros = [tf.zeros_like(v) for v in self.variables]
        state = (tf.constant(0), tf.zeros((), self.variables[0].dtype), outputs, *zeros)
        _, loss, z, *gradients = tf.while_loop(lambda begin, *_: begin < size, part, state, parallel_iterations=1)
        return loss, gradients, z

    def micro(self, x: tf.Tensor, y: tf.Tensor, count: tf.Tensor, size: tf.Tensor, normalizer: tf.Tensor) -> Gradients:
        """Return the part of a micro-batch in the loss of its batch, its gradients and its outputs.

        Args:
            x, y: rows and targets, of which the first ``count`` count; the others are padding.
            count: rows of the micro-batch.
            size: rows of the batch.
            normalizer: by which its sum of losses is divided.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            z = self.forward(x)
            losses = self.loss(y, z)
            share = tf.cast(count, losses.dtype) / tf.cast(size, losses.dtype)
            if losses.shape.rank == 0:
                is_real = tf.cast(tf.minimum(count, 1), losses.dtype)
                loss = losses * (is_real if self.additivity == "sum" else share)
            else:
                real = tf.where(tf.range(tf.shape(losses)[0]) < count, losses, tf.zeros_like(losses))
                loss = tf.reduce_sum(real)
                loss = loss if self.is_sum else tf.math.divide_no_nan(loss, tf.cast(normalizer, losses.dtype))
            if isinstance(self.model, CustomModel):
                loss += self.model.penalty() * share
            scaled = self._scale(loss)
        return loss, self._gradients(tape, scaled), z

    def update(self, gradients: list[tf.Tensor], rate: tf.Tensor, is_last: tf.Tensor) -> tf.Tensor:
        """Apply the gradients at a learning rate, clipped; return their norm before that.

        NaN where the norm is not computed, as it is for the last step of a call, and where gradients overflowed
        float16, which are not applied.
        """
        strategy, dtype = self.strategy, rate.dtype
        if self.loss_scale is not None:
            gradients = self.loss_scale.unscale(gradients)
        if self.log_norm or self.loss_scale is not None:
            norm = strategy.gradient_norm(gradients)
        else:
            norm = tf.cond(is_last, lambda: strategy.gradient_norm(gradients), lambda: tf.constant(np.nan, dtype))
        if self.clip_norm is not None:
            # PyTorch's rule, to the letter: the 1e-6 is in its published clip_grad_norm_
            scale = tf.minimum(tf.constant(self.clip_norm, dtype) / (norm + 1e-6), 1)
            gradients = [g * scale for g in gradients]
        if self.loss_scale is None:
            self.optimizer.step(gradients, rate)
            return norm
        is_finite = tf.math.is_finite(norm)
        tf.cond(is_finite, lambda: self._apply(gradients, rate), lambda: tf.constant(0))
        self.loss_scale.update(is_finite)
        return tf.where(is_finite, norm, tf.constant(np.nan, dtype))

    def _apply(self, gradients: list[tf.Tensor], rate: tf.Tensor) -> tf.Tensor:
        self.optimizer.step(gradients, rate)
        return tf.constant(0)

    @property
    def state(self) -> dict[str, tf.Variable]:
        """What a checkpoint holds of a step: the optimizer's state, and the scale of the loss."""
        return self.optimizer.state | (self.loss_scale.state if self.loss_scale else {})

    def _normalizer(self, y: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Return the number by which the sum of a batch's losses is divided: its rows, without masked places."""
        dtype = self.variables[0].dtype
        if not self.masked:
            return tf.cast(size, dtype)
        shares = masked_normalizers(y, dtype)
        shares = shares if self.unpadded else tf.where(tf.range(self.batch_size) < size, shares, tf.zeros_like(shares))
        return tf.reduce_sum(shares)

    def _mean(self, losses: tf.Tensor, size: tf.Tensor, normalizer: tf.Tensor) -> tf.Tensor:
        """Return the mean over a batch's own rows, without the padding; of a custom loss the sum, where it says so."""
        if self.is_sum:
            return tf.reduce_sum(losses)
        if self.masked:
            real = (
                losses if self.unpadded else tf.where(tf.range(self.batch_size) < size, losses, tf.zeros_like(losses))
            )
            return tf.math.divide_no_nan(tf.reduce_sum(real), normalizer)
        if self.even:
            return tf.reduce_mean(losses)
        unpadded = tf.where(tf.range(self.batch_size) < size, losses, tf.zeros_like(losses))
        return tf.reduce_sum(unpadded) / tf.cast(size, losses.dtype)
