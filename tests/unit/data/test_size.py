"""The memory that a file takes is judged before anything of it is read."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from lmkit.data.dataset import EAGER_BYTES
from lmkit.data.tables import kind, size, sources
from lmkit.data.tables.arrow_size import arrow_bytes
from lmkit.exceptions import DataError
from lmkit.specs.data import DataSpec
from lmkit.widgets import preview

ROWS = 250_000


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An .npz file of 100 kB that holds 100 MB."""
    path = tmp_path / "rows.npz"
    X = np.zeros((ROWS, 100), dtype=np.float32)
    np.savez_compressed(path, X=X, y=np.zeros(ROWS, dtype=np.int8), other=np.zeros(10))
    assert path.stat().st_size < 2**18
    return path


def test_an_archive_is_judged_by_what_it_holds(archive: Path) -> None:
    assert size.headers(archive) == {"X": ROWS * 400, "y": ROWS, "other": 80}
    assert size.unpacked_bytes(archive) == ROWS * 401 + 80
    assert size.exceeds(archive, EAGER_BYTES)
    assert not size.exceeds(archive, 2**30)


def test_a_table_is_judged_by_its_footer(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"a": np.zeros(10**6), "y": np.zeros(10**6, dtype=np.int8)}).to_parquet(path)
    assert path.stat().st_size < 10**5
    assert size.unpacked_bytes(path) >= 16 * 10**6


def test_a_text_counts_in_each_row_that_refers_to_it(tmp_path: Path) -> None:
    path, texts = tmp_path / "rows.parquet", pa.array(["L" * 5000, "s"])
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 90_000 + [1] * 9_999 + [None], pa.int32()), texts)
    parquet.write_table(pa.table({"a": np.arange(100_000), "text": rows}), path)
    assert path.stat().st_size < 10**6
    assert size.unpacked_bytes(path) == pytest.approx(90_000 * 5000, rel=0.02)
    assert size.exceeds(path, 4 * 10**8)
    assert not size.exceeds(path, 5 * 10**8)


@pytest.mark.parametrize("compression", ["zstd", "lz4", "uncompressed"])
@pytest.mark.parametrize("rows_of_a_batch", [None, 700])
def test_a_feather_file_is_judged_by_the_unpacked_size_of_its_buffers(
    tmp_path: Path, compression: str, rows_of_a_batch: int | None
) -> None:
    path, table = tmp_path / "rows.feather", pa.table({"a": np.zeros(2000), "b": pa.array(["word"] * 2000)})
    table = table.append_column("c", pa.array(["x", "y"] * 1000).dictionary_encode())
    feather.write_feather(table, path, compression=compression, chunksize=rows_of_a_batch)
    expected = max(table.nbytes, 2000 * 3 * 8)
    assert expected <= arrow_bytes(path) <= 1.05 * expected
    assert size.unpacked_bytes(path) >= expected


def test_a_column_that_takes_no_space_counts_as_what_pandas_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.feather"
    feather.write_feather(pa.table({"a": pa.nulls(10**6)}), path)
    assert path.stat().st_size < 10**4
    assert arrow_bytes(path) == 8 * 10**6
    assert size.exceeds(path, 2**22)


def test_a_damaged_feather_file_is_never_read_outside_of_itself(tmp_path: Path) -> None:
    path, draw = tmp_path / "rows.feather", np.random.default_rng(0)
    feather.write_feather(pa.table({"a": np.arange(50.0)}), path, compression="zstd")
    content = path.read_bytes()
    for _ in range(100):
        damaged = bytearray(content)
        for position in draw.integers(6, len(content), 4):
            damaged[position] = draw.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError, struct.error):
            assert arrow_bytes(path) >= 0


def test_a_stream_is_read_no_further_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(b"0" * 2**20)
    assert size.unpacked_bytes(path, 2**22) == 2**22 + 2**20
    assert size.unpacked_bytes(path) == 2**26


def test_the_preview_and_the_check_read_nothing_of_a_large_archive(archive: Path) -> None:
    spec = DataSpec(source=str(archive))
    tracemalloc.start()
    with pytest.raises(preview.TooLarge, match="too large to preview"):
        preview.load_preview(spec)
    assert kind.check(spec) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_only_the_arrays_that_are_named_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, X=np.eye(4), y=np.array([0, 1, 0, 1]), other=np.zeros(1000))
    names: list[str] = []
    read = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(
        np.lib.npyio.NpzFile,
        "__getitem__",
        lambda file, key: names.append(key) or read(file, key),  # type: ignore[func-returns-value]
    )
    assert sources.read(DataSpec(source=str(path))).shape == (4, 5)
    assert sorted(names) == ["X", "y"]


@pytest.mark.parametrize("shape", [(10**12, 8), (3, 8), (0,)])
def test_a_header_that_states_another_size_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path, member = tmp_path / "rows.npz", io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", member.getvalue() + bytes(8 * 4 * 8))
        archive.writestr("y.npy", member.getvalue() + bytes(8 * 4 * 8))
    with pytest.raises(DataError, match="expected an array of numbers that is whole"):
        sources.read(DataSpec(source=str(path)))


def test_what_does_not_fit_into_memory_is_refused(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "MEMORY_SHARE", 1e-6)
    with pytest.raises(DataError, match=r"holds 100 MB unpacked, and this machine has"):
        sources.read(DataSpec(source=str(archive)))
