"""Dissect a run that diverged: repeat its steps in memory, and compute the failing one operation by operation."""

from __future__ import annotations

import math
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.custom.arguments import source_code
from lmkit.data.batches import Part
from lmkit.data.loaders.streams import IsolatedGenerators
from lmkit.doctor.autopsy import FILE, Autopsy
from lmkit.doctor.causes import Case, explain
from lmkit.exceptions import RunStateError
from lmkit.training.replay import Replay, Tell, load_batch, repeat_steps, restore
from lmkit.training.setup import Components, build_components

if TYPE_CHECKING:
    from lmkit.doctor.evidence import Evidence
    from lmkit.runfolder.folder import RunFolder


def dissect(folder: RunFolder, evidence: Evidence, tell: Tell) -> Autopsy:
    """Return why a run diverged, and write it into ``autopsy.json``; nothing else in the folder changes.

    Args:
        folder: of a run that has diverged.
        evidence: what is known of it.
        tell: shows progress.

    Raises:
        RunStateError: it would take too long, or the repeated run does not fail.
        LmkitError: the data or the model cannot be prepared again.
    """
    with ExitStack() as cleanup:
        cleanup.enter_context(np.errstate(all="ignore"))
        cleanup.enter_context(IsolatedGenerators(folder.experiment.seed))  # those of a notebook go on as they were
        components = build_components(folder, folder.experiment, cleanup)
        status = evidence.status
        per_step = status.seconds / max(1, status.step)
        replay = repeat_steps(folder, components, evidence.rates, per_step, tell)
        tell("computing the failing step, operation by operation")
        case = _dissect_step(components, evidence, replay) if replay.failure else None
        case = case or _dissect_evaluation(components, evidence, replay)
        case.sources = source_code(components.experiment, folder.path.parent)
        autopsy = explain(case)
    with suppress(OSError):  # a folder that can only be read
        folder.write_json(FILE, autopsy.to_record())
    return autopsy


def _dissect_step(components: Components, evidence: Evidence, replay: Replay) -> Case:
    """Return what the failing step computes."""
    failure = replay.failure
    assert failure is not None
    before = failure.before
    batch, rows = load_batch(components, before.epoch, before.batch)
    restore(components, before)
    trace = components.trainer.trace(batch)
    stored = np.isfinite(components.data.training.X[rows]).all() if _is_changed(components, rows) else None
    return Case(components, evidence, replay, failure.step, batch, rows, trace, is_stored_finite=stored)


def _is_changed(components: Components, rows: np.ndarray | None) -> bool:
    """Whether rows are changed on their way into a batch, from a part that is there."""
    data = components.data
    return rows is not None and data.batches is not None and rows.max() < len(data.training.X)


def _dissect_evaluation(components: Components, evidence: Evidence, replay: Replay) -> Case:
    """Return what the first rows compute whose loss is not finite, in a part that the model is evaluated on."""
    step = len(evidence.losses)
    if step and not math.isfinite(float(evidence.losses[-1])):
        raise RunStateError(
            f"the repeated run does not fail: its loss is finite in step {step}, where the run's was not; its numbers "
            "differ, so that the run cannot be repeated on this machine"
        )
    for part in ("validation", "test"):
        data: Any = getattr(components.data, part)
        if not len(data.X):
            continue
        bad = np.flatnonzero(~np.isfinite(components.trainer.losses(part).values))
        if len(bad):
            size = components.experiment.data.batch_size
            batch = Part(*(np.asarray(a[bad[:size]]) for a in data))
            trace = components.trainer.trace(batch, training=False)
            return Case(components, evidence, replay, step, batch, bad[:size], trace, part=part, bad_rows=len(bad))
    raise RunStateError("the repeated run does not fail: all its losses are finite; it cannot be repeated here")
