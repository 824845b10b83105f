"""Checkpoints in several files: whoever reads them gets whole arrays, or the name of the file that is wrong."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import damaged, damages
from safetensors.numpy import load_file as load_reference
from safetensors.numpy import save_file as save_reference

from lmkit import Experiment, LmkitError
from lmkit.exceptions import DamagedFile
from lmkit.runfolder import shards
from lmkit.runfolder.folder import RunFolder, check_weights
from lmkit.runfolder.shards import (
    ShardIndex,
    array_files,
    array_shapes,
    load_arrays,
    save_arrays,
    save_part,
    write_index,
)

ARRAYS: dict[str, np.ndarray] = {
    "embeddings": np.arange(60, dtype=np.float32).reshape(12, 5),
    "dense.kernel": np.arange(10, dtype=np.float64).reshape(5, 2),
    "dense.bias": np.arange(2, dtype=np.float64),
    "step": np.array(7),
}


def equal(arrays: Any, expected: dict[str, np.ndarray]) -> bool:
    return arrays.keys() == expected.keys() and all(
        arrays[name].dtype == a.dtype and np.array_equal(arrays[name], a) for name, a in expected.items()
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the arrays in three files."""
    save_arrays(ARRAYS, tmp_path, "weights", limit=100)
    return tmp_path


def edit_index(folder: Path, **changes: Any) -> None:
    path = folder / "weights.index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# -- whole ----------------------------------------------------------------------------------------


def test_small_arrays_are_one_file_that_every_tool_reads(tmp_path: Path) -> None:
    save_arrays(ARRAYS, tmp_path, "weights")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]
    assert equal(load_reference(tmp_path / "weights.safetensors"), ARRAYS)
    assert equal(load_arrays(tmp_path, "weights"), ARRAYS)


def test_large_arrays_are_several_files_and_an_index(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "weights-00001-of-00003.safetensors",
        "weights-00002-of-00003.safetensors",
        "weights-00003-of-00003.safetensors",
        "weights.index.json",
    ]
    assert equal({k: v for name in names[:3] for k, v in load_reference(folder / name).items()}, ARRAYS)
    assert equal(load_arrays(folder, "weights"), ARRAYS)
    assert array_shapes(folder, "weights") == {name: a.shape for name, a in ARRAYS.items()}
    assert [path.name for path in array_files(folder, "weights")] == names[:3]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert load_arrays(tmp_path, "optimizer") is None
    assert array_shapes(tmp_path, "optimizer") is None
    assert array_files(tmp_path, "optimizer") == []


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("processes", [1, 2, 5])
def test_parts_of_any_number_of_processes_are_joined(tmp_path: Path, processes: int, axis: int) -> None:
    """As FSDP divides a weight: by its first axis, which is another one in the shared layout; some get no row."""
    whole = np.arange(12.0).reshape(3, 4)
    for rank, part in enumerate(np.array_split(whole, processes, axis=axis)):
        arrays: dict[str, np.ndarray] = {
            "w": np.ascontiguousarray(part),
            **({"step": np.array(3)} if rank == 0 else {}),
        }
        save_part(arrays, tmp_path, "weights", rank, processes, "k")
    write_index(tmp_path, "weights", ShardIndex(shards.FORMAT, processes, "k", {"w": axis}))
    assert equal(load_arrays(tmp_path, "weights"), {"w": whole, "step": np.array(3)})
    assert array_shapes(tmp_path, "weights") == {"w": (3, 4), "step": ()}


def test_a_checkpoint_above_the_size_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    folder = RunFolder.create(Experiment(), tmp_path)
    folder.save_checkpoint("last", ARRAYS, {"m": ARRAYS["embeddings"]}, {"step": 7})
    saved = folder.load_checkpoint("last")
    assert saved is not None
    assert equal(saved[0], ARRAYS)
    assert equal(saved[1], {"m": ARRAYS["embeddings"]})
    monkeypatch.undo()
    folder.save_checkpoint("last", ARRAYS, {}, {"step": 8})  # smaller again: nothing of the former one is left
    assert sorted(p.name for p in (folder.checkpoints / "last").iterdir()) == ["state.json", "weights.safetensors"]


# -- wrong ----------------------------------------------------------------------------------------


def swap(folder: Path) -> None:
    """Put a file of another checkpoint of the same model into its place."""
    other = folder / "other"
    other.mkdir()
    save_arrays(ARRAYS, other, "weights", limit=100)
    (other / "weights-00002-of-00003.safetensors").replace(folder / "weights-00002-of-00003.safetensors")


def truncate(folder: Path) -> None:
    path = folder / "weights-00002-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def link(folder: Path) -> None:
    """Let all files be one, so that a small folder would fill the memory."""
    first = folder / "weights-00001-of-00003.safetensors"
    for number in (2, 3):
        path = folder / f"weights-0000{number}-of-00003.safetensors"
        path.unlink()
        os.link(first, path)
    edit_index(folder, axes={"embeddings": 0})


def repeat(folder: Path) -> None:
    """Write an array into two files."""
    key = json.loads((folder / "weights.index.json").read_text())["key"]
    save_part({"embeddings": np.zeros((2, 5), np.float32)}, folder, "weights", 1, 3, key)


def misfit(folder: Path) -> None:
    """Write a part with another shape."""
    key = json.loads((folder / "weights.index.json").read_text())["key"]
    save_part({"embeddings": np.zeros((2, 4), np.float32)}, folder, "weights", 1, 3, key)
    edit_index(folder, axes={"embeddings": 0})


def pipe(folder: Path) -> None:
    """Put a pipe, for which a reader would wait, into the place of a file."""
    path = folder / "weights-00001-of-00003.safetensors"
    path.unlink()
    os.mkfifo(path)


def remove(folder: Path) -> None:
    (folder / "weights-00002-of-00003.safetensors").unlink()


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (remove, "00002-of-00003.*copy all of them"),
    "truncated": (truncate, "00002-of-00003"),
    "of another checkpoint": (swap, "00002-of-00003.*belongs to another checkpoint"),
    "without a key": (
        lambda f: save_reference(ARRAYS, f / "weights-00002-of-00003.safetensors"),
        "00002-of-00003.*belongs to another checkpoint",
    ),
    "newer": (lambda f: edit_index(f, format=2), r"index.json.*later version of lmkit wrote it \(format 2, expected 1"),
    "one file by many names": (link, "index.json.*links to one file"),
    "an array in two files": (repeat, "'embeddings' is in 2 of its files"),
    "parts that do not fit": (misfit, r"the parts of 'embeddings' do not fit together: \(12, 5\), \(2, 4\)"),
    "many files": (lambda f: edit_index(f, files=10**9), "index.json.*files"),
    "no files": (lambda f: edit_index(f, files=0), "index.json.*files"),
    "a name as number": (lambda f: edit_index(f, files="../../etc"), "index.json.*files"),
    "a far axis": (lambda f: edit_index(f, axes={"embeddings": 10**6}), "index.json.*axes"),
    "a pipe": (pipe, "00001-of-00003.*no regular file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(folder: Path, case: str) -> None:
    spoil, message = WRONG[case]
    spoil(folder)
    for read in (load_arrays, array_shapes):
        with pytest.raises(DamagedFile, match=message):
            read(folder, "weights")


def test_weights_of_another_model_are_named_by_the_index(folder: Path) -> None:
    expected = ARRAYS | {"dense.bias": np.zeros(3)}
    with pytest.raises(
        DamagedFile, match=r"weights.index.json.*'dense.bias' has the shape \(2,\), and the model needs"
    ):
        check_weights({name: a.shape for name, a in expected.items()}, load_arrays(folder, "weights") or {}, folder)


@pytest.mark.parametrize("file", ["weights.index.json", "weights-00001-of-00003.safetensors"])
def test_a_damaged_file_is_an_answer_or_an_error_of_ours(folder: Path, file: str) -> None:
    for damage in damages((folder / file).read_bytes(), seed=1, count=60):
        with damaged(folder / file, damage), contextlib.suppress(LmkitError):
            load_arrays(folder, "weights")


def test_an_index_is_plain() -> None:
    assert asdict(ShardIndex(1, 2, "k", {"w": 0})) == {"format": 1, "files": 2, "key": "k", "axes": {"w": 0}}
