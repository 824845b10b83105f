"""The user's folders are where the platform has them, unless a variable names them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lmkit.system.user_folders import cache_folder, data_folder

HOME = Path("/people/ada")


@pytest.mark.parametrize(
    ("platform", "cache", "data"),
    [
        ("linux", ".cache/lmkit", ".local/share/lmkit"),
        ("darwin", "Library/Caches/lmkit", "Library/Application Support/lmkit"),
        ("win32", "AppData/Local/lmkit/Cache", "AppData/Local/lmkit/Data"),
    ],
)
def test_the_folders_follow_the_conventions_of_the_platform(
    monkeypatch: pytest.MonkeyPatch, platform: str, cache: str, data: str
) -> None:
    for name in ("LMKIT_CACHE", "LMKIT_DATA", "XDG_CACHE_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(HOME))
    monkeypatch.setattr(sys, "platform", platform)
    assert (cache_folder(), data_folder()) == (HOME / cache, HOME / data)


def test_variables_take_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("LMKIT_DATA", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert data_folder() == tmp_path / "lmkit"
    monkeypatch.setenv("LMKIT_DATA", str(tmp_path / "mine"))
    assert data_folder() == tmp_path / "mine"
