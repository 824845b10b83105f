"""The cores that a process may use, of its affinity and of its container."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmkit.system import cores


def group(root: Path, **files: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize(
    ("own", "parent", "expected"),
    [("max 100000", "max 100000", None), ("150000 100000", "max 100000", 1.5), ("max 100000", "50000 100000", 0.5)],
)
def test_the_quota_is_the_lowest_of_the_groups_above(
    tmp_path: Path, own: str, parent: str, expected: float | None
) -> None:
    group(tmp_path / "fs/pod", cpu__max=parent)
    group(tmp_path / "fs/pod/box", cpu__max=own)
    (tmp_path / "cgroup").write_text("0::/pod/box\n")
    assert cores.cpu_quota(tmp_path / "fs", tmp_path / "cgroup") == expected


def test_the_quota_of_the_first_version(tmp_path: Path) -> None:
    group(tmp_path / "fs/cpu/box", cpu__cfs_quota_us="250000\n", cpu__cfs_period_us="100000\n")
    group(tmp_path / "fs/cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    (tmp_path / "cgroup").write_text("4:cpu,cpuacct:/box\n2:memory:/elsewhere\n")
    assert cores.cpu_quota(tmp_path / "fs", tmp_path / "cgroup") == 2.5


def test_a_container_sees_its_own_quota_at_the_root(tmp_path: Path) -> None:
    group(tmp_path / "fs", cpu__max="100000 100000")
    assert cores.cpu_quota(tmp_path / "fs", tmp_path / "absent") == 1
    group(tmp_path / "fs", cpu__max="nonsense")
    assert cores.cpu_quota(tmp_path / "fs", tmp_path / "absent") is None


@pytest.mark.parametrize(("allowed", "quota", "expected"), [(8, 1.5, 2), (8, None, 8), (1, 4.0, 1), (4, 0.2, 1)])
def test_cores_are_those_of_affinity_and_quota(
    monkeypatch: pytest.MonkeyPatch, allowed: int, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert cores.available_cores() == expected
