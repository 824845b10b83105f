"""Who drives a sweep, seen from a machine whose clock differs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from written_sweep import written_sweep

import lmkit as lk
from lmkit.runfolder.status import LOST_AFTER
from lmkit.system.files import write_json


def test_a_driver_elsewhere_lives_as_long_as_its_lock_is_held(tmp_path: Path) -> None:
    lock = written_sweep(tmp_path, grid={"lr": [0.1]}).folder.lock
    write_json(lock.path, {"pid": 1, "pid_started": 5.0, "host": "elsewhere", "token": "a", "since": 0.0})
    old = time.time() - LOST_AFTER - 1
    os.utime(lock.path, (old, old))
    with lock.process_lock.hold():
        assert lock.holder() is not None
        with pytest.raises(lk.SweepError, match="already running in process 1 on elsewhere"):
            lock.check_free()
    assert lock.holder() is None
    with lock.acquire():
        assert lock.process_lock.is_held
        holder = lock.holder()
        assert holder is not None
        assert holder.pid == os.getpid()
    assert not lock.path.exists()
