"""How text becomes tokens and back, as a run keeps it: with NumPy alone, so a deployed model needs nothing else."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmkit.data.tokens import Tokenizer, check_tokens
from lmkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from lmkit.specs.signature import Shape, Signature, Task


@dataclass(frozen=True)
class Preprocessing:
    """How text becomes tokens and back, as plain data: with it a run's folder needs the text no more.

    Attributes:
        task: what is predicted: at each place of a row the next token.
        length: tokens of a row.
        vocabulary: how many tokens there are; the last one stands between documents.
        bytes_a_token: part of the data → bytes of its text over its tokens.
        tokenizer: what byte-pair encoding found, as JSON; empty: tokens are bytes.
    """

    task: Task
    length: int
    vocabulary: int
    bytes_a_token: dict[str, float]
    tokenizer: str = ""

    @property
    def shape(self) -> Shape:
        """Of a row."""
        return (self.length,)

    @property
    def outputs(self) -> int:
        """Numbers that a model gives each place."""
        return self.vocabulary

    @property
    def signature(self) -> Signature:
        """What a model takes and gives."""
        from lmkit.specs.signature import Signature

        return Signature(self.shape, self.vocabulary, self.task, self.vocabulary)

    @property
    def separator(self) -> int:
        """The token that stands between documents."""
        return self.vocabulary - 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the run's folder."""
        return {"kind": "text", **asdict(self)}

    def shipped(self) -> dict[str, Any]:
        """The same as far as a bundle needs it: all of it."""
        return self.to_dict()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer(self.tokenizer)

    def tokens(self, text: str) -> np.ndarray:
        """The tokens (n,) of a text, int32.

        >>> Preprocessing("language", 8, 257, {}).tokens("def")
        array([100, 101, 102], dtype=int32)
        """
        import numpy as np

        if not isinstance(text, str):
            raise DataError(f"given {type(text).__name__}, expected text")
        return self._tokenizer.encode(text).astype(np.int32)

    def text(self, tokens: Any) -> str:
        """The text of tokens (n,); an empty line for the one between documents, � for bytes that are no character.

        Raises:
            DataError: there is no such token; the message names it.
        """
        import numpy as np

        return self._tokenizer.decode(np.asarray(tokens).reshape(-1).tolist())

    def strings(self, tokens: Any) -> list[bytes]:
        """The bytes that each of the tokens (n,) stands for."""
        return self._tokenizer.strings(tokens)

    def apply(self, X: Any) -> np.ndarray:
        """Text, or rows of tokens, → rows (rows, length) as the model takes them, int32.

        Args:
            X: a text, whose last row is filled up with the token that stands between documents; several texts, each
                beginning a row; or an array (rows, length) of tokens.

        Raises:
            DataError: there is no such token, or the rows are of another length.
        """
        import numpy as np

        texts = [X] if isinstance(X, str) else X
        if isinstance(texts, list | tuple) and texts and all(isinstance(t, str) for t in texts):
            return np.concatenate([self._rows(self.tokens(text)) for text in texts])
        rows = np.atleast_2d(np.asarray(X))
        if rows.ndim != 2 or rows.shape[1] != self.length:
            raise DataError(f"given tokens of shape {rows.shape}, expected (rows, {self.length}), or a text")
        check_tokens(rows, self.vocabulary)
        return rows.astype(np.int32)

    def _rows(self, tokens: np.ndarray) -> np.ndarray:
        import numpy as np

        rows = np.full((max(1, math.ceil(len(tokens) / self.length)), self.length), self.separator, np.int32)
        rows.reshape(-1)[: len(tokens)] = tokens
        return rows

    def decode(self, logits: np.ndarray) -> np.ndarray:
        """Logits (rows, length, vocabulary) → at each place the most probable next token, (rows, length)."""
        import numpy as np

        return np.asarray(logits.argmax(axis=-1))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Logits (rows, length, vocabulary) → probabilities of the next token, each place summing to 1."""
        import numpy as np

        z = logits.astype(np.float64)
        raised = np.exp(z - z.max(axis=-1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
