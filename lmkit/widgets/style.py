"""Scripts and style sheets of the widgets, in the colours of JupyterLab's light and dark themes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"


@cache
def script(*names: str) -> str:
    """Concatenate the shared script and the scripts ``names``."""
    return "\n".join((STATIC / f"{name}.js").read_text(encoding="utf-8") for name in ("page", *names))


@cache
def css(*names: str) -> str:
    """Concatenate the shared style sheet and the style sheets ``names``."""
    return "\n".join((STATIC / f"{name}.css").read_text(encoding="utf-8") for name in ("page", *names))
