"""Text as rows of tokens: the target of a row is the row itself, shifted by one token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.batches import GatheredBatches, Part
from lmkit.data.dataset import Dataset
from lmkit.data.text.corpus import source_bytes
from lmkit.data.text.packing import PARTS, Corpus, pack, scan
from lmkit.exceptions import ConfigError, DataError
from lmkit.preprocessing.text import TextPreprocessing
from lmkit.preprocessing.tokenizer import require_tokenizers
from lmkit.specs.data import DataSpec
from lmkit.specs.signature import Signature

if TYPE_CHECKING:
    import numpy as np

IN_MEMORY = 2**22
"""Tokens of a part up to which it becomes an array; rows of larger parts are read from the file on demand."""

EAGER_BYTES, READ_BYTES = 4 * 2**20, 64 * 2**20
"""Texts up to the first size are tokenized before a worker starts; up to the second they are read and checked."""


class TokenRows:
    """Rows of tokens as views into a file; only the requested rows are read.

    Args:
        tokens: (n,), mapped from the file.
        length: tokens per row.
        shift: tokens by which rows start later: 0 for the inputs, 1 for the targets.

    >>> import numpy as np
    >>> TokenRows(np.arange(10), 3, shift=1)[1:]
    array([[4, 5, 6],
           [7, 8, 9]], dtype=int32)
    """

    def __init__(self, tokens: np.ndarray, length: int, shift: int = 0) -> None:
        import numpy as np

        count = max(0, (len(tokens) - 1) // length)
        self.rows = tokens[shift : shift + count * length].reshape(count, length)
        self.shape = self.rows.shape
        self.dtype = np.dtype(np.int32)
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        import numpy as np

        return np.asarray(self.rows[rows], dtype=np.int32)


def load(spec: DataSpec, root: str | Path | None = None) -> Any:
    """Raise an error: a text has no table to look at.

    Raises:
        DataError: always.
    """
    del root
    raise DataError(f"data.source: {spec.source!r} is a text, expected a table")


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """Prepare the text of ``spec`` as rows of tokens; each part is a contiguous stretch of it, so that none overlaps.

    Args:
        spec: the text and its tokenizer.
        seed: unused; the parts are not drawn.
        precision: unused; tokens are integers.
        root: the folder of the runs; the tokens are cached in it.

    Raises:
        DataError: the text cannot be trained on.
    """
    del seed, precision
    import numpy as np

    corpus = pack(spec, root)
    _check_rows(spec, corpus)
    length = spec.tokens.length
    parts = []
    for name in PARTS:
        tokens = corpus.tokens(name)
        X, y = TokenRows(tokens, length), TokenRows(tokens, length, shift=1)
        parts.append(Part(X, y) if len(tokens) > IN_MEMORY else Part(X[:], y[:]))  # type: ignore[arg-type]
    training, validation, test = parts
    batches = None if isinstance(training.X, np.ndarray) else GatheredBatches(training, spec.batch_size)
    return Dataset(training, validation, test, preprocessing(spec, corpus), batches)  # type: ignore[arg-type]


def preprocessing(spec: DataSpec, corpus: Corpus) -> TextPreprocessing:
    """Return the preprocessing of a text, which a run stores."""
    ratio = {name: part.bytes / part.tokens for name, part in corpus.parts.items() if part.tokens}
    return TextPreprocessing("language", spec.tokens.length, corpus.tokenizer.vocabulary, ratio, corpus.model)


def check(spec: DataSpec, root: str | Path | None = None) -> Signature | None:
    """Check a text before a run is created; return the inputs and outputs of a model, if the vocabulary is known.

    Raises:
        DataError: the text cannot be read, or is too short.
        MissingPackage: byte-pair encoding needs a library that is not installed.
    """
    if spec.tokens.tokenizer == "bpe":
        require_tokenizers()
    if (size := source_bytes(spec)) > EAGER_BYTES:
        if size <= READ_BYTES:
            scan(spec)
        return spec.signature
    corpus = pack(spec, root)
    _check_rows(spec, corpus)
    return preprocessing(spec, corpus).signature


def read_signature(spec: DataSpec, root: str | Path | None = None) -> tuple[Signature, int | None]:
    """Return the inputs and outputs of a model, and the number of rows where tokens are bytes.

    Raises:
        ConfigError: the vocabulary of byte-pair encoding is unknown before training.
    """
    signature = spec.signature or check(spec, root)
    if signature is None:
        raise ConfigError(
            [
                "vocabulary: the number of tokens that byte-pair encoding learns from so large a text is unknown "
                "before training; give vocabulary, such as that of data.text"
            ]
        )
    if spec.tokens.tokenizer != "bytes":
        return signature, None
    return signature, source_bytes(
        spec
    ) // spec.tokens.length  # a byte is a token; the markup of a .jsonl file counts too


def example_rows(spec: DataSpec, seed: int, data: Dataset, count: int, root: str | Path) -> list[Any]:
    """Return rows of tokens."""
    del spec, seed, root
    import numpy as np

    part = next(part for part in (data.test, data.validation, data.training) if len(part.X))
    return list(np.asarray(part.X[:count]).tolist())


def _check_rows(spec: DataSpec, corpus: Corpus) -> None:
    """Check that each part has a row, and that a batch is no larger than the training part."""
    length = spec.tokens.length
    rows = {name: max(0, part.tokens - 1) // length for name, part in corpus.parts.items()}
    for name in PARTS:
        if rows[name] < 1 and (name == "training" or getattr(spec, name)):
            raise DataError(
                f"data.text.length: the {name} part of {spec.source!r} has {corpus.parts[name].tokens} tokens, too few "
                f"for a row of {length} and the token after it; use a smaller text: {{length: …}}, more text"
                + ("" if name == "training" else f", or {name}: 0")
            )
    if spec.batch_size > rows["training"]:
        raise DataError(
            f"data.batch_size: given {spec.batch_size}, but the training part of {spec.source!r} has only "
            f"{rows['training']} rows of {length} tokens; use at most {rows['training']}, or a smaller text: "
            "{length: …}"
        )
