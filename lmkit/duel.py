"""One experiment in both frameworks: whether both began at the same point, and how fast each was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lmkit.errors import DataError
from lmkit.progress import time_text
from lmkit.run import together
from lmkit.table import Table, Written

if TYPE_CHECKING:
    from lmkit.run import Run

FIRST_STEPS = 10
"""Steps after which the losses of two runs are compared."""


def same_start(runs: Sequence[Run]) -> Table:
    """Whether runs in different frameworks began at the same point: their first weights, built anew and compared.

    The models are built once more by each framework, given the experiment's first weights and asked for them again;
    and the losses that the runs wrote down are compared: of the first step, before anything was learned, and of the
    tenth.

    Raises:
        DataError: fewer than two runs were given, or one has not prepared its data yet.
    """
    import numpy as np

    from lmkit.backends import get_backend

    if len(runs) < 2:
        raise DataError(f"given {len(runs)} run, expected two at least, one of each framework")
    found, losses = [], []
    for run in runs:
        spec, signature, backend = run.experiment, run.preprocessing.signature, get_backend(run.experiment.framework)
        first = spec.model.initial_weights(signature, spec.seed)
        weights: dict[str, Any] = {}
        if first:  # else somebody's own model, which draws them itself
            built = backend.build(spec.model, signature, spec.training.precision)
            backend.set_weights(built, first)
            weights = backend.weights(built)
        found.append(weights)
        losses.append(run.steps["loss"].to_numpy())
    rows: list[tuple[Any, ...]] = []
    if all(found):
        numbers = [sum(int(np.size(w)) for w in each.values()) for each in found]
        apart = 0.0 if len({frozenset(each) for each in found}) == 1 and len(set(numbers)) == 1 else float("inf")
        for name, value in found[0].items() if not apart else ():
            apart = max(apart, *(float(np.abs(np.asarray(each[name]) - value).max(initial=0.0)) for each in found[1:]))
        rows.append(("first weights", *(f"{n:,} numbers" for n in numbers), _apart(apart)))
    else:
        rows.append(
            ("first weights", *("its own" if not each else "drawn by lmkit" for each in found), "not comparable")
        )
    for step in (1, FIRST_STEPS):
        if all(len(loss) >= step for loss in losses):
            values = [float(loss[step - 1]) for loss in losses]
            rows.append(
                (f"loss of step {step}", *(Written(v, f"{v:.7g}") for v in values), _apart(max(values) - min(values)))
            )
    return Table("The same start", ("what", *together(runs), "largest difference"), tuple(rows))


def speed(runs: Sequence[Run]) -> Table:
    """How fast runs were: training time, steps and rows a second over all of it, the most memory."""
    rows: list[tuple[Any, ...]] = []
    told = [(run.status, run.experiment.data.batch_size) for run in runs]
    rates = [status.step / status.seconds if status.seconds else None for status, _ in told]
    rows.append(("training", *(Written(s.seconds, _seconds(s.seconds)) for s, _ in told)))
    rows.append(("steps a second", *rates))
    rows.append(("rows a second, about", *(r and round(r * batch) for r, (_, batch) in zip(rates, told, strict=True))))
    rows.append(("time a step, ms", *(r and 1e3 / r for r in rates)))
    rows.append(("most memory of the process, MB", *(s.peak_memory / 1e6 or None for s, _ in told)))
    return Table("Speed", ("what", *together(runs)), tuple(rows))


def _seconds(value: float) -> str:
    """A duration, of which two are to be compared: one below a second in two digits."""
    return f"{value:.2g} s" if 0 < value < 1 else time_text(value)


def _apart(value: float) -> str:
    return "none" if value == 0 else f"{value:.2g}" if value < float("inf") else "different parameters"
