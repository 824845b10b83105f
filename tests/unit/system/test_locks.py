"""One holder at a time; a reader sees it and disturbs nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmkit.system.locks import LockHeld, ProcessLock


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    lock, other = ProcessLock(tmp_path / ".lock"), ProcessLock(tmp_path / ".lock")
    assert not lock.is_held
    with lock.hold():
        assert other.is_held
        with pytest.raises(LockHeld), other.hold(timeout=0.05):
            pass
    assert not other.is_held
    with other.hold():
        pass


def test_it_is_released_by_an_exception(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / ".lock")
    with pytest.raises(ZeroDivisionError), lock.hold():
        raise ZeroDivisionError
    assert not lock.is_held


def test_no_link_is_followed_and_no_pipe_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with ProcessLock(tmp_path / "link").hold():
        assert not (tmp_path / "target").exists()
    os.mkfifo(tmp_path / "pipe")
    assert not ProcessLock(tmp_path / "pipe").is_held


def test_a_folder_that_is_gone_has_a_free_lock(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "gone" / ".lock")
    assert not lock.is_held
    with lock.hold():
        assert not (tmp_path / "gone").exists()
