"""What a run prints while it trains: one line an epoch, with a bar, the rate and the time left."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, TextIO

from lmkit.events import Event
from lmkit.runfolder import RunFolder, Status

LINES = 200
"""A run of more epochs prints every so many, so that a notebook stays small."""

SHOWN = (
    "loss", "accuracy", "r2", "bits_per_byte", "val_loss", "val_accuracy", "val_r2", "val_bits_per_byte",
)  # fmt: skip
"""What the line of an epoch tells."""

HEARTBEAT_SECONDS = 30.0
WIDTH = 10


INTERACTIVE = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")
"""Set by those who run notebooks for a person to look at: a Jupyter server, VS Code, Colab. papermill, nbconvert and
nbval start their kernels without."""


def has_widgets() -> bool:
    """Whether somebody looks who can see widgets; LMKIT_WIDGETS=on or off decides it otherwise."""
    wanted = os.environ.get("LMKIT_WIDGETS", "")
    return wanted == "on" or (wanted != "off" and any(name in os.environ for name in INTERACTIVE))


class Reporter:
    """Prints what is new in a run's folder at each look."""

    def __init__(self, folder: RunFolder, file: TextIO) -> None:
        self.folder = folder
        self.file = file
        self.offset = 0
        self.spoke = time.monotonic()
        self.epochs = folder.experiment.training.epochs
        self.every = max(1, -(-self.epochs // LINES))
        self.validate_every = folder.experiment.training.validate_every
        self.skipped: str | None = None

    def look(self, last: bool = False) -> None:
        """Prints a line for each new epoch and for what else happened."""
        status = self.folder.status()
        events, self.offset = self.folder.events.read(self.offset)
        for event in events:
            if event.type == "epoch":
                line = epoch_line(event, self.epochs, status)
                if self._told(event.data, status):
                    self._say(line)
                    self.skipped = None
                else:
                    self.skipped = line
            elif said := sample_line(event) or sentence(event):
                self._say(said)
        if last:
            if self.skipped:
                self._say(self.skipped)
            self._say(end_line(status))
        elif time.monotonic() - self.spoke > HEARTBEAT_SECONDS and status.live:
            self._say(f"  … {status.state}, epoch {status.epoch}/{status.epochs}, step {status.step}/{status.steps}")

    def _told(self, data: dict[str, Any], status: Status) -> bool:
        """Whether an epoch, or a validation amid one, is among those that get a line."""
        amid = self.validate_every
        if data["epoch"] == int(data["epoch"]) or not amid:
            return bool(data["epoch"] % self.every == 0 or data["epoch"] == 1)
        return bool(data["step"] // amid % max(1, status.steps // amid // LINES) == 0)

    def _say(self, line: str) -> None:
        self.spoke = time.monotonic()
        print(line, file=self.file, flush=True)


_SENTENCES = {
    "started": "training on {device}",
    "resumed": "resumed after step {step}",
    "paused": "paused after step {step}",
    "continued": "continued after step {step}",
    "learning_rate": "learning rate {old:g} → {value:g} after step {step}",
    "warning": "warning: {text}",
    "note": "note at step {step}: {text}",
    "converted": "converted from {framework} to {to}: the model of {run}",
}


def sentence(event: Event) -> str:
    """An event in words; empty for one that is told otherwise (the epochs, the end) or is of no interest."""
    return _SENTENCES.get(event.type, "").format(**event.data)


def epoch_line(event: Event, epochs: int, status: Status) -> str:
    """``epoch 12/50 ━━━━━───── loss 0.1234 · val_loss 0.2345 · … 1,234 steps/s, 3 s left``."""
    data = event.data
    done = round(WIDTH * data["epoch"] / epochs)
    shown = {k: v for k, v in data.items() if k in SHOWN}
    numbers = "  ".join(f"{k} {v:.4f}" for k, v in shown.items() if v is not None)
    rate = status.steps_per_second or (data["step"] / data["seconds"] if data["seconds"] else 0)
    left = f"{time_text((status.steps - data['step']) / rate)} left" if rate and status.steps else ""
    pace = f"{rate:,.0f} steps/s" if rate >= 10 else f"{rate:.2g} steps/s"
    width = len(str(epochs)) + 3 * (data["epoch"] != int(data["epoch"]))
    bar = "━" * done + "─" * (WIDTH - done)
    return f"epoch {epoch_text(data['epoch']):>{width}}/{epochs} {bar}  {numbers}  {pace}  {left}".rstrip()


def epoch_text(epoch: float) -> str:
    """The number of an epoch, or how far it is amid one.

    >>> epoch_text(3), epoch_text(2.5435)
    ('3', '2.54')
    """
    return f"{epoch:.2f}" if epoch != int(epoch) else f"{int(epoch)}"


def sample_line(event: Event) -> str:
    """What a language model wrote, on one line; empty for another event."""
    if event.type != "sample":
        return ""
    return f"  {event.data['prompt']!r} … {event.data['text']!r}"


def end_line(status: Status) -> str:
    """How a run ended, and what it scored on the test part."""
    numbers = "  ".join(f"{k} {v:.4f}" for k, v in (status.metrics or {}).items())
    words: list[Any] = [status.state, f"({status.reason})" if status.reason else ""]
    words += [f"after {status.step} steps in {time_text(status.seconds)}", f"— test: {numbers}" if numbers else ""]
    return " ".join(w for w in words if w)


def seconds_left(took: Sequence[float], to_come: int, at_once: int) -> float | None:
    """Until what is to come is done, if each takes what the others took on average; None where none has been done.

    >>> seconds_left([2.0, 4.0], 4, at_once=2)
    6.0
    """
    return sum(took) / len(took) * to_come / max(1, min(at_once, to_come)) if took else None


def time_text(seconds: float) -> str:
    """A duration as people say it.

    >>> [time_text(s) for s in (0.42, 42, 130, 7300)]
    ['0.4 s', '42 s', '2 min 10 s', '2 h 01 min']
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
