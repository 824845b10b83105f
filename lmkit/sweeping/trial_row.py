"""A row of a table of trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.sweeping.diagnosis import strongest
from lmkit.sweeping.records import Trial

if TYPE_CHECKING:
    from lmkit.doctor.diagnosis import Diagnosis


class TrialRow(NamedTuple):
    """One row of a table of trials.

    Attributes:
        trial: the trial.
        number: its number.
        state: its state.
        parameters: the values of the parameters that vary, in the order of the space.
        objectives: the values of the objectives.
        seconds: duration over all attempts.
        run: the short id of its run; None without a run.
        error: its error in one line; None without an error.
        doctor: its strongest finding that is sure or likely in some words; None without one.
    """

    trial: Trial
    number: int
    state: str
    parameters: tuple[Any, ...]
    objectives: tuple[Any, ...]
    seconds: float
    run: str | None
    error: str | None
    doctor: str | None = None

    @classmethod
    def of(
        cls, trial: Trial, parameters: Sequence[str], objectives: Sequence[str], diagnosis: Diagnosis | None
    ) -> TrialRow:
        """Return the row of a trial.

        Args:
            trial: the trial.
            parameters: names of the parameters that vary.
            objectives: names of the objectives.
            diagnosis: of its run, if it was examined.
        """
        return cls(
            trial,
            trial.number,
            trial.state,
            tuple(_cell(trial.parameters.get(name)) for name in parameters),
            tuple(trial.values.get(name) for name in objectives),
            trial.seconds,
            trial.run.name.rsplit("-", 1)[-1] if trial.run else None,
            " ".join(trial.error.split()) or None,
            strongest(diagnosis),
        )


def _cell(value: Any) -> Any:
    """Return a parameter as a table's cell."""
    return value if value is None or isinstance(value, int | float | str) else str(value)
