"""What a text looks like: how long it is, what its parts are, how it begins."""

from __future__ import annotations

import html
import itertools
from pathlib import Path
from typing import NamedTuple

from lmkit.data.corpus import pieces, size
from lmkit.data.packing import PARTS, Corpus, cuts, packed, survey
from lmkit.data.text import EAGER_BYTES, check, preprocessing
from lmkit.data.tokens import Tokenizer
from lmkit.planning.devices import amount_text
from lmkit.specs.data import DataSpec
from lmkit.specs.signature import Signature
from lmkit.widgets.drawing import count

EXCERPT = 500
"""Tokens of the beginning that are shown."""


class TextLook(NamedTuple):
    """What is known of a text.

    Attributes:
        rows: of all parts, as far as they are counted.
        signature: what a model takes and gives, where the vocabulary is known.
        html: what is shown of it.
    """

    rows: int
    signature: Signature
    html: str


def look_at_text(spec: DataSpec, root: str | Path | None = None) -> TextLook:
    """Reads the text of ``spec``; a large one is only counted, and becomes tokens when training begins.

    Raises:
        DataError: it cannot be read as text.
        MissingPackage: byte-pair encoding needs a library that is not installed.
    """
    length = spec.tokens.length
    if size(spec) > EAGER_BYTES:
        return _large(spec)
    check(spec.model_copy(update={"batch_size": 1}), root)
    corpus = packed(spec, root)
    known = preprocessing(spec, corpus)
    rows = {name: max(0, part.tokens - 1) // length for name, part in corpus.parts.items()}
    tokens, bytes_, documents = (sum(counts) for counts in zip(*corpus.parts.values(), strict=True))
    learned = (
        f", learned from {amount_text(corpus.learned_from)} of the training part"
        if 0 < corpus.learned_from < corpus.parts["training"].bytes
        else ""
    )
    facts = [
        f"<b>{count(bytes_)}</b> bytes, <b>{count(corpus.characters)}</b> characters, "
        f"<b>{count(documents)}</b> document{'s'[: documents != 1]}",
        f"<b>{count(tokens)}</b> tokens of a vocabulary of <b>{count(known.vocabulary)}</b>"
        + (f" ({bytes_ / tokens:.3g} bytes a token{learned})" if corpus.model else ""),
        f"rows of {length} tokens: {_shared(rows)}",
    ]
    return TextLook(sum(rows.values()), known.signature, _html(facts, _excerpt(corpus)))


def _large(spec: DataSpec) -> TextLook:
    of, length = survey(spec), spec.tokens.length
    at = cuts(spec, of)
    sizes = (at[0], at[1] - at[0], of.bytes - at[1])
    facts = [
        f"<b>{count(of.bytes)}</b> bytes, <b>{count(of.characters)}</b> characters, "
        f"<b>{count(of.documents)}</b> document{'s'[: of.documents != 1]}"
    ]
    if spec.signature:
        rows = {name: max(0, n - 1) // length for name, n in zip(PARTS, sizes, strict=True)}
        facts.append(f"rows of {length} tokens, about: {_shared(rows)}")
    else:
        rows = {"training": of.bytes // (3 * length)}  # of three bytes a token or so
        facts.append("byte-pair encoding is learned, and the tokens are counted, when training begins")
    signature = spec.signature or Signature((length,), spec.tokens.vocabulary, "language", spec.tokens.vocabulary)
    first = next(pieces(spec)).text[:EXCERPT]
    return TextLook(sum(rows.values()), signature, _html(facts, html.escape(first)))


def _shared(rows: dict[str, int]) -> str:
    return ", ".join(f"{count(n)} {'to train on' if part == 'training' else part}" for part, n in rows.items() if n)


def _excerpt(corpus: Corpus) -> str:
    """The beginning of the text; where tokens are more than bytes, they are told apart."""
    tokens = corpus.tokens("training")[:EXCERPT].tolist()
    tokenizer: Tokenizer = corpus.tokenizer
    if not corpus.model:
        return html.escape(tokenizer.decode(tokens))
    strings = (string.decode(errors="replace") for string in tokenizer.strings(tokens))
    tags = itertools.cycle(("<span>", '<span class="lkc-other">'))
    return "".join(f"{tag}{html.escape(string)}</span>" for tag, string in zip(tags, strings, strict=False))


def _html(facts: list[str], excerpt: str) -> str:
    return (
        f'<div class="lkc-facts">{"<br>".join(facts)}</div>'
        f'<pre class="lkc-text" tabindex="0" aria-label="The beginning of the text">{excerpt}</pre>'
    )
