"""How much memory the content of a Feather file takes, without reading its content.

A Feather file is an Arrow IPC file: blocks, and a footer that lists them. Each block begins with a message in
FlatBuffers, which names its rows and its buffers; a compressed buffer begins with its unpacked length, which a reader
allocates. The numbers of fields are those of https://github.com/apache/arrow/tree/main/format (File.fbs, Message.fbs).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"ARROW1"

BLOCK, BUFFER = struct.Struct("<qi4xq"), struct.Struct("<qq")
"""Offset, length of the message and of the body; offset and length in the body."""

SCHEMA, DICTIONARIES, BATCHES = 1, 2, 3
"""Fields of the footer."""

COLUMNS = 1
"""Field of the schema."""

HEADER_TYPE, HEADER, DICTIONARY_TYPE = 1, 2, 2
"""Fields of a message, and the type of one whose header is a dictionary, which holds a batch as its field 1."""

ROWS, BUFFERS, COMPRESSION = 0, 2, 3
"""Fields of a batch."""


class _File:
    """The content of a file, in which tables of FlatBuffers are followed."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content

    def number(self, kind: str, position: int) -> int:
        if position < 0:
            raise ValueError("an offset leads out of the file")
        (value,) = struct.unpack_from(f"<{kind}", self.content, position)
        return int(value)

    def follow(self, position: int) -> int:
        """Return where an offset leads."""
        return position + self.number("I", position)

    def field(self, table: int, index: int) -> int:
        """Return the position of a field of a table; 0 where it has its default."""
        fields = table - self.number("i", table)
        slot = 4 + 2 * index
        offset = self.number("H", fields + slot) if slot < self.number("H", fields) else 0
        return table + offset if offset else 0

    def structs(self, table: int, index: int, layout: struct.Struct) -> Iterator[tuple[int, ...]]:
        """Iterate over a vector of structs."""
        position = self.field(table, index)
        if position:
            vector = self.follow(position)
            length = self.number("I", vector) * layout.size
            if vector + 4 + length > len(self.content):
                raise ValueError("a vector leads out of the file")
            yield from layout.iter_unpack(self.content[vector + 4 : vector + 4 + length])

    def batch_bytes(self, offset: int, message_length: int) -> tuple[int, int]:
        """Return the rows of a block, and the bytes of its buffers once they are unpacked."""
        start = offset + (8 if self.number("i", offset) == -1 else 4)
        message = self.follow(start)
        batch = self.follow(self.field(message, HEADER))
        if self.number("B", self.field(message, HEADER_TYPE)) == DICTIONARY_TYPE:
            batch = self.follow(self.field(batch, 1))
        rows = self.field(batch, ROWS)
        is_compressed = bool(self.field(batch, COMPRESSION))
        size, body = 0, offset + message_length
        for start_of_buffer, length in self.structs(batch, BUFFERS, BUFFER):
            unpacked = self.number("q", body + start_of_buffer) if is_compressed and length else -1
            size += max(unpacked, length)
        return self.number("q", rows) if rows else 0, size


def arrow_bytes(path: Path) -> int:
    """Return the bytes that the content of a Feather file takes in memory, as its blocks state them.

    Each value counts as 8 bytes at least: pandas makes as much of it, also of a column that takes no space in the file.

    Raises:
        ValueError, struct.error: the file is damaged.
    """
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[: len(MAGIC)] != MAGIC:
            return len(content)  # the first version of Feather, which compresses nothing
        file, end = _File(content), len(content) - len(MAGIC) - 4
        footer = file.follow(end - file.number("i", end))
        columns = file.number("I", file.follow(file.field(file.follow(file.field(footer, SCHEMA)), COLUMNS)))
        total = rows = 0
        for index in (DICTIONARIES, BATCHES):
            for offset, message_length, _ in file.structs(footer, index, BLOCK):
                block_rows, size = file.batch_bytes(offset, message_length)
                total += size
                rows += block_rows if index == BATCHES else 0
        return max(total, rows * columns * 8)
