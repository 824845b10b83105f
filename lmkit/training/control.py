"""Commands and signals: a callback that reads the control file between two calls of the trainer.

Of several processes the first one reads, and passes the commands on to the others.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lmkit.custom import objects
from lmkit.exceptions import RunStateError
from lmkit.runfolder.commands import (
    AddNote,
    Command,
    Pause,
    Resume,
    SaveCheckpoint,
    SetLearningRate,
    Stop,
    commands_since_resume,
    parse_command,
)
from lmkit.runfolder.events import Continued, LearningRate, Note, Paused
from lmkit.specs.references import HELD
from lmkit.system.records import is_number
from lmkit.training.fit import Callback, Fit, StopTraining
from lmkit.training.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from lmkit.training.checkpoints import Checkpoints
    from lmkit.training.recorder import Recorder

POLL_SECONDS = 0.05
"""Interval at which a paused run reads the control file."""


class Control(Callback):
    """Handles pause, resume, stop, learning_rate, checkpoint and note; and SIGTERM, SIGHUP and SIGINT."""

    def __init__(self, recorder: Recorder, checkpoints: Checkpoints, signals: Signals, ranks: Ranks = ALONE) -> None:
        self.recorder, self.checkpoints, self.signals, self.ranks = recorder, checkpoints, signals, ranks
        self.folder = recorder.folder
        self.paused, self.paused_since = False, 0.0
        references = objects.references(recorder.experiment).values()
        resumable = not any(reference.startswith(HELD) for reference in references)  # else by this process alone
        self.idle_limit = recorder.experiment.training.idle_limit if resumable else None
        records, self.offset = self.folder.control.read(quiet=True)
        self.records = commands_since_resume(records)

    def on_steps_begin(self, fit: Fit) -> None:
        """Handle commands; wait while paused."""
        self.handle_commands(fit)
        while self.paused:
            time.sleep(POLL_SECONDS)
            self.handle_commands(fit)
            self.check_idle()

    def check_idle(self) -> None:
        """End training that has been paused for ``idle_limit`` seconds, to free its memory."""
        limit = self.idle_limit
        if self.paused and limit is not None and self.ranks.clock() - self.paused_since >= limit:
            reason = f"after a pause of {limit:g} seconds (training.idle_limit), which freed its memory"
            raise StopTraining("stopped", reason, "idle")

    def handle_commands(self, fit: Fit) -> None:
        """Handle the commands that were written since the last call.

        Raises:
            RunStateError: the folder of the run was deleted.
        """
        news = self.ranks.consult(self.signals.name, self.read_news)
        if news is None:
            raise RunStateError(f"{str(self.folder.path)!r} was deleted or moved")
        records, signal_name = news
        for command in (command for record in records if (command := parse_command(record))):
            self.handle(command, fit)
        if signal_name:
            raise StopTraining("stopped", signal_name, "signal")

    def handle(self, command: Command, fit: Fit) -> None:
        """Handle one command."""
        step, events = fit.progress.step, self.folder.events
        match command:
            case Stop():
                raise StopTraining("stopped", "on request", "requested")
            case Pause() if not self.paused:
                self.paused, self.paused_since = True, self.ranks.clock()
                self.checkpoints.save(fit, wait=True)
                events.record(Paused(step=step))
                self.recorder.write_status(state="paused")
            case Resume() if self.paused:
                self.paused = False
                events.record(Continued(step=step))
                self.recorder.write_status(state="running")
            case SetLearningRate() if is_number(command.value, 0):
                old, fit.progress.rate = fit.progress.rate, float(command.value)
                events.record(LearningRate(step=step, old=old, value=fit.progress.rate))
                self.checkpoints.save(fit, wait=True)  # so that a resumed run continues at the new rate
            case SaveCheckpoint():
                self.checkpoints.save(fit)
            case AddNote():
                events.record(Note(step=step, text=str(command.text)))

    def read_news(self, signals: list[str]) -> tuple[list[dict[str, Any]], str] | None:
        """Return the commands that were written since the last call, as records, and the name of a signal, if any.

        Args:
            signals: name of the signal that each process received, or an empty string.

        Returns:
            None if the folder of the run was deleted.
        """
        if self.folder.is_deleted:
            return None
        records, self.records = self.records, []
        with contextlib.suppress(FileNotFoundError):
            if self.folder.control.path.stat().st_size > self.offset:
                lines, self.offset = self.folder.control.read(self.offset, quiet=True)
                records += lines
        return records, next(filter(None, signals), "")


ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
"""The signals that end a program: after SIGINT, a script continues with the statement that follows."""


class Signals:
    """Notes SIGTERM, SIGHUP and SIGINT instead of dying of them, for a ``Control`` to end training in good order.

    Attributes:
        name: of the last signal; empty before one.
    """

    def __init__(self) -> None:
        self.name = ""

    def follow(self) -> None:
        """Raise a signal that ends a program again, once training has ended and the previous handlers are back."""
        for number in ENDING:
            if self.name == number.name:
                sys.stdout.flush()
                signal.raise_signal(number)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Handle the signals meanwhile; only the main thread can. One that is ignored (nohup) stays so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, _: Any) -> None:
            self.name = signal.Signals(number).name

        numbers = [s for s in (*ENDING, signal.SIGINT) if s == signal.SIGINT or signal.getsignal(s) != signal.SIG_IGN]
        handlers = {s: signal.signal(s, note) for s in numbers}
        try:
            yield
        finally:
            for s, handler in handlers.items():
                signal.signal(s, handler)
