"""The looks of what is made of ipywidgets: one style sheet, in JupyterLab's own colours, light or dark."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import ipywidgets as W

STATIC = Path(__file__).parent / "static"


@cache
def script(*names: str) -> str:
    """The scripts of these names, one after the other, after what all widgets share."""
    return "\n".join((STATIC / f"{name}.js").read_text(encoding="utf-8") for name in ("page", *names))


@cache
def css(*names: str) -> str:
    """The style sheets of these names, one after the other, after what all widgets share."""
    return "\n".join((STATIC / f"{name}.css").read_text(encoding="utf-8") for name in ("page", *names))


def sheet(name: str) -> W.HTML:
    """A style sheet as a widget, to be put beside those that it is for."""
    return W.HTML(f"<style>{css(name)}</style>", layout={"display": "none"})
