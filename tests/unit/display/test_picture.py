"""A picture of few colours keeps those of the series."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lmkit.display.palette import BLUE, GREY, VERMILLION
from lmkit.display.picture import PALETTE, draw_png
from lmkit.display.plot import Plot, Series


@pytest.mark.parametrize("count", [12, 400])
def test_a_few_lines_keep_their_colours_amid_many_grey_ones(count: int) -> None:
    draw = np.random.default_rng(0)
    others = [Series("others", [0.0, 1.0, 2.0], draw.random(3).tolist(), GREY, "faint") for _ in range(count)]
    best = Series("best", [0.0, 1.0, 2.0], [0.2, 0.5, 0.1], BLUE)
    last = Series("last", [0.0, 1.0, 2.0], [0.4, 0.6, 0.3], VERMILLION)
    image = Image.open(io.BytesIO(draw_png("Many", [Plot("x", "y", (*others, best, last))], (720, 340))))
    assert image.mode == "P"
    colours: Any = image.convert("RGB").getcolors(2**24)
    counts = {tuple(colour): n for n, colour in colours}
    assert len(counts) <= PALETTE
    for colour in (BLUE, VERMILLION, "#FFFFFF"):
        assert counts[tuple(bytes.fromhex(colour[1:]))] > 200, "pixels of a line, not of its legend alone"
