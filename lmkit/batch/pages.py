"""An executed notebook as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from lmkit.errors import MissingPackage, TemplateError

INSTALL = "python -m pip install 'lmkit[batch]'"
"""What installs the packages that notebooks are executed and rendered with."""

SHOWN = ("image/png", "image/jpeg", "text/html", "text/markdown", "text/latex", "text/plain")
"""The kinds of output a page holds, the best first."""

FOLDED = 8
"""Printed output of more lines than this is folded, with its last line to be seen."""

HIDDEN = "remove_cell"
"""The tag of cells that a page leaves out: what they say is for whoever runs the notebook."""

_CELLS = """
{%- extends 'basic/index.html.j2' -%}
{%- block stream -%}
{%- set lines = (output.text | ansi2html).rstrip().split('\n') -%}
{%- if lines | length > FOLDED -%}
<details><summary>{{ lines | length }} lines; the last: {{ lines[-1] }}</summary>
<pre>{{ lines | join('\n') }}</pre></details>
{%- else -%}
<pre>{{ lines | join('\n') }}</pre>
{%- endif -%}
{%- endblock stream -%}
{%- block data_png -%}
{%- set width = output | get_metadata('width', 'image/png') -%}
<div class="picture"><img src="data:image/png;base64,{{ output.data['image/png'] | replace('\n', '') }}"
 alt="{{ output.data.get('text/plain', 'A picture without a description') | escape }}"
 {%- if width is not none %} width="{{ width | int }}"{% endif %}
 {%- if (width or 0) | int > 700 %} class="wide"{% endif %}></div>
{%- endblock data_png -%}
""".replace("FOLDED", str(FOLDED))
"""How cells become HTML: long printed output folded, pictures with their text for a screen reader."""

_CSS = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #f4f5f6; --rule: #d9dcdf; --link: #00588f }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e2e4e6; --paper: #16191c; --soft: #22262a; --rule: #3a4046; --link: #6cb8ea } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
main { max-width: 47.5rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem }
h1, h2, h3 { line-height: 1.25; margin: 2.2rem 0 .6rem } h1 { font-size: 1.7rem; margin-top: .5rem }
h2 { font-size: 1.3rem } a { color: var(--link) } a.anchor-link { display: none }
.picture { overflow-x: auto; margin: 1rem 0 }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 6px }
@media (prefers-color-scheme: dark) { img { filter: brightness(.88) } }
pre { overflow-x: auto; padding: .7rem .9rem; background: var(--soft); border-radius: 6px; font-size: .8rem;
  line-height: 1.45 }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace }
p code, li code, td code { background: var(--soft); padding: .1em .3em; border-radius: 4px;
  font-size: .88em }
table { display: block; overflow-x: auto; border-collapse: collapse; margin: 1rem 0; font-size: .9rem }
caption { display: block; text-align: left; font-weight: 600; padding: .3rem 0; overflow-wrap: anywhere }
th, td { padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid var(--rule); font-variant-numeric: tabular-nums;
  vertical-align: top; white-space: nowrap }
td:last-child { white-space: normal; overflow-wrap: anywhere; min-width: 12rem }
details { margin: 1rem 0 } summary { cursor: pointer; font-size: .9rem }
@media (max-width: 40rem) {
  img.wide { max-width: none } pre { white-space: pre-wrap; overflow-wrap: anywhere }
  table { font-size: .82rem } th, td { padding-right: .6rem } td:last-child { min-width: 6rem } }
"""


_NOTHING_FETCHED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(notebook_path: str | Path, html_path: str | Path | None = None) -> Path:
    """Writes an executed notebook as one HTML page: no code, no script, nothing fetched from anywhere.

    Args:
        notebook_path: the notebook, with its outputs.
        html_path: where to; default: beside the notebook, with the ending .html.

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
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    body, _ = exporter.from_notebook_node(_printable(notebook))
    title = html.escape(_title(notebook) or source.stem)
    text = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_NOTHING_FETCHED}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{_CSS}</style>\n</head>\n<body>\n<main>\n{_harmless(body)}\n</main>\n</body>\n</html>\n"
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TemplateError(f"the page cannot be written to {str(target)!r}: {error.strerror}") from None
    return target


def _printable(notebook: Any) -> Any:
    """A copy of what is to be seen, with the kind of each output that a page without scripts shows best."""
    import copy

    notebook = copy.deepcopy(notebook)
    notebook.cells = [c for c in notebook.cells if HIDDEN not in c.metadata.get("tags", [])]
    for cell in notebook.cells:
        if "outputs" not in cell:
            continue
        shown: list[Any] = []
        for output in cell.outputs:
            if "data" in output:
                best = next((kind for kind in SHOWN if kind in output.data), None)
                if best is None:
                    continue
                output.data = {k: v for k, v in output.data.items() if k == best or k == "text/plain"}
            if shown and output.output_type == shown[-1].output_type == "stream" and output.name == shown[-1].name:
                shown[-1].text += output.text  # a kernel sends what is printed in pieces
            else:
                shown.append(output)
        for output in (o for o in shown if o.output_type == "stream"):
            output.text = re.sub(r"[^\n]*\r(?!\n)", "", output.text)  # a bar that was drawn over and over
        cell.outputs = shown
    return notebook


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
    "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul",
}  # fmt: skip
