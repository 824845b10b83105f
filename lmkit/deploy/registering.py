"""Techniques of somebody's own, handed to the process that makes variants, which knows only lmkit's.

One that lies in a module is imported there; one of a notebook is kept beside the runs as a model of one's own is, and
unpickled by the process that was told of it.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from lmkit.data import objects
from lmkit.data.sending import source
from lmkit.deploy.process import MeasurementFailed
from lmkit.deploy.techniques import makes_model, technique, techniques
from lmkit.errors import ConfigError


def handed(name: str, root: Path) -> list[dict[str, Any]]:
    """What the maker must be told of a technique, or of several joined by +, that are not lmkit's own.

    Raises:
        MeasurementFailed: one cannot be sent there; the message says why and what to do.
    """
    found, known = [], techniques()
    for part in name.split("+"):
        one = known[part]
        function = one.become or one.make
        if _module(function).startswith("lmkit."):
            continue
        try:
            reference = objects.refer(function, f"techniques.{part}", root)
        except ConfigError as error:
            raise MeasurementFailed("; ".join(error.problems)) from None
        text = hashlib.sha256(source(function).encode()).hexdigest()[:12]
        found.append(
            {"name": part, "group": one.group, "help": one.help, "reference": reference, "text": text,
             "makes_model": one.become is not None}
        )  # fmt: skip
    return found


def origin(own: list[dict[str, Any]]) -> str:
    """Tells techniques of one's own from what they were before they were changed; empty for lmkit's."""
    return " ".join(f"{one['reference']}-{one['text']}" for one in own)


def register(own: list[dict[str, Any]], root: Path) -> None:
    """Makes what was handed over a technique of this process.

    Raises:
        ConfigError: one is not there, or cannot be imported.
    """
    techniques()  # lmkit's own first, so that one's own of the same name takes its place
    for one in own:
        function = objects.obtain(one["reference"], f"techniques.{one['name']}", root)
        if one["makes_model"]:
            makes_model(one["name"], one["group"], one["help"])(function)
        else:
            technique(one["name"], one["group"])(function)


def _module(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__module__", "") or ""
