"""Panels that draw themselves."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lmkit.display.figure import Chart
from lmkit.display.panels import Bars, SignedBars
from lmkit.display.picture import PALETTE
from lmkit.display.pictures import Pictures


@pytest.mark.parametrize("panel", [Bars("share", ("a", "a"), (0.4, 0.6)), SignedBars("effect", ("a", "a"), (1, -2))])
def test_bars_of_equal_names_are_drawn_apart(panel: Bars | SignedBars) -> None:
    figure = Chart("Bars", (panel,), "").figure
    (trace,) = figure.data
    assert list(trace.y) == [0, 1]
    assert list(figure.layout.yaxis.ticktext) == ["a", "a"]
    assert figure.layout.yaxis.range == (2.6, -0.6)


def test_photographs_have_more_colours_than_lines() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3))
    picture = Image.open(io.BytesIO(Chart("Pictures", (Pictures("", images, ("one", "two")),), "").png()))
    assert len(picture.getcolors() or ()) > PALETTE
