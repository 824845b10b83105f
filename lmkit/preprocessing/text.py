"""Preprocessing of text: to tokens and back. It needs NumPy alone, for deployed models."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import DataError, MissingPackage, shorten
from lmkit.preprocessing.table import without_default_kind
from lmkit.preprocessing.tokenizer import Tokenizer, check_tokens
from lmkit.specs.metrics import softmax
from lmkit.specs.outputs import OutputKind, to_logits

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from lmkit.specs.signature import Shape, Signature
    from lmkit.specs.tasks import TaskName


CHARACTERS = ((0x1, 0xD800), (0xF900, 0x10000), (0x1F000, 0x1FB00))
"""Ranges of Unicode (first, end) that a file which takes texts can read: all but private use and rare scripts."""


@dataclass(frozen=True)
class TextPreprocessing:
    """The tokenizer and row length of a text, as plain data; a run folder does not need the text itself.

    Attributes:
        task: the task of the model: predict the next token at each position of a row.
        length: tokens per row.
        vocabulary: number of tokens; the last one separates documents.
        bytes_a_token: part of the data → bytes of its text divided by its tokens.
        tokenizer: the byte-pair encoding as JSON; empty: tokens are bytes.
        output_kind: what the outputs of the run's model are.
        raw_texts: whether texts are passed on, in a bundle whose file makes their tokens.
    """

    task: TaskName
    length: int
    vocabulary: int
    bytes_a_token: dict[str, float]
    tokenizer: str = ""
    output_kind: OutputKind = field(default="logits", kw_only=True)
    raw_texts: bool = field(default=False, kw_only=True)

    @property
    def shape(self) -> Shape:
        """The shape of a row."""
        return (self.length,)

    @property
    def outputs(self) -> int:
        """The output size of a model at each position."""
        return self.vocabulary

    @property
    def signature(self) -> Signature:
        """The inputs and outputs of a model."""
        from lmkit.specs.signature import Signature

        return Signature(self.shape, self.vocabulary, self.task, self.vocabulary)

    @property
    def separator(self) -> int:
        """The token that separates documents."""
        return self.vocabulary - 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``preprocessing.json`` of a run."""
        return {"kind": "text", **without_default_kind(asdict(self))}

    def bundle_dict(self) -> dict[str, Any]:
        """Return the plain values that a bundle needs: all of them."""
        return self.to_dict()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TextPreprocessing:
        """Return the preprocessing that ``to_dict`` wrote."""
        return cls(**{name: value for name, value in values.items() if name != "kind"})

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            return Tokenizer(self.tokenizer)
        except MissingPackage:
            raise
        except Exception as error:  # of the library, which has no class for it
            raise DataError(f"the tokenizer of the run cannot be read: {str(error)[:200]}") from None

    def tokens(self, text: str) -> np.ndarray:
        """Return the tokens (n,) of a text, int32.

        >>> TextPreprocessing("language", 8, 257, {}).tokens("def")
        array([100, 101, 102], dtype=int32)
        """
        import numpy as np

        if not isinstance(text, str):
            raise DataError(f"given {type(text).__name__}, expected text")
        return self._tokenizer.encode(text).astype(np.int32)

    def text(self, tokens: Any) -> str:
        """Return the text of tokens (n,): an empty line per separator, � for bytes that are no character.

        Raises:
            DataError: a token is outside the vocabulary; the message names it.
        """
        import numpy as np

        return self._tokenizer.decode(np.asarray(tokens).reshape(-1).tolist())

    def strings(self, tokens: Any) -> list[bytes]:
        """Return the bytes of each of the tokens (n,)."""
        return self._tokenizer.strings(tokens)

    def encode_rows(self, X: Any) -> tuple[np.ndarray, dict[str, list[Any]]]:
        """Return rows as ``apply`` does; a token outside the vocabulary is an error."""
        return self.apply(X), {}

    def apply(self, X: Any) -> np.ndarray:
        """Return text, or rows of tokens, as a model takes them: (rows, length), int32; or raw texts (rows, 1).

        Args:
            X: a text, whose last row is padded with the separator; a list of texts, each of which begins a row; or an
                array (rows, length) of tokens.

        Raises:
            DataError: a token is outside the vocabulary, or rows have another length.
        """
        import numpy as np

        texts = [X] if isinstance(X, str) else X
        if self.raw_texts:
            return self._texts(texts)
        if isinstance(texts, list | tuple) and texts and all(isinstance(t, str) for t in texts):
            return np.concatenate([self._rows(self.tokens(text)) for text in texts])
        rows = np.atleast_2d(np.asarray(X))
        if rows.ndim != 2 or rows.shape[1] != self.length:
            raise DataError(f"given tokens of shape {rows.shape}, expected (rows, {self.length}), or a text")
        check_tokens(rows, self.vocabulary)
        return rows.astype(np.int32)

    def _texts(self, texts: Any) -> np.ndarray:
        """Return texts (rows, 1), each of which is one row of a file that makes their tokens."""
        import numpy as np

        values = np.asarray(texts, dtype=object).reshape(-1, 1)
        for text in values.flat:
            if not isinstance(text, str):
                raise DataError(f"given {type(text).__name__}, expected texts, of which the file makes tokens")
            if (count := len(self.tokens(text))) > self.length:
                raise DataError(
                    f"given a text of {count:,} bytes, expected at most {self.length}; shorten it: {shorten(text)}"
                )
            if unknown := [c for c in text if not any(start <= ord(c) < end for start, end in CHARACTERS)]:
                raise DataError(f"the text contains {unknown[0]!r}, which the file cannot read; remove it")
        return values

    def _rows(self, tokens: np.ndarray) -> np.ndarray:
        import numpy as np

        rows = np.full((max(1, math.ceil(len(tokens) / self.length)), self.length), self.separator, np.int32)
        rows.reshape(-1)[: len(tokens)] = tokens
        return rows

    def logits(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logits of a model's outputs (rows, length, vocabulary), whatever these are."""
        return to_logits(outputs, self.output_kind)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return the most probable next token at each position (rows, length) of outputs (rows, length, vocabulary)."""
        import numpy as np

        return np.asarray(outputs.argmax(axis=-1))

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return probabilities of the next token of outputs (rows, length, vocabulary); each position sums to 1."""
        return softmax(self.logits(outputs))
