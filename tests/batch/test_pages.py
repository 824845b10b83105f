"""A page holds all that it shows, runs nothing, and fetches nothing."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lmkit.batch.pages import FOLDED, HIDDEN, page
from lmkit.errors import TemplateError

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


def shows(data: dict[str, str], metadata: dict[str, object] | None = None) -> object:
    return new_code_cell("code()", outputs=[new_output("display_data", data, metadata=metadata or {})])


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
        assert not attributes.get("src"), "there is no picture of its own"
    assert {a.get("href") for a in found.all("a")} <= {None, "https://example.org/read"}
    assert "alert(1)" not in found.text
    for kept in ("kept text", "kept cell", "kept link"):
        assert kept in found.text
    assert found.all("p")[-1].get("style", "text-align: right;") == "text-align: right;"


def test_printed_tags_are_text(tmp_path: Path) -> None:
    found = made(tmp_path, prints("<script>alert(1)</script> & <b>"))
    assert "<script>alert(1)</script> & <b>" in found.text
    assert not found.all("script")


def test_code_is_folded_and_cells_for_whoever_runs_it_are_left_out(tmp_path: Path) -> None:
    hint = new_markdown_cell("change the parameters", metadata={"tags": [HIDDEN]})
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
    lines = [f"epoch {i}" for i in range(FOLDED + 1)]
    folded = made(tmp_path, prints(*(f"{line}\n" for line in lines)))
    assert folded.all("details") == [{"class": "code"}, {}]
    assert f"{FOLDED + 1} lines; the last: epoch {FOLDED}" in folded.text
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


# -- where it goes --------------------------------------------------------------------------------


def test_a_page_can_go_elsewhere(tmp_path: Path) -> None:
    nbformat.write(new_notebook(cells=[prints("out")]), tmp_path / "x.ipynb")
    assert page(tmp_path / "x.ipynb", tmp_path / "new" / "y.html") == tmp_path / "new" / "y.html"
    assert not (tmp_path / "x.html").exists()
    with pytest.raises(TemplateError, match=re.escape(f"cannot be written to '{tmp_path / 'x.ipynb' / 'y.html'}'")):
        page(tmp_path / "x.ipynb", tmp_path / "x.ipynb" / "y.html")


def test_what_is_no_notebook_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="there is no notebook"):
        page(tmp_path / "x.ipynb")
    (tmp_path / "x.ipynb").write_text("no json")
    with pytest.raises(TemplateError, match="is no notebook"):
        page(tmp_path / "x.ipynb")
