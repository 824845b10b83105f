"""How many processor cores this process may use; it needs the standard library alone."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux mounts the control groups, and where it lists those of this process."""


def available_cores() -> int:
    """Return how many cores this process may use: those of its affinity, and no more than its container's quota.

    >>> 1 <= available_cores() <= (os.cpu_count() or 1)
    True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> float | None:
    """Return the seconds of processor time per second that control groups allow this process; None without a limit.

    Args:
        root: where the control groups are mounted; version 2 has ``cpu.max``, version 1 ``cpu/cpu.cfs_quota_us``.
        membership: the list of the process's groups.
    """
    quotas = []
    for folder, names in _control_groups(root, membership):
        with contextlib.suppress(OSError, ValueError):
            text = " ".join((folder / name).read_text(encoding="utf-8") for name in names)
            quota, period = text.split()[:2]
            if quota.isdigit() and int(quota) and int(period):  # "max" and -1 are no limit
                quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _control_groups(root: Path, membership: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield the folders of the process's groups and of the groups above, each with the files that hold its quota."""
    second, first = ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    groups = [(root, "/", second), (root / "cpu", "/", first)]
    with contextlib.suppress(OSError, ValueError):
        for line in membership.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                groups.append((root, path, second))
            elif "cpu" in controllers.split(","):
                groups.append((root / "cpu", path, first))
    for base, path, names in groups:
        group = PurePosixPath(path)
        for part in (group, *group.parents):
            yield base / str(part).lstrip("/"), names
