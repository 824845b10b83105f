"""How a text becomes rows of tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lmkit.specs.base import Spec, short

BYTES = 256
"""Values of a byte; with the token that separates documents, the vocabulary of bytes is one larger."""


class TextSpec(Spec):
    """How a text becomes rows of tokens."""

    tokenizer: Literal["bytes", "bpe"] = "bytes"
    """What a token is: a byte, or one of the frequent strings that byte-pair encoding finds in the training part
    (Sennrich et al., 2016)."""
    vocabulary: int = Field(1024, ge=BYTES + 2, le=2**16)
    """Tokens that byte-pair encoding may come to; bytes are always 256 and the separator of documents."""
    length: int = Field(128, ge=2)
    """Tokens of a row: what the model sees at once."""
    column: str = "text"
    """Where the text is: the field of a .jsonl file, the column of a table."""

    @model_validator(mode="after")
    def _check(self) -> TextSpec:
        if not self.column:
            raise ValueError("data.text.column: given an empty name, expected the field or column that holds the text")
        return self


Text = Annotated[TextSpec, short("tokenizer")]
