"""Leases of GPUs: the least used one, shared where there are more runs, free again when a process is gone."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from lmkit.system.leases import count_leases, lease


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMKIT_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_leases_spread_over_the_gpus_and_then_share_them() -> None:
    with ExitStack() as stack:
        positions = [stack.enter_context(lease(["GPU-a", "GPU-b"])) for _ in range(4)]
    assert positions == [0, 1, 0, 1]


def test_a_lease_that_ended_is_free(data: Path) -> None:
    with lease(["GPU-a", "GPU-b"]):
        assert count_leases(data / "gpus" / "GPU-a") == 1
        with lease(["GPU-a", "GPU-b"]) as second:
            assert second == 1
        with lease(["GPU-a", "GPU-b"]) as third:
            assert third == 1
    assert count_leases(data / "gpus" / "GPU-a") == 0
    assert not list((data / "gpus" / "GPU-a").iterdir())


def test_free_memory_decides_between_equally_used_gpus() -> None:
    with lease(["GPU-a", "GPU-b"], [1, 2]) as first, lease(["GPU-a", "GPU-b"], [1, 2]) as second:
        assert (first, second) == (1, 0)


def test_the_lease_of_a_process_that_died_is_free(data: Path) -> None:
    folder = data / "gpus" / "GPU-a"
    folder.mkdir(parents=True)
    (folder / "4711-00000000.lease").touch()  # nobody holds its lock
    assert count_leases(folder) == 0
    assert not list(folder.iterdir())


def test_a_name_is_no_path(data: Path) -> None:
    with lease(["../../outside"]):
        assert [path.parent.name for path in data.rglob("*.lease")] == [".._.._outside"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_without_a_folder_every_gpu_counts_as_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    monkeypatch.setenv("LMKIT_DATA", str(tmp_path / "locked" / "data"))
    with lease(["GPU-a", "GPU-b"]) as first, lease(["GPU-a", "GPU-b"]) as second:
        assert (first, second) == (0, 0)
