"""Tokenizers: text to bytes or to the tokens of a byte-pair encoding, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import DataError
from lmkit.system.optional import require

if TYPE_CHECKING:
    import numpy as np

BYTES = 2**8
"""Values of a byte."""

DTYPE = "<u2"
"""The type of tokens in files: two bytes each, so that a vocabulary has at most 65,536 tokens."""


class Tokenizer:
    """Converts text to tokens and back. The last token of the vocabulary separates documents and never occurs in text.

    Args:
        model: a byte-pair encoding, as the JSON of the ``tokenizers`` library; empty: tokens are bytes.

    >>> Tokenizer().encode("hé").tolist(), Tokenizer().decode([104, 195, 169])
    ([104, 195, 169], 'hé')
    """

    def __init__(self, model: str = "") -> None:
        self.model = model
        self._bpe = _tokenizers().Tokenizer.from_str(model) if model else None

    @property
    def vocabulary(self) -> int:
        """The number of tokens, including the separator."""
        return (self._bpe.get_vocab_size() if self._bpe else BYTES) + 1

    @property
    def separator(self) -> int:
        """The token that ends a document."""
        return self.vocabulary - 1

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens (n,) of a text, uint16.

        Raises:
            DataError: the text contains half of a surrogate pair, which is no character.
        """
        import numpy as np

        try:
            encoded = text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"the text contains {text[error.start]!r} at character {error.start}, half of a surrogate pair, "
                "which is no character; remove it"
            ) from None
        if self._bpe is None:
            return np.frombuffer(encoded, np.uint8).astype(DTYPE)
        return np.array(self._bpe.encode(text).ids, dtype=DTYPE)

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of tokens: an empty line per separator, � for bytes that are no character.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        return b"".join(self.strings(tokens)).decode(errors="replace")

    def strings(self, tokens: Iterable[int]) -> list[bytes]:
        """Return the bytes of each token.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        numbers = [int(t) for t in tokens]
        check_tokens(numbers, len(self._strings))
        return [self._strings[t] for t in numbers]

    @cached_property
    def _strings(self) -> list[bytes]:
        if self._bpe is None:
            return [*(bytes([i]) for i in range(BYTES)), b"\n\n"]
        bytes_of = {character: byte for byte, character in enumerate(_alphabet())}
        words = [self._bpe.id_to_token(i) for i in range(self.vocabulary - 1)]
        return [*(bytes(bytes_of[c] for c in word) for word in words), b"\n\n"]

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int) -> Tokenizer:
        """Train a byte-pair encoding on ``texts`` (Sennrich et al., 2016): every byte, and the most frequent pairs.

        Text is split into words as in GPT-2, so that no token crosses the end of a word (Radford et al., 2019).

        Raises:
            MissingPackage: the ``tokenizers`` library is not installed.
        """
        library = _tokenizers()
        bpe = library.Tokenizer(library.models.BPE())
        bpe.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocabulary - 1, initial_alphabet=_alphabet(), show_progress=False
        )
        bpe.train_from_iterator(texts, trainer)
        return cls(bpe.to_str())


def check_tokens(tokens: Sequence[int] | np.ndarray, vocabulary: int) -> None:
    """Check that tokens are in the vocabulary.

    Raises:
        DataError: some are not; the message names the first five.
    """
    import numpy as np

    numbers = np.asarray(tokens)
    if numbers.size and numbers.dtype.kind not in "iu":
        raise DataError(f"given tokens of type {numbers.dtype}, expected integers from 0 to {vocabulary - 1}")
    unknown = np.unique(numbers[(numbers < 0) | (numbers >= vocabulary)])
    if len(unknown):
        named = ", ".join(map(str, unknown[:5].tolist())) + (" and more" if len(unknown) > 5 else "")
        raise DataError(
            f"unknown tokens: {named}; the vocabulary is 0 to {vocabulary - 1}; "
            "use run.preprocessing.tokens(text) to tokenize a text"
        )


def require_tokenizers() -> None:
    """Check that the library of byte-pair encoding is installed.

    Raises:
        MissingPackage: it is not installed.
    """
    require("tokenizers", extra="text", purpose="byte-pair encoding", alternative="or use data: {text: bytes}")


def _tokenizers() -> Any:
    require_tokenizers()
    import tokenizers

    return tokenizers


def _alphabet() -> list[str]:
    """The character of each byte in a vocabulary: itself where it is printable, else one from 256 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
