"""An executed notebook as one HTML page that needs nothing else: no network, and no script for what it shows.

notebook ──> cells as HTML ──> what would run or be fetched left out ──> contents, captions, figures to touch
"""

from __future__ import annotations

import html
import itertools
import json
import re
from pathlib import Path
from typing import Any

from lmkit.batch.outputs import END, Held, cut, hold_error
from lmkit.errors import MissingPackage, TemplateError

INSTALL = "python -m pip install 'lmkit[batch]'"
"""What installs the packages that notebooks are executed and rendered with."""

SHOWN = ("image/png", "image/jpeg", "text/html", "text/markdown", "text/latex", "text/plain")
"""The kinds of output a page holds, the best first."""

FOLDED = 8
"""Printed output of more lines than this is folded, with its last line to be seen."""

CAPTION = 280
"""Letters of a figure's words that its caption shows at most; a screen reader is told them all."""

CONTENTS_FROM = 3
"""Headings from which a page begins with links to them."""

PLOTLY = "application/vnd.plotly.v1+json"

HIDDEN = "remove_cell"
"""The tag of cells that a page leaves out: what they say is for whoever runs the notebook."""

_CELLS = (
    """
{%- extends 'basic/index.html.j2' -%}
{%- block stream -%}
{%- set lines = (output.text | ansi2html).rstrip().split('\n') -%}
{%- if lines | length > FOLDED -%}
{%- set last = (output.text | strip_ansi).rstrip().split('\n')[-1] -%}
<details><summary>{{ lines | length }} lines; the last: {{ last | truncate(CAPTION) | escape }}</summary>
<pre>{{ lines | join('\n') }}</pre></details>
{%- else -%}
<pre>{{ lines | join('\n') }}</pre>
{%- endif -%}
{%- endblock stream -%}
{%- block input -%}
{%- if cell.source.strip() -%}
<details class="code"><summary>code</summary><pre><code>{{ cell.source | escape }}</code></pre></details>
{%- endif -%}
{%- endblock input -%}
{%- block data_png -%}
{%- set width = output | get_metadata('width', 'image/png') -%}
{%- set words = output.data.get('text/plain', '') | told_of_a_picture -%}
<figure{% if output.metadata.get(PLOT) %} id="{{ output.metadata[PLOT] }}"{% endif %}>
<div class="picture"><img src="data:image/png;base64,{{ output.data['image/png'] | replace('\n', '') }}"
 alt="{{ (words or 'A picture without a description') | escape }}"
 {%- if width is not none %} width="{{ width | int }}"{% endif %}
 {%- if (width or 0) | int > 700 %} class="wide"{% endif %}></div>
{%- if words %}<figcaption>{{ words.split() | join(' ') | truncate(CAPTION) | escape }}</figcaption>{% endif %}
</figure>
{%- endblock data_png -%}
""".replace("FOLDED", str(FOLDED))
    .replace("PLOT", "'lmkit-figure'")
    .replace("CAPTION", str(CAPTION))
)
"""How cells become HTML: code and long printed output folded, pictures with their words as caption and for a reader."""

_CSS = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #f4f5f6; --faint: #5c6570; --rule: #d9dcdf;
  --link: #00588f }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e2e4e6; --paper: #16191c; --soft: #22262a; --faint: #9aa4ae; --rule: #3a4046; --link: #6cb8ea } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
main { max-width: 47.5rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem }
h1, h2, h3 { line-height: 1.25; margin: 2.2rem 0 .6rem } h1 { font-size: 1.7rem; margin-top: .5rem }
h2 { font-size: 1.3rem } a { color: var(--link) } a.anchor-link { display: none }
.picture { overflow-x: auto; margin: 1rem 0 }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 6px }
@media (prefers-color-scheme: dark) { img { filter: brightness(.88) } }
pre { padding: .7rem .9rem; background: var(--soft); border-radius: 6px; font-size: .8rem; line-height: 1.45;
  white-space: pre-wrap; overflow-wrap: anywhere }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace }
p code, li code, td code { background: var(--soft); padding: .1em .3em; border-radius: 4px;
  font-size: .88em }
table { display: block; overflow-x: auto; border-collapse: collapse; margin: 1rem 0; font-size: .9rem }
caption { display: block; text-align: left; font-weight: 600; padding: .3rem 0; overflow-wrap: anywhere }
th, td { padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid var(--rule); font-variant-numeric: tabular-nums;
  vertical-align: top; white-space: nowrap }
th, td:first-child { white-space: normal } td[style*="left"]:first-child { min-width: 6rem }
td:last-child { white-space: normal; overflow-wrap: anywhere } td[style*="left"]:last-child { min-width: 5.5rem }
th:last-child, td:last-child { padding-right: 0 }
details { margin: 1rem 0 } summary { cursor: pointer; font-size: .9rem }
details.code { margin: .2rem 0; color: var(--faint) } details.code summary { font-size: .75rem; list-style: none;
  width: max-content; margin-left: auto } details.code summary::before { content: "‹› " } details.code[open] pre {
  color: var(--ink) }
figure { margin: 1rem 0 } figure .picture { margin: 0 } figcaption { font-size: .85rem; color: var(--faint);
  margin-top: .35rem; overflow-wrap: anywhere }
nav { font-size: .9rem; margin: 1rem 0 } nav ul { margin: 0; padding: 0; list-style: none } nav li { margin: .15rem 0 }
nav .under { padding-left: 1rem }
@media (min-width: 78rem) { nav { position: fixed; top: 1.5rem; left: max(1rem, calc(50vw - 39rem)); width: 13rem;
  max-height: calc(100vh - 3rem); overflow-y: auto; margin: 0 } }
@media print { nav, details.code { display: none } figure, tr { break-inside: avoid } body { font-size: 11pt }
  main { max-width: none; padding: 0 } h1, h2, h3 { break-after: avoid }
  table { font-size: 9pt } th, td { white-space: normal; padding-right: .5rem; min-width: 0 !important }
  table:has(th:nth-child(11)) { font-size: 6pt } table:has(th:nth-child(11)) * { padding-right: .25rem } }
@media (max-width: 40rem) {
  img.wide { max-width: none } table { font-size: .82rem }
  th:not(:last-child), td:not(:last-child) { padding-right: .6rem }
  td[style*="left"]:last-child { min-width: 6rem } td[style*="left"]:first-child { min-width: 4.5rem } }
"""


_NOTHING_FETCHED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_NOTHING_FETCHED_EITHER = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


def page(notebook_path: str | Path, html_path: str | Path | None = None, *, interactive: bool = False) -> Path:
    """Writes an executed notebook as one HTML page: code folded, nothing fetched from anywhere.

    Args:
        notebook_path: the notebook, with its outputs.
        html_path: where to; default: beside the notebook, with the ending .html.
        interactive: charts can be zoomed and pointed at, by plotly's own script, which the page then holds (once,
            4.8 MB); where scripts do not run, their pictures are seen.

    Returns:
        The page's path.

    Raises:
        TemplateError: there is no such notebook, or it is none, or the page cannot be written.
        MissingPackage: nbconvert is not installed.

    >>> page("out.ipynb")  # doctest: +SKIP
    PosixPath('out.html')
    """
    try:
        import nbformat
        from nbconvert import HTMLExporter
    except ImportError as error:
        raise MissingPackage(f"a report needs {error.name}, which is not installed: {INSTALL}") from None
    source = Path(notebook_path)
    target = Path(html_path) if html_path else source.with_suffix(".html")
    try:
        notebook = nbformat.read(source, as_version=4)
    except OSError as error:
        why = f"there is no notebook {str(source)!r} ({error.strerror})"
        raise TemplateError(f"{why}; expected an executed .ipynb file") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError):
        raise TemplateError(f"{str(source)!r} is no notebook; expected an executed .ipynb file") from None
    exporter = HTMLExporter(
        raw_template=_CELLS,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        filters={"told_of_a_picture": _told},
    )
    shown, figures = _printable(notebook, interactive)
    body, _ = exporter.from_notebook_node(shown)
    title = html.escape(_title(notebook) or source.stem)
    policy = _NOTHING_FETCHED_EITHER if interactive else _NOTHING_FETCHED
    text = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{_CSS}</style>\n</head>\n<body>\n<main>\n{_with_contents(_numbered(_harmless(body)))}\n</main>\n"
        f"{_scripts(figures) if interactive and figures else ''}</body>\n</html>\n"
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TemplateError(f"the page cannot be written to {str(target)!r}: {error.strerror}") from None
    return target


def _printable(notebook: Any, interactive: bool) -> tuple[Any, dict[str, Any]]:
    """What is to be seen, held to a size, with the kind of each output that a page without scripts shows best.

    Also the figures whose pictures are among it, by the ids that those get, where they are to be touched.
    """
    figures: dict[str, Any] = {}
    held = Held(text=2 * END)
    notebook.cells = [c for c in notebook.cells if HIDDEN not in c.metadata.get("tags", [])]
    for cell in notebook.cells:
        if "outputs" not in cell:
            continue
        shown: list[Any] = []
        for output in cell.outputs:
            if output.output_type == "error":
                hold_error(output)
            if "data" in output:
                best = next((kind for kind in SHOWN if kind in output.data), None)
                if best is None:
                    continue
                kinds = {best, "text/plain", *([PLOTLY] if interactive and best == "image/png" else [])}
                output.data = held.data({k: v for k, v in output.data.items() if k in kinds})
                if best in output.data and PLOTLY in output.data:
                    number = f"lmkit-figure-{len(figures) + 1}"
                    figures[number] = output.data.pop(PLOTLY)
                    output.metadata["lmkit-figure"] = number
            if shown and output.output_type == shown[-1].output_type == "stream" and output.name == shown[-1].name:
                shown[-1].text += output.text  # a kernel sends what is printed in pieces
            else:
                shown.append(output)
        for output in (o for o in shown if o.output_type == "stream"):
            output.text = cut(re.sub(r"(?m)^[^\n]*\r(?!\n)", "", output.text))  # a bar that was drawn over and over
        cell.outputs = shown
    return notebook, figures


def _told(words: str) -> str:
    """What is told of a picture, without the name of the object that shows it: a caption is no place for code."""
    return re.sub(r"\A<[A-Z]\w* [^\n]*>\n(?=.)", "", words)


def _numbered(body: str) -> str:
    """Captions with the numbers of their figures."""
    count = itertools.count(1)
    return re.sub("<figcaption>", lambda _: f"<figcaption><strong>Figure {next(count)}.</strong> ", body)


def _with_contents(body: str) -> str:
    """A page's headings as links before the first one after its title, where there are several."""
    items: list[str] = []

    def named(heading: re.Match[str]) -> str:
        level, _, text = heading.groups()
        name, words = f"part-{len(items) + 1}", re.sub("<[^>]+>", "", text).strip()
        items.append(f'<li{" class=under" if level == "3" else ""}><a href="#{name}">{words}</a></li>')
        return f'<h{level} id="{name}">{text}</h{level}>'

    linked = re.sub(r"<h([23])\b([^>]*)>(.*?)</h\1>", named, body, flags=re.DOTALL)
    if len(items) < CONTENTS_FROM:
        return body
    before, heading, after = linked.partition("<h2")
    return f'{before}<nav aria-label="Contents"><ul>{"".join(items)}</ul></nav>{heading}{after}'


def _scripts(figures: dict[str, Any]) -> str:
    """plotly, and the figures that it draws in the place of their pictures."""
    import importlib.resources

    library = (importlib.resources.files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    told = json.dumps(figures).replace("<", "\\u003c")  # no text of a figure ends the script
    return f"<script>{library}</script>\n<script>const figures = {told};\n{_DRAW}</script>\n"


_DRAW = """for (const [name, { data, layout }] of Object.entries(figures)) {
  const place = document.getElementById(name)?.querySelector(".picture")
  if (!place) continue
  const width = place.querySelector("img").width, drawn = document.createElement("div")
  place.replaceChildren(drawn)
  Plotly.newPlot(drawn, data, { ...layout, width: Math.max(width, 480) }, { displaylogo: false })
}
"""


def _title(notebook: Any) -> str:
    """The notebook's first heading."""
    for cell in notebook.cells:
        found = re.search(r"^#\s+(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if found:
            return found[1].strip().replace("`", "")
    return ""


def _harmless(body: str) -> str:
    """Leaves out whatever would run, or be fetched, when the page is opened. Links to follow by hand stay."""
    import bleach  # type: ignore[import-untyped]  # nbconvert brings it
    from bleach.css_sanitizer import CSSSanitizer  # type: ignore[import-untyped]

    def allowed(tag: str, name: str, value: str) -> bool:
        if name == "src":
            return tag == "img" and value.startswith("data:image/")
        if name == "href":
            return tag == "a" and not value.startswith("data:")
        return name in _ATTRIBUTES

    cleaned: str = bleach.clean(
        re.sub(r"<(script|style)\b.*?</\1\s*>", "", body, flags=re.DOTALL | re.IGNORECASE),
        tags=_TAGS,
        attributes=allowed,
        protocols=["http", "https", "mailto", "data"],
        css_sanitizer=CSSSanitizer(allowed_css_properties=["text-align"]),
        strip=True,
    )
    return cleaned


_ATTRIBUTES = {"alt", "align", "class", "colspan", "id", "open", "rowspan", "scope", "style", "title", "width"}
_TAGS = {
    "a", "b", "blockquote", "br", "caption", "code", "dd", "del", "details", "div", "dl", "dt", "em", "h1",
    "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "kbd", "li", "ol", "p", "pre", "s", "small", "span",
    "figcaption", "figure", "strong", "sub", "summary", "sup", "table", "tbody",
    "td", "tfoot", "th", "thead", "tr", "u", "ul",
}  # fmt: skip
