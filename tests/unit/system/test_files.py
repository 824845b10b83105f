"""Files and folders that are replaced whole or not at all, with no link followed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmkit.exceptions import DamagedFile
from lmkit.system.files import (
    JsonLines,
    create_json,
    new_path,
    old_path,
    replace_directory,
    replace_file,
    write_bytes,
    write_json,
    write_text,
)
from lmkit.system.reading import read_json


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_text(path, "old\n")
    write_json(path, {"path": Path("x")}, default=str, sync=True)
    assert json.loads(path.read_text()) == {"path": "x"}
    write_bytes(path, b"\r\n")
    assert path.read_bytes() == b"\r\n"
    assert _names(tmp_path) == ["status.json"]


def test_the_mode_of_a_file_is_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_text(tmp_path / "file", "text")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_text(path, "old")
    with pytest.raises(TypeError):
        write_json(path, object())
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012, SIM117 - the failure is inside
        with replace_file(path) as temporary_path:
            temporary_path.write_text("half")
            raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["status.json"]


def test_no_link_is_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "file"
    target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        JsonLines(path).append({"a": 1})
    write_text(path, "new")
    assert target.read_text() == "precious"
    assert not path.is_symlink()
    assert path.read_text() == "new"


def test_a_link_in_place_of_a_temporary_folder_is_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "folder"
    target.mkdir()
    (target / "precious").touch()
    new_path(path).symlink_to(target)
    with replace_directory(path) as folder:
        (folder / "file").touch()
    assert _names(target) == ["precious"]
    assert _names(path) == ["file"]


def test_json_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "claim.json"
    assert create_json(path, 1)
    assert not create_json(path, 2)
    assert read_json(path) == 1
    assert _names(tmp_path) == ["claim.json"]


def test_json_that_is_absent_is_none(tmp_path: Path) -> None:
    path = tmp_path / "half.json"
    assert read_json(path) is None
    path.write_text('{"a": ')
    assert read_json(path / "x.json") is None
    with pytest.raises(DamagedFile, match=r"half\.json' cannot be read: not JSON"):
        read_json(path)


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "last"
    for content in ("first", "second"):
        with replace_directory(path, sync=True) as folder:
            (folder / content).write_text(content)
    assert _names(path) == ["second"]
    assert _names(tmp_path) == ["last"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "last"
    with replace_directory(path) as folder:
        (folder / "first").touch()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012, SIM117 - the failure is inside
        with replace_directory(path) as folder:
            (folder / "half").touch()
            raise ZeroDivisionError
    assert _names(path) == ["first"]
    assert _names(tmp_path) == ["last"]


def test_what_a_crash_left_is_cleared(tmp_path: Path) -> None:
    path = tmp_path / "last"
    for left in (path, new_path(path), old_path(path)):
        left.mkdir()
        (left / "left").touch()
    with replace_directory(path) as folder:
        (folder / "new").touch()
    assert _names(path) == ["new"]
    assert _names(tmp_path) == ["last"]


def test_an_existing_folder_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with replace_directory(path, existing="keep") as outer:
        (outer / "outer").touch()
        with replace_directory(path, existing="keep") as inner:  # another process, as it were
            (inner / "inner").touch()
    assert _names(path) == ["inner"]
    assert _names(tmp_path) == ["data"]


def test_an_existing_folder_can_be_required_to_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    path.mkdir()
    with replace_directory(path, existing="empty") as folder:
        (folder / "file").touch()
    with pytest.raises(OSError, match="not empty"), replace_directory(path, existing="empty") as folder:
        (folder / "other").touch()
    assert _names(path) == ["file"]
    assert _names(tmp_path) == ["bundle"]


def test_a_log_of_any_size_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"a": 1}\n')
    with path.open("ab") as file:
        file.truncate(2**36)  # zeros, which take no space on the disk
    with pytest.raises(DamagedFile, match=r"it has 68,719,476,736 bytes, expected at most 2,147,483,648"):
        JsonLines(path).read()
    assert JsonLines(path).read(quiet=True, limit=4) == ([{"a": 1}], 9)
