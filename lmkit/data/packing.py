"""A text as a file of tokens, made once per content and tokenizer, in as little memory for a large one as for a small.

pieces of text ──> where the parts end ──> (byte-pair encoding of the training part) ──> runs/.data/text-…/tokens
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data.corpus import fingerprint, pieces
from lmkit.data.store import FOLDER
from lmkit.data.tokens import DTYPE, Tokenizer
from lmkit.errors import DataError
from lmkit.runfolder import runs_root
from lmkit.specs.data import DataSpec

if TYPE_CHECKING:
    import numpy as np

SAMPLE = 16 * 2**20
"""Bytes of the training part that byte-pair encoding is learned from at most, spread evenly over it."""

ENDS = 2**16
"""Ends of documents that are remembered at most; of more, every other one."""

PARTS = ("training", "validation", "test")


class Stretch(NamedTuple):
    """One part of a text.

    Attributes:
        tokens: how many, a separator after each document.
        bytes: of its text, in UTF-8.
        documents: how many end in it.
    """

    tokens: int = 0
    bytes: int = 0
    documents: int = 0


@dataclass(frozen=True)
class Corpus:
    """A text as tokens.

    Attributes:
        path: the folder that holds them.
        parts: the stretch of each part; they lie in the file one after the other.
        characters: of the whole text.
        learned_from: bytes that byte-pair encoding was learned from; 0 where tokens are bytes.
        model: of the tokenizer.
    """

    path: Path
    parts: dict[str, Stretch]
    characters: int
    learned_from: int
    model: str

    @property
    def tokenizer(self) -> Tokenizer:
        """What made the tokens."""
        return Tokenizer(self.model)

    def tokens(self, part: str) -> np.ndarray:
        """The tokens (n,) of a part, mapped from the file."""
        import numpy as np

        before = sum(self.parts[p].tokens for p in PARTS[: PARTS.index(part)])
        count = self.parts[part].tokens
        if not count:
            return np.empty(0, DTYPE)
        return np.memmap(self.path / "tokens", DTYPE, "r", offset=2 * before, shape=(count,))


class Survey(NamedTuple):
    """What a text is, before it is tokens.

    Attributes:
        bytes, characters, documents: how many.
        ends: the byte after the end of each document, or of every so many of them.
    """

    bytes: int
    characters: int
    documents: int
    ends: array[int]


def survey(spec: DataSpec) -> Survey:
    """Reads a text once, to know how large it is and where its documents end.

    Raises:
        DataError: it cannot be read, or is empty.
    """
    ends, every = array("Q"), 1
    size = characters = documents = 0
    for text, whole in pieces(spec):
        size += _bytes(text)
        characters += len(text)
        documents += whole
        if whole and documents % every == 0:
            ends.append(size)
            if len(ends) > ENDS:
                ends, every = ends[1::2], 2 * every
    if not size:
        raise DataError(f"data.source: {spec.source!r} holds no text")
    ends.append(size)
    return Survey(size, characters, documents, ends)


def cuts(spec: DataSpec, of: Survey) -> tuple[int, int]:
    """The bytes at which validation and test begin: at the end of a document, where one is near enough.

    Where none is, because a document is long, they are where the shares put them, and the document is cut.
    """
    import numpy as np

    shares = (1 - spec.validation - spec.test, spec.validation, spec.test)
    near = min(share for share in shares if share) * of.bytes / 4
    ends = np.frombuffer(of.ends, np.uint64).astype(np.int64)
    found = []
    for share in (shares[0], 1 - spec.test):
        wanted = round(share * of.bytes)
        nearest = int(ends[np.abs(ends - wanted).argmin()])
        found.append(nearest if abs(nearest - wanted) <= near else wanted)
    return (found[0], max(found)) if spec.validation else (found[1], found[1])


def packed(spec: DataSpec, root: str | Path | None = None) -> Corpus:
    """The text of ``spec`` as tokens, from beside the runs under ``root`` or made now.

    Raises:
        DataError: it cannot be read as text.
        MissingPackage: byte-pair encoding needs a library that is not installed.
    """
    given = spec.tokens
    bpe = given.tokenizer == "bpe"
    key = [1, fingerprint(spec), given.column, spec.validation, spec.test, given.vocabulary if bpe else 0]
    place = runs_root(root) / FOLDER / f"text-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(2)}")
        aside.mkdir()
        try:
            _pack(spec, aside)
            aside.rename(place)
        except OSError:
            if not place.exists():  # else somebody else made the same meanwhile
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    told: dict[str, Any] = json.loads((place / "corpus.json").read_text(encoding="utf-8"))
    parts = {name: Stretch(**stretch) for name, stretch in told.pop("parts").items()}
    return Corpus(place, parts, **told)


def _pack(spec: DataSpec, place: Path) -> None:
    of = survey(spec)
    at = cuts(spec, of)
    tokenizer, learned_from = Tokenizer(), 0
    if spec.tokens.tokenizer == "bpe":
        learned_from = min(at[0], SAMPLE)
        tokenizer = Tokenizer.trained(_sample(spec, at[0]), spec.tokens.vocabulary)
    separator = tokenizer.separator.to_bytes(2, "little")
    stretches = [Stretch()] * 3
    with (place / "tokens").open("wb") as file:
        for part, text, whole in _in_parts(spec, at):
            tokens = tokenizer.encode(text)
            file.write(tokens.tobytes())
            if whole:
                file.write(separator)
            had = stretches[part]
            stretches[part] = Stretch(had.tokens + len(tokens) + whole, had.bytes + _bytes(text), had.documents + whole)
    parts = {name: stretch._asdict() for name, stretch in zip(PARTS, stretches, strict=True)}
    told = {"parts": parts, "characters": of.characters, "learned_from": learned_from, "model": tokenizer.model}
    (place / "corpus.json").write_text(json.dumps(told), encoding="utf-8")


def _in_parts(spec: DataSpec, at: tuple[int, int]) -> Iterator[tuple[int, str, bool]]:
    """The pieces with the number of the part that each is in; one that a part ends in is cut, best at a line."""
    read = part = 0
    for text, whole in pieces(spec):
        while part < len(at) and read + _bytes(text) > at[part]:
            begins = at[part - 1] if part else 0
            if read < at[part] > begins:
                head, text = _split(text, at[part] - read)
                read += _bytes(head)
                if head:
                    yield part, head, False
            part += 1
        read += _bytes(text)
        yield part, text, whole


def _split(text: str, size: int) -> tuple[str, str]:
    """A text cut after about ``size`` bytes: before a new line or a blank near there, else between two characters."""
    head = text.encode()[:size].decode(errors="ignore")
    near = head[-4096:]
    for mark in ("\n", " "):
        found = near.rfind(mark)
        if found > 0:
            cut = len(head) - len(near) + found + (mark == "\n")
            return text[:cut], text[cut:]
    return head, text[len(head) :]


def _sample(spec: DataSpec, end: int) -> Iterator[str]:
    """Pieces of the training part, up to ``SAMPLE`` bytes of it, spread evenly."""
    read = taken = 0
    for part, text, _ in _in_parts(spec, (end, end)):
        if part:
            return
        read += _bytes(text)
        if end <= SAMPLE or taken < SAMPLE * read / end:
            taken += _bytes(text)
            yield text


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
