"""How much memory the content of a Parquet file takes, judged before it is read as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXTS = ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
"""The physical types of values of which a dictionary holds each once."""

BATCH_ROWS = 2**16


def parquet_bytes(path: Path, limit: int | None = None) -> int:
    """Return the bytes that the content of a Parquet file takes in memory.

    Each value counts as 8 bytes at least. A text that many rows refer to is in the file once, and in memory once a row.

    Args:
        path: the file.
        limit: where only a larger size matters, so that no more texts are counted than necessary.
    """
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        metadata = file.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        size = max(
            sum(int(group.total_byte_size) for group in groups), int(metadata.num_rows) * int(metadata.num_columns) * 8
        )
        chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    chunks = [chunk for chunk in chunks if chunk.physical_type in TEXTS]
    largest = sum(int(chunk.num_values) * int(chunk.total_uncompressed_size) for chunk in chunks)
    if limit is not None and size + largest <= limit:
        return size
    return size + _text_bytes(path, sorted({chunk.path_in_schema for chunk in chunks}), limit)


def _text_bytes(path: Path, columns: list[str], limit: int | None) -> int:
    """Return the bytes of the texts of all rows of columns, of which the dictionaries alone are read."""
    from pyarrow.parquet import ParquetFile

    size = 0
    for column in columns:
        with ParquetFile(path, read_dictionary=[column]) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=[column]):
                size += sum(_array_bytes(array) for array in batch.columns)
                if limit is not None and size > limit:
                    return size
    return size


def _array_bytes(array: Any) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    value_type = array.type.value_type if pa.types.is_dictionary(array.type) else None
    if value_type not in (pa.string(), pa.binary()):  # nested, or of a type that has no dictionary in memory
        return int(array.nbytes)
    lengths = pc.cast(pc.binary_length(array.dictionary), pa.int64())
    return int(pc.sum(pc.take(lengths, array.indices)).as_py() or 0)
