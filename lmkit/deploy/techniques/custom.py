"""A user's techniques, passed to the process that builds variants, which has only lmkit's and installed plugins'.

A technique in a module is imported there. One defined in a notebook is pickled beside the runs, as a custom model is,
and unpickled by the process that receives the reference.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lmkit.custom import objects
from lmkit.custom.pickling import source
from lmkit.deploy.techniques.base import implementation_module, model_technique, technique, techniques
from lmkit.exceptions import ConfigError
from lmkit.system.rpc import MeasurementFailed


def references(name: str, root: Path) -> list[dict[str, Any]]:
    """Return references to the user's techniques in ``name``, a technique or several joined by ``+``.

    Raises:
        MeasurementFailed: a technique cannot be pickled; the message says why and what to do.
    """
    entries, registered = [], techniques()
    for part in name.split("+"):
        entry = registered[part]
        function = entry.transform or entry.make
        if implementation_module(entry).startswith("lmkit."):
            continue
        try:
            reference = objects.to_reference(function, f"techniques.{part}", root)
        except ConfigError as error:
            raise MeasurementFailed("; ".join(error.problems)) from None
        entries.append(
            {
                "name": part,
                "group": entry.group,
                "help": entry.help,
                "reference": reference,
                "text": hashlib.sha256(source(function).encode()).hexdigest()[:12],
                "makes_model": entry.transform is not None,
            }
        )
    return entries


def origin(custom: list[dict[str, Any]]) -> str:
    """Return what identifies a version of the user's techniques; empty for lmkit's."""
    return " ".join(f"{entry['reference']}-{entry['text']}" for entry in custom)


def register(custom: list[dict[str, Any]], root: Path) -> None:
    """Register the user's techniques in this process.

    Raises:
        ConfigError: a technique does not exist, or cannot be imported.
    """
    techniques()  # lmkit's first, so that the user's of the same name replaces it
    for entry in custom:
        objects.permit(entry["reference"])  # passed by the process that compares
        function = objects.resolve(entry["reference"], f"techniques.{entry['name']}", root)
        if entry["makes_model"]:
            model_technique(entry["name"], entry["group"], entry["help"])(function)
        else:
            technique(entry["name"], entry["group"])(function)
