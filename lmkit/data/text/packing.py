"""A text as a file of tokens, written once per content and tokenizer; memory use does not depend on the text's size.

pieces of text ──> boundaries of the parts ──> (byte-pair encoding of the training part) ──> runs/.data/text-…/tokens
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data.tables.memory import FOLDER
from lmkit.data.text.corpus import fingerprint, pieces
from lmkit.exceptions import DataError
from lmkit.preprocessing.tokenizer import DTYPE, Tokenizer
from lmkit.runfolder.folder import runs_root
from lmkit.specs.data import DataSpec
from lmkit.system.files import replace_directory

if TYPE_CHECKING:
    import numpy as np

SAMPLE_BYTES = 16 * 2**20
"""Bytes of the training part, evenly spread, that byte-pair encoding is trained on at most."""

MAX_ENDS = 2**16
"""Ends of documents that are stored at most; of more, every second one is dropped."""

PARTS = ("training", "validation", "test")


class PartStats(NamedTuple):
    """The size of one part of a text.

    Attributes:
        tokens: number of tokens, including a separator after each document.
        bytes: size of its text in UTF-8.
        documents: number of documents that end in it.
    """

    tokens: int = 0
    bytes: int = 0
    documents: int = 0


@dataclass(frozen=True)
class Corpus:
    """A text as tokens.

    Attributes:
        path: the folder of the tokens.
        parts: the size of each part; the parts follow one another in the file.
        characters: characters of the text.
        learned_from: bytes that byte-pair encoding was trained on; 0 where tokens are bytes.
        model: the model of the tokenizer.
    """

    path: Path
    parts: dict[str, PartStats]
    characters: int
    learned_from: int
    model: str

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the text."""
        return Tokenizer(self.model)

    def tokens(self, part: str) -> np.ndarray:
        """Return the tokens (n,) of a part, mapped from the file."""
        import numpy as np

        before = sum(self.parts[p].tokens for p in PARTS[: PARTS.index(part)])
        count = self.parts[part].tokens
        if not count:
            return np.empty(0, DTYPE)
        return np.memmap(self.path / "tokens", DTYPE, "r", offset=2 * before, shape=(count,))


class CorpusStats(NamedTuple):
    """The size of a text, before it is tokenized.

    Attributes:
        bytes, characters, documents: their numbers.
        ends: the position in bytes after each document, or after every n-th document.
    """

    bytes: int
    characters: int
    documents: int
    ends: array[int]


def scan(spec: DataSpec) -> CorpusStats:
    """Read a text once; return its size and the ends of its documents.

    Raises:
        DataError: the text cannot be read, or is empty.
    """
    ends, interval = array("Q"), 1
    size = characters = documents = 0
    for text, is_end in pieces(spec):
        size += _count_bytes(text)
        characters += len(text)
        documents += is_end
        if is_end and documents % interval == 0:
            ends.append(size)
            if len(ends) > MAX_ENDS:
                ends, interval = ends[1::2], 2 * interval
    if not size:
        raise DataError(f"data.source: {spec.source!r} contains no text")
    ends.append(size)
    return CorpusStats(size, characters, documents, ends)


def part_boundaries(spec: DataSpec, stats: CorpusStats) -> tuple[int, int]:
    """Return the bytes at which validation and test begin: at the end of a document, where one is close enough.

    Otherwise, where a document is long, the boundary follows the shares and cuts the document.
    """
    import numpy as np

    shares = (1 - spec.validation - spec.test, spec.validation, spec.test)
    tolerance = min(share for share in shares if share) * stats.bytes / 4
    ends = np.frombuffer(stats.ends, np.uint64).astype(np.int64)
    boundaries = []
    for share in (shares[0], 1 - spec.test):
        position = round(share * stats.bytes)
        nearest = int(ends[np.abs(ends - position).argmin()])
        boundaries.append(nearest if abs(nearest - position) <= tolerance else position)
    return (boundaries[0], max(boundaries)) if spec.validation else (boundaries[1], boundaries[1])


def pack(spec: DataSpec, root: str | Path | None = None) -> Corpus:
    """Return the text of ``spec`` as tokens, from the cache in the runs folder ``root``, or tokenized now.

    Raises:
        DataError: the text cannot be read.
        MissingPackage: byte-pair encoding needs a library that is not installed.
    """
    text = spec.tokens
    vocabulary = text.vocabulary if text.tokenizer == "bpe" else 0
    key = [1, fingerprint(spec), text.column, spec.validation, spec.test, vocabulary]
    folder = runs_root(root) / FOLDER / f"text-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}"
    if not folder.exists():
        with replace_directory(folder, existing="keep") as temporary_folder:
            _write(spec, temporary_folder)
    values: dict[str, Any] = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    parts = {name: PartStats(**stats) for name, stats in values.pop("parts").items()}
    return Corpus(folder, parts, **values)


def _write(spec: DataSpec, folder: Path) -> None:
    corpus = scan(spec)
    boundaries = part_boundaries(spec, corpus)
    tokenizer, learned_from = Tokenizer(), 0
    if spec.tokens.tokenizer == "bpe":
        learned_from = min(boundaries[0], SAMPLE_BYTES)
        tokenizer = Tokenizer.train(_sample(spec, boundaries[0]), spec.tokens.vocabulary)
    separator = tokenizer.separator.to_bytes(2, "little")
    stats = [PartStats()] * 3
    with (folder / "tokens").open("wb") as file:
        for part, text, is_end in _pieces_of_parts(spec, boundaries):
            tokens = tokenizer.encode(text)
            file.write(tokens.tobytes())
            if is_end:
                file.write(separator)
            before = stats[part]
            stats[part] = PartStats(
                before.tokens + len(tokens) + is_end, before.bytes + _count_bytes(text), before.documents + is_end
            )
    parts = {name: part._asdict() for name, part in zip(PARTS, stats, strict=True)}
    values = {"parts": parts, "characters": corpus.characters, "learned_from": learned_from, "model": tokenizer.model}
    (folder / "corpus.json").write_text(json.dumps(values), encoding="utf-8")


def _pieces_of_parts(spec: DataSpec, boundaries: tuple[int, int]) -> Iterator[tuple[int, str, bool]]:
    """Iterate over the pieces with the index of their part; a piece with a boundary is cut, at a line if possible."""
    read = part = 0
    for text, is_end in pieces(spec):
        while part < len(boundaries) and read + _count_bytes(text) > boundaries[part]:
            begin = boundaries[part - 1] if part else 0
            if read < boundaries[part] > begin:
                head, text = _split(text, boundaries[part] - read)
                read += _count_bytes(head)
                if head:
                    yield part, head, False
            part += 1
        read += _count_bytes(text)
        yield part, text, is_end


def _split(text: str, size: int) -> tuple[str, str]:
    """Cut a text after about ``size`` bytes: near there at a line or a blank, else between two characters."""
    head = text.encode()[:size].decode(errors="ignore")
    tail = head[-4096:]
    for mark in ("\n", " "):
        position = tail.rfind(mark)
        if position > 0:
            cut = len(head) - len(tail) + position + (mark == "\n")
            return text[:cut], text[cut:]
    return head, text[len(head) :]


def _sample(spec: DataSpec, end: int) -> Iterator[str]:
    """Iterate over evenly spread pieces of the training part, up to ``SAMPLE_BYTES``."""
    read = sampled = 0
    for part, text, _ in _pieces_of_parts(spec, (end, end)):
        if part:
            return
        read += _count_bytes(text)
        if end <= SAMPLE_BYTES or sampled < SAMPLE_BYTES * read / end:
            sampled += _count_bytes(text)
            yield text


def _count_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
