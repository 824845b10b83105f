"""What a sweep is after: the number of a trial by which it is compared, and whether it is to be low or high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.errors import SweepError

if TYPE_CHECKING:
    from lmkit.run import Run

LOWER = ("loss", "mae", "mse", "rmse", "perplexity", "bits_per_byte", "bits_per_character", "seconds", "error", "step")
HIGHER = ("accuracy", "auc", "r2", "f1", "precision", "recall", "score")


class Objective(NamedTuple):
    """A number to be made small, or large.

    Attributes:
        name: what it is called, such as ``val_loss``.
        direction: minimize or maximize.
    """

    name: str
    direction: str

    @property
    def sign(self) -> int:
        """1 where less is better, else −1."""
        return 1 if self.direction == "minimize" else -1

    def __str__(self) -> str:
        return f"{self.direction} {self.name}"


def read_objectives(given: str | Sequence[str] | None, default: str = "") -> tuple[Objective, ...]:
    """The objectives that were asked for: names, where needed after ``minimize`` or ``maximize``.

    Raises:
        SweepError: whether less or more of it is better is not known, and not said.

    >>> [str(o) for o in read_objectives(["val_accuracy", "minimize cost"])]
    ['maximize val_accuracy', 'minimize cost']
    """
    texts = [given] if isinstance(given, str) else list(given or ([default] if default else []))
    found = tuple(_read(str(text)) for text in texts)
    names = [o.name for o in found]
    if len(set(names)) < len(names):
        raise SweepError(f"objective: one is given twice: {', '.join(names)}")
    return found


def _read(text: str) -> Objective:
    words = text.split()
    if len(words) == 2 and words[0] in ("minimize", "maximize"):
        return Objective(words[1], words[0])
    if len(words) == 1:
        bare = words[0].removeprefix("val_").removeprefix("test_")
        if bare in LOWER:
            return Objective(words[0], "minimize")
        if bare in HIGHER:
            return Objective(words[0], "maximize")
    raise SweepError(
        f"objective: given {text!r}, expected a name such as val_loss, or 'minimize NAME' or 'maximize NAME' where it "
        "cannot be known which is better"
    )


def numbers(run: Run) -> dict[str, float]:
    """What an ended run tells of itself: its last epoch, or the best one where that is what it ended with.

    The columns of its history, the test part's metrics as ``test_…``, and its seconds of training.
    """
    history, status = run.history, run.status
    found: dict[str, Any] = {}
    if len(history):
        early, row = run.experiment.training.early_stopping, history.iloc[-1]
        if early and early.restore_best and "val_loss" in history:
            row = history.iloc[int(history["val_loss"].to_numpy().argmin())]
        found |= {str(k): float(v) for k, v in row.items() if isinstance(v, int | float)}
    found |= {f"test_{k}": v for k, v in (status.metrics or {}).items()}
    return found | {"seconds": status.seconds, "step": status.step}


def dominated(values: Sequence[float], others: Sequence[Sequence[float]], objectives: Sequence[Objective]) -> bool:
    """Whether one of the others is at least as good in every objective, and better in one."""
    own = [o.sign * v for o, v in zip(objectives, values, strict=True)]
    for other in others:
        theirs = [o.sign * v for o, v in zip(objectives, other, strict=True)]
        if theirs != own and all(t <= v for t, v in zip(theirs, own, strict=True)):
            return True
    return False


def values_of(objectives: Sequence[Objective], told: Mapping[str, Any]) -> list[float]:
    """The objectives' values among what a trial tells.

    Raises:
        SweepError: one is missing, or not a number.
    """
    found = []
    for objective in objectives:
        value = told.get(objective.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            known = ", ".join(k for k, v in told.items() if isinstance(v, int | float)) or "nothing"
            raise SweepError(f"it tells no {objective.name!r}, which is an objective (it tells {known})")
        found.append(float(value))
    return found
