"""What is read afterwards: tables of a run, and an executed notebook as a page that needs nothing else."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.errors import MissingPackage, TemplateError

if TYPE_CHECKING:
    from lmkit.run import Run

INSTALL = "python -m pip install 'lmkit[batch]'"
"""What installs the packages that notebooks are executed and rendered with."""


@dataclass(frozen=True)
class Table:
    """A small table that shows itself as script-free HTML and as aligned text.

    Attributes:
        title: what it is.
        columns: the names of the columns.
        rows: cells; numbers are right-aligned and shown with four significant digits, None is shown as –.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def text(self) -> str:
        """The table as aligned text."""
        cells = [self.columns, *([_cell(c) for c in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        right = [self._numeric(i) for i in range(len(self.columns))]
        lines = [
            "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
            for row in cells
        ]
        return "\n".join([self.title, lines[0], "-" * len(lines[0]), *lines[1:]])

    @property
    def html(self) -> str:
        """The table as HTML: no script, no link, no style but the alignment."""
        right = [self._numeric(i) for i in range(len(self.columns))]

        def line(tag: str, row: Sequence[Any]) -> str:
            cells = "".join(
                f'<{tag} style="text-align: {"right" if r else "left"}">{html.escape(_cell(c))}</{tag}>'
                for c, r in zip(row, right, strict=True)
            )
            return f"<tr>{cells}</tr>"

        body = "\n".join(line("td", row) for row in self.rows)
        return (
            f"<table>\n<caption>{html.escape(self.title)}</caption>\n"
            f"<thead>{line('th', self.columns)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        )

    def _numeric(self, column: int) -> bool:
        cells = [row[column] for row in self.rows if row[column] is not None]
        return bool(cells) and all(isinstance(c, int | float) and not isinstance(c, bool) for c in cells)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text


# -- tables of a run ------------------------------------------------------------------------------

MEANINGS = {
    "loss": "{loss}, mean over the rows; what was minimized",
    "accuracy": "share of rows predicted right",
    "auc": "area under the ROC curve; 0.5 is chance, 1 is perfect",
    "mae": "mean absolute error, in the unit of the target",
    "r2": "share of the variance explained; 1 is perfect, 0 is as good as the mean",
}


def metrics(run: Run) -> Table:
    """Loss and metrics of the three parts of the data, with what each means. Waits for the end of the run.

    Raises:
        RunFailed: the run did not get that far.
    """
    from lmkit.specs.losses import resolve_loss

    test = run.metrics
    history = run.history
    last: Mapping[str, Any] = history.iloc[-1].to_dict() if len(history) else {}
    loss = resolve_loss(run.experiment.training.loss, run.preprocessing.task).replace("_", " ")
    rows = [
        (name, last.get(name), last.get(f"val_{name}"), test.get(name), meaning.format(loss=loss))
        for name, meaning in MEANINGS.items()
        if name in test or name in last
    ]
    columns = ("metric", "training, last epoch", "validation, last epoch", "test", "meaning")
    return Table(f"Metrics of {run.name}", columns, tuple(rows))


def configuration(source: Any) -> Table:
    """Every path of an experiment, or of a run's, and its value: what ``override`` and ``-p`` take.

    Args:
        source: a Run or an Experiment.
    """
    experiment = getattr(source, "experiment", source)
    rows = tuple((path, _written(value)) for path, value in _leaves(experiment.to_dict()))
    return Table(f"Configuration of {experiment.name}", ("path", "value"), rows)


def environment(run: Run) -> Table:
    """What the run was made with: versions, hardware, git commit, command."""
    known = run.environment
    cpu = known.get("cpu") or {}
    backend = known.get("backend") or {}
    memory = known.get("memory_bytes")
    device = " ".join(str(backend[k]) for k in ("device", "device_name") if backend.get(k))
    abilities = ", ".join(cpu.get("abilities") or ())
    rows = [
        ("Python", known.get("python")),
        *((name, version) for name, version in (known.get("packages") or {}).items()),
        ("platform", known.get("platform")),
        ("processor", f"{cpu.get('name')}, {known.get('cores')} cores" + (f" ({abilities})" if abilities else "")),
        ("memory", f"{memory / 2**30:.1f} GiB" if memory else None),
        ("device trained on", device or None),
        ("git commit", known.get("git_commit")),
        ("command", known.get("command")),
    ]
    return Table(f"Environment of {run.name}", ("what", "value"), tuple((k, v) for k, v in rows if v))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return found


def _written(value: Any) -> str:
    """A value of a configuration as it is written in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(_written(v) for v in value)}]"
    return f"{value}"


def _cell(value: Any) -> str:
    if value is None or value != value:  # NaN is the one value that differs from itself
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# -- the page -------------------------------------------------------------------------------------

SHOWN = ("image/png", "image/jpeg", "text/html", "text/markdown", "text/latex", "text/plain")
"""The kinds of output a page holds, the best first."""

_CELLS = """
{%- extends 'basic/index.html.j2' -%}
{%- block stream -%}
{%- set lines = (output.text | ansi2html).rstrip().split('\n') -%}
{%- if lines | length > 3 -%}
<details><summary>{{ lines | length }} lines of output; the last: {{ lines[-1] }}</summary>
<pre>{{ lines | join('\n') }}</pre></details>
{%- else -%}
<pre>{{ lines | join('\n') }}</pre>
{%- endif -%}
{%- endblock stream -%}
{%- block data_png -%}
<img src="data:image/png;base64,{{ output.data['image/png'] | replace('\n', '') }}"
 alt="{{ output.data.get('text/plain', 'A picture without a description') | escape }}"
 {%- set width = output | get_metadata('width', 'image/png') -%}
 {%- if width is not none %} width="{{ width | int }}"{% endif %}>
{%- endblock data_png -%}
"""
"""How cells become HTML: long printed output folded, pictures with their text for a screen reader."""

_CSS = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #f4f5f6; --rule: #d9dcdf; --link: #00588f }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e2e4e6; --paper: #16191c; --soft: #22262a; --rule: #3a4046; --link: #6cb8ea } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem }
h1, h2, h3 { line-height: 1.25; margin: 2rem 0 .6rem } h1 { font-size: 1.7rem } h2 { font-size: 1.3rem }
a { color: var(--link) } a.anchor-link { display: none }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 6px; margin: 1rem 0 }
pre { overflow-x: auto; padding: .7rem .9rem; background: var(--soft); border-radius: 6px; font-size: .82rem;
  line-height: 1.45 }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace }
p code, li code, td code { background: var(--soft); padding: .1em .3em; border-radius: 4px; font-size: .88em }
table { display: block; overflow-x: auto; border-collapse: collapse; margin: 1rem 0; font-size: .9rem }
caption { text-align: left; font-weight: 600; padding: .3rem 0 }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--rule); font-variant-numeric: tabular-nums;
  vertical-align: top; overflow-wrap: anywhere }
details { margin: 1rem 0 } summary { cursor: pointer; font-size: .9rem }
"""


def page(notebook_path: str | Path, html_path: str | Path | None = None) -> Path:
    """Writes an executed notebook as one HTML page: no code, no script, nothing fetched from anywhere.

    Args:
        notebook_path: the notebook, with its outputs.
        html_path: where to; default: beside the notebook, with the ending .html.

    Returns:
        The page's path.

    Raises:
        TemplateError: there is no such notebook, or it is none.
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
    except FileNotFoundError:
        raise TemplateError(f"there is no notebook {str(source)!r}; expected an executed .ipynb file") from None
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
    target.write_text(
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{_CSS}</style>\n</head>\n<body>\n<main>\n{_harmless(body)}\n</main>\n</body>\n</html>\n",
        encoding="utf-8",
    )
    return target


def _printable(notebook: Any) -> Any:
    """A copy with one kind of each output, the best that a page without scripts can show."""
    import copy

    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if "outputs" not in cell:
            continue
        shown = []
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
_TAGS = set(
    "a b blockquote br caption code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img kbd li ol p pre s small span "
    "strong sub summary sup table tbody td tfoot th thead tr u ul".split()
)
