"""What a trainer does when the memory of its device runs out: smaller micro-batches, else words."""

from __future__ import annotations

from typing import Protocol

from lmkit.exceptions import ConfigError, LmkitError


class OutOfMemory(LmkitError):
    """The memory of a device ran out, and smaller micro-batches do not help."""


class Divisible(Protocol):
    """A trainer whose micro-batches can be made smaller.

    Attributes:
        device: where it trains.
        batch_size: rows of a step.
        rows_at_once: rows that it evaluates at once.
        notes: what it has to say, for the log of the run.
    """

    device: str
    batch_size: int
    rows_at_once: int
    notes: list[str]

    @property
    def micro_batch(self) -> int:
        """Rows of a micro-batch."""

    def set_micro_batch(self, rows: int) -> None:
        """Take micro-batches of ``rows`` rows from the next step on."""


def halve_micro_batch(trainer: Divisible) -> None:
    """Halve the micro-batch of a trainer whose memory ran out in a step that it can repeat, and note it.

    The batch, and up to rounding the numbers of the step, stay as they are.

    Raises:
        OutOfMemory: a micro-batch is one row already, or the model or the loss cannot be divided.
    """
    rows = trainer.micro_batch
    if rows == 1:
        raise OutOfMemory(describe(trainer.device, "with one row at a time"))
    half = -(-rows // 2)
    try:
        trainer.set_micro_batch(half)
    except ConfigError as error:
        reason = str(error).removeprefix("training.micro_batch: ").partition("; ")[0]
        raise OutOfMemory(describe(trainer.device, f"with {rows:,} rows at a time ({reason})")) from None
    trainer.rows_at_once = min(trainer.rows_at_once, half)
    trainer.notes.append(
        f"the memory of {trainer.device} ran out with {rows:,} rows at a time: the step is repeated in micro-batches "
        f"of {half:,} (training.micro_batch); the batch is still {trainer.batch_size:,} rows"
    )


def halve_evaluation(trainer: Divisible, rows: int) -> None:
    """Halve the rows that a trainer evaluates at once, whose memory ran out with ``rows`` at most, and note it.

    Raises:
        OutOfMemory: it was one row.
    """
    rows = min(rows, trainer.rows_at_once)
    if rows == 1:
        raise OutOfMemory(describe(trainer.device, "in evaluation, with one row at a time"))
    trainer.rows_at_once = -(-rows // 2)
    trainer.notes.append(
        f"the memory of {trainer.device} ran out in evaluation with {rows:,} rows at a time: it is repeated with "
        f"{trainer.rows_at_once:,}"
    )


def describe(device: str, where: str) -> str:
    """Return the sentence for a run whose memory ran out, and what helps.

    Args:
        device: whose memory; empty where that is unknown.
        where: at which point, as an adverbial phrase.
    """
    owner = f"on {device} " if device else ""
    return (
        f"out of memory {owner}{where}; end what else uses that memory and `lmkit resume`, or train anew with what "
        "`lmkit plan` on the run suggests, with the bytes that it saves, such as a smaller data.batch_size or model"
    )
