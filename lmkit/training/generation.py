"""Text generation, token by token: equal weights and seeds give equal text in every framework.

The probabilities of the next token are p = softmax(z / T), for logits z and temperature T, over the k most probable
tokens where top-k is set (Fan et al., 2018); T = 0 takes the most probable one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import ConfigError, shorten

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.kinds import DataKind
    from lmkit.preprocessing.text import TextPreprocessing

Logits = Callable[["np.ndarray"], "np.ndarray"]
"""A model on rows of tokens: (rows, length) → (rows, length, vocabulary)."""


def generate(
    logits: Logits,
    preprocessing: TextPreprocessing,
    prompt: str,
    tokens: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> str:
    """Return the prompt and its continuation, until ``tokens`` are drawn or the model ends the document.

    The model sees the last ``preprocessing.length`` tokens, always in a row of that length, so that a framework which
    compiles for shapes does so once.

    Raises:
        ConfigError: an argument is invalid.
    """
    import numpy as np

    check(prompt, tokens, temperature, top_k, seed)
    generator = np.random.default_rng(seed)
    text = preprocessing.tokens(prompt).tolist() or [preprocessing.separator]
    row = np.zeros((1, preprocessing.length), np.int32)
    end = len(text) + tokens
    while len(text) < end:
        context = text[-preprocessing.length :]
        row[0, : len(context)] = context  # a causal model does not see what follows
        token = _sample(logits(row)[0, len(context) - 1], temperature, top_k, generator)
        if token == preprocessing.separator:
            break
        text.append(token)
    return preprocessing.text(text if prompt else text[1:])


def check_kind(kind: DataKind, name: str) -> None:
    """Raise a ConfigError where the run called ``name`` has learned from data of which a model generates no more."""
    if not kind.generates:
        raise ConfigError(
            [
                f"generate: {name} has learned from a {kind.name}, expected a run of a language model; "
                'train one: lk.train(model="transformer:nano")'
            ]
        )


def _sample(logits: np.ndarray, temperature: float, top_k: int | None, generator: np.random.Generator) -> int:
    """Return one token of logits (vocabulary,), by inverting the cumulative probabilities at a uniform draw."""
    import numpy as np

    z = logits.astype(np.float64)
    if temperature == 0:
        return int(z.argmax())
    if top_k is not None and top_k < len(z):
        z[np.argsort(-z, kind="stable")[top_k:]] = -np.inf
    p = np.exp((z - z.max()) / temperature)
    cumulative = np.cumsum(p)
    draw = generator.random() * cumulative[-1]
    return int(min(np.searchsorted(cumulative, draw, side="right"), np.flatnonzero(p)[-1]))


def check(prompt: Any, tokens: Any, temperature: Any, top_k: Any, seed: Any) -> None:
    """Check the arguments of ``generate``.

    Raises:
        ConfigError: names each invalid argument and the expected value.
    """
    problems = []
    if not isinstance(prompt, str):
        problems.append(f"prompt: given {shorten(prompt)}, expected text")
    for name, value, least in (("tokens", tokens, 1), ("top_k", top_k, 1), ("seed", seed, 0)):
        valid = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not (valid or (name == "top_k" and value is None)):
            problems.append(f"{name}: given {shorten(value)}, expected a whole number of at least {least}")
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not number or not 0 <= temperature < math.inf:
        problems.append(
            f"temperature: given {shorten(temperature)}, expected a number of at least 0; 0 takes the most "
            f"probable token"
        )
    if problems:
        raise ConfigError(problems)
