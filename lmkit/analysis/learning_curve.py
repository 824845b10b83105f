"""Learning curves: train on growing shares of the training rows, as a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.analysis.curve import SEED, SHARE, LearningCurve, prepare_share, scored_part
from lmkit.exceptions import ConfigError, DataError, shorten
from lmkit.experiment.experiment import Experiment
from lmkit.run.resolve import resolve_experiment
from lmkit.specs.tasks import get_task
from lmkit.sweeping.objectives import read_objectives
from lmkit.sweeping.start import sweep

if TYPE_CHECKING:
    from lmkit.data.dataset import Dataset

SIZES, SEEDS = 6, 3
"""Numbers of rows, and seeds for each."""

MIN_ROWS, ROWS_PER_OUTPUT, SMALLEST_SHARE = 20, 3, 1 / 32
"""The smallest training part: so many rows, so many for each output of the model, and this share of all."""


def learning_curve(
    experiment: Any = None,
    *,
    sizes: int | Sequence[float] = SIZES,
    seeds: int | Sequence[int] = SEEDS,
    metric: str | None = None,
    workers: int | None = None,
    wait: bool = False,
    runs: str | Path | None = None,
    tell: Callable[[str], None] | None = None,
    **changes: Any,
) -> LearningCurve:
    """Train an experiment on growing shares of its training rows, to see what more rows would give; returns at once.

    A sweep over ``data.training_share`` and ``seed`` (``lk.sweep``): it shows its progress, ``curve.sweep.stop()``
    cancels it, and the same call continues it. All trials of a seed have the same test part, and smaller training parts
    are within larger ones. All may take the same number of steps (early stopping ends some before), unless the
    experiment lowers its rate by epochs, so that rows alone make the difference. A linear model and a small forest are
    fitted to the same rows.

    Args:
        experiment: an experiment, a file, a run, data, a source or a model; as for ``lk.train``.
        sizes: how many shares, evenly on a logarithmic scale, or the shares themselves.
        seeds: how many seeds, from that of the experiment on, or the seeds themselves.
        metric: the score; default: accuracy for classes, mae for numbers. A metric of yours needs a direction:
            ``maximize f2``.
        workers: trials at a time; default: by cores and free memory.
        wait: return after the sweep has ended.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).
        tell: called with one line per trial; the sweep is then driven in this process, before returning.
        **changes: parts of the experiment to change, such as ``epochs=3``.

    Raises:
        ConfigError: a setting is invalid, or no share of such data can be drawn (text, loaders, streamed files).
        DataError: the data cannot be trained on, or have too few rows.

    >>> import lmkit as lk
    >>> lk.learning_curve("digits", model="mlp:small", sizes=5, seeds=2)  # doctest: +SKIP
    """
    spec = resolve_experiment(experiment, changes, runs=runs)
    if spec.data.training_share != 1:
        raise ConfigError(
            [f"data.training_share: given {spec.data.training_share:g}, expected 1: a learning curve varies it"]
        )
    spec.override({SHARE: 0.5})  # refuses data of which no share can be drawn
    part = scored_part(spec)
    numbers = _seeds(seeds, spec.seed)
    data = prepare_share(spec, 1.0, numbers[0], runs)
    if not len(getattr(data, part).X):
        raise DataError(f"the {part} part has no rows to score; write data: {{{part}: 0.2}}")
    shares = _shares(sizes, data)
    task = get_task(data.preprocessing.task)
    *direction, score = (metric or task.metrics[0].name).split()
    objective = read_objectives(" ".join([*direction, f"{part.removesuffix('idation')}_{score}"]))[0]
    spec = _same_steps(spec, data, shares[0])
    started = sweep(
        spec,
        grid={SHARE: shares, SEED: numbers},
        objective=str(objective),
        workers=workers,
        inline=tell is not None,
        wait=wait,
        runs=runs,
        tell=tell,
    )
    return LearningCurve(started, runs)


def _shares(sizes: int | Sequence[float], data: Dataset) -> list[float]:
    """Return the shares of the training rows, ascending."""
    import numpy as np

    rows = data.rows
    if not isinstance(sizes, int) or isinstance(sizes, bool):
        shares = sorted({float(share) for share in sizes}) if isinstance(sizes, Sequence) else []
        if len(shares) < 4 or not all(0 < share <= 1 for share in shares):
            raise ConfigError([f"sizes: given {shorten(sizes)}, expected at least 4 shares above 0 and up to 1"])
        return shares
    if not 4 <= sizes <= 20:
        raise ConfigError([f"sizes: given {sizes}, expected a number from 4 to 20"])
    smallest = max(MIN_ROWS, ROWS_PER_OUTPUT * data.preprocessing.outputs)
    if rows < 2 * smallest:
        raise DataError(f"{rows} training rows are too few for a learning curve; expected at least {2 * smallest}")
    low = max(SMALLEST_SHARE, smallest / rows)
    return [float(f"{share:.4g}") for share in np.geomspace(low, 1, sizes)]


def _seeds(seeds: int | Sequence[int], first: int) -> list[int]:
    values = range(first, first + seeds) if isinstance(seeds, int) and not isinstance(seeds, bool) else seeds
    if not isinstance(values, Sequence) or not values or not all(isinstance(seed, int) for seed in values):
        raise ConfigError([f"seeds: given {shorten(seeds)}, expected a number from 1 on, or a list of seeds"])
    return list(values)


def _same_steps(spec: Experiment, data: Dataset, smallest: float) -> Experiment:
    """Return the experiment with as many steps for each share, where its schedule does not go by epochs."""
    training = spec.training
    if hasattr(training.schedule, "every"):
        return spec
    full = training.epochs * data.steps_per_epoch(spec.data.batch_size)
    epochs = int(training.epochs / smallest) + 1
    return spec.override({"training.epochs": epochs, "training.steps": min(full, training.steps or full)})
