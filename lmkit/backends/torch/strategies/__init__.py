"""How a step is taken over devices: one file a strategy, imported only when it is used."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import cast

from lmkit.backends.torch.strategies.base import Strategy
from lmkit.backends.torch.strategies.single import SingleDevice

__all__ = ["STRATEGIES", "SingleDevice", "Strategy", "get_strategy"]

STRATEGIES: dict[str, str] = {
    "single": f"{__name__}.single:SingleDevice",
    "ddp": f"{__name__}.ddp:DistributedDevices",
    "fsdp": f"{__name__}.fsdp:ShardedDevices",
}
"""Name → reference of its class."""


def get_strategy(name: str) -> Callable[..., Strategy]:
    """Return the class of a strategy by its name.

    Raises:
        KeyError: PyTorch has no such strategy.
    """
    return cast("Callable[..., Strategy]", pkgutil.resolve_name(STRATEGIES[name]))
