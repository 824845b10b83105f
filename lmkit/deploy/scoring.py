"""What outputs say of a model, wherever they come from: the run's own loss and metrics, of outputs that are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmkit.backends import get_backend
from lmkit.data import objects
from lmkit.data.metrics import score
from lmkit.errors import ConfigError
from lmkit.specs.losses import loss_value, resolve_loss
from lmkit.specs.references import is_reference

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.preparation import Dataset
    from lmkit.run import Run


class Given:
    """Takes the place of a trainer, with outputs of the test part that something else has computed."""

    def __init__(self, run: Run, logits: np.ndarray, data: Dataset) -> None:
        objects.fetch(run.experiment, run.path.parent)
        self.run, self.logits, self.y = run, logits, data.test.y
        self.loss = resolve_loss(run.experiment.training.loss, data.preprocessing.task)

    def outputs(self, part: str, rows: int | None = None) -> np.ndarray:
        """Logits (rows, outputs)."""
        return self.logits[:rows]

    def losses(self, part: str, rows: int | None = None) -> np.ndarray:
        """The loss (rows,) of each row; somebody's own says it in its framework."""
        import numpy as np

        spec, z = self.run.experiment, self.logits[:rows]
        y = np.asarray(self.y[: len(z)])
        if is_reference(self.loss):
            return get_backend(spec.framework).losses(self.loss, z.astype(spec.training.precision), y)
        width = z.shape[-1]
        return np.array([loss_value(self.loss, a.reshape(-1, width), b.reshape(-1)) for a, b in zip(z, y, strict=True)])


def scored(run: Run, logits: np.ndarray, data: Dataset) -> dict[str, float]:
    """Loss and metrics of the test part, somebody's own among them, as far as these can be computed of such outputs.

    Args:
        run: says which loss was minimized, and which metrics were asked for.
        logits: (rows, outputs), of a language (rows, length, vocabulary).
        data: the run's.
    """
    given = Given(run, logits, data)
    measures = objects.metrics(run.experiment)
    try:
        return score(given, "test", data, given.loss, measures=measures)
    except ConfigError:
        if not measures:
            raise
        return score(given, "test", data, given.loss)
