"""The cells of a notebook as a page shows them: what tags hide, and each output in the best format without a script."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tinycss2  # type: ignore[import-untyped]  # bleach brings it

from lmkit.batch.output_limits import MAX_END, OutputBudget, truncate, truncate_error
from lmkit.batch.pictures import OmittedPicture, data_url, svg_url
from lmkit.batch.sanitize import attribute_pattern, read_attribute, replace_elements

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")
FORMATS = (*PICTURES, "text/html", "text/markdown", "text/latex", "application/json", "text/plain")
"""The formats of outputs on a page, the preferred first."""

PLOTLY = "application/vnd.plotly.v1+json"

OMISSIONS = {
    PLOTLY: "an interactive chart",
    "application/vnd.jupyter.widget-view+json": "a widget",
    "application/javascript": "a script",
    "application/pdf": "a PDF document",
}
"""The format of an output that only a script or a program can show → what it is."""

FRAMES = {"iframe": "a frame", "audio": "a sound", "video": "a video", "object": "an object", "embed": "an object"}
"""An element of HTML that a page does not have → what it is."""

CAPTION = 280
"""Characters of a figure's description in its caption; screen readers get the full text."""

WIDE = 700
"""Pixels from which a picture is not made smaller on a narrow screen, where it can be scrolled."""

INJECTED = "injected-parameters"

_REPRESENTATION = re.compile(r"\A(<[A-Za-z_][\w.]*[ :][^\n]*>|(Figure|Axes)\([^\n]*\))(\n|\Z)")
"""How a figure is represented as a text."""


def prepare_cells(notebook: Any, interactive: bool) -> dict[str, Any]:
    """Reduce a notebook to what a page shows, in place.

    The tags of Jupyter Book and nbconvert are respected, with a dash or an underscore: ``remove-cell``,
    ``remove-input``, ``remove-output``, ``hide-cell``, ``hide-input``, ``hide-output``.

    Returns:
        The plotly figures of an interactive page, by the ids of their pictures.
    """
    figures: dict[str, Any] = {}
    budget = OutputBudget(text=2 * MAX_END)
    without_input = False
    for cell in notebook.cells:
        tags = cell.metadata["tags"] = [str(tag).replace("_", "-") for tag in cell.metadata.get("tags", [])]
        if INJECTED in tags and without_input:
            tags.append("remove-input")  # as the cell of the parameters, which it follows
        without_input = "remove-input" in tags
        if cell.metadata.get("collapsed") or cell.metadata.get("jupyter", {}).get("outputs_hidden"):
            tags.append("hide-output")
    notebook.cells = [cell for cell in notebook.cells if "remove-cell" not in cell.metadata.tags]
    for cell in notebook.cells:
        if "outputs" not in cell:
            continue
        outputs: list[Any] = []
        for output in [] if "remove-output" in cell.metadata.tags else _without_repetitions(cell.outputs):
            if output.output_type == "error":
                truncate_error(output)
            if "data" in output:
                _select_format(output, budget, figures if interactive else None)
            previous = outputs[-1] if outputs else None
            if previous and output.output_type == previous.output_type == "stream" and output.name == previous.name:
                previous.text += output.text  # a kernel sends printed text in pieces
            else:
                outputs.append(output)
        for output in (o for o in outputs if o.output_type == "stream"):
            output.text = truncate(re.sub(r"(?m)^[^\n]*\r(?!\n)", "", output.text))  # overwritten progress bars
        cell.outputs = outputs
    return figures


def _without_repetitions(outputs: Sequence[Any]) -> Iterator[Any]:
    """Iterate over outputs without texts that only repeat the description of the picture before, its caption."""
    caption = ""
    for output in outputs:
        data = output.get("data", {})
        text = str(data.get("text/plain", ""))
        has_picture = any(kind in data for kind in PICTURES)
        if has_picture or not (caption and text.strip() == caption):
            yield output
        caption = text.strip() if has_picture else ""


def _select_format(output: Any, budget: OutputBudget, figures: dict[str, Any] | None) -> None:
    """Reduce an output to HTML, Markdown or text, whatever is best, in place."""
    best = next((kind for kind in FORMATS if kind in output.data), "text/plain")
    kinds = {best, "text/plain", *([PLOTLY] if figures is not None and best in PICTURES else [])}
    omitted = [name for kind, name in OMISSIONS.items() if kind in output.data and best == "text/plain"]
    others = {kind for kind in output.data if kind not in (*FORMATS, *OMISSIONS)} if best == "text/plain" else ()
    data = budget.select({k: v for k, v in output.data.items() if k in kinds})
    text = str(data.get("text/plain", ""))
    if best not in data:
        best = "text/plain"
    if best in PICTURES:
        identifier = ""
        if figures is not None and PLOTLY in data:
            identifier = f"lmkit-figure-{len(figures) + 1}"
            figures[identifier] = data[PLOTLY]
        width = output.metadata.get(best, output.metadata).get("width")
        data = {"text/html": figure_html(best, str(data[best]), describe_picture(text), width, identifier)}
    elif best == "text/html":
        data = {best: readable_html(str(data[best]))}
    elif best == "text/latex":
        data = {"text/markdown": data[best]}  # in which formulas are drawn
    elif best == "application/json":
        listing = html.escape(truncate(json.dumps(data[best], indent=2, ensure_ascii=False, default=str)))
        data = {"text/html": f"<details><summary>JSON</summary><pre>{listing}</pre></details>"}
    elif best == "text/plain":
        notes = [f"[{name} omitted: a page runs no scripts]" for name in omitted]
        notes += [f"[output of type {kind} omitted]" for kind in sorted(others)]
        data = {best: "\n".join([*notes, text]).strip("\n")}
    else:
        data = {best: data[best]}
    output.data, output.metadata = data, {}


def describe_picture(text: str) -> str:
    """Return the description of a picture without the representation of an object.

    >>> describe_picture("<Figure size 640x480 with 1 Axes>")
    ''
    """
    return _REPRESENTATION.sub("", text).strip()


def shorten_caption(text: str) -> str:
    """Return a description in one line, that ends at a word with an ellipsis where it is too long.

    >>> shorten_caption("word " * 100)[-6:]
    'word …'
    """
    line = " ".join(text.split())
    if len(line) <= CAPTION:
        return line
    return f"{line[:CAPTION].rpartition(' ')[0].rstrip('.,;: ')} …"


def figure_html(kind: str, data: str, description: str, width: Any = None, identifier: str = "") -> str:
    """Return a picture with its description as caption and alternative text."""
    try:
        url = svg_url(data) if kind == "image/svg+xml" else data_url(kind, data)
    except OmittedPicture as reason:
        return f"<p><em>[a drawing omitted: {html.escape(str(reason))}]</em></p>"
    try:
        pixels = int(width or 0)
    except (TypeError, ValueError):
        pixels = 0
    size = f' width="{pixels}"' if pixels else ""
    size += ' class="wide"' if pixels > WIDE else ""
    alternative = html.escape(description or "A picture without a description")
    caption = f"\n<figcaption>{html.escape(shorten_caption(description))}</figcaption>" if description else ""
    id_attribute = f' id="{identifier}"' if identifier else ""
    picture = f'<div class="picture"><img src="{url}" alt="{alternative}"{size}></div>'
    return f"<figure{id_attribute}>\n{picture}{caption}\n</figure>"


def readable_html(text: str) -> str:
    """Return the HTML of an output with its drawings as pictures and its colours in place, and notes of the rest."""
    rules: dict[str, str] = {}
    styled = replace_elements(text, ["style"], lambda _tag, _attributes, content: _read_rules(content, rules))
    drawn = replace_elements(styled, ["svg"], _svg_html)
    framed = replace_elements(drawn, FRAMES, _frame_html)
    plain_html = replace_elements(framed, ["script"], lambda *_: "")
    if plain_html != framed and not re.sub(r"<[^>]*>|\s", "", plain_html):
        plain_html += "<p><em>[interactive content omitted: a page runs no scripts]</em></p>"
    return _apply_rules(plain_html, rules) if rules else plain_html


def _svg_html(_tag: str, attributes: str, content: str) -> str:
    try:
        description = html.escape(read_attribute(attributes, "aria-label") or "A drawing")
        return f'<img src="{svg_url(f"<svg{attributes}>{content}</svg>")}" alt="{description}">'
    except OmittedPicture as reason:
        return f"<em>[a drawing omitted: {html.escape(str(reason))}]</em>"


def _frame_html(tag: str, attributes: str, _content: str) -> str:
    match = re.search(r"""\bsrc\s*=\s*["']?(https?:[^"'\s>]{1,200})""", attributes)
    address = f" ({html.unescape(match[1])})" if match else ""
    return f"<p><em>{html.escape(f'[{FRAMES[tag]}{address} omitted: a page loads nothing]')}</em></p>"


def _read_rules(content: str, rules: dict[str, str]) -> str:
    """Read the declarations of a style sheet for single elements, as pandas' Styler writes them: id → declarations."""
    for rule in tinycss2.parse_stylesheet(content, skip_comments=True, skip_whitespace=True):
        if rule.type != "qualified-rule":
            continue
        declarations = tinycss2.serialize(rule.content).strip().rstrip(";")
        for selector in tinycss2.serialize(rule.prelude).split(","):
            if match := re.fullmatch(r"#([\w-]+)", selector.strip()):
                rules[match[1]] = f"{rules.get(match[1], '')}{declarations}; "
    return ""


def _apply_rules(text: str, rules: Mapping[str, str]) -> str:
    """Return HTML in which elements have the declarations for their ids, before those of their own."""

    def add(match: re.Match[str]) -> str:
        tag, attributes = match.groups()
        declarations = rules.get(read_attribute(attributes, "id"))
        if not declarations:
            return match[0]
        style = html.escape(declarations + read_attribute(attributes, "style"))
        return f'<{tag} style="{style}"{attribute_pattern("style").sub("", attributes)}>'

    return re.sub(r"<(\w+)\b([^<>]*)>", add, text)
