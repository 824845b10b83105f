"""A run repeated up to the first step that leaves a number which is not finite. Nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lmkit.data.batches import Part
from lmkit.exceptions import RunStateError
from lmkit.training.fit import Block, Callback, Fit, StopTraining
from lmkit.training.setup import check_start, restore_trainer

if TYPE_CHECKING:
    from lmkit.runfolder.folder import RunFolder
    from lmkit.specs.models import Weights
    from lmkit.training.setup import Components

MAX_SECONDS = 60.0
"""Seconds that repeating may take."""

LAST_STEPS = 16
"""Steps before the failing one that are taken one by one, so that the growth of the weights is seen."""

Tell = Callable[[str], None]
"""Shows progress."""


class Snapshot(NamedTuple):
    """The state between two steps: how many were taken, the next epoch and batch, weights and the trainer's state."""

    step: int
    epoch: int
    batch: int
    weights: Weights
    state: Weights


class Failure(NamedTuple):
    """A step that leaves a number which is not finite.

    Attributes:
        step: its number, counted from 1.
        before: the state before it, where everything is finite.
        loss: of it.
        weights: after it.
    """

    step: int
    before: Snapshot
    loss: float
    weights: Weights


@dataclass
class Replay:
    """Steps that were repeated.

    Attributes:
        first: steps of the run that were taken from a checkpoint instead.
        losses: of the repeated steps, by their number.
        failure: the first step that leaves a number which is not finite; None if none of them does.
        largest_weights: the largest absolute weight after some steps.
        updates: ‖Δw‖₂ / ‖w‖₂ of the matrix that changed most, in each of the last steps before the failure.
        growth: of the norm of the matrix that grew most, from the first repeated step to the last one.
    """

    first: int
    losses: dict[int, float] = field(default_factory=dict)
    failure: Failure | None = None
    largest_weights: dict[int, float] = field(default_factory=dict)
    updates: dict[int, float] = field(default_factory=dict)
    growth: float = 1.0

    def difference(self, recorded: np.ndarray) -> float:
        """Return the largest relative difference of the repeated losses from the ``recorded`` ones of all steps."""
        pairs = ((loss, float(recorded[n - 1])) for n, loss in self.losses.items() if n <= len(recorded))
        return max((abs(a - b) / max(abs(b), 1e-300) for a, b in pairs if np.isfinite([a, b]).all()), default=0.0)


def repeat_steps(
    folder: RunFolder, components: Components, rates: np.ndarray, seconds_per_step: float, tell: Tell
) -> Replay:
    """Repeat the steps of a run from its last checkpoint, else from its seed; the model is left as they leave it.

    Args:
        folder: of the run; only read.
        components: newly built.
        rates: (steps,), the learning rate of each step of the run.
        seconds_per_step: as the run took.
        tell: shows progress.

    Raises:
        RunStateError: it would take longer than ``MAX_SECONDS``.
    """
    total = len(rates)
    initial = _copy(components, 0, 0, 0)
    progress = restore_trainer(folder, components)
    if progress is not None and (progress.step > total or not is_finite(components.backend.weights(components.model))):
        components.backend.set_weights(components.model, initial.weights)
        components.trainer.restore(initial.state)
        progress = None
    if progress is None:
        progress = check_start(components)
    seconds = (total - progress.step) * seconds_per_step
    if seconds > MAX_SECONDS:
        place = (
            f"its checkpoint of step {progress.step}" if progress.step else "its seed, as it has no usable checkpoint"
        )
        raise RunStateError(
            f"repeating {total - progress.step} steps from {place} would take {seconds:.0f} seconds, more than "
            f"{MAX_SECONDS:g}; train it with training.checkpoint_seconds below that"
        )
    planned = components.rates(progress)(np.arange(total))
    rates = np.where(np.isfinite(rates), rates, planned)  # recorded ones include changes by hand
    replay = Replay(progress.step)
    repeat = _Repeat(components, replay, total, tell)
    experiment = components.experiment
    fit = Fit(
        components.trainer,
        components.data,
        batch_size=experiment.data.batch_size,
        seed=experiment.seed,
        epochs=experiment.training.epochs,
        rates=lambda numbers: rates[numbers],
        progress=progress,
        callbacks=[repeat],
    )
    fit.run()
    if repeat.failed is not None:
        replay.failure = _find_step(components, *repeat.failed)
    return replay


def load_batch(components: Components, epoch: int, number: int) -> tuple[Part, np.ndarray | None]:
    """Return a batch of training, and the training rows in it; None for a loader, which does not number them."""
    data = components.data
    order, size = data.order(components.experiment.seed, epoch), components.experiment.data.batch_size
    rows = order[number * size : (number + 1) * size]
    if data.batches is None:
        return Part(np.asarray(data.training.X[rows]), np.asarray(data.training.y[rows])), rows
    data.batches.epoch(epoch, order)
    return next(data.batches.take(number)), None if getattr(data.batches, "uneven", False) else rows


def restore(components: Components, snapshot: Snapshot) -> None:
    """Set model and trainer to a snapshot of the current epoch."""
    components.backend.set_weights(components.model, snapshot.weights)
    components.trainer.restore(snapshot.state)


def is_finite(weights: Weights) -> bool:
    """Return whether all weights are finite."""
    return all(np.isfinite(w).all() for w in weights.values())


class _Repeat(Callback):
    """Copies the state before each call, and ends where a loss or a weight is not finite.

    Attributes:
        failed: the state before the call that leaves such a number, and the rates of its steps.
    """

    def __init__(self, components: Components, replay: Replay, total: int, tell: Tell) -> None:
        self.components, self.replay, self.total, self.tell = components, replay, total, tell
        self.failed: tuple[Snapshot, np.ndarray] | None = None
        self.until = time.monotonic() + 2 * MAX_SECONDS
        self.before: Snapshot | None = None
        self.start: Weights = {}
        model = components.model
        self.learned = components.backend.learned(model)

    def max_steps(self, fit: Fit) -> int:
        """Return the steps until the last ones, which are taken one by one."""
        return max(1, self.total - LAST_STEPS - fit.progress.step)

    def on_steps_begin(self, fit: Fit) -> None:
        """Copy the state; end after the last step."""
        progress = fit.progress
        if progress.step >= self.total:
            raise StopTraining("stopped")
        if time.monotonic() > self.until:
            raise RunStateError(
                f"repeating the run took longer than {2 * MAX_SECONDS:g} seconds, to step {progress.step}"
            )
        self.tell(f"repeating the run: step {progress.step} of {self.total}")
        self.before = _copy(self.components, progress.step, progress.epoch, progress.batch)
        self.start = self.start or self.before.weights

    def on_steps_end(self, fit: Fit, block: Block) -> None:
        """Compare the weights with those before; end where a number is not finite."""
        assert self.before is not None
        losses = block.steps.loss
        if not len(losses):
            raise RunStateError(f"the loader of the run gives no batch {fit.progress.batch + 1} any more")
        self.replay.losses |= {block.first + i: float(loss) for i, loss in enumerate(losses)}
        weights = self.components.backend.weights(self.components.model)
        if not (np.isfinite(losses[-1]) and is_finite(weights)):
            self.failed = (self.before, block.rates)
            raise StopTraining("stopped")
        step = fit.progress.step
        arrays = [weights[name] for name in self.learned]
        self.replay.largest_weights[step] = max((float(np.abs(w).max()) for w in arrays if w.size), default=0.0)
        matrices = [name for name in self.learned if weights[name].ndim > 1]
        pairs = [(weights[name], self.before.weights[name], self.start[name]) for name in matrices]
        self.replay.growth = max((_norm(now) / (_norm(start) or np.inf) for now, _, start in pairs), default=1.0)
        if len(losses) == 1:
            changes = (_norm(now - before) / (_norm(before) or np.inf) for now, before, _ in pairs)
            self.replay.updates[step] = max(changes, default=0.0)


def _find_step(components: Components, before: Snapshot, rates: np.ndarray) -> Failure:
    """Take the steps of a call again, one by one, up to the first that leaves a number which is not finite."""
    restore(components, before)
    for i in range(len(rates)):
        snapshot = _copy(components, before.step + i, before.epoch, before.batch + i) if i else before
        loss = float(components.trainer.advance(snapshot.batch, rates[i : i + 1]).loss[0])
        weights = components.backend.weights(components.model)
        if not (np.isfinite(loss) and is_finite(weights)):
            break
    return Failure(snapshot.step + 1, snapshot, loss, weights)


def _copy(components: Components, step: int, epoch: int, batch: int) -> Snapshot:
    weights, state = components.backend.weights(components.model), components.trainer.state()
    return Snapshot(step, epoch, batch, weights, state)


def _norm(values: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(values, dtype=np.float64)))
