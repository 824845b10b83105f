"""Every chart is drawn twice from the same data: as a plotly figure, and as a small picture."""

from __future__ import annotations

import base64
import io
import json
import math

import numpy as np
import pytest
from narrowing import require_type
from PIL import Image

from lmkit.display.figure import BLUE, GREY, VERMILLION, Chart, Mark, Matrix, Plot, Series
from lmkit.display.labels import LETTER, LINE, SIDES, _pixels, place_labels
from lmkit.display.matrix import MATRIX_NUMBERS
from lmkit.display.panels import Axis, Bars, Lines, Parallel, SignedBars
from lmkit.display.picture import SHARPNESS
from lmkit.display.pictures import Picture
from lmkit.display.plot import HEIGHT, WIDTH

X = [float(i) for i in range(1, 301)]
LOSS = Plot(
    "epoch",
    "loss",
    (
        Series("each step", X, [round(1 / x + 0.1 * math.sin(x), 4) for x in X], "#56B4E9", "faint"),
        Series("training", X, [round(1 / x, 4) for x in X], BLUE),
        Series("validation", X, [round(1.2 / x, 4) for x in X], VERMILLION, "dashed"),
    ),
    log=True,
    y_range=(0.001, 10.0),
)
SCATTER = Plot(
    "true value",
    "predicted",
    (Series("exact", [0.0, 9.0], [0.0, 9.0], GREY, "guide"), Series("training", X, X, BLUE, "points")),
)
ONE_POINT = Plot("step", "loss", (Series("training", [1.0], [0.5], BLUE),), y_range=(0.4, 0.6))


def matrix(n: int, label: str = "c") -> Matrix:
    counts = np.random.default_rng(0).integers(0, 9, (n, n)) + 40 * np.eye(n, dtype=int)
    counts[-1] = 0  # a class that the test part has no row of
    return Matrix(tuple(f"{label}{i}" for i in range(n)), tuple(map(tuple, counts.tolist())))


CHARTS = {
    "curves": Chart("Curves", (LOSS, SCATTER), "curves in words"),
    "a point": Chart("A point", (ONE_POINT,), "a point in words"),
    "2 classes": Chart("Matrix", (matrix(2, "malignant"),), "two in words"),
    "3 long labels": Chart("Matrix", (matrix(3, "a label as long as"),), "three in words"),
    "100 classes": Chart("Matrix", (matrix(100),), "hundred in words"),
}


@pytest.mark.parametrize(("count", "height"), [(1, HEIGHT), (3, 300), (5, 204)])
def test_images_side_by_side_have_no_empty_space_around_them(count: int, height: int) -> None:
    chart = Chart("", tuple(Picture(f"{i}", np.eye(8)) for i in range(count)), "")
    assert chart.size == (WIDTH, height)
    ink = np.asarray(Image.open(io.BytesIO(chart.png())).convert("L")) < 128
    rows = np.flatnonzero(ink.any(axis=1))
    assert rows[-1] - rows[0] > height - 65, "from the image to its title"


NAME = '<b>a</b> & <a href="//x.y">$\\frac$</a>'
"""A name that plotly would read as markup, and matplotlib as a broken formula."""


def test_names_are_shown_as_they_are() -> None:
    points = Series(NAME, [1.0, 2.0], [1.0, 2.0], BLUE, "points", labels=(NAME, "b"), labelled=(True, True))
    plot = Plot(NAME, NAME, (points,), marks=(Mark(1.0, NAME),))
    bars = SignedBars(NAME, (NAME, "b"), (1.0, -1.0))
    lines = Lines(NAME, BLUE, (1,), ((0.0,),), ((NAME,),))
    axes = (Axis(NAME, ((0.5, NAME),)),)
    matrix = Matrix((NAME, "b"), ((1, 0), (0, 1)))
    for panel in (plot, bars, Bars(NAME, (NAME,), (1.0,)), Parallel(axes, (lines,)), matrix):
        chart = Chart(NAME, (panel,), "")
        text = json.dumps(json.loads(chart.figure.to_json()), ensure_ascii=False)
        assert "&lt;b&gt;a&lt;/b&gt; &amp; &lt;a" in text
        assert "<a" not in text
        assert "<b>a" not in text
        assert chart.png()


@pytest.fixture(params=list(CHARTS), ids=lambda name: name.replace(" ", "-"))
def chart(request: pytest.FixtureRequest) -> Chart:
    return CHARTS[request.param]


def test_the_picture_is_a_small_palettised_png(chart: Chart) -> None:
    picture = Image.open(io.BytesIO(chart.png()))
    assert picture.format == "PNG"
    assert picture.mode == "P"
    assert picture.size == pytest.approx([side * SHARPNESS for side in chart.size], abs=1)
    assert len(chart.png()) < 45_000
    grey = np.asarray(picture.convert("L"))
    assert grey[:4].min() == grey[:, :2].min() == grey[:, -2:].min() == 255, "nothing is cut at the edges"
    assert 0.005 < (grey < 250).mean() < 0.8, "something is drawn, on white"


def test_a_notebook_gets_figure_picture_and_words_but_no_html(chart: Chart) -> None:
    data, metadata = chart._repr_mimebundle_()
    assert set(data) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    assert data["text/plain"] == repr(chart) == chart.text
    assert base64.b64decode(data["image/png"]) == chart.png()
    assert metadata == {"image/png": {"width": chart.size[0]}}
    figure = data["application/vnd.plotly.v1+json"]
    assert len(json.dumps(figure["layout"]["template"])) < 100, "plotly's own template is 6 KB"
    panel = chart.panels[0]
    if len(panel.series if isinstance(panel, Plot) else require_type(panel, Matrix).labels) <= 10:
        assert len(json.dumps(figure)) < 20_000


def test_the_figure_holds_the_same_numbers() -> None:
    figure = CHARTS["curves"].figure
    assert [t.name for t in figure.data] == ["each step", "training", "validation", "exact", "training"]
    for trace, series in zip(figure.data, (*LOSS.series, *SCATTER.series), strict=True):
        assert list(trace.x) == series.x
        assert list(trace.y) == series.y
    assert [t.showlegend for t in figure.data] == [True, True, True, False, False], "each name once, guides never"
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.yaxis.range == pytest.approx((-3, 1)), "powers of ten"
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis2.title.text) == ("epoch", "predicted")
    assert figure.layout.title.text == "Curves"


def test_the_figure_of_a_matrix_shades_each_row_by_its_shares() -> None:
    panel = matrix(3)
    (trace,) = Chart("Matrix", (panel,), "").figure.data
    counts = np.array(panel.counts)
    assert np.array(trace.customdata).tolist() == counts.tolist()
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(np.array(trace.z, dtype=float), shares, atol=5e-4)
    assert (trace.zmin, trace.zmax) == (0, 1)


def test_a_matrix_of_many_classes_has_a_measure_of_its_shade_instead_of_numbers() -> None:
    few, many = (Chart("", (matrix(n),), "").figure.data[0] for n in (MATRIX_NUMBERS, MATRIX_NUMBERS + 1))
    assert few.text is not None
    assert few.showscale is False
    assert many.text is None
    assert many.showscale is True


def test_a_picture_is_as_large_as_it_needs_to_be() -> None:
    assert CHARTS["curves"].size == (WIDTH, HEIGHT)
    sizes = [Chart("", (matrix(n),), "").size for n in (2, 3, 10, 20, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0][0] < 380, "two classes fit on a telephone"
    assert all(width <= WIDTH for width, _ in sizes)


def test_an_interactive_figure_is_made_once() -> None:
    chart = Chart("A point", (ONE_POINT,), "")
    assert chart.figure is chart.figure
    assert chart.png() is chart.png()


def test_no_label_covers_another_or_a_point() -> None:
    """25 points close together: each label that is placed has its own room; one alone stands above its point."""
    draw = np.random.default_rng(0)
    x, y = np.exp(draw.normal(0, 1, 25)).tolist(), draw.normal(0, 1, 25).tolist()
    labels = tuple(f"prune-{i}+onnx" for i in range(25))
    cloud = Series("a", x, y, BLUE, "points", (10.0,) * 25, labels=labels)
    (places,) = place_labels(Plot("x", "y", (cloud,), log_x=True), 720, 340)
    assert 5 < sum(map(bool, places)) < 25
    boxes = []
    wide, away = LETTER * len(labels[0]), 3 + 5
    across, up = _pixels(x, 630, True), _pixels(y, 220, False)
    for i, place in enumerate(places):
        if place:
            right, above = SIDES[place]
            boxes.append((across[i] + right * away + wide * right / 2, up[i] + above * (away + LINE / 2)))
    for i, (a, b) in enumerate(boxes):
        assert all(abs(a - c) > wide - 12 or abs(b - d) >= LINE - 1e-9 for c, d in boxes[:i])
    alone = Series("a", [1.0], [1.0], BLUE, "points", (10.0,), labels=("onnx",))
    assert place_labels(Plot("x", "y", (alone,)), 720, 340) == [("top center",)]
    untold = alone._replace(labelled=(False,))
    assert place_labels(Plot("x", "y", (untold,)), 720, 340) == [("",)]


def test_a_logarithmic_axis_of_many_decades_is_labelled_at_powers_of_ten() -> None:
    for top, step in ((100.0, "D2"), (1e6, 1)):
        panel = Plot("rate", "loss", (Series("a", [1.0, top], [1.0, 2.0], BLUE),), log_x=True)
        assert Chart("ticks", (panel,), "").figure.layout.xaxis.dtick == step


def test_a_mark_lies_at_its_value_on_a_logarithmic_axis() -> None:
    series = (Series("s", [0.001, 1.0], [1.0, 2.0], "#000000"),)
    chart = Chart("t", (Plot("x", "y", series, marks=(Mark(0.01, "here"),), log_x=True),), "")
    layout = chart.figure.layout
    assert layout.shapes[0].x0 == 0.01  # plotly's lines are in values
    assert layout.annotations[-1].x == pytest.approx(-2)  # and its annotations in logarithms
