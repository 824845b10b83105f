"""Writes an executed notebook as one self-contained HTML page: no network, and no script unless it is interactive.

notebook ──> outputs in their best format ──> cells as HTML ──> pictures embedded ──> scripts and references removed
         ──> contents, captions, interactive figures
"""

from __future__ import annotations

import html
import itertools
import json
import re
from pathlib import Path
from typing import Any

from lmkit.exceptions import TemplateError, describe_exception
from lmkit.system.files import write_text
from lmkit.system.optional import require
from lmkit.system.privacy import redact, shorten_home

MAX_LINES = 8
"""Printed output with more lines is folded; its last line stays visible."""

MIN_HEADINGS = 3
"""Number of headings from which a page has a table of contents."""

_CELLS = """
{%- extends 'basic/index.html.j2' -%}
{%- block codecell -%}
{%- if 'hide-cell' in cell.metadata.tags -%}
<details><summary>cell</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock codecell -%}
{%- block markdowncell -%}
{%- if 'hide-cell' in cell.metadata.tags -%}
<details><summary>text</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock markdowncell -%}
{%- block output_group -%}
{%- if 'hide-output' in cell.metadata.tags -%}
<details><summary>output</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock output_group -%}
{%- block stream -%}
{%- set lines = (output.text | ansi2html).rstrip().split('\n') -%}
{%- if lines | length > MAX_LINES -%}
{%- set last = (output.text | strip_ansi).rstrip().split('\n')[-1] -%}
<details><summary>{{ lines | length }} lines; last: {{ last | shorten_caption | escape }}</summary>
<pre>{{ lines | join('\n') }}</pre></details>
{%- else -%}
<pre>{{ lines | join('\n') }}</pre>
{%- endif -%}
{%- endblock stream -%}
{%- block input -%}
{%- if cell.source.strip() and 'remove-input' not in cell.metadata.tags -%}
{%- set injected = 'injected-parameters' in cell.metadata.tags -%}
<details class="code"{% if injected %} open{% endif %}><summary>{{ 'parameters' if injected else 'code' }}</summary>
<pre><code>{{ cell.source | escape }}</code></pre></details>
{%- endif -%}
{%- endblock input -%}
""".replace("MAX_LINES", str(MAX_LINES))
"""The HTML of cells: code and long output folded, parameters visible."""

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
td.long { white-space: normal; min-width: 14rem } th:last-child, td:last-child { padding-right: 0 }
details { margin: 1rem 0 } summary { cursor: pointer; font-size: .9rem }
details.code { margin: .2rem 0; color: var(--faint) } details.code summary { font-size: .75rem; list-style: none;
  width: max-content; margin-left: auto } details.code summary::before { content: "‹› " } details.code[open] pre {
  color: var(--ink) }
.formula { display: inline; background: none; border-radius: 0; max-width: none }
.formula-block { display: block; overflow-x: auto; margin: .6rem 0 }
@media (prefers-color-scheme: dark) { img.formula { filter: invert(.88) } }
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


_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_POLICY_INTERACTIVE = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(
    notebook_path: str | Path,
    html_path: str | Path | None = None,
    *,
    interactive: bool = False,
    folder: str | Path | None = None,
) -> Path:
    """Write an executed notebook as one HTML page, with its code folded and without references to other files.

    Args:
        notebook_path: the executed notebook.
        html_path: path of the page; default: the notebook's, with the suffix .html.
        interactive: whether charts can be zoomed and hovered over; the page then contains plotly's script (once,
            4.8 MB). Where scripts do not run, the pictures are visible.
        folder: the folder that the notebook's pictures in files are relative to; these are embedded. Default: that of
            the notebook.

    Returns:
        The path of the page.

    Raises:
        TemplateError: the notebook does not exist or is invalid, or the page cannot be made or written.
        MissingPackage: nbconvert is not installed.

    >>> page("out.ipynb")  # doctest: +SKIP
    PosixPath('out.html')
    """
    require("nbformat", "nbconvert", "bleach", extra="batch", purpose="a report")
    import nbformat

    from lmkit.batch.page_outputs import prepare_cells
    from lmkit.batch.pictures import embed_pictures
    from lmkit.batch.sanitize import sanitize

    source = Path(notebook_path).expanduser()
    target = Path(html_path).expanduser() if html_path else source.with_suffix(".html")
    try:
        notebook = nbformat.read(source, as_version=4)
    except OSError as error:
        raise TemplateError(
            f"no notebook {str(source)!r} ({error.strerror}); expected an executed .ipynb file"
        ) from None
    except Exception:  # nbformat raises many kinds for what is not one
        raise TemplateError(f"{str(source)!r} is not a notebook; expected an executed .ipynb file") from None
    root = Path(folder) if folder else source.absolute().parent
    try:
        for cell in notebook.cells:
            if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", ())):
                cell.source = redact(cell.source)
        figures = prepare_cells(notebook, interactive)
        title = html.escape(_title(notebook) or source.stem)
        body = _add_contents(_number_figures(sanitize(embed_pictures(_convert_cells(notebook), root))))
    except Exception as error:  # such as a notebook that only seems valid
        raise TemplateError(f"no page can be made of {str(source)!r}: {describe_exception(error)}") from None
    policy = _POLICY_INTERACTIVE if interactive else _POLICY
    text = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{_CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"{_scripts(figures) if interactive and figures else ''}</body>\n</html>\n"
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, shorten_home(text))
    except OSError as error:
        raise TemplateError(f"cannot write the page to {str(target)!r}: {error.strerror}") from None
    return target


def _convert_cells(notebook: Any) -> str:
    """Return the cells of a notebook as HTML."""
    from lmkit.batch.exporter import PageExporter
    from lmkit.batch.page_outputs import shorten_caption

    exporter = PageExporter(
        raw_template=_CELLS,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        filters={"shorten_caption": shorten_caption},
    )
    body, _ = exporter.from_notebook_node(notebook)
    return str(body)


def _number_figures(body: str) -> str:
    """Add the numbers of the figures to their captions."""
    count = itertools.count(1)
    return re.sub("<figcaption>", lambda _: f"<figcaption><strong>Figure {next(count)}.</strong> ", body)


def _add_contents(body: str) -> str:
    """Insert a table of contents before the first heading after the title, if the page has several headings."""
    items: list[str] = []

    def add_anchor(heading: re.Match[str]) -> str:
        level, _, text = heading.groups()
        name, title = f"part-{len(items) + 1}", re.sub("<[^>]+>", "", text).strip()
        items.append(f'<li{" class=under" if level == "3" else ""}><a href="#{name}">{title}</a></li>')
        return f'<h{level} id="{name}">{text}</h{level}>'

    linked = re.sub(r"<h([23])\b([^>]*)>(.*?)</h\1>", add_anchor, body, flags=re.DOTALL)
    if len(items) < MIN_HEADINGS:
        return body
    before, heading, after = linked.partition("<h2")
    return f'{before}<nav aria-label="Contents"><ul>{"".join(items)}</ul></nav>{heading}{after}'


def _scripts(figures: dict[str, Any]) -> str:
    """Return plotly, and a script that draws the figures in the place of their pictures."""
    import importlib.resources

    library = (importlib.resources.files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    data = json.dumps(figures).replace("<", "\\u003c")  # no text of a figure can end the script
    return f"<script>{library}</script>\n<script>const figures = {data};\n{_DRAW}</script>\n"


_DRAW = """for (const [name, { data, layout }] of Object.entries(figures)) {
  const picture = document.getElementById(name)?.querySelector(".picture")
  if (!picture) continue
  const width = picture.querySelector("img").width, chart = document.createElement("div")
  picture.replaceChildren(chart)
  Plotly.newPlot(chart, data, { ...layout, width: Math.max(width, 480) }, { displaylogo: false })
}
"""


def _title(notebook: Any) -> str:
    """Return the first heading of the cells and outputs of a notebook; empty without headings."""
    for cell in notebook.cells:
        outputs = (output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", []))
        for text in [cell.source] if cell.cell_type == "markdown" else map(str, outputs):
            if match := re.search(r"^#\s+(.+)$", text, re.MULTILINE):
                return match[1].strip().replace("`", "")
    return ""
