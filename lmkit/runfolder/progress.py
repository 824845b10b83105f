"""The lines that a run prints while it trains: one per epoch, with a bar, the rate and the remaining time."""

from __future__ import annotations

import time
from typing import Any, TextIO

from lmkit.display.units import format_duration
from lmkit.runfolder.events import DETAILS, Event
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.status import Status
from lmkit.runfolder.tail import LogTail
from lmkit.specs.tasks import drawn_metrics

LINES = 200
"""The number of epochs above which only some get a line, so that a notebook stays small."""

COLUMNS = tuple(f"{prefix}{name}" for prefix in ("", "val_") for name in ("loss", *drawn_metrics()))
"""The columns of the history in the line of an epoch."""

HEARTBEAT_SECONDS = 30.0
BAR_WIDTH = 10


class ConsoleReporter:
    """Prints the new events of a run at each ``poll``."""

    def __init__(self, folder: RunFolder, file: TextIO) -> None:
        self.folder = folder
        self.file = file
        self.last_print = time.monotonic()
        self.epochs = folder.experiment.training.epochs
        self.interval = max(1, -(-self.epochs // LINES))
        self.validate_every = folder.experiment.training.validate_every
        self.skipped_line: str | None = None
        self._tail = LogTail(folder)

    def poll(self, last: bool = False) -> None:
        """Print a line for each new epoch and each other event; at the ``last`` call also how the run ended."""
        status = self.folder.status()
        for event in self._tail.read_events():
            if event.type == "epoch":
                line = epoch_line(event, self.epochs, status)
                if self._has_line(event.data, status):
                    self._print(line)
                    self.skipped_line = None
                else:
                    self.skipped_line = line
            elif text := sample_line(event) or sentence(event):
                self._print(text)
        if last:
            if self.skipped_line:
                self._print(self.skipped_line)
            self._print(end_line(status))
        elif time.monotonic() - self.last_print > HEARTBEAT_SECONDS and status.live:
            self._print(f"  … {status.state}, epoch {status.epoch}/{status.epochs}, step {status.step}/{status.steps}")

    def _has_line(self, data: dict[str, Any], status: Status) -> bool:
        """Return whether an epoch, or a validation within one, is among those that get a line."""
        every = self.validate_every
        if data["epoch"] == int(data["epoch"]) or not every:
            return bool(data["epoch"] % self.interval == 0 or data["epoch"] == 1)
        return bool(data["step"] // every % max(1, status.steps // every // LINES) == 0)

    def _print(self, line: str) -> None:
        self.last_print = time.monotonic()
        print(line, file=self.file, flush=True)


_SENTENCES = {
    "started": "training on {device}: {summary}",
    "resumed": "resumed after step {step}",
    "paused": "paused after step {step}",
    "continued": "continued after step {step}",
    "restarting": "restarting after step {step}: {reason}",
    "learning_rate": "learning rate {old:g} → {value:g} after step {step}",
    "data": "data: {text}",
    "warning": "warning: {text}",
    "compiled": "compiled the step in {seconds:.1f} s",
    "note": "note at step {step}: {text}",
    "converted": "converted from {framework} to {to}: the model of {run}",
}


_DEFAULTS = {kind: details().to_data() for kind, details in DETAILS.items() if kind in _SENTENCES}
"""The values of an event that an older version did not write."""


def sentence(event: Event) -> str:
    """Return an event as a sentence; empty for one with its own line (epochs, samples, the end) or without text."""
    template = _SENTENCES.get(event.type, "")
    if not template:
        return ""
    return template.format_map({"summary": "", **_DEFAULTS.get(event.type, {}), **event.data}).removesuffix(": ")


def epoch_line(event: Event, epochs: int, status: Status) -> str:
    """Return ``epoch 12/50 ━━━━━───── loss 0.1234 · val_loss 0.2345 · … 1,234 steps/s, 3 s remaining``."""
    data = event.data
    filled = min(BAR_WIDTH, round(BAR_WIDTH * data["epoch"] / epochs))
    numbers = "  ".join(f"{k} {v:.4f}" for k, v in data.items() if k in COLUMNS and v is not None)
    seconds = data.get("seconds")
    rate = status.steps_per_second or (data["step"] / seconds if seconds else 0)
    left = f"{format_duration((status.steps - data['step']) / rate)} remaining" if rate and status.steps else ""
    pace = f"{rate:,.0f} steps/s" if rate >= 10 else f"{rate:.2g} steps/s"
    width = len(str(epochs)) + 3 * (data["epoch"] != int(data["epoch"]))
    bar = "━" * filled + "─" * (BAR_WIDTH - filled)
    return f"epoch {epoch_text(data['epoch']):>{width}}/{epochs} {bar}  {numbers}  {pace}  {left}".rstrip()


def epoch_text(epoch: float) -> str:
    """Return the number of an epoch, with two decimals within one.

    >>> epoch_text(3), epoch_text(2.5435)
    ('3', '2.54')
    """
    return f"{epoch:.2f}" if epoch != int(epoch) else f"{int(epoch)}"


def sample_line(event: Event) -> str:
    """Return the text that a language model generated, on one line; empty for another event."""
    if event.type != "sample":
        return ""
    return f"  {event.data.get('prompt', '')!r} … {event.data.get('text', '')!r}"


def end_line(status: Status) -> str:
    """Return how a run ended, and its metrics on the test part."""
    numbers = "  ".join(f"{k} {v:.4f}" for k, v in (status.metrics or {}).items())
    words: list[Any] = [status.state, f"({status.reason})" if status.reason else ""]
    words += [
        f"after {status.step} steps in {format_duration(status.seconds)}",
        f"— test: {numbers}" if numbers else "",
    ]
    return " ".join(w for w in words if w)
