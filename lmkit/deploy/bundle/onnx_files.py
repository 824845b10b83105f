"""The files that an ONNX model reads its weights from, found without the onnx package.

An ONNX file is a protobuf message. A tensor in it may lie in another file, which it names as it likes: ``../secret``,
an absolute path. Releases of ONNX Runtime differ in what they refuse, so a model is checked before it is loaded.
Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, SPARSE, FUNCTION, TRAINING, ENTRY = range(9)

FIELDS = {
    MODEL: {7: GRAPH, 20: TRAINING, 25: FUNCTION},
    TRAINING: {1: GRAPH, 2: GRAPH},
    FUNCTION: {7: NODE, 11: ATTRIBUTE},
    GRAPH: {1: NODE, 5: TENSOR, 15: SPARSE},
    NODE: {5: ATTRIBUTE},
    ATTRIBUTE: {5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 22: SPARSE, 23: SPARSE},
    SPARSE: {1: TENSOR, 2: TENSOR},
    TENSOR: {13: ENTRY},
}
"""Message → number of a field → the message in it, for those that lead to a tensor."""

KEY, VALUE = 1, 2
"""Fields of an entry of ``external_data``."""

MAX_DEPTH = 100
"""Messages within messages at most, as protobuf's own parsers allow."""


def external_files(path: Path) -> set[str]:
    """Return the names of the files, apart from itself, that an ONNX file reads.

    Raises:
        ValueError: it is no protobuf message.
    """
    if not path.stat().st_size:
        raise ValueError("an empty file")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return set(_locations(content, 0, len(content), MODEL, 0))


def _locations(content: mmap.mmap, start: int, end: int, kind: int, depth: int) -> Iterator[str]:
    """Yield the values of ``location`` in the message of a kind between two offsets, and in those within it."""
    if depth > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} messages within messages")
    if kind == ENTRY:
        texts = {number: content[first:last] for number, first, last in _fields(content, start, end)}
        if texts.get(KEY) == b"location":
            yield texts.get(VALUE, b"").decode(errors="replace")
        return
    for number, first, last in _fields(content, start, end):
        if number in FIELDS[kind]:
            yield from _locations(content, first, last, FIELDS[kind][number], depth + 1)


def _fields(content: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number and offsets of each field between two offsets that has a length: texts, arrays and messages."""
    while position < end:
        tag, position = _varint(content, position, end)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, position = _varint(content, position, end)
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        elif wire == 2:
            size, position = _varint(content, position, end)
            if position + size > end:
                raise ValueError("a field is longer than the message that holds it")
            yield number, position, position + size
            position += size
        else:
            raise ValueError(f"a field of type {wire}, which no ONNX file has")


def _varint(content: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """Return a number of variable length, and the offset after it."""
    value = shift = 0
    while position < end and shift < 64:
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise ValueError("a number that does not end")
