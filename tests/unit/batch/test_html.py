"""A page holds all that it shows, runs nothing, and fetches nothing."""

from __future__ import annotations

import base64
import os
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lmkit.batch.formulas import MAX_FORMULAS
from lmkit.batch.html import MAX_LINES, page
from lmkit.batch.pictures import MAX_PICTURE
from lmkit.exceptions import TemplateError

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
        "3a7e9b550000000a49444154789c63600000000200014826a40000000049454e44ae426082"
    )
).decode()


class Elements(HTMLParser):
    """Every element of a page with its attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def made(tmp_path: Path, *cells: object) -> Elements:
    nbformat.write(new_notebook(cells=list(cells)), tmp_path / "x.ipynb")
    return Elements(page(tmp_path / "x.ipynb").read_text(encoding="utf-8"))


def shows(data: dict[str, Any], metadata: dict[str, object] | None = None) -> object:
    return new_code_cell("code()", outputs=[new_output("display_data", data, metadata=metadata or {})])


def test_a_text_that_repeats_the_caption_of_the_picture_before_it_is_left_out(tmp_path: Path) -> None:
    told = {"text/html": "<p>8 of 64 pixels</p>", "text/plain": "8 of 64 pixels"}
    page = made(tmp_path, shows({"image/png": PIXEL, "text/plain": "8 of 64 pixels"}), shows(told))
    assert page.text.count("8 of 64 pixels") == 2, "outputs of two cells"
    outputs = [new_output("display_data", data) for data in ({"image/png": PIXEL, **told}, told, told)]
    page = made(tmp_path, new_code_cell("code()", outputs=outputs))
    assert page.text.count("8 of 64 pixels") == 2, "the caption, and a text that follows no picture"


def prints(*texts: str, name: str = "stdout") -> object:
    return new_code_cell("code()", outputs=[new_output("stream", name=name, text=t) for t in texts])


# -- what is left out -----------------------------------------------------------------------------

NASTY = """
<script>alert(1)</script><script src="https://example.org/x.js"></script>
<style>@import "https://example.org/x.css"; body { display: none }</style>
<link rel="stylesheet" href="https://example.org/x.css"><base href="https://example.org/">
<meta http-equiv="refresh" content="0; url=https://example.org">
<img src="https://example.org/x.png" onerror="alert(1)"><img src="x.png"><img srcset="https://example.org/x.png 2x">
<iframe src="https://example.org"></iframe><object data="https://example.org"></object><embed src="x.swf">
<video src="https://example.org/x.mp4" autoplay></video><form action="https://example.org"><input name="a"></form>
<svg onload="alert(1)"><image href="https://example.org/x.png"/><script>alert(1)</script></svg>
<a href="javascript:alert(1)" onclick="alert(1)">a</a><a href="data:text/html,x">b</a>
<p style="background: url(https://example.org/x.png); text-align: right" onmouseover="alert(1)">kept text</p>
<table background="https://example.org/x.png"><tr><td>kept cell</td></tr></table>
<a href="https://example.org/read">kept link</a>
"""
FETCHING = {"script", "link", "base", "iframe", "object", "embed", "video", "audio", "form", "input", "svg", "image"}


def is_harmless_drawing(source: str) -> bool:
    """Whether a picture's address holds an SVG that would run and fetch nothing even by itself."""
    text = base64.b64decode(source.removeprefix("data:image/svg+xml;base64,"), validate=True).decode()
    return not re.search(r"script|onload|alert|example\.org|foreignObject", text)


def test_a_page_is_written_into_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made(tmp_path)
    assert page("~/x.ipynb", "~/y.html") == tmp_path / "y.html"


@pytest.mark.parametrize("where", ["html output", "markdown cell", "markdown output"])
def test_nothing_runs_and_nothing_is_fetched(tmp_path: Path, where: str) -> None:
    cell = {
        "html output": shows({"text/html": NASTY, "text/plain": "x"}),
        "markdown cell": new_markdown_cell(NASTY),
        "markdown output": shows({"text/markdown": NASTY}),
    }[where]
    found = made(tmp_path, cell)
    assert not FETCHING & {tag for tag, _ in found.elements}
    assert len(found.all("style")) == 1, "the page's own"
    assert [m.get("http-equiv") for m in found.all("meta")] == [None, "Content-Security-Policy", None]
    for tag, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not {"background", "srcset", "action"} & set(attributes), tag
        assert "url(" not in (attributes.get("style") or "")
        assert not attributes.get("src") or is_harmless_drawing(str(attributes["src"]))
    assert {a.get("href") for a in found.all("a")} <= {None, "https://example.org/read"}
    assert "alert(1)" not in found.text
    if where == "html output":
        assert "[a frame (https://example.org) omitted: a page loads nothing]" in found.text
        assert "[picture 'https://example.org/x.png' omitted: a page loads nothing]" in found.text
    for kept in ("kept text", "kept cell", "kept link"):
        assert kept in found.text
    assert found.all("p")[-1].get("style", "text-align: right;") == "text-align: right;"


def test_printed_tags_are_text(tmp_path: Path) -> None:
    found = made(tmp_path, prints("<script>alert(1)</script> & <b>"))
    assert "<script>alert(1)</script> & <b>" in found.text
    assert not found.all("script")


def test_code_is_folded_and_cells_for_whoever_runs_it_are_left_out(tmp_path: Path) -> None:
    hint = new_markdown_cell("change the parameters", metadata={"tags": ["remove_cell"]})
    found = made(tmp_path, hint, new_markdown_cell("# A title of `mine`"), new_code_cell("a < b  # <i>why</i>"))
    assert found.all("details") == [{"class": "code"}]
    assert "a < b  # <i>why</i>" in found.text
    assert "change the parameters" not in found.text
    assert "A title of mine" in found.text


# -- what is shown --------------------------------------------------------------------------------


def test_a_chart_is_its_picture_with_its_words(tmp_path: Path) -> None:
    data = {"application/vnd.plotly.v1+json": "{}", "image/png": PIXEL, "text/plain": 'loss "0.1" → 0.2'}
    found = made(tmp_path, shows(data, {"image/png": {"width": 500}}), shows({"image/png": PIXEL}))
    first, second = found.all("img")
    assert first == {"src": f"data:image/png;base64,{PIXEL}", "alt": 'loss "0.1" → 0.2', "width": "500"}
    assert second == {"src": f"data:image/png;base64,{PIXEL}", "alt": "A picture without a description"}
    assert found.text.count('Figure 1. loss "0.1" → 0.2') == 1
    assert "Figure 2" not in found.text, "what has no words has no caption"
    found = made(tmp_path, shows({"image/png": PIXEL, "text/plain": "<Run a: completed, loss 0.2>\nloss 1 → 0.2"}))
    assert "Figure 1. loss 1 → 0.2" in found.text, "no code in a caption"


def test_headings_are_linked_where_there_are_several(tmp_path: Path) -> None:
    cells = [new_markdown_cell("# All"), *(new_markdown_cell(f"## Part `{n}` & more") for n in "abc")]
    assert not made(tmp_path, *cells[:3]).all("nav")
    found = made(tmp_path, *cells)
    links = [a["href"] for a in found.all("a") if a.get("href")]
    assert links == [f"#{h['id']}" for h in found.all("h2")]
    assert found.text.index("All") < found.text.index("Part a & more") < found.text.rindex("Part a & more")


def test_a_page_to_touch_holds_plotly_once_and_still_fetches_nothing(tmp_path: Path) -> None:
    figure = {"data": [{"y": [1, 2], "name": "</script><script>alert(1)</script>"}], "layout": {}}
    data = {"application/vnd.plotly.v1+json": figure, "image/png": PIXEL, "text/plain": "two points"}
    nbformat.write(new_notebook(cells=[shows(data), shows(data)]), tmp_path / "x.ipynb")
    text = page(tmp_path / "x.ipynb", interactive=True).read_text(encoding="utf-8")
    found = Elements(text)
    assert len(found.all("script")) == 2
    assert not [s for s in found.all("script") if s]
    assert [f.get("id") for f in found.all("figure")] == ["lmkit-figure-1", "lmkit-figure-2"]
    assert len(found.all("img")) == 2, "where no script runs, the picture is seen"
    assert "default-src 'none'" in text
    assert 4e6 < len(text) < 6e6
    assert len(page(tmp_path / "x.ipynb").read_text()) < 1e4


def test_what_only_a_script_can_show_is_left_out(tmp_path: Path) -> None:
    found = made(tmp_path, shows({"application/vnd.jupyter.widget-view+json": "{}"}), prints("after"))
    assert "after" in found.text


def test_long_printed_output_is_folded_and_its_last_line_shown(tmp_path: Path) -> None:
    lines = [f"epoch {i}" for i in range(MAX_LINES + 1)]
    folded = made(tmp_path, prints(*(f"{line}\n" for line in lines)))
    assert folded.all("details") == [{"class": "code"}, {}]
    assert f"{MAX_LINES + 1} lines; last: epoch {MAX_LINES}" in folded.text
    assert "\n".join(lines) in folded.text
    assert made(tmp_path, prints("\n".join(lines[:-1]))).all("details") == [{"class": "code"}]


def test_a_bar_drawn_over_and_over_is_shown_as_it_ended(tmp_path: Path) -> None:
    found = made(tmp_path, prints("  0%|\r 50%|", "\r100%|\ndone\r\n", name="stderr"))
    assert "100%|\ndone" in found.text
    assert "50%" not in found.text


def test_a_page_has_a_title_and_works_on_a_telephone(tmp_path: Path) -> None:
    text = page_of(tmp_path, new_markdown_cell("# One & <two>"))
    assert "<title>One &amp; &lt;two&gt;</title>" in text
    assert 'name="viewport" content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text
    assert "<title>x</title>" in page_of(tmp_path, prints("no heading"))


def page_of(tmp_path: Path, *cells: object) -> str:
    made(tmp_path, *cells)
    return (tmp_path / "x.html").read_text(encoding="utf-8")


# -- what other people's notebooks show -----------------------------------------------------------

DRAWING = """<?xml version="1.0"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="20" height="20"
 onload="alert(1)"><script>alert(1)</script><foreignObject><iframe src="https://example.org"/></foreignObject>
<image xlink:href="https://example.org/x.png"/><a href="javascript:alert(1)"><circle r="5" id="c"/></a>
<use xlink:href="#c"/></svg>"""
ENTITIES = '<!DOCTYPE svg [<!ENTITY a "b"><!ENTITY c SYSTEM "file:///etc/passwd">]><svg>&a;&c;</svg>'


def test_a_drawing_is_a_picture_that_runs_and_fetches_nothing(tmp_path: Path) -> None:
    inline = shows({"text/html": f"<p>before</p>{DRAWING[DRAWING.index('<svg') :]}"})
    found = made(tmp_path, shows({"image/svg+xml": DRAWING, "text/plain": "<IPython.core.display.SVG object>"}), inline)
    sources = [str(img["src"]) for img in found.all("img")]
    assert len(sources) == 2
    for source in sources:
        assert is_harmless_drawing(source)
        drawing = base64.b64decode(source.partition(",")[2]).decode()
        assert "circle" in drawing
        assert 'xlink:href="#c"' in drawing
    assert "IPython.core.display" not in found.text


@pytest.mark.parametrize("text", [ENTITIES, "<svg><g></svg>", "no drawing", "<svg " * 10_000])
def test_a_drawing_that_is_not_valid_is_named(tmp_path: Path, text: str) -> None:
    found = made(tmp_path, shows({"image/svg+xml": text}))
    assert "[a drawing omitted: it is not valid SVG]" in found.text
    assert not found.all("img")


def test_unclosed_elements_take_no_time(tmp_path: Path) -> None:
    start = time.monotonic()
    made(tmp_path, shows({"text/html": "<svg>" * 40_000 + "<script>" * 40_000 + "<style>" * 10_000}))
    assert time.monotonic() - start < 20


STYLED = """<style>
#T_1_row0_col0, #T_1_row1_col0 { background-color: #440154; color: #f1f1f1; }
#T_1_row1_col0 { width: 10em; background: linear-gradient(90deg, #d65f5f 50%, transparent 50%); }
#T_1_row0_col1 { background: url(https://example.org/x.png); position: fixed; color: expression(alert(1)); }
#T_1_row0_col2 { background-image: image-set("https://example.org/x.png" 1x); font-weight: bold; }
body { display: none } @import "https://example.org/x.css";
</style><table id="T_1"><tr><td id="T_1_row0_col0">1</td><td id="T_1_row0_col1">2</td><td id="T_1_row0_col2">3</td></tr>
<tr><td id="T_1_row1_col0" style="text-align: right">4</td></tr></table>"""


def test_the_colours_of_a_table_stay_and_nothing_else_of_its_style(tmp_path: Path) -> None:
    found = made(tmp_path, shows({"text/html": STYLED, "text/plain": "<pandas.io.formats.style.Styler at 0x7f>"}))
    styles = {cell["id"]: cell.get("style") or "" for cell in found.all("td")}
    assert styles["T_1_row0_col0"] == "background-color: #440154;color: #f1f1f1;"
    assert "linear-gradient(90deg, #d65f5f 50%, transparent 50%)" in styles["T_1_row1_col0"]
    assert styles["T_1_row0_col1"] == ""
    assert styles["T_1_row0_col2"] == "font-weight: bold;"


def test_a_figure_is_not_described_by_its_representation(tmp_path: Path) -> None:
    for text in ("<Figure size 640x480 with 1 Axes>", "<seaborn.axisgrid.FacetGrid at 0x7f12>", "Figure(640x480)"):
        found = made(tmp_path, shows({"image/png": PIXEL, "text/plain": text}))
        assert not found.all("figcaption")
        assert found.all("img")[0]["alt"] == "A picture without a description"
    sentence = "A sentence that ends here. " * 20
    found = made(tmp_path, shows({"image/png": PIXEL, "text/plain": sentence}))
    assert re.search(r"\w …\n", found.text), "a shortened caption ends at a word, with one ellipsis"


def test_other_formats_are_shown_or_named(tmp_path: Path) -> None:
    gif = base64.b64encode(b"GIF89a").decode()
    outputs = [
        shows({"image/gif": gif, "text/plain": "<IPython.core.display.Image object>"}),
        shows({"application/json": {"key": [1, "</pre><script>alert(1)</script>"]}, "text/plain": "<JSON object>"}),
        shows({"text/html": "<div></div><script>draw()</script>"}),
        shows({"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "IntSlider(value=3)"}),
        shows({"application/vnd.plotly.v1+json": {"data": []}}),
        shows({"application/x-other": "?"}),
    ]
    found = made(tmp_path, *outputs)
    assert [img["src"] for img in found.all("img")] == [f"data:image/gif;base64,{gif}"]
    assert '"</pre><script>alert(1)</script>"' in found.text
    assert not found.all("script")
    assert "<JSON object>" not in found.text
    for note in (
        "[interactive content omitted: a page runs no scripts]",
        "[a widget omitted: a page runs no scripts]\nIntSlider(value=3)",
        "[an interactive chart omitted: a page runs no scripts]",
        "[output of type application/x-other omitted]",
    ):
        assert note in found.text


def test_pictures_in_the_folder_of_the_notebook_are_embedded_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    pixel = base64.b64decode(PIXEL)
    for path in (folder / "a b.png", folder / "sub" / "b.png", tmp_path / "outside.png"):
        path.write_bytes(pixel)
    (folder / "drawing.svg").write_text(DRAWING)
    (folder / "secret.png").write_text("password")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.png")
    with (folder / "huge.png").open("wb") as file:
        file.write(pixel)
        file.truncate(MAX_PICTURE + 1)
    good = ["a%20b.png", "sub/b.png", "drawing.svg", "./sub/b.png"]
    bad = ["../outside.png", "link.png", "linked/outside.png", "pipe.png", "huge.png", "secret.png", "missing.png"]
    bad += ["sub", str(tmp_path / "outside.png"), f"file://{tmp_path}/outside.png", "//example.org/x.png"]
    text = "\n\n".join([*(f"![words]({p})" for p in good), *(f'<img src="{p}" alt="x">' for p in bad)])
    found = made(folder, new_markdown_cell(text))
    kinds = [str(img["src"]).partition(";")[0] for img in found.all("img")]
    assert kinds == ["data:image/png", "data:image/png", "data:image/svg+xml", "data:image/png"]
    assert {img["alt"] for img in found.all("img")} == {"words"}
    for source in bad:
        assert f"[picture '{source}' omitted: " in found.text
    nbformat.write(new_notebook(cells=[new_markdown_cell("![](sub/b.png)")]), tmp_path / "x.ipynb")
    assert "data:image/png" in page(tmp_path / "x.ipynb", folder=folder).read_text(), "it was executed elsewhere"


def test_formulas_are_drawn_and_their_source_describes_them(tmp_path: Path) -> None:
    text = "$E = mc^2$ costs \\$5 and `$code$`\n\n$$\\frac{1}{2}$$\n\n\\begin{align}a &= b \\\\ c &= d\\end{align}"
    found = made(
        tmp_path, new_markdown_cell(text), shows({"text/latex": r"$\displaystyle x^{2}$", "text/plain": "x**2"})
    )
    formulas = [img for img in found.all("img") if img["class"] == "formula"]
    assert [img["alt"] for img in formulas] == ["E = mc^2", r"\frac{1}{2}", "a = b", "c = d", "x^{2}"]
    assert all("<path" in base64.b64decode(str(img["src"]).partition(",")[2]).decode() for img in formulas)
    assert "$code$" in found.text
    found = made(tmp_path, new_markdown_cell(r'$\unknown{"<script>alert(1)</script>"}$'))
    assert r'\unknown{"<script>alert(1)</script>"}' in found.text, "what cannot be drawn is its source"
    many = made(tmp_path, new_markdown_cell(" ".join(["$x$"] * (MAX_FORMULAS + 2))))
    assert (len(many.all("img")), len(many.all("code"))) == (MAX_FORMULAS, 2), "the rest as their source"
    assert not found.all("script")


@pytest.mark.parametrize("separator", ["-", "_"])
def test_tags_hide_parts_of_cells(tmp_path: Path, separator: str) -> None:
    def tagged(name: str) -> object:
        output = new_output("stream", text=f"output of {name}\n")
        tag = name.replace("-", separator)
        return new_code_cell(f"code of {name}", metadata={"tags": [tag]}, outputs=[output])

    names = ["remove-cell", "remove-input", "remove-output", "hide-cell", "hide-input", "hide-output"]
    found = made(tmp_path, *map(tagged, names), new_markdown_cell("words", metadata={"tags": ["hide-cell"]}))
    for name in names:
        assert (f"code of {name}" in found.text) == (name not in ("remove-cell", "remove-input")), name
        assert (f"output of {name}" in found.text) == (name not in ("remove-cell", "remove-output")), name
    assert [d.get("class") for d in found.all("details")].count(None) == 3, "one output, a cell, and a text are folded"


def test_the_parameters_of_a_notebook_are_visible(tmp_path: Path) -> None:
    injected = new_code_cell("# Parameters\nrate = 0.1", metadata={"tags": ["injected-parameters"]})
    defaults = new_code_cell("rate = 1", metadata={"tags": ["parameters"]})
    assert made(tmp_path, defaults, injected).all("details") == [{"class": "code"}, {"class": "code", "open": None}]
    defaults.metadata["tags"].append("remove_input")
    assert made(tmp_path, defaults, injected).all("details") == [], "as those of a report are not"


# -- where it goes --------------------------------------------------------------------------------


def test_a_page_can_go_elsewhere(tmp_path: Path) -> None:
    nbformat.write(new_notebook(cells=[prints("out")]), tmp_path / "x.ipynb")
    assert page(tmp_path / "x.ipynb", tmp_path / "new" / "y.html") == tmp_path / "new" / "y.html"
    assert not (tmp_path / "x.html").exists()
    with pytest.raises(TemplateError, match=re.escape(f"cannot write the page to '{tmp_path / 'x.ipynb' / 'y.html'}'")):
        page(tmp_path / "x.ipynb", tmp_path / "x.ipynb" / "y.html")


def test_what_is_no_notebook_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="no notebook"):
        page(tmp_path / "x.ipynb")
    cell = '{"cell_type": "code", "source": "", "metadata": {"tags": 3}, "outputs": [{"output_type": "display_data"}]}'
    broken = f'{{"cells": [{cell}], "metadata": {{}}, "nbformat": 4, "nbformat_minor": 4}}'
    for content in ("no json", "[]", '{"nbformat": 4, "cells": [1]}', '{"nbformat": 99}', "[" * 100_000, broken):
        (tmp_path / "x.ipynb").write_text(content)
        with pytest.raises(TemplateError, match=r"is not a notebook|no page can be made"):
            page(tmp_path / "x.ipynb")
