"""The interface of a backend: one framework behind a common interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lmkit.backends.devices import DeviceBackend
from lmkit.exceptions import LmkitError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

    from lmkit.backends.reading import Probe
    from lmkit.backends.trace import Trace
    from lmkit.data.batches import Part
    from lmkit.data.dataset import Dataset
    from lmkit.experiment.experiment import Experiment
    from lmkit.specs.losses import LossFacts, LossName
    from lmkit.specs.models import ModelSpec, Weights
    from lmkit.specs.signature import Shape, Signature
    from lmkit.system.process_group import ProcessGroup


Removed = tuple[str, bool, list[int]]
"""A layer's name, whether its output units were removed (else its input units), and their indices."""


class CannotPrune(LmkitError):
    """Units cannot be removed from a custom model; the message says why."""


class NoGradient(LmkitError):
    """The outputs of a model have no gradient with respect to its inputs; the message says why."""


@dataclass(frozen=True, slots=True)
class LossSum:
    """A sum of losses and its normalizer: pairs of several processes or parts add up exactly.

    The normalizer is the number of rows for a mean; the sum of the rows' weights Σw for a weighted mean Σwl / Σw; and
    the number of batches for a loss that is summed over a batch.

    >>> (LossSum(3.0, 2) + LossSum(3.0, 1)).mean
    2.0
    """

    sum: float
    normalizer: float

    @property
    def mean(self) -> float:
        """The loss: the sum by its normalizer; NaN where that is 0."""
        return self.sum / self.normalizer if self.normalizer else float("nan")

    def __add__(self, other: LossSum) -> LossSum:
        return LossSum(self.sum + other.sum, self.normalizer + other.normalizer)


class RowLosses(NamedTuple):
    """The losses of some rows, and the share of each row in the normalizer.

    Attributes:
        values: (rows,), the row's summand of the loss.
        normalizers: (rows,), 1 for a mean, the row's weight for a weighted mean.
    """

    values: np.ndarray
    normalizers: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> RowLosses:
        """Return the losses (rows,) of rows of which the mean is taken."""
        import numpy as np

        return cls(values, np.ones(len(values)))

    @classmethod
    def join(cls, parts: Sequence[RowLosses]) -> RowLosses:
        """Return the losses of several parts, one after another."""
        import numpy as np

        return cls(
            *(np.concatenate([np.asarray(a, dtype=np.float64) for a in arrays]) for arrays in zip(*parts, strict=True))
        )

    @property
    def total(self) -> LossSum:
        """The sum and the normalizer of all rows."""
        return LossSum(float(self.values.sum()), float(self.normalizers.sum()))

    @property
    def shares(self) -> np.ndarray:
        """The losses (rows,), scaled so that their mean is the loss of all rows."""
        return self.values * (len(self.values) / (self.normalizers.sum() or 1))


@dataclass(frozen=True, slots=True)
class Steps:
    """Consecutive steps of a trainer.

    Attributes:
        loss: (n,), the mean loss over each step's rows, before its update.
        gradient_norm: (n,), the norm ‖∇J‖₂ over all weights before clipping; NaN where it was not computed.
        count: (n,), the rows of each step.
        columns: further values of each step, (n,), by name. They are recorded with ``loss`` and ``gradient_norm``;
            NaN where a step has none.
        sums: (n,), the sum of losses of each step; none: ``loss · count``.
        normalizers: (n,), the normalizer of each sum; none: ``count``.
        outputs: (rows, outputs), of all rows of the steps in their order, as the model gave them in training, before
            each step's update; none where the trainer does not collect them.
        targets: (rows, …), the encoded target of each of these rows.
    """

    loss: np.ndarray
    gradient_norm: np.ndarray
    count: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    sums: np.ndarray | None = None
    normalizers: np.ndarray | None = None
    outputs: np.ndarray | None = None
    targets: np.ndarray | None = None

    @property
    def loss_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """The sum of losses (n,) of each step, and its normalizer."""
        if self.sums is None or self.normalizers is None:
            return self.loss * self.count, self.count
        return self.sums, self.normalizers

    def head(self, n: int) -> Steps:
        """Return the first ``n`` steps."""
        columns = {name: values[:n] for name, values in self.columns.items()}
        sums, normalizers = (None if a is None else a[:n] for a in (self.sums, self.normalizers))
        rows = int(self.count[:n].sum())
        outputs, targets = (None if a is None else a[:rows] for a in (self.outputs, self.targets))
        return Steps(
            self.loss[:n], self.gradient_norm[:n], self.count[:n], columns, sums, normalizers, outputs, targets
        )

    def column(self, name: str) -> np.ndarray:
        """Return the values (n,) of a named column; NaN where these steps do not have it."""
        import numpy as np

        return self.columns[name] if name in self.columns else np.full(len(self.loss), np.nan)


def scale_columns(scales: np.ndarray, norms: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of steps in float16.

    Args:
        scales: (n,), the factor of the loss after each step.
        norms: (n,), the norm of the gradient of each step; NaN where it overflowed, and the step was skipped.
    """
    import numpy as np

    return {"loss_scale": scales, "skipped": np.isnan(norms).astype(np.float64)}


class Trainer(Protocol):
    """A model, its optimizer and its data, ready to take steps. It reads and writes no run folder.

    Attributes:
        device: where it computes.
        compiled: whether its steps are compiled, as they are first called.
        notes: what it has to say of the last steps, for the log of the run, such as that the memory ran out.
    """

    device: str
    compiled: bool
    notes: list[str]

    @property
    def micro_batch(self) -> int:
        """Rows that are computed at once: those of the batch, or fewer, whose gradients are added up."""

    def set_micro_batch(self, rows: int) -> None:
        """Take micro-batches of ``rows`` rows from the next step on; the batch stays as it is.

        Raises:
            ConfigError: the gradients of micro-batches do not add up to those of the batch; the message says why.
        """

    def epoch(self, order: np.ndarray, number: int = 0) -> None:
        """Begin the epoch ``number`` (counted from 0) with the training rows in ``order`` (rows,)."""

    def advance(self, first: int, rates: np.ndarray) -> Steps:
        """Take ``len(rates)`` steps from the epoch's batch ``first`` on, each at its learning rate."""

    def gradients(self, rows: np.ndarray) -> dict[str, np.ndarray | None]:
        """Return the gradient of the mean loss over training ``rows`` by weight; None for a weight without one."""

    def outputs(self, part: str, rows: int | None = None) -> np.ndarray:
        """Return outputs (rows, outputs) of a part: training, validation or test; or of its first ``rows``.

        Dropout is off.
        """

    def losses(self, part: str, rows: int | None = None) -> RowLosses:
        """Return the losses of the rows of a part, or of its first ``rows``; for a language the means over positions.

        Dropout is off. The outputs of a few rows at a time are in memory.
        """

    def reading(self, rows: np.ndarray, *, exact: bool = False) -> Probe:
        """Read layers, weights and outputs over training ``rows``; model, optimizer and random states stay as they are.

        Args:
            rows: indices of training rows.
            exact: whether to try what only custom models and losses can get wrong: that rows mix, that the model is
                linear, that the loss ignores whose target it is.
        """

    def updates(self) -> dict[str, float]:
        """Return ‖Δw‖₂ / ‖w‖₂ of each learned weight since the last ``reading``; of large ones over the first numbers.

        The change is measured once: a second call returns nothing.
        """

    def trace(self, batch: Part, *, training: bool = True) -> Trace:
        """Compute loss and gradients of a batch, operation by operation; weights and optimizer stay as they are.

        Random states move on, and running statistics of a model that trains.

        Args:
            batch: rows and targets.
            training: whether the model trains; else only the loss is computed, dropout off.
        """

    def state(self) -> Weights:
        """Return the optimizer's state and the random states as arrays."""

    def restore(self, state: Weights) -> None:
        """Restore a ``state``."""


class Backend(DeviceBackend, Protocol):
    """One framework.

    Attributes:
        compiler: the program that the framework's compiler needs, if any.
    """

    name: str
    compiler: str

    def connect(self, strategy: str, device: str, group: ProcessGroup | None, count: int) -> Backend:
        """Return the backend of a process that trains with others, or on several devices.

        Args:
            strategy: how they share a step.
            device: of this process.
            group: the processes; None for a strategy of one process.
            count: of devices that train together.
        """

    def disconnect(self) -> None:
        """Leave the other processes."""

    def build(self, model: ModelSpec, signature: Signature, precision: str) -> Any:
        """Return the framework's model with initial weights: (rows, features) → outputs (rows, outputs).

        Args:
            model: the specification.
            signature: its inputs and outputs; rows are flat, and a model that needs their axes reshapes them.
            precision: ``float32`` or ``float64``.
        """

    def seed(self, seed: int) -> None:
        """Seed the generators of the initial weights of custom models."""

    def bare(self, model: Any) -> Any:
        """Return the model without the wrapper of custom models."""

    def weights(self, model: Any) -> Weights:
        """Return a copy of the weights, in the names and the layout that all backends share."""

    def set_weights(self, model: Any, weights: Weights) -> None:
        """Set the weights."""

    def trainer(
        self,
        model: Any,
        experiment: Experiment,
        dataset: Dataset,
        loss: LossName,
        *,
        collect_outputs: bool = False,
    ) -> Trainer:
        """Return a trainer for ``model``, whose steps hold the outputs of their rows if ``collect_outputs`` is set."""

    def predict(self, model: Any, X: np.ndarray) -> np.ndarray:
        """Return outputs (rows, outputs) of prepared rows. Dropout is off."""

    def continuous_inputs(self, model: Any, X: np.ndarray) -> np.ndarray:
        """Return the numbers that a model computes with in the place of prepared rows, by which it is differentiated.

        Rows of numbers are their own; tokens have vectors (rows, length, width), the output of the first embedding;
        nodes of a graph have the features (nodes, features) of all nodes.

        Raises:
            NoGradient: rows are tokens, and the model has no embedding.
        """

    def input_gradients(
        self, model: Any, X: np.ndarray, inputs: np.ndarray, cotangents: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs, and the gradient of Σ cotangents · outputs with respect to ``inputs``. Dropout is off.

        Args:
            model: the model.
            X: prepared rows; rows of numbers are not read, as ``inputs`` take their place.
            inputs: in the shape of ``continuous_inputs``.
            cotangents: returns the weight of each output for the outputs (rows, outputs).

        Raises:
            NoGradient: the outputs do not depend on the inputs by a gradient.
        """

    def hidden(self, model: Any, X: np.ndarray) -> np.ndarray:
        """Return the inputs (rows, …) of the last layer with weights, the last hidden layer, for prepared rows.

        For nodes of a graph the rows are all nodes. Dropout is off.

        Raises:
            NoGradient: the model calls no layer with weights.
        """

    def attention_calls(self, model: Any, X: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Return name, input and output of each attention layer of a transformer for prepared rows; dropout is off.

        Inputs are (rows, places, queries, keys and values of all heads side by side), outputs (rows, places, width).
        """

    def losses(self, loss: str, outputs: np.ndarray, y: np.ndarray, batch_size: int) -> RowLosses:
        """Return the values of a custom loss, named by its reference, for outputs and targets.

        A loss that gives one number for a batch is computed for ``batch_size`` rows at a time.
        """

    def last_operations(self, model: Any, X: np.ndarray) -> tuple[str, str]:
        """Return the last operation of a custom model in training and in evaluation, as ``LAST_OPERATIONS`` spells it.

        Empty where it is another one. Weights, running statistics and random states stay as they are.
        """

    def loss_facts(self, loss: str) -> LossFacts | None:
        """Return what a custom loss, named by its reference, takes; None where that is unknown."""

    def needs_several_rows(self, model: Any, X: np.ndarray) -> bool:
        """Return whether a training step of a single row is impossible: batch normalization has no variance there."""

    def cannot_export(self, kind: str, technique: str) -> str:
        """Return why a format (onnx, program, saved_model, litert, litert_float16) cannot be written; empty if it can.

        For a format of the other framework it names the chain of techniques: conversion, then ``technique``.
        """

    def export(self, model: Any, row: Shape, dtype: str, kind: str, path: Path) -> None:
        """Write ``model`` in the format ``kind`` for any number of rows of shape ``row``; dropout is off."""

    def learned(self, model: Any) -> set[str]:
        """Return the names of the trainable weights; a custom model may have others."""

    def output_axis(self, model: Any) -> int:
        """Return the axis of matrices and kernels in ``weights`` that counts outputs: −1 in the shared layout."""

    def prune_units(self, model: Any, X: np.ndarray, share: float) -> list[Removed]:
        """Remove the least important units of each hidden layer of a custom model; return the removed units.

        Raises:
            CannotPrune: the model cannot be pruned; the message says why.
        """

    def remove(self, model: Any, X: np.ndarray, removed: Sequence[Removed]) -> None:
        """Remove the same units from a newly built model; ``X`` are a few input rows."""

    def update_rule(self, optimizer: Any, weights: np.ndarray) -> Callable[[np.ndarray, float], np.ndarray]:
        """Return the trainers' update rule of an optimizer for weights that start at ``weights`` (n,), in float64.

        The function takes a gradient (n,) and a learning rate, and returns the next weights (n,).
        """

    def set_threads(self, threads: int) -> int:
        """Set the number of threads per operation on a CPU, if still possible; return the earlier number."""

    def environment(self) -> dict[str, Any]:
        """Return versions, devices and thread counts."""
