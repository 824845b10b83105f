"""The folder of executed notebooks is bounded in age and size, and nothing else is removed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lmkit.batch import notebook_folder
from lmkit.batch.notebook_folder import DAY, new_notebook, remove_old


def write(folder: Path, name: str, days: float, size: int = 1) -> Path:
    """A file that was written so many days ago."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(bytes(size))
    os.utime(folder / name, (time.time() - days * DAY,) * 2)
    return folder / name


def test_old_notebooks_are_removed_when_another_is_executed(tmp_path: Path) -> None:
    folder = tmp_path / ".notebooks"
    old = [write(folder, f"20260101-101500-train-3f2a1c.{end}", 31) for end in ("ipynb", "html", "log")]
    kept = [write(folder, "20260101-101500-train-3f2a1d.ipynb", 29), write(folder, "mine.ipynb", 400)]
    path = new_notebook(tmp_path, "own one")
    assert path.parent == folder
    assert notebook_folder.NAME.fullmatch(path.name)
    assert [p.exists() for p in (*old, *kept)] == [False, False, False, True, True]


def test_the_oldest_are_removed_above_the_size_but_none_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook_folder, "MAX_BYTES", 250)
    files = [write(tmp_path, f"20260101-101500-train-00000{i}.ipynb", days, 100) for i, days in enumerate((5, 4, 3, 2))]
    assert remove_old(tmp_path) == 2
    assert [p.exists() for p in files] == [False, False, True, True]
    for i in range(3):
        write(tmp_path, f"20260101-101500-train-10000{i}.ipynb", 0, 100)
    assert remove_old(tmp_path) == 2
    assert len(list(tmp_path.iterdir())) == 3


def test_links_lead_to_nothing_that_is_removed(tmp_path: Path) -> None:
    target = write(tmp_path / "elsewhere", "20260101-101500-train-3f2a1c.ipynb", 40)
    (tmp_path / ".notebooks").symlink_to(tmp_path / "elsewhere")
    assert remove_old(tmp_path / ".notebooks") == 0
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / target.name).symlink_to(target)
    assert remove_old(tmp_path / "folder") == 0
    assert target.exists()
    assert remove_old(tmp_path / "none") == 0
