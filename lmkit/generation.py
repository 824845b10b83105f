"""Text from a language model, a token at a time: the same of the same weights and seed in every framework.

The probabilities of the next token are p = softmax(z / T), for logits z and temperature T, over the k most probable
tokens where top-k is asked for (Fan et al., 2018); T = 0 takes the most probable one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lmkit.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.text import Preprocessing

Logits = Callable[["np.ndarray"], "np.ndarray"]
"""What a model makes of rows of tokens: (rows, length) → (rows, length, vocabulary)."""


def continued(
    logits: Logits,
    known: Preprocessing,
    prompt: str,
    tokens: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> str:
    """The prompt, and how a model goes on with it, until so many tokens are drawn or it ends the document.

    The model sees the last ``known.length`` tokens; always in a row of that length, so that a framework which compiles
    for shapes does so once.

    Raises:
        ConfigError: a setting cannot be.
    """
    import numpy as np

    check(prompt, tokens, temperature, top_k, seed)
    drawn = np.random.default_rng(seed)
    text = known.tokens(prompt).tolist() or [known.separator]
    row = np.zeros((1, known.length), np.int32)
    begun = len(text)
    while len(text) < begun + tokens:
        seen = text[-known.length :]
        row[0, : len(seen)] = seen  # what comes after is not seen by the place that is read
        chosen = _choose(logits(row)[0, len(seen) - 1], temperature, top_k, drawn)
        if chosen == known.separator:
            break
        text.append(chosen)
    return known.text(text if prompt else text[1:])


def _choose(logits: np.ndarray, temperature: float, top_k: int | None, drawn: np.random.Generator) -> int:
    """One token of logits (vocabulary,): by inverting the sum of probabilities at a uniform draw."""
    import numpy as np

    z = logits.astype(np.float64)
    if temperature == 0:
        return int(z.argmax())
    if top_k is not None and top_k < len(z):
        z[np.argsort(-z, kind="stable")[top_k:]] = -np.inf
    p = np.exp((z - z.max()) / temperature)
    reached = np.cumsum(p)
    return int(min(np.searchsorted(reached, drawn.random() * reached[-1], side="right"), np.flatnonzero(p)[-1]))


def check(prompt: Any, tokens: Any, temperature: Any, top_k: Any, seed: Any) -> None:
    """Refuses settings that cannot be.

    Raises:
        ConfigError: each is named, with what was expected.
    """
    problems = []
    if not isinstance(prompt, str):
        problems.append(f"prompt: given {prompt!r}, expected text")
    for name, value, least in (("tokens", tokens, 1), ("top_k", top_k, 1), ("seed", seed, 0)):
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not (whole or (name == "top_k" and value is None)):
            problems.append(f"{name}: given {value!r}, expected a whole number of at least {least}")
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not number or not 0 <= temperature < math.inf:
        problems.append(
            f"temperature: given {temperature!r}, expected a number of at least 0; 0 takes the most probable token"
        )
    if problems:
        raise ConfigError(problems)
