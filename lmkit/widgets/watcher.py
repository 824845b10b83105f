"""One thread that polls all displayed runs and sweeps."""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from contextlib import suppress
from typing import Any, Protocol

from lmkit.widgets import CELL

POLL_SECONDS = 0.25
"""Seconds between two polls of the runs."""

CATCH_UP_SECONDS = 0.05
"""Seconds between two polls while reading a long log."""

MAX_FAILURES = 20
"""Number of consecutive failed polls (such as a disconnected disk) after which a monitor is removed."""


class Pollable(Protocol):
    """A monitor, or the live table of a sweep."""

    widget: Any
    done: bool

    def poll(self) -> bool:
        """Read and send new data; return whether more is available immediately."""


class _Watcher:
    """The thread that polls all monitors; it ends with the last of them."""

    def __init__(self) -> None:
        self.monitors: weakref.WeakSet[Pollable] = weakref.WeakSet()
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()

    def add(self, monitor: Pollable) -> None:
        with self.lock:
            self.monitors.add(monitor)
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, name="lmkit monitor", daemon=True)
                self.thread.start()

    def _run(self) -> None:
        CELL.copy().run(self._poll_all)

    def _poll_all(self) -> None:
        failures: Counter[Pollable] = Counter()
        while True:
            behind = self._poll_once(failures)
            with self.lock:
                self.monitors = weakref.WeakSet(m for m in self.monitors if not m.done)
                if not self.monitors:
                    self.thread = None
                    return
            time.sleep(CATCH_UP_SECONDS if behind else POLL_SECONDS)

    def _poll_once(self, failures: Counter[Pollable]) -> bool:
        """Poll each monitor; return whether one has more to read. It holds none of them afterwards."""
        with self.lock:  # another thread may add one meanwhile
            monitors = list(self.monitors)
        behind = False
        for monitor in monitors:
            try:
                behind |= monitor.poll()
                del failures[monitor]
            except Exception as error:  # such as a deleted folder; the other monitors continue
                failures[monitor] += 1
                if failures[monitor] >= MAX_FAILURES:
                    monitor.done = True
                    del failures[monitor]
                    with suppress(Exception):  # its page may be what has failed
                        monitor.widget.send(
                            {"type": "message", "text": f"no longer updated: {error}", "is_error": True}
                        )
        return behind


watcher = _Watcher()
