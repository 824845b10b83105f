"""Objectives: the numbers by which trials are compared, and whether lower or higher is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.exceptions import SweepError, join_names, shorten
from lmkit.specs.tasks import higher_is_better
from lmkit.system.numbers import finite_number, index_of_last_improvement

if TYPE_CHECKING:
    from lmkit.run.run import Run

LOWER = ("loss", "mae", "mse", "rmse", "perplexity", "bits_per_byte", "bits_per_character", "seconds", "error", "step")
HIGHER = (*higher_is_better(), "f1", "precision", "recall", "score")


class NotFinite(SweepError):
    """An objective is NaN or infinite: its trial has diverged."""


class Objective(NamedTuple):
    """A number to minimize or maximize.

    Attributes:
        name: its name, such as ``val_loss``.
        direction: minimize or maximize.
    """

    name: str
    direction: str

    @property
    def sign(self) -> int:
        """1 where lower is better, else −1."""
        return 1 if self.direction == "minimize" else -1

    def __str__(self) -> str:
        return f"{self.direction} {self.name}"


def read_objectives(objective: str | Sequence[str] | None, default: str = "") -> tuple[Objective, ...]:
    """Read objectives: names, where necessary preceded by ``minimize`` or ``maximize``.

    Raises:
        SweepError: the direction is neither specified nor known for that name.

    >>> [str(o) for o in read_objectives(["val_accuracy", "minimize cost"])]
    ['maximize val_accuracy', 'minimize cost']
    """
    texts = [objective] if isinstance(objective, str) else list(objective or ([default] if default else []))
    objectives = tuple(_read(str(text)) for text in texts)
    names = [o.name for o in objectives]
    if len(set(names)) < len(names):
        raise SweepError(f"objective: duplicate names: {', '.join(names)}")
    return objectives


def _read(text: str) -> Objective:
    words = text.split()
    if len(words) == 2 and words[0] in ("minimize", "maximize"):
        return Objective(words[1], words[0])
    if len(words) == 1:
        metric = words[0].removeprefix("val_").removeprefix("test_")
        if metric in LOWER:
            return Objective(words[0], "minimize")
        if metric in HIGHER:
            return Objective(words[0], "maximize")
    raise SweepError(
        f"objective: given {shorten(text)}, expected a name such as val_loss; other names need a direction: "
        "'minimize NAME' or 'maximize NAME'"
    )


def run_values(run: Run) -> dict[str, float]:
    """Return the numbers of a finished run by which its trial can be compared.

    They are the columns of its history in the last epoch (in that whose weights were restored, if any), the metrics
    of the test split as ``test_…``, and the seconds of training.
    """
    history, status = run.history, run.status
    values: dict[str, Any] = {}
    if len(history):
        early, best = run.experiment.training.early_stopping, None
        if early and early.restore_best and status.state == "completed":
            best = index_of_last_improvement(history.get("val_loss", history.get("loss", ())), early.min_delta)
        row = history.iloc[-1 if best is None else best]
        values |= {str(k): float(v) for k, v in row.items() if isinstance(v, int | float)}
    values |= {f"test_{k}": v for k, v in (status.metrics or {}).items()}
    return values | {"seconds": status.seconds, "step": status.step}


def is_dominated(values: Sequence[float], others: Sequence[Sequence[float]], objectives: Sequence[Objective]) -> bool:
    """Whether one of the others is at least as good in every objective, and better in one."""
    costs = [o.sign * v for o, v in zip(objectives, values, strict=True)]
    for other in others:
        other_costs = [o.sign * v for o, v in zip(objectives, other, strict=True)]
        if other_costs != costs and all(t <= v for t, v in zip(other_costs, costs, strict=True)):
            return True
    return False


def objective_values(objectives: Sequence[Objective], values: Mapping[str, Any]) -> list[float]:
    """Return the values of the objectives among the values of a trial.

    Raises:
        NotFinite: one is NaN or infinite.
        SweepError: one is missing, or not a number.
    """
    numbers = []
    for objective in objectives:
        value = values.get(objective.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            available = join_names(k for k, v in values.items() if isinstance(v, int | float)) or "none"
            raise SweepError(f"no value for the objective {objective.name!r}; values: {available}")
        if finite_number(value) is None:
            raise NotFinite(f"the objective {objective.name!r} is {float(value)}")
        numbers.append(float(value))
    return numbers
