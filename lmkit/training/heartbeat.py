"""The heartbeat of a run: the time in its status, and ``ranks/<n>.json`` of one of several processes."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil

from lmkit.runfolder.ranks import RankRecord, SilenceWatch, describe_silence, read_ranks, write_rank
from lmkit.system.processes import process

if TYPE_CHECKING:
    from lmkit.runfolder.status import Cause
    from lmkit.training.recorder import Recorder

HEARTBEAT_SECONDS = 2.0
"""Interval at which a process says that it lives: a step, or a compilation, may take long."""


class Heartbeat:
    """Renews the status of a run, and the record of this process, while it trains; a process alone has no record.

    Args:
        recorder: of the run.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.folder, self.ranks = recorder, recorder.folder, recorder.ranks
        self.record = RankRecord(rank=self.ranks.rank, host=socket.gethostname(), **process())
        self.begin = time.time()

    def write(self) -> None:
        """Write the record, with the time and the step of now."""
        if self.ranks.world == 1:
            return
        progress = self.recorder.progress
        self.record = replace(
            self.record,
            heartbeat=time.time(),
            step=progress.step if progress else self.record.step,
            memory=psutil.Process().memory_info().rss,
        )
        with contextlib.suppress(OSError):  # the first process meets the same error and reports it
            write_rank(self.folder, self.record)

    def fail(self, reason: str, cause: Cause, *, neighbour: bool) -> None:
        """Write why this process ends; ``neighbour``: only because another one is gone."""
        self.record = replace(self.record, error=reason, cause=cause, failed_at=time.time(), neighbour=neighbour)
        self.write()

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Renew status and record from a thread meanwhile, and end this process once its launcher is gone."""
        self.write()
        stop = threading.Event()
        thread = threading.Thread(target=self._beat, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.write()

    def _beat(self, stop: threading.Event) -> None:
        silence = SilenceWatch()
        while not stop.wait(HEARTBEAT_SECONDS):
            if self.ranks.launcher and os.getppid() != self.ranks.launcher:
                os._exit(1)  # nobody would restart it, and it may wait for others for ever
            self.recorder.renew_heartbeat()
            self.write()
            if self.ranks.world > 1 and self.ranks.is_first and not self.ranks.launcher:
                self._end_if_silent(silence)

    def _end_if_silent(self, silence: SilenceWatch) -> None:
        """End this process where another one hangs, so that who launched them restarts all."""
        records = [record for record in read_ranks(self.folder)[: self.ranks.world] if record.rank]
        silent = silence.find((record for record in records if record.heartbeat > self.begin), time.monotonic())
        if silent is not None:
            reason = describe_silence(silent)
            self.fail(reason, "", neighbour=True)
            with contextlib.suppress(OSError):
                self.recorder.write_status(state="restarting", reason=reason)
            print(reason, file=sys.stderr, flush=True)
            os._exit(1)
