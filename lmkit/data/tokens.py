"""Tokens: bytes, or the strings that byte-pair encoding finds; to them and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmkit.errors import DataError, MissingPackage

if TYPE_CHECKING:
    import numpy as np

BYTES = 2**8
"""Values of a byte."""

DTYPE = "<u2"
"""How tokens lie in files: two bytes each, which is why a vocabulary has at most 65,536."""


class Tokenizer:
    """Text to tokens and back. The last token of the vocabulary stands between documents and is never in a text.

    Args:
        model: what byte-pair encoding found, as the JSON of the ``tokenizers`` library; empty: tokens are bytes.

    >>> Tokenizer().encode("hé").tolist(), Tokenizer().decode([104, 195, 169])
    ([104, 195, 169], 'hé')
    """

    def __init__(self, model: str = "") -> None:
        self.model = model
        self._bpe = _tokenizers().Tokenizer.from_str(model) if model else None

    @property
    def vocabulary(self) -> int:
        """How many tokens there are, the separator among them."""
        return (self._bpe.get_vocab_size() if self._bpe else BYTES) + 1

    @property
    def separator(self) -> int:
        """The token that ends a document."""
        return self.vocabulary - 1

    def encode(self, text: str) -> np.ndarray:
        """The tokens (n,) of a text, uint16.

        Raises:
            DataError: it holds half of a surrogate pair, which is no character.
        """
        import numpy as np

        try:
            encoded = text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"the text holds {text[error.start]!r} at character {error.start}, half of a surrogate pair, "
                "which is no character; take it out"
            ) from None
        if self._bpe is None:
            return np.frombuffer(encoded, np.uint8).astype(DTYPE)
        return np.array(self._bpe.encode(text).ids, dtype=DTYPE)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens, an empty line for a separator and � for bytes that are no character.

        Raises:
            DataError: there is no such token.
        """
        return b"".join(self.strings(tokens)).decode(errors="replace")

    def strings(self, tokens: Iterable[int]) -> list[bytes]:
        """The bytes that each token stands for.

        Raises:
            DataError: there is no such token.
        """
        known = self._strings
        numbers = [int(t) for t in tokens]
        check_tokens(numbers, len(known))
        return [known[t] for t in numbers]

    @cached_property
    def _strings(self) -> list[bytes]:
        if self._bpe is None:
            return [*(bytes([i]) for i in range(BYTES)), b"\n\n"]
        of = {character: byte for byte, character in enumerate(_alphabet())}
        words = [self._bpe.id_to_token(i) for i in range(self.vocabulary - 1)]
        return [*(bytes(of[c] for c in word) for word in words), b"\n\n"]

    @classmethod
    def trained(cls, texts: Iterable[str], vocabulary: int) -> Tokenizer:
        """Byte-pair encoding of ``texts`` (Sennrich et al., 2016): every byte, and the pairs that are most frequent.

        Words are told apart as in GPT-2, so no token reaches over the end of a word (Radford et al., 2019).

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
    """Checks that tokens are in the vocabulary.

    Raises:
        DataError: some are not; the message names the first of them.
    """
    import numpy as np

    given = np.asarray(tokens)
    if given.size and given.dtype.kind not in "iu":
        raise DataError(f"given tokens of type {given.dtype}, expected whole numbers from 0 to {vocabulary - 1}")
    unknown = np.unique(given[(given < 0) | (given >= vocabulary)])
    if len(unknown):
        named = ", ".join(map(str, unknown[:5].tolist())) + (" and more" if len(unknown) > 5 else "")
        raise DataError(
            f"unknown tokens: {named}; the vocabulary goes from 0 to {vocabulary - 1}; "
            "make tokens of a text with run.preprocessing.tokens(text)"
        )


def require_tokenizers() -> None:
    """Checks that the library of byte-pair encoding is there.

    Raises:
        MissingPackage: it is not.
    """
    _tokenizers()


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise MissingPackage(
            "tokenizers is not installed, and byte-pair encoding needs it; install it: "
            "python -m pip install 'lmkit[text]', or write data: {text: bytes}"
        ) from None
    return tokenizers


def _alphabet() -> list[str]:
    """The character that stands for each byte in a vocabulary: itself where it can be seen, else one from 256 on."""
    seen = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = iter(range(256, 512))
    return [chr(byte if byte in seen else next(hidden)) for byte in range(256)]
