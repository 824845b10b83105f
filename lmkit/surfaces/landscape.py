"""A slice through the loss of a run's model, along two directions in the space of its weights.

run ──> components as for its training ──> two directions ──> losses on a grid, coarse first ──> GridSurface
           └── trained again, with copies of the weights ──> principal components, and the path itself
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO

import numpy as np

from lmkit.display.contours import ContourMap
from lmkit.display.figure import COLOURS, Chart, Plot, Series
from lmkit.display.progress_line import ProgressLine, describe_progress
from lmkit.exceptions import ConfigError, RunStateError, nearest, shorten
from lmkit.run.resolve import resolve_run
from lmkit.runfolder.snapshots import load_snapshots, snapshot_steps
from lmkit.surfaces.base import Interval, SurfaceInfo
from lmkit.surfaces.grid import GridSurface
from lmkit.surfaces.slice import SIZES, Slice
from lmkit.training.fit import Callback, Fit, StopTraining
from lmkit.training.progress import Progress
from lmkit.training.setup import Components, build_components
from lmkit.training.snapshots import path_weights, to_vector

if TYPE_CHECKING:
    from lmkit.run.run import Run
    from lmkit.specs.models import Weights

DIRECTIONS = ("path", "random")

MAX_ROWS = 1024
"""Training rows, at most, over which the loss is a mean."""

SNAPSHOTS = 40
"""Copies of the weights during training, at most."""

MAX_MEMORY = 2**30
"""Bytes of all copies together."""

MARGIN = 0.25
"""Space around the path, as a share of its extent."""

MAP_POINTS = 81
"""Points per side of the chart's map."""

Tell = Callable[[str], None]

_slices: dict[tuple[Any, ...], Slice] = {}
"""The slice that was computed last, with which the same call goes on."""


class Landscape(NamedTuple):
    """A slice through the loss of a run; the result of ``lk.landscape``.

    Attributes:
        run: the name of the run.
        surface: the losses, for ``lk.descent``; (0, 0) is the end of the run.
        path: (copies, 2), the run's path in the plane; empty for random directions.
        steps: (copies,), the steps after which the weights were copied.
        losses: (copies,), the loss at the copied weights, which lie near the plane.
        explained: the share of the path's variance that lies in the plane; None for random directions.
        note: what is unusual, such as that it was interrupted.
    """

    run: str
    surface: GridSurface
    path: np.ndarray
    steps: np.ndarray
    losses: np.ndarray
    explained: float | None
    note: str = ""

    @property
    def text(self) -> str:
        """The slice in words."""
        low, high = float(self.surface.losses.min()), float(self.surface.losses.max())
        sentences = [f"{self.surface.info.title}: from {low:.4g} to {high:.4g} in the slice"]
        if self.explained is not None:
            ends = f"{self.losses[0]:.4g} → {self.losses[-1]:.4g}"
            sentences.append(f"its path: loss {ends}; {self.explained:.0%} of its variance lies in the slice")
        return "\n".join([*sentences, self.note]).rstrip()

    @property
    def chart(self) -> Chart:
        """The map with the run's path, and its losses; as a plotly figure it is ``chart.figure``."""
        x, y, z = self.surface.grid(MAP_POINTS)
        colour = COLOURS[1]
        xs, ys, losses = (np.round(v, 6).tolist() for v in (*self.path.T, self.losses))
        lines = (Series("path of the run", xs, ys, colour),) if len(xs) else ()
        panels: list[Any] = [ContourMap(self.surface.info.axes, x, y, z, lines, ((0.0, 0.0, "end of the run"),))]
        if lines:
            curve = Series("path of the run", self.steps.astype(float).tolist(), losses, colour)
            panels.append(Plot("step", "loss", (curve,), log=min(losses) > 0))
        return Chart(self.surface.info.title, tuple(panels), self.text)

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.chart._repr_mimebundle_(**options)

    def __repr__(self) -> str:
        return self.text


def landscape(
    run: Any = "last",
    *,
    directions: Literal["path", "random"] = "path",
    size: int = 21,
    span: float = 1.0,
    seed: int = 0,
    runs: str | Path | None = None,
    log: TextIO | None = None,
    progress: Tell | None = None,
) -> Landscape:
    """Return a slice through the loss of a run, over its first 1,024 training rows. Waits for the end of the run.

    With the directions ``path``, the plane is that of the two principal components of the run's weights; its path lies
    in it as far as ``explained`` says. The weights are those of its ``training.snapshots``; a run without them is
    trained again from its seed. With ``random`` nothing is trained: two random directions, of which each filter has the
    norm of the model's (Li et al., 2018). A coarse grid is computed first; an interrupt (Ctrl-C, or Stop in a notebook)
    then returns what there is, and the same call, also with another size, goes on from there in the same process.

    Args:
        run: a run or its name.
        directions: ``path`` or ``random``.
        size: points per side: 6, 11, 21 or 41.
        span: for random directions, how far the slice reaches: 1 changes each filter by its own norm.
        seed: of the random directions.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).
        log: where progress is written, once it takes longer than two seconds (default: the notebook or the terminal).
        progress: shows progress instead; a KeyboardInterrupt that it raises is an interrupt.

    Raises:
        RunNotFound: no run has that name.
        RunStateError: the run has no checkpoint, or cannot be trained again to the same weights.
        DataError: the data are not what they were, or the loss overflows.
        ConfigError: an argument is invalid, or the model gives other outputs each time.
        UntrustedCode: the run names code that this user has not run on this machine before.

    >>> import lmkit as lk
    >>> lk.descent(lk.landscape("last"), optimizers=["sgd", "adam"])  # doctest: +SKIP
    """
    if directions not in DIRECTIONS:
        raise ConfigError([f"directions: given {shorten(directions)}, {nearest(str(directions), DIRECTIONS)}"])
    if size not in SIZES or isinstance(size, bool):
        raise ConfigError([f"size: given {shorten(size)}, expected one of {', '.join(map(str, SIZES))}"])
    if isinstance(span, bool) or not isinstance(span, int | float) or not 0 < span < float("inf"):
        raise ConfigError([f"span: given {shorten(span)}, expected a number greater than 0"])
    resolved = resolve_run(run, runs=runs).wait()
    saved = resolved.folder.load_checkpoint("last")
    if saved is None:
        raise RunStateError(f"{resolved.name} has no checkpoint; it is {resolved.state}: train it first")
    resolved.require_trust()
    with ExitStack() as cleanup:
        components = build_components(resolved.folder, resolved.experiment, cleanup)
        line = ProgressLine(log)
        cleanup.callback(line.clear)
        slicer = _Slicer(components, saved[0], progress or line.show)
        slicer.check_repeatable()
        key = (str(resolved.path), directions, *((span, seed) if directions == "random" else ()))
        current = _slices.get(key)
        if current is None or not np.array_equal(current.end, slicer.vector(slicer.end)):
            if directions == "path":
                current = slicer.along_path(resolved, int(saved[2].get("step", 0)))
            else:
                current = slicer.along_random(float(span), seed)
        _slices.clear()
        _slices[key] = current
        losses, note = slicer.grid(current, size)
        surface = _surface(resolved, current, losses)
        return Landscape(
            resolved.name, surface, current.path, current.steps, current.path_losses, current.explained, note
        )


class _Slicer:
    """Computes losses at weights in a plane through the end of a run."""

    def __init__(self, components: Components, weights: Weights, show: Tell) -> None:
        self.components, self.end, self.show = components, weights, show
        self.names = path_weights(components.backend, components.model)

    # -- losses

    def loss(self, weights: Weights) -> float:
        """Return the mean loss over the first training rows."""
        self.components.backend.set_weights(self.components.model, weights)
        with np.errstate(all="ignore"):
            return float(self.components.trainer.losses("training", MAX_ROWS).total.mean)

    def check_repeatable(self) -> None:
        """Raise a ConfigError for a model that draws random numbers while it is evaluated; its weights stay."""
        first, second = (self.components.trainer.losses("training", MAX_ROWS).total.mean for _ in range(2))
        if first != second:
            raise ConfigError(
                [
                    f"model: the loss of the same weights is {first:.6g} and then {second:.6g}: the model draws random "
                    "numbers in evaluation mode; switch them off there, as dropout does"
                ]
            )

    def vector(self, weights: Weights) -> np.ndarray:
        """Return the trainable weights as one vector, in float64."""
        return to_vector(weights, self.names)

    def weights(self, vector: np.ndarray) -> Weights:
        """Return all weights of the end, with the trainable ones from a vector."""
        changed, start = dict(self.end), 0
        for name in self.names:
            old = self.end[name]
            changed[name] = vector[start : start + old.size].reshape(old.shape).astype(old.dtype)
            start += old.size
        return changed

    def grid(self, current: Slice, size: int) -> tuple[np.ndarray, str]:
        """Return losses (n, n) in a slice, and a note where it was interrupted."""
        return current.compute(size, lambda vector: self.loss(self.weights(vector)), self.show)

    # -- directions

    def along_random(self, span: float, seed: int) -> Slice:
        """Return the slice along two random directions with normalized filters."""
        draws = np.random.default_rng(seed)
        axis = self.components.backend.output_axis(self.components.model)
        return Slice(
            plane_text="two random directions",
            end=self.vector(self.end),
            plane=np.stack([self.vector(_filter_normalized(self.end, self.names, draws, axis)) for _ in range(2)]),
            window=((-span, span), (-span, span)),
            start=(0.7 * span, 0.6 * span),
        )

    def along_path(self, run: Run, total: int) -> Slice:
        """Return the slice in the plane of the path's two principal components."""
        end = self.vector(self.end)
        count = len(end)
        snapshots = len(snapshot_steps(run.folder)) or min(SNAPSHOTS, total)
        if 8 * count * (snapshots + 1) > MAX_MEMORY:
            raise ConfigError(
                [f"directions: {snapshots} copies of {count:,} weights do not fit; use directions='random'"]
            )
        steps, copies = load_snapshots(run.folder, count)
        if not steps:
            steps, copies = self.train_again(run, total, snapshots)
        offsets = np.stack(copies) - end
        _, singular, components = np.linalg.svd(offsets, full_matrices=False)
        plane = components[:2] if len(components) > 1 else np.concatenate([components, np.zeros_like(components)])
        path = offsets @ plane.T
        variance = singular**2
        return Slice(
            plane_text="the plane of its path",
            end=end,
            plane=plane,
            window=_window(path),
            start=(float(f"{path[0, 0]:.6g}"), float(f"{path[0, 1]:.6g}")),
            path=path,
            steps=np.array(steps),
            path_losses=np.array([self.loss(self.weights(copy)) for copy in copies]),
            explained=float(variance[:2].sum() / variance.sum()) if variance.sum() else 1.0,
        )

    def train_again(self, run: Run, total: int, snapshots: int) -> tuple[list[int], list[np.ndarray]]:
        """Train again from the seed to the same step; return steps and copies of the weights.

        Raises:
            RunStateError: the weights at the end are others than the run's.
        """
        components, experiment = self.components, run.experiment
        due = sorted({round(total * k / snapshots) for k in range(snapshots + 1)}) if total else [0]
        keeper = _Keeper(due, lambda: self.vector(components.backend.weights(components.model)), self.show)
        progress = Progress(rate=experiment.training.optimizer.lr)
        Fit(
            components.trainer,
            components.data,
            batch_size=components.experiment.data.batch_size,
            seed=experiment.seed,
            epochs=experiment.training.epochs,
            rates=components.rates(progress),
            progress=progress,
            callbacks=[keeper],
        ).run()
        end, early = self.vector(self.end), experiment.training.early_stopping
        distances = [float(np.abs(copy - end).max()) for copy in keeper.copies]
        near = distances[-1] if not (early and early.restore_best) else min(distances)
        if not near <= 1e-3 * max(1.0, float(np.abs(end).max())) and not (early and early.restore_best):
            raise RunStateError(
                f"{run.name} cannot be trained again to the same weights (they differ by up to {near:.2g}): its "
                "learning rate was changed, or its device is not deterministic; use directions='random'"
            )
        return keeper.steps, keeper.copies


class _Keeper(Callback):
    """Copies the weights after certain steps, and ends training after the last of them."""

    def __init__(self, due: list[int], copy: Callable[[], np.ndarray], tell: Tell) -> None:
        self.due, self.copy, self.tell = due, copy, tell
        self.steps: list[int] = []
        self.copies: list[np.ndarray] = []
        self.begin = time.monotonic()

    def max_steps(self, fit: Fit) -> int:
        """Return the steps until the next copy."""
        return self.due[len(self.steps)] - fit.progress.step

    def on_steps_begin(self, fit: Fit) -> None:
        """Copy where that is due."""
        step = fit.progress.step
        if step == self.due[len(self.steps)]:
            self.steps.append(step)
            self.copies.append(self.copy())
            self.tell(describe_progress(step, self.due[-1], "steps, training again", time.monotonic() - self.begin))
        if len(self.steps) == len(self.due):
            raise StopTraining("completed")

    def on_epoch_end(self, fit: Fit) -> None:
        """Copy the weights of the last step, after which no other begins."""
        self.on_steps_begin(fit)


def _filter_normalized(weights: Weights, names: list[str], draws: np.random.Generator, axis: int = -1) -> Weights:
    """Return a random direction of which each filter has the norm of the model's; 0 for biases (Li et al., 2018).

    A filter is what leads to one output: a slice at an index of ``axis``.
    """
    direction = dict(weights)
    matrices = [name for name in names if weights[name].ndim > 1] or names
    for name in names:
        values = np.asarray(weights[name], dtype=np.float64)
        noise = draws.normal(size=values.shape)
        axes = tuple(i for i in range(values.ndim) if i != axis % values.ndim) if values.ndim > 1 else None
        lengths = [np.sqrt((a * a).sum(axis=axes, keepdims=True)) for a in (values, noise)]
        direction[name] = noise * (lengths[0] / np.maximum(lengths[1], 1e-300)) if name in matrices else 0 * values
    return direction


def _window(path: np.ndarray) -> tuple[Interval, Interval]:
    """Return the intervals that hold a path (n, 2) with some space; both at least a third as long as the longer."""
    low, high = path.min(axis=0), path.max(axis=0)
    extent = max(float((high - low).max()), 1e-9)
    half = np.maximum((high - low) * (0.5 + MARGIN), extent / 3)
    centre = (low + high) / 2
    (a, b), (c, d) = zip((centre - half).tolist(), (centre + half).tolist(), strict=True)
    return (a, b), (c, d)


def _surface(run: Run, current: Slice, losses: np.ndarray) -> GridSurface:
    """Return the surface of a run, with a learning rate that suits its curvature."""
    info = SurfaceInfo(
        "landscape",
        f"Loss of {run.name}",
        f"A slice through the loss of {run.name} over {current.plane_text}; (0, 0) is where it ended. What lies beyond "
        "the slice is not known.",
        current.window,
        current.start,
        0.1,
        axes=("direction 1", "direction 2"),
        escape=1.0,
        call=f"lk.landscape({run.name!r})",
    )
    curvature = GridSurface(info, losses).largest_curvature
    rate = float(f"{0.3 / curvature:.1g}") if curvature else info.lr
    return GridSurface(replace(info, lr=rate), losses, current.path)
