"""Temporary folders that a killed process leaves are removed by a later process, and no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys, time
from lmkit.system.temporary import temporary_folder
folder = temporary_folder()
print(folder.name, flush=True)
if sys.argv[1:]:
    time.sleep(60)
"""


def started(*arguments: str) -> tuple[subprocess.Popen[str], Path]:
    """A process with a temporary folder, and the folder."""
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    return child, Path(child.stdout.readline().strip())


def test_the_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    killed, abandoned = started("stay")
    living, used = started("stay")
    others = [tmp_path / name for name in ("lmkit-", "lmkit-x", f"lmkit-0000-{abandoned.name[11:]}", "other")]
    for path in others:
        path.mkdir()
    victim, link = tmp_path / "victim", tmp_path / f"{abandoned.name}x"
    (victim / "file").mkdir(parents=True)
    try:
        killed.kill()
        killed.wait()
        link.symlink_to(victim)
        assert abandoned.is_dir()
        last, own = started()
        assert last.wait() == 0
        assert not own.exists()
        assert not abandoned.exists()
        assert used.is_dir()
        assert all(path.is_dir() for path in others)
        assert (victim / "file").is_dir()
    finally:
        living.kill()
        living.wait()
