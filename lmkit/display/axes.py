"""Axes of matplotlib, as all charts have them."""

from __future__ import annotations

from typing import Any, Literal

from lmkit.display.palette import GREY, INK, RULE


def style_axes(ax: Any, grid: Literal["both", "x", "y"] = "both") -> None:
    """Draw the lines of ``grid`` behind everything, and no frame above and to the right."""
    ax.grid(color=RULE, linewidth=0.6, axis=grid)
    ax.set_axisbelow(True)
    ax.tick_params(colors=INK, length=3)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)
