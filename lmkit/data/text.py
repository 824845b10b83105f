"""A text made into rows of tokens: each row is predicted from itself, one place on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.batches import Gathered, Part
from lmkit.data.corpus import size
from lmkit.data.language import Preprocessing as Preprocessing  # known from here
from lmkit.data.packing import PARTS, Corpus, packed, survey
from lmkit.data.preparation import Dataset
from lmkit.data.tokens import require_tokenizers
from lmkit.errors import DataError
from lmkit.specs.data import DataSpec
from lmkit.specs.signature import Signature

if TYPE_CHECKING:
    import numpy as np

IN_MEMORY = 2**22
"""Tokens of a part up to which it becomes an array; of more, rows are read from the file as they are asked for."""

EAGER_BYTES, READ_BYTES = 4 * 2**20, 64 * 2**20
"""Texts up to the first size become tokens before a worker is started; up to the second they are read and checked."""


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
