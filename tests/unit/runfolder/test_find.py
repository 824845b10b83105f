"""Runs by name: how often the folder of the runs is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

import lmkit as lk
from lmkit.runfolder import find
from lmkit.runfolder.folder import RunFolder


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Twenty folders of runs; gets an entry whenever they are listed."""
    calls: list[int] = []
    list_runs = find.run_folders

    def count(root: str | Path | None = None) -> list[RunFolder]:
        calls.append(1)
        return list_runs(root)

    monkeypatch.setattr(find, "run_folders", count)
    for i in range(20):
        folder = tmp_path / "runs" / f"20260101-0000{i:02}-mlp-{i:06x}"
        folder.mkdir(parents=True)
        (folder / "experiment.yaml").write_text("name: mlp\n")
    return calls


def test_many_runs_are_attached_to_by_one_listing(listings: list[int]) -> None:
    names = [f"{i:06x}" for i in range(20)]
    runs = lk.attach(*names)
    assert [run.name.rsplit("-", 1)[-1] for run in runs] == names
    assert listings == [1]


def test_a_whole_name_needs_no_listing(listings: list[int]) -> None:
    assert lk.attach("20260101-000003-mlp-000003").name == "20260101-000003-mlp-000003"
    assert listings == []


def test_what_is_no_name_is_refused_as_one(listings: list[int]) -> None:
    with pytest.raises(lk.RunNotFound, match=r"given an int, expected a run"):
        lk.attach("000001", 5)  # type: ignore[call-overload]
