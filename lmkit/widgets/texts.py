"""The preview of a text: its size, tokens, splits and beginning."""

from __future__ import annotations

import html
import itertools
from pathlib import Path
from typing import NamedTuple

from lmkit.data.text.corpus import pieces, source_bytes
from lmkit.data.text.packing import PARTS, Corpus, pack, part_boundaries, scan
from lmkit.data.text.rows import EAGER_BYTES, check, preprocessing
from lmkit.display.units import format_bytes
from lmkit.preprocessing.tokenizer import Tokenizer
from lmkit.specs.data import DataSpec
from lmkit.specs.signature import Signature
from lmkit.widgets.drawing import count

EXCERPT = 500
"""Number of tokens of the excerpt."""


class TextPreview(NamedTuple):
    """The preview of a text.

    Attributes:
        rows: number of rows in all splits, estimated for a large text.
        signature: inputs and outputs of a model.
        html: the preview as HTML.
    """

    rows: int
    signature: Signature
    html: str


def preview_text(spec: DataSpec, root: str | Path | None = None) -> TextPreview:
    """Read and tokenize the text of ``spec``; a large text is only counted.

    Raises:
        DataError: the file cannot be read as text.
        MissingPackage: byte-pair encoding needs a package that is not installed.
    """
    length = spec.tokens.length
    if source_bytes(spec) > EAGER_BYTES:
        return _preview_large_text(spec)
    check(spec.model_copy(update={"batch_size": 1}), root)
    corpus = pack(spec, root)
    text_preprocessing = preprocessing(spec, corpus)
    rows = {name: max(0, part.tokens - 1) // length for name, part in corpus.parts.items()}
    tokens, bytes_, documents = (sum(counts) for counts in zip(*corpus.parts.values(), strict=True))
    learned = (
        f", learned from {format_bytes(corpus.learned_from)} of the training split"
        if 0 < corpus.learned_from < corpus.parts["training"].bytes
        else ""
    )
    facts = [
        f"<b>{count(bytes_)}</b> bytes, <b>{count(corpus.characters)}</b> characters, "
        f"<b>{count(documents)}</b> document{'s'[: documents != 1]}",
        f"<b>{count(tokens)}</b> tokens, vocabulary of <b>{count(text_preprocessing.vocabulary)}</b>"
        + (f" ({bytes_ / tokens:.3g} bytes per token{learned})" if corpus.model else ""),
        f"rows of {length} tokens: {_splits_text(rows)}",
    ]
    return TextPreview(sum(rows.values()), text_preprocessing.signature, _html(facts, _excerpt(corpus)))


def _preview_large_text(spec: DataSpec) -> TextPreview:
    stats, length = scan(spec), spec.tokens.length
    offsets = part_boundaries(spec, stats)
    sizes = (offsets[0], offsets[1] - offsets[0], stats.bytes - offsets[1])
    facts = [
        f"<b>{count(stats.bytes)}</b> bytes, <b>{count(stats.characters)}</b> characters, "
        f"<b>{count(stats.documents)}</b> document{'s'[: stats.documents != 1]}"
    ]
    if spec.signature:
        rows = {name: max(0, n - 1) // length for name, n in zip(PARTS, sizes, strict=True)}
        facts.append(f"rows of {length} tokens, about: {_splits_text(rows)}")
    else:
        rows = {"training": stats.bytes // (3 * length)}  # about three bytes per token
        facts.append("byte-pair encoding is learned when training starts")
    signature = spec.signature or Signature.of_text(length, spec.tokens.vocabulary)
    first = next(pieces(spec)).text[:EXCERPT]
    return TextPreview(sum(rows.values()), signature, _html(facts, html.escape(first)))


def _splits_text(rows: dict[str, int]) -> str:
    return ", ".join(f"{count(n)} {part}" for part, n in rows.items() if n)


def _excerpt(corpus: Corpus) -> str:
    """The beginning of the text; tokens of several bytes in alternating colours."""
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
