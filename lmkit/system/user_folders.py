"""The folders of this user outside of all projects, where the platform has them."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of cached measurements: $LMKIT_CACHE, else lmkit in the user's cache folder."""
    return _folder("LMKIT_CACHE", "Caches", "Cache", "XDG_CACHE_HOME", ".cache")


def data_folder() -> Path:
    """Return the folder of this user's records: $LMKIT_DATA, else lmkit in the user's data folder."""
    return _folder("LMKIT_DATA", "Application Support", "Data", "XDG_DATA_HOME", ".local/share")


def _folder(variable: str, mac: str, windows: str, xdg_variable: str, xdg_default: str) -> Path:
    """Return the folder that ``variable`` names, else the one of the platform."""
    if folder := os.environ.get(variable):
        return Path(folder).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / mac / "lmkit"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "lmkit" / windows
    return Path(os.environ.get(xdg_variable) or Path.home() / xdg_default) / "lmkit"
