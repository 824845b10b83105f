"""What a backend is: one framework behind the interface that everything else speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lmkit.errors import LmkitError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from lmkit.data.preparation import Dataset
    from lmkit.experiment import Experiment
    from lmkit.specs.losses import LossName
    from lmkit.specs.models import ModelSpec, Weights
    from lmkit.specs.signature import Shape, Signature


Removed = tuple[str, bool, list[int]]
"""A layer's name, whether units were taken out of what it gives (else of what it takes), and which."""


class CannotNarrow(LmkitError):
    """Units cannot be taken out of a model of somebody's own; the message says why."""


class Steps(NamedTuple):
    """What a trainer tells of consecutive steps.

    Attributes:
        loss: (n,), the mean loss over each step's rows, before its update.
        gradient_norm: (n,), the norm ‖∇J‖₂ over all weights before clipping; NaN where it was not computed.
    """

    loss: np.ndarray
    gradient_norm: np.ndarray


class Trainer(Protocol):
    """A model, its optimizer and its data, ready to take steps. It never knows who watches."""

    device: str

    def epoch(self, order: np.ndarray, number: int = 0) -> None:
        """Begins the epoch ``number`` (counted from 0), in which the training rows come in ``order`` (rows,)."""

    def advance(self, first: int, rates: np.ndarray) -> Steps:
        """Takes ``len(rates)`` steps from the epoch's batch ``first`` on, each at its learning rate."""

    def gradients(self, rows: np.ndarray) -> dict[str, np.ndarray | None]:
        """The gradient of the mean loss over training ``rows`` for every weight; None where it has no part in it."""

    def outputs(self, part: str, rows: int | None = None) -> np.ndarray:
        """Logits (rows, outputs) of one part of the data: training, validation or test; or of its first ``rows``.

        Dropout is off.
        """

    def losses(self, part: str, rows: int | None = None) -> np.ndarray:
        """The loss (rows,) of each row of one part, or of its first ``rows``; for a language its mean over the places.

        Dropout is off. Nothing larger than some rows' logits is held at a time.
        """

    def state(self) -> Weights:
        """The optimizer's memory and the random states, as arrays."""

    def restore(self, state: Weights) -> None:
        """Takes up a ``state``."""


class Backend(Protocol):
    """One framework.

    Attributes:
        compiler: the program that its own compiler needs, if any.
    """

    name: str
    compiler: str

    def build(self, model: ModelSpec, signature: Signature, precision: str) -> Any:
        """The framework's own model, its weights not yet set: (rows, features) → logits (rows, outputs).

        Args:
            model: what to build.
            signature: what it takes and gives; rows come flat, and are reshaped by a model that needs their axes.
            precision: ``float32`` or ``float64``.
        """

    def seed(self, seed: int) -> None:
        """Seeds the generators from which a model of somebody's own draws its first weights."""

    def bare(self, model: Any) -> Any:
        """The model as its author knows it: without what makes one of somebody's own speak as the families do."""

    def weights(self, model: Any) -> Weights:
        """A copy of the weights under the names and in the layout that all backends share."""

    def set_weights(self, model: Any, weights: Weights) -> None:
        """Sets the weights."""

    def trainer(self, model: Any, experiment: Experiment, dataset: Dataset, loss: LossName) -> Trainer:
        """A trainer for ``model``."""

    def predict(self, model: Any, X: np.ndarray) -> np.ndarray:
        """Logits (rows, outputs) of prepared rows. Dropout is off."""

    def losses(self, loss: str, outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        """What a loss of somebody's own, named by its reference, says of each row (rows,) of outputs that are given."""

    def cannot_export(self, kind: str, technique: str) -> str:
        """Why a format (onnx, program, saved_model, litert, litert_float16) cannot be written; empty where it can.

        What the other framework writes is told by the name of the ``technique`` that goes there first.
        """

    def export(self, model: Any, row: Shape, dtype: str, kind: str, path: Path) -> None:
        """Writes ``model`` to ``path`` in the format ``kind``, for any number of rows of shape ``row``; dropout off."""

    def learned(self, model: Any) -> set[str]:
        """The names of the weights that training changes; a model of somebody's own may hold others."""

    def narrow(self, model: Any, X: np.ndarray, share: float) -> list[Removed]:
        """Takes the least of the units of each hidden layer out of a model of somebody's own; returns which they were.

        Raises:
            CannotNarrow: it cannot be done; the message says why.
        """

    def remove(self, model: Any, X: np.ndarray, what: Sequence[Removed]) -> None:
        """Takes the same units out of the model as it is built anew; ``X`` are a few rows of what it takes."""

    def set_threads(self, threads: int) -> int:
        """Sets how many threads one operation on a CPU uses, as far as it still can; returns how many it was."""

    def environment(self) -> dict[str, Any]:
        """Versions, devices and thread counts, for the record."""
