"""The source file of a module that a run names, found without running code."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmkit.data.fingerprint import _user_module


@pytest.mark.parametrize("files", [["inner/own.py"], ["inner/__init__.py", "inner/own.py"]], ids=["folder", "package"])
def test_a_module_in_a_folder_is_found_whether_or_not_it_is_a_package(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in files:
        path = tmp_path / "outer_of_a_test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert _user_module("outer_of_a_test.inner.own") == tmp_path / "outer_of_a_test" / "inner" / "own.py"
    assert _user_module("outer_of_a_test.inner.other") is None
    assert _user_module("json.decoder") is None
