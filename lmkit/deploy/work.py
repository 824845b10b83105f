"""The measuring of a comparison: here until it is done, or in a thread, so that a notebook's cell returns at once.

Variants that are finished are kept in the run's folder, so what was ended can go on at any time.
"""

from __future__ import annotations

import atexit
import statistics
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.deploy.measure import BLOCK_SECONDS
from lmkit.deploy.session import Cancelled, Session, Settings, Tell
from lmkit.run import Run

if TYPE_CHECKING:
    from lmkit.deploy.comparison import Comparison

MAKE_SECONDS = 4.0
"""What making and loading a variant is thought to take before one has been made."""


class Work:
    """Measures what is pending of a comparison.

    Attributes:
        state: running, completed, cancelled, or failed, where the measuring itself could not go on.
        doing: what is being done, such as ``times digits/onnx``; empty while nothing is.
        listeners: are called, in the thread that measures, whenever something has changed.
    """

    def __init__(self, comparison: Comparison, runs: list[Run], settings: Settings) -> None:
        self.comparison, self.runs, self.settings = comparison, runs, settings
        self.state, self.doing = "running", ""
        self.error: BaseException | None = None
        self.listeners: list[Tell] = []
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._session: Session | None = None
        self._cancelled = False
        self._took: list[float] = []
        self._began = 0.0

    # -- how it goes --------------------------------------------------------------------------------

    def run(self) -> None:
        """Measures until nothing is pending, and returns."""
        self._thread = threading.current_thread()
        self._measure()
        if self.error:
            raise self.error

    def start(self) -> None:
        """The same in a thread."""
        _all.add(self)
        self._thread = threading.Thread(target=self._measure, name="lmkit compare", daemon=True)
        self._thread.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it has ended, in whatever state; returns whether it has."""
        return self._thread is threading.current_thread() or self._ended.wait(timeout)

    def cancel(self) -> None:
        """Ends it at once, with all its processes."""
        with self._lock:
            self._cancelled = True
            if self._session:
                self._session.cancel()
        if self._thread is not None:
            self.wait()

    def resume(self, more: Callable[[], None] = lambda: None) -> None:
        """Goes on with what was cancelled, and with what ``more`` adds to the comparison."""
        with self._lock:
            for i, variant in enumerate(self.comparison.variants):
                if variant.state == "cancelled":
                    self.comparison.variants[i] = replace(variant, state="pending")
            more()
            if self.state != "running":
                self.state, self.error, self._cancelled = "running", None, False
                self._ended = threading.Event()
                self.start()

    @property
    def seconds_left(self) -> float | None:
        """About how long it will take; None where it has ended, or waits for another one."""
        pending = sum(v.state == "pending" for v in self.comparison.variants)
        if self.state != "running" or not self._began or not pending:
            return None
        batches, rounds = len(self.settings.batches), self.settings.rounds + 1
        each = statistics.mean(self._took) if self._took else MAKE_SECONDS + 3 * batches * rounds * BLOCK_SECONDS
        return max(1.0, each - (time.monotonic() - self._began)) + each * (pending - 1)

    # -- doing it -----------------------------------------------------------------------------------

    def _measure(self) -> None:
        ended = self._ended
        if _turn.locked():
            self._tell("waits for another comparison to end")
        try:
            while not _turn.acquire(timeout=0.1):
                if self._cancelled:
                    raise Cancelled
            try:
                while self._more():
                    self._pass()
            finally:
                _turn.release()
        except Cancelled:
            self._end("cancelled")
        except BaseException as error:
            self._end("cancelled" if isinstance(error, KeyboardInterrupt) else "failed", error)
        finally:
            ended.set()

    def _more(self) -> bool:
        """Whether something is pending; else it is completed."""
        with self._lock:
            if self._cancelled:
                raise Cancelled
            if any(v.state == "pending" for v in self.comparison.variants):
                return True
            self._end("completed")
            return False

    def _pass(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            session = Session(
                self.comparison, self.runs, Path(scratch), self.settings, lambda _, doing: self._tell(doing)
            )
            with self._lock:
                self._session = session
                if self._cancelled:
                    session.cancel()
            try:
                session.run()
            finally:
                self._session = None

    def _tell(self, doing: str) -> None:
        """Notes what is being done, and how long variants take; tells whoever listens."""
        now, finished = time.monotonic(), bool(doing) and any(v.name == doing for v in self.comparison.variants)
        if finished:
            self._took.append(now - self._began)
        if finished or doing.startswith("makes "):
            self._began = now
        self.doing = doing
        for listener in list(self.listeners):
            listener(self.comparison, doing)

    def _end(self, state: str, error: BaseException | None = None) -> None:
        with self._lock:
            for i, variant in enumerate(self.comparison.variants):
                if variant.state == "pending":
                    self.comparison.variants[i] = replace(variant, state="cancelled")
            self.state, self.error, self._began = state, error, 0.0
        self._tell("")


_turn = threading.Lock()
"""Held by the one comparison of this process that measures: two at once would slow each other."""

_all: weakref.WeakSet[Work] = weakref.WeakSet()


@atexit.register
def _cancel_all() -> None:
    """Ends what still measures when the kernel does; the same call goes on with it."""
    for work in list(_all):
        with suppress(Exception):
            if work.state == "running":
                work.cancel()
