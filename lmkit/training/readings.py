"""The doctor's readings: when they are taken, and what is written of them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.data.batches import TimedBatches, evaluation_batch_size
from lmkit.data.profile import FILE, Profile, profile_data
from lmkit.data.references import with_references
from lmkit.runfolder.events import DataWarning
from lmkit.runfolder.readings import MAX_READINGS, OutputReading, Reading
from lmkit.specs.references import is_reference
from lmkit.specs.tasks import get_task
from lmkit.system.records import read_record
from lmkit.training.fit import Block, Callback, Fit, StopTraining

if TYPE_CHECKING:
    from lmkit.data.dataset import Dataset
    from lmkit.runfolder.folder import RunFolder
    from lmkit.training.setup import Components

PROBE_ROWS, MIN_PROBE_ROWS = 256, 32
"""Training rows in a reading, at most; as many as a batch has, but at least so many, unless rows are large."""

INTERVAL, SHARE_OF_RUN = 128, 0.01
"""Steps between two readings: at least so many, and this share of the run."""

MAX_COST = 0.025
"""The share of the time of training that readings may take; where one takes longer, the next ones come later."""

REFERENCES_AFTER = 60.0
"""Seconds of training after which a linear model and a forest are fitted, which takes up to some seconds. For a shorter
run ``run.doctor()`` fits them."""

OUTPUT_NUMBERS = 2**18
"""Numbers of the outputs that are looked at, at most: those of the first rows, or of their first positions."""


class Readings(Callback):
    """Reads layers, weights and outputs at steps 0, 1, 2, 4, 8, … and then at regular intervals, and at the end.

    A reading changes nothing: the random states are put back, and the run takes the same steps as without.
    """

    def __init__(self, components: Components, folder: RunFolder, step: int, seconds: float = 0.0) -> None:
        self.components, self.lines, self.ranks = components, folder.readings, components.ranks
        self.folder = folder
        self.interval = max(INTERVAL, round(SHARE_OF_RUN * components.steps))
        self.rows = probe_rows(components.data, components.experiment.data.batch_size)
        self.is_custom = components.experiment.model.is_custom or is_reference(components.loss)
        self.pending: Reading | None = None
        self.last = -1
        self.next = step
        self.seconds = 0.0
        self.is_on = len(self.rows) > 0
        self.trained, self.seconds_before = 0.0, seconds
        self.profile: Profile | None = None
        self.is_compared = False
        self.describes_data = True
        self.count = self.ranks.share(len(self.lines.read(quiet=True)[0]))
        if self.count:
            self.lines.append({"resumed": step})

    def max_steps(self, fit: Fit) -> int | None:
        """Return one while the change of the weights in a step is measured, else the steps to the next reading."""
        if not self.is_on:
            return None
        return 1 if self.pending else max(1, self.next - fit.progress.step)

    def on_steps_begin(self, fit: Fit) -> None:
        """Write the profile, and read where that is due."""
        if self.describes_data and self.ranks.is_first:
            try:
                self._write_profile(fit)
            except OSError:
                raise
            except Exception as error:  # data of a person's own may be nothing that can be described
                self.describes_data = False
                self._warn(fit.progress.step, "no profile of the data for the doctor", error)
        if self.is_on and fit.progress.step >= self.next:
            step = fit.progress.step
            self.trained = fit.progress.seconds - self.seconds_before
            begin = fit.clock()
            self.pending = self._read(step)
            self.seconds = fit.clock() - begin
            self.next = self._next_step(fit)

    def on_steps_end(self, fit: Fit, block: Block) -> None:  # noqa: ARG002 (part of the interface)
        """Write the reading with the change of the weights in the step after it."""
        if self.pending:
            self._write(self.components.trainer.updates() if len(block.steps.loss) else {})

    def on_train_end(self, fit: Fit, stop: StopTraining) -> None:  # noqa: ARG002 (part of the interface)
        """Read once more, and write it."""
        self.trained = fit.progress.seconds - self.seconds_before
        if self.is_on and fit.progress.step > self.last:
            self.pending = self._read(fit.progress.step)
        if self.pending:
            self._write({})

    def _write_profile(self, fit: Fit) -> None:
        """Write what the data are like, and later what simple models reach, once training takes longer than that."""
        components = self.components
        if self.profile is None:
            profile = read_record(Profile, self.folder.path / FILE)
            self.profile = profile or profile_data(components.data, components.loss)
            self.is_compared = bool(profile and profile.references)
            if profile is None:
                self.folder.write_json(FILE, asdict(self.profile))
        if not self.is_compared and fit.progress.seconds >= REFERENCES_AFTER:
            self.is_compared = True
            self.profile = with_references(self.profile, components.data)
            if self.profile.references:
                self.folder.write_json(FILE, asdict(self.profile))

    def _next_step(self, fit: Fit) -> int:
        """Return the step of the next reading: at powers of two, then at intervals that keep to ``MAX_COST``."""
        step = fit.progress.step
        if step < self.interval:
            return 1 << step.bit_length() if step else 1
        per_step = fit.progress.seconds / step
        affordable = self.seconds / (MAX_COST * per_step) if per_step else 0
        intervals = min(64, max(1, round(affordable / self.interval + 0.49)))
        return (step // self.interval + intervals) * self.interval

    def _read(self, step: int) -> Reading | None:
        if self.count >= MAX_READINGS:
            self.is_on = False
            return None
        components, rows = self.components, self.rows
        self.last = step
        exact = step & (step - 1) == 0 or step >= components.steps
        try:
            with _random_states_restored() if self.is_custom else contextlib.nullcontext():
                probe = components.trainer.reading(rows, exact=exact)
            outputs = read_outputs(probe.outputs, components.data, rows)
        except Exception as error:
            self.is_on = False  # a custom model may do in training only what it cannot do otherwise
            self._warn(step, "no readings for the doctor", error)
            return None
        share, seconds = self._waiting()
        return Reading(
            step=step,
            rows=len(rows),
            loss=probe.loss,
            layers=probe.layers,
            weights=probe.weights,
            outputs=outputs,
            mixed=probe.mixed,
            curvature=probe.curvature,
            dealt=probe.dealt,
            places=probe.places,
            frozen=probe.frozen if not self.count else (),
            frozen_share=probe.frozen_share if not self.count else None,
            dropout=probe.dropout if not self.count else None,
            waiting=share,
            waiting_seconds=seconds,
        )

    def _waiting(self) -> tuple[float | None, float | None]:
        """Return the share of the time of training that steps waited for batches, and the seconds for each."""
        batches = self.components.data.batches
        if not isinstance(batches, TimedBatches) or not batches.count_taken or not self.trained:
            return None, None
        return min(1.0, batches.seconds / self.trained), batches.seconds / batches.count_taken

    def _warn(self, step: int, text: str, error: Exception) -> None:
        text = f"{text}: {type(error).__name__}: {str(error)[:200]}"
        self.folder.events.record(DataWarning(step=step, text=text))

    def _write(self, updates: dict[str, float]) -> None:
        reading, self.pending = self.pending, None
        if reading is None:
            return
        if updates:
            weights = tuple(replace(weight, update=updates.get(weight.name)) for weight in reading.weights)
            reading = replace(reading, weights=weights)
        self.count += 1
        self.lines.append(reading.to_record())


def probe_rows(data: Dataset, batch_size: int) -> np.ndarray:
    """Return the training rows (rows,) of a reading: evenly spaced, of mapped files and loaders the first ones.

    They are at most as many as are evaluated at once, or as a batch has: large rows fit into memory as in training.
    """
    X = data.training.X
    total = len(X)
    most = evaluation_batch_size(X.shape[1:], batch_size, has_tokens=X.dtype.kind in "iu")
    count = min(PROBE_ROWS, max(MIN_PROBE_ROWS, batch_size), most, total)
    if data.batches is not None or not isinstance(X, np.ndarray):
        return np.arange(count)
    return np.linspace(0, total - 1, count).astype(np.int64)


def read_outputs(outputs: np.ndarray, data: Dataset, rows: np.ndarray) -> OutputReading:
    """Return the statistics of outputs (rows, …), and how often which class is predicted."""
    if not outputs.size:
        return OutputReading()
    z = outputs.reshape(-1, outputs.shape[-1])[: max(2, OUTPUT_NUMBERS // outputs.shape[-1])]
    flat = z.astype(np.float64)
    sums = flat.sum(-1)
    classes: dict[str, Any] = {}
    preprocessing = data.preprocessing
    task = get_task(preprocessing.task)
    if task.exclusive_classes and not task.per_position and np.isfinite(flat).all():
        predicted = np.asarray(task.most_probable(preprocessing.logits(z)))  # type: ignore[attr-defined]
        top = int(np.bincount(predicted).argmax())
        targets = np.asarray(data.training.y[rows[: len(z)]]).reshape(-1)
        shares = {"top_share": np.mean(predicted == top), "class_share": np.mean(targets == top)}
        classes = {"top_class": top, **{name: float(share) for name, share in shares.items()}}
    return OutputReading(
        low=float(flat.min()),
        high=float(flat.max()),
        row_spread=float(flat.std(0).mean()),
        sum_low=float(sums.min()),
        sum_high=float(sums.max()),
        **classes,
    )


@contextlib.contextmanager
def _random_states_restored() -> Iterator[None]:
    """Put back Python's and NumPy's generators, from which a custom model may draw."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
