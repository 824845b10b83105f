"""How a text is split into rows of tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lmkit.specs.base import Spec, short

MAX_LENGTH = 2**24
"""Tokens of a row at most."""

BYTES = 256
"""Values of a byte; with the token that separates documents, the vocabulary of bytes is one larger."""


class TextSpec(Spec):
    """How a text is split into rows of tokens."""

    tokenizer: Literal["bytes", "bpe"] = "bytes"
    """bytes, or byte-pair encoding fitted on the training part (Sennrich et al., 2016)."""
    vocabulary: int = Field(1024, ge=BYTES + 2, le=2**16)
    """Maximum number of tokens of byte-pair encoding; bytes are always 256 and the separator of documents."""
    length: int = Field(128, ge=2, le=MAX_LENGTH)
    """Tokens per row: the context of the model."""
    column: str = "text"
    """The field of a .jsonl file, or the column of a table, with the text."""

    @model_validator(mode="after")
    def _check(self) -> TextSpec:
        if not self.column:
            raise ValueError("data.text.column: given an empty name, expected the field or column that holds the text")
        return self


Text = Annotated[TextSpec, short("tokenizer")]
