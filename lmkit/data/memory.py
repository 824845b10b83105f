"""Data in memory of any kind, stored in the runs folder for the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmkit.data.loaders.loaders import is_loader, store_loader
from lmkit.data.tables.memory import store_frame, to_frame
from lmkit.data.tables.parts import frame_of_parts, is_parts


def store_data(data: Any, root: str | Path | None = None, *, inline: bool = False) -> dict[str, Any]:
    """Store ``data`` in the runs folder and return the fields of the experiment that name it.

    Args:
        data: arrays or a table, see ``lmkit.data.tables.memory``; parts that are such, or paths of files,
            {"training": …, "test": …}; or a loader, see ``lmkit.data.loaders.loaders``.
        root: the folder of the runs.
        inline: hold a loader in this process, without pickling it.

    Returns:
        ``{"source": "stored:<hash>"}``, with ``target`` where it is known; or ``{"source": "object:<reference>"}``.

    Raises:
        DataError: ``data`` is none of these, or the lengths differ.
    """
    if is_parts(data):
        return store_frame(*frame_of_parts(data), root)
    if is_loader(data):
        return store_loader(data, root, inline=inline)
    return store_frame(*to_frame(data), root)
