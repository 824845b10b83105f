"""The rows of a table of trials, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.display.table import FormattedNumber, Table
from lmkit.display.units import format_duration
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


def trial_table(
    title: str, rows: Sequence[TrialRow], parameters: Sequence[str], objectives: Sequence[str], numbers: Sequence[Any]
) -> Table:
    """Return trials as a table, without columns of runs, errors and the doctor that are empty.

    Args:
        title: its caption.
        rows: the trials.
        parameters: names of the parameters that vary; the columns have their last parts.
        objectives: names of the objectives; ``seconds`` is the column of the time.
        numbers: the first cell of each row, such as a link.
    """
    drawn = [name != "seconds" for name in objectives]
    optional = ("run", "error", "doctor")
    names = [name.rpartition(".")[2] for name in parameters]
    columns = ("trial", "state", *names, *compress(objectives, drawn), "time", *optional)
    cells = [
        (
            number,
            row.state,
            *row.parameters,
            *compress(row.objectives, drawn),
            FormattedNumber(row.seconds, format_duration(row.seconds)) if row.seconds else None,
            row.run,
            row.error,
            row.doctor,
        )
        for number, row in zip(numbers, rows, strict=True)
    ]
    indices = [i for i, c in enumerate(columns) if c not in optional or any(row[i] is not None for row in cells)]
    return Table(title, tuple(columns[i] for i in indices), tuple(tuple(row[i] for i in indices) for row in cells))


def _cell(value: Any) -> Any:
    """Return a parameter as a table's cell."""
    return value if value is None or isinstance(value, int | float | str) else str(value)
