"""How a step is taken over devices: one file a strategy, imported only when it is used."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import cast

from lmkit.backends.tensorflow.strategies.base import Strategy
from lmkit.backends.tensorflow.strategies.single import SingleDevice

__all__ = ["STRATEGIES", "SingleDevice", "Strategy", "get_strategy"]

STRATEGIES: dict[str, str] = {
    "single": f"{__name__}.single:SingleDevice",
    "multiworker": f"{__name__}.multiworker:MultiWorker",
    "mirrored": f"{__name__}.mirrored:Mirrored",
}
"""Name → reference of its class."""


def get_strategy(name: str) -> Callable[..., Strategy]:
    """Return the class of a strategy by its name.

    Raises:
        KeyError: TensorFlow has no such strategy.
    """
    return cast("Callable[..., Strategy]", pkgutil.resolve_name(STRATEGIES[name]))
