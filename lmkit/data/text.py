"""A text made into rows of tokens: each row is predicted from itself, one place on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.batches import Gathered, Part
from lmkit.data.corpus import size
from lmkit.data.packing import PARTS, Corpus, packed, survey
from lmkit.data.preparation import Dataset
from lmkit.data.tokens import Tokenizer, check_tokens, require_tokenizers
from lmkit.errors import DataError
from lmkit.specs.data import DataSpec
from lmkit.specs.signature import Shape, Signature, Task

if TYPE_CHECKING:
    import numpy as np

IN_MEMORY = 2**22
"""Tokens of a part up to which it becomes an array; of more, rows are read from the file as they are asked for."""

EAGER_BYTES, READ_BYTES = 4 * 2**20, 64 * 2**20
"""Texts up to the first size become tokens before a worker is started; up to the second they are read and checked."""


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
        return Signature(self.shape, self.vocabulary, self.task, self.vocabulary)

    @property
    def separator(self) -> int:
        """The token that stands between documents."""
        return self.vocabulary - 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the run's folder."""
        return {"kind": "text", **asdict(self)}

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
        from scipy.special import softmax

        return np.asarray(softmax(logits.astype(np.float64), axis=-1))


class Rows:
    """Rows of tokens, as views into a file: nothing is read but the rows that are asked for.

    Args:
        tokens: (n,), mapped from the file.
        length: tokens of a row.
        ahead: places that rows begin later: 0 for what the model sees, 1 for what it is to say.

    >>> import numpy as np
    >>> Rows(np.arange(10), 3, ahead=1)[1:]
    array([[4, 5, 6],
           [7, 8, 9]], dtype=int32)
    """

    def __init__(self, tokens: np.ndarray, length: int, ahead: int = 0) -> None:
        import numpy as np

        count = max(0, (len(tokens) - 1) // length)
        self.rows = tokens[ahead : ahead + count * length].reshape(count, length)
        self.shape = self.rows.shape
        self.dtype = np.dtype(np.int32)
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        import numpy as np

        return np.asarray(self.rows[rows], dtype=np.int32)


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """The text of ``spec`` as rows of tokens; each part is a stretch of it, so that none has seen another.

    Args:
        spec: which text, and how it becomes tokens.
        seed: has no part in it.
        precision: nor has this; tokens are whole numbers.
        root: where the runs are, and the tokens are kept beside them.

    Raises:
        DataError: it cannot be trained on.
    """
    corpus = packed(spec, root)
    _check_rows(spec, corpus)
    length = spec.tokens.length
    parts = []
    for name in PARTS:
        tokens = corpus.tokens(name)
        X, y = Rows(tokens, length), Rows(tokens, length, ahead=1)
        parts.append(Part(X, y) if len(tokens) > IN_MEMORY else Part(X[:], y[:]))  # type: ignore[arg-type]
    training, validation, test = parts
    fed = None if isinstance(training.X, _array()) else Gathered(training, spec.batch_size)
    return Dataset(training, validation, test, preprocessing(spec, corpus), fed)  # type: ignore[arg-type]


def preprocessing(spec: DataSpec, corpus: Corpus) -> Preprocessing:
    """What a run keeps of how its text became tokens."""
    ratio = {name: part.bytes / part.tokens for name, part in corpus.parts.items() if part.tokens}
    return Preprocessing("language", spec.tokens.length, corpus.tokenizer.vocabulary, ratio, corpus.model)


def check(spec: DataSpec, root: str | Path | None = None) -> Signature | None:
    """Refuses, before anything starts, a text that cannot be trained on; returns what a model takes, once known.

    Raises:
        DataError: it cannot be read as text, or is too short.
        MissingPackage: byte-pair encoding needs a library that is not installed.
    """
    if spec.tokens.tokenizer == "bpe":
        require_tokenizers()
    if (much := size(spec)) > EAGER_BYTES:
        if much <= READ_BYTES:
            survey(spec)
        return spec.signature
    corpus = packed(spec, root)
    _check_rows(spec, corpus)
    return preprocessing(spec, corpus).signature


def _check_rows(spec: DataSpec, corpus: Corpus) -> None:
    """Refuses parts without a row, and batches larger than the training part."""
    length = spec.tokens.length
    rows = {name: max(0, part.tokens - 1) // length for name, part in corpus.parts.items()}
    for name in PARTS:
        if rows[name] < 1 and (name == "training" or getattr(spec, name)):
            raise DataError(
                f"data.text.length: the {name} part of {spec.source!r} has {corpus.parts[name].tokens} tokens, too few "
                f"for a row of {length} and the token after it; write a smaller text: {{length: …}}, give more text"
                + ("" if name == "training" else f", or {name}: 0")
            )
    if spec.batch_size > rows["training"]:
        raise DataError(
            f"data.batch_size: given {spec.batch_size}, but the training part of {spec.source!r} has only "
            f"{rows['training']} rows of {length} tokens; write at most {rows['training']}, or a smaller text: "
            "{length: …}"
        )


def _array() -> type:
    import numpy as np

    return np.ndarray
