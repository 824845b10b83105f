"""A process is known by its start since boot, which stays the same when the clock of the machine is set."""

from __future__ import annotations

import os
import sys

import psutil
import pytest

from lmkit.system.processes import is_alive, process


def test_this_process_is_alive_and_another_start_is_another_process() -> None:
    record = process()
    assert is_alive(record["pid"], record["pid_started"])
    assert not is_alive(record["pid"], record["pid_started"] + 0.01)
    assert not is_alive(2**22 + 1, record["pid_started"])
    assert not is_alive(0, 0.0)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_setting_the_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    record, boot_time = process(), psutil.boot_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: boot_time + step)
    assert is_alive(record["pid"], record["pid_started"])
    assert process() == record


def test_the_start_is_in_seconds_since_boot() -> None:
    written = psutil.Process().create_time() - psutil.boot_time()
    assert process()["pid_started"] == pytest.approx(written, abs=2.0)


def test_a_start_that_lmkit_0_2_wrote_is_still_read() -> None:
    started = psutil.Process().create_time()
    assert is_alive(os.getpid(), started)
    assert not is_alive(os.getpid(), started - 100)
