"""Copies of the weights along the path of a run, which ``lk.landscape`` draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmkit.runfolder.snapshots import MAX_BYTES, drop_snapshots, write_snapshot
from lmkit.training.fit import Callback, Fit, StopTraining

if TYPE_CHECKING:
    from lmkit.backends import Backend
    from lmkit.runfolder.folder import RunFolder
    from lmkit.specs.models import Weights
    from lmkit.training.setup import Components


class Snapshots(Callback):
    """Writes the trainable weights after steps at equal distances, from the start on, and at the end.

    Args:
        components: what is trained.
        folder: of the run.
        count: copies after the first one, at most; fewer where they would exceed ``MAX_BYTES`` together.
        step: steps taken before, of a resumed run.
    """

    def __init__(self, components: Components, folder: RunFolder, count: int, step: int) -> None:
        self.components, self.folder = components, folder
        self.names = path_weights(components.backend, components.model)
        size = sum(components.backend.weights(components.model)[name].nbytes for name in self.names)
        count = min(count, MAX_BYTES // max(1, size) - 1)
        total = components.steps
        due = {round(total * k / count) for k in range(count + 1)} if count > 0 else set()
        self.due = sorted(s for s in due if s >= step)
        if components.ranks.is_first:
            drop_snapshots(folder, step)

    def max_steps(self, fit: Fit) -> int | None:
        """Return the steps until the next copy."""
        return max(1, self.due[0] - fit.progress.step) if self.due else None

    def on_steps_begin(self, fit: Fit) -> None:
        """Copy where that is due."""
        if self.due and fit.progress.step >= self.due[0]:
            self.write(fit.progress.step)

    def on_train_end(self, fit: Fit, stop: StopTraining) -> None:  # noqa: ARG002 (part of the interface)
        """Copy the weights of the end."""
        if self.due:
            self.write(fit.progress.step)

    def write(self, step: int) -> None:
        """Write the weights after a step."""
        weights = self.components.backend.weights(self.components.model)
        if self.components.ranks.is_first:
            write_snapshot(self.folder, step, to_vector(weights, self.names, weights[self.names[0]].dtype))
        self.due = [due for due in self.due if due > step]


def path_weights(backend: Backend, model: object) -> list[str]:
    """Return the names of the weights of which a path consists, in their order: the trainable ones, else all."""
    weights = backend.weights(model)
    return sorted(name for name in backend.learned(model) if name in weights) or sorted(weights)


def to_vector(weights: Weights, names: list[str], dtype: object = np.float64) -> np.ndarray:
    """Return named weights as one vector."""
    return np.concatenate([np.asarray(weights[name], dtype=dtype).ravel() for name in names])  # type: ignore[call-overload]
