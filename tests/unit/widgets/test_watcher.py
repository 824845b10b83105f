"""The thread that polls what is displayed: one display that fails does not end it, and one that is gone is let go."""

from __future__ import annotations

import gc
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from lmkit.widgets import watcher as module
from lmkit.widgets.watcher import _Watcher


class Display:
    """A display that counts its polls; a broken one fails to read its folder and to reach its page."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken, self.done, self.polled = broken, False, threading.Semaphore(0)
        self.widget: Any = SimpleNamespace(send=self.send)

    def poll(self) -> bool:
        if self.broken:
            raise OSError("the folder is gone")
        self.polled.release()
        return False

    def send(self, _: Any) -> None:
        raise RuntimeError("the page is gone")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FAILURES", 1)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.005)


@pytest.mark.usefixtures("quick")
def test_a_display_that_fails_leaves_the_others_polled() -> None:
    broken, sound, watcher = Display(broken=True), Display(), _Watcher()
    watcher.add(broken)
    watcher.add(sound)
    assert all(sound.polled.acquire(timeout=5) for _ in range(5))
    assert broken.done
    thread, sound.done = watcher.thread, True
    assert thread is not None
    thread.join(5)
    assert watcher.thread is None


@pytest.mark.usefixtures("quick")
def test_a_display_that_nobody_holds_ends_the_thread() -> None:
    display, watcher = Display(), _Watcher()
    watcher.add(display)
    thread, gone = watcher.thread, weakref.ref(display)
    assert display.polled.acquire(timeout=5)
    del display
    for _ in range(200):
        gc.collect()
        if gone() is None:
            break
    assert thread is not None
    thread.join(5)
    assert gone() is None
    assert not thread.is_alive()
