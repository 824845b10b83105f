"""The measurement of a comparison: in the caller's thread, or in the background, so that a notebook's cell returns.

Finished variants are saved in the run's folder, so a cancelled measurement can be resumed at any time.
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

from lmkit.deploy.compare.benchmark import Benchmark, Cancelled, Settings
from lmkit.deploy.measure.statistics import BLOCK_SECONDS
from lmkit.deploy.variant import Variant
from lmkit.run.run import Run

BUILD_SECONDS = 4.0
"""Estimate of what building and loading a variant takes, before the first one is measured."""


class Job:
    """The measurement of the pending variants of a comparison.

    Attributes:
        variants: the variants; each pending one is replaced by its result.
        state: running, completed, cancelled, or failed if the measurement itself could not continue.
        doing: what is in progress, such as ``timing digits/onnx``; empty if nothing is.
        listeners: called with ``doing``, in the measuring thread, whenever something has changed.
    """

    def __init__(self, variants: list[Variant], runs: list[Run], settings: Settings) -> None:
        self.variants, self.runs, self.settings = variants, runs, settings
        self.state, self.doing = "running", ""
        self.error: BaseException | None = None
        self.listeners: list[Callable[[str], None]] = []
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._benchmark: Benchmark | None = None
        self._cancelled = False
        self._durations: list[float] = []
        self._variant_start = 0.0

    # -- control ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Measure in the caller's thread until nothing is pending."""
        self._thread = threading.current_thread()
        self._measure()
        if self.error:
            raise self.error

    def start(self) -> None:
        """Measure in a background thread."""
        _jobs.add(self)
        self._thread = threading.Thread(target=self._measure, name="lmkit compare", daemon=True)
        self._thread.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended, in any state; return whether it has."""
        return self._thread is threading.current_thread() or self._ended.wait(timeout)

    def cancel(self) -> None:
        """End the job and all its processes at once."""
        with self._lock:
            self._cancelled = True
            if self._benchmark:
                self._benchmark.cancel()
        if self._thread is not None:
            self.wait()

    def resume(self, extend: Callable[[], None] = lambda: None) -> None:
        """Continue with the cancelled variants, and with those that ``extend`` appends."""
        with self._lock:
            for i, variant in enumerate(self.variants):
                if variant.state == "cancelled":
                    self.variants[i] = replace(variant, state="pending")
            extend()
            if self.state != "running":
                self.state, self.error, self._cancelled = "running", None, False
                self._ended = threading.Event()
                self.start()

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the remaining seconds; None if the job has ended, or waits for another one."""
        pending = sum(v.state == "pending" for v in self.variants)
        if self.state != "running" or not self._variant_start or not pending:
            return None
        batches, rounds = len(self.settings.batches), self.settings.rounds + 1
        seconds = BUILD_SECONDS + 3 * batches * rounds * BLOCK_SECONDS
        if self._durations:
            seconds = statistics.mean(self._durations)
        return max(1.0, seconds - (time.monotonic() - self._variant_start)) + seconds * (pending - 1)

    # -- measurement --------------------------------------------------------------------------------

    def _measure(self) -> None:
        ended = self._ended
        if _turn.locked():
            self._notify("waiting for another comparison to end")
        try:
            while not _turn.acquire(timeout=0.1):
                if self._cancelled:
                    raise Cancelled
            try:
                while self._has_pending():
                    self._run_benchmark()
            finally:
                _turn.release()
        except Cancelled:
            self._end("cancelled")
        except BaseException as error:
            self._end("cancelled" if isinstance(error, KeyboardInterrupt) else "failed", error)
        finally:
            ended.set()

    def _has_pending(self) -> bool:
        """Return whether a variant is pending; complete the job otherwise."""
        with self._lock:
            if self._cancelled:
                raise Cancelled
            if any(v.state == "pending" for v in self.variants):
                return True
            self._end("completed")
            return False

    def _run_benchmark(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            benchmark = Benchmark(self.variants, self.runs, Path(scratch), self.settings, self._notify)
            with self._lock:
                self._benchmark = benchmark
                if self._cancelled:
                    benchmark.cancel()
            try:
                benchmark.run()
            finally:
                self._benchmark = None

    def _notify(self, activity: str) -> None:
        """Record what is in progress and how long variants take, and call the listeners."""
        now, finished = time.monotonic(), bool(activity) and any(v.name == activity for v in self.variants)
        if finished:
            self._durations.append(now - self._variant_start)
        if finished or activity.startswith("building "):
            self._variant_start = now
        self.doing = activity
        for listener in list(self.listeners):
            listener(activity)

    def _end(self, state: str, error: BaseException | None = None) -> None:
        with self._lock:
            for i, variant in enumerate(self.variants):
                if variant.state == "pending":
                    self.variants[i] = replace(variant, state="cancelled")
            self.state, self.error, self._variant_start = state, error, 0.0
        self._notify("")


_turn = threading.Lock()
"""Held by the one job of this process that measures, since two at once would slow each other."""

_jobs: weakref.WeakSet[Job] = weakref.WeakSet()


@atexit.register
def _cancel_all() -> None:
    """Cancel running jobs when the kernel exits; the same call resumes them."""
    for job in list(_jobs):
        with suppress(Exception):
            if job.state == "running":
                job.cancel()
