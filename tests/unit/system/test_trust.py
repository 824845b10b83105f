"""The record of trusted digests: appended to, shared by processes, bounded."""

import os
import threading

import pytest

from lmkit.system import trust


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LMKIT_DATA", str(tmp_path / "data"))
    monkeypatch.delenv(trust.SESSION, raising=False)
    return tmp_path / "data"


def test_only_what_was_remembered_is_trusted(folder):
    first, second = trust.identify("a"), trust.identify("b")
    assert not trust.is_trusted(first)
    trust.remember(first)
    trust.remember(first)
    assert trust.is_trusted(first)
    assert not trust.is_trusted(second)
    assert not trust.is_trusted(first[1:])
    assert (folder / "trusted.txt").read_text() == f"{first}\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert trust.problem() == ""


def test_many_threads_lose_nothing():
    digests = [trust.identify(i) for i in range(80)]
    parts = [digests[i::8] for i in range(8)]
    threads = [threading.Thread(target=lambda part: list(map(trust.remember, part)), args=[part]) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(map(trust.is_trusted, digests))


def test_the_record_is_bounded_and_forgets_the_oldest(folder, monkeypatch):
    monkeypatch.setattr(trust, "MAX_BYTES", 65 * 10)
    digests = [trust.identify(i) for i in range(50)]
    for digest in digests:
        trust.remember(digest)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 65 * 22
    assert all(map(trust.is_trusted, digests[-10:]))
    assert not trust.is_trusted(digests[0])


def test_a_folder_that_cannot_be_written_leaves_the_environment(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LMKIT_DATA", str(tmp_path / "file" / "data"))
    monkeypatch.setenv(trust.SESSION, "")
    for value in "ab":
        trust.remember(trust.identify(value))
    assert os.environ[trust.SESSION].split() == [trust.identify("a"), trust.identify("b")]
    assert trust.is_trusted(trust.identify("a"))
    assert trust.problem().endswith("cannot be written: set LMKIT_DATA to a folder that can")
