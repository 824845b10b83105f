"""Colours, symbols and fonts of the charts."""

from __future__ import annotations

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8C8C8C",
)
BLACK = "#000000"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""Colours that are distinct with any colour vision (Okabe and Ito, 2008)."""

SYMBOLS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "pentagon": "p"}
"""Plotly's name of a symbol → matplotlib's."""

FONT = "Helvetica, Arial, sans-serif"
INK, RULE = "#333333", "#E5E5E5"
