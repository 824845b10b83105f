"""Parts of the configurator: sections, the data source, model presets, the code."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import traitlets as T

from lmkit.data.tables.memory import FOLDER
from lmkit.experiment.experiment import Experiment
from lmkit.runfolder.folder import runs_root
from lmkit.specs.data import BUNDLED, PYTHON_DOCS, STORED
from lmkit.specs.file_names import FILES, TEXTS
from lmkit.specs.models import PRESETS, preset_of
from lmkit.widgets import elements as E
from lmkit.widgets import experiment_code
from lmkit.widgets.form import Form
from lmkit.widgets.rows import Row

FILE = "file…"
CUSTOM = "custom"


class Section:
    """A heading with fields below it and widgets at their side; displays the problems of a part."""

    def __init__(self, title: str, fields: list[E.Element], side: list[E.Element]) -> None:
        self.title, self._problem = title, ""
        self.heading = E.HTML()
        column = E.Box(side)
        column.add_class("lkc-side")
        self.widget = E.Box([E.Box([self.heading, *fields]), column])
        self.widget.add_class("lkc-section")
        self._draw()

    @property
    def problem(self) -> str:
        """The problem of the part; empty for none."""
        return self._problem

    @problem.setter
    def problem(self, problem: str) -> None:
        self._problem = problem
        self._draw()

    def _draw(self) -> None:
        problem = f'<span class="lkc-problem" role="alert">{html.escape(self._problem)}</span>' if self._problem else ""
        self.heading.value = f'<div class="lkc-title">{html.escape(self.title)}{problem}</div>'


class Source(E.Box):
    """The data source: a dropdown of datasets, and a text box for the path of a file."""

    value = T.Unicode()
    about = T.Unicode()

    def __init__(self, runs: str | Path | None) -> None:
        self._stored = runs_root(runs) / FOLDER
        self.menu = E.Dropdown(description="source")
        self.path = E.Combobox(description="file", placeholder="data.csv, .parquet, .npz, .txt or .jsonl")
        super().__init__([self.menu])
        self._fill_menu("")
        self.menu.observe(self._select, "value")
        self.path.observe(self._select, "value")
        self.observe(self._set, "value")
        self.observe(self._explain, "about")

    def _fill_menu(self, also: str) -> None:
        options = {
            f"{name} ({dataset.rows} × {dataset.signature.features}, {dataset.task})": name
            for name, dataset in BUNDLED.items()
        }
        options[f"{PYTHON_DOCS} (a text)"] = PYTHON_DOCS
        stored_files = sorted(self._stored.glob("*.parquet"), key=lambda p: -p.lstat().st_mtime)
        stored_sources = dict.fromkeys([*([also] if also else []), *(STORED + p.stem for p in stored_files[:10])])
        options |= {f"stored with the runs: {source.removeprefix(STORED)[:8]}": source for source in stored_sources}
        self.menu.options = [*options.items(), (FILE, FILE)]

    def _select(self, _: Any = None) -> None:
        file = self.menu.value == FILE
        if file and not self.path.options:
            endings = (*FILES, *TEXTS)
            self.path.options = sorted(p.name for p in Path.cwd().iterdir() if p.name.lower().endswith(endings))
        self.children = [self.menu, self.path] if file else [self.menu]
        self.value = self.path.value.strip() if file else self.menu.value

    def _set(self, change: Any) -> None:
        """Show a source that was assigned."""
        value = change["new"]
        if value == (self.path.value.strip() if self.menu.value == FILE else self.menu.value):
            return
        if value.startswith(STORED) and value not in dict(self.menu.options).values():
            self._fill_menu(value)
        if value in dict(self.menu.options).values():
            self.menu.value = value
        else:
            self.path.value = value
            self.menu.value = FILE

    def _explain(self, change: Any) -> None:
        self.menu.tooltip = self.path.tooltip = change["new"]


class Preset:
    """The dropdown of model presets."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.menu = E.Dropdown([CUSTOM, *PRESETS], description="preset")
        self.row = Row(self.menu, "", "A predefined model. Every field can be changed afterwards.")
        self.menu.tooltip = self.row.text
        self.menu.observe(self._select, "value")

    def _select(self, change: Any) -> None:
        if change["new"] in PRESETS and change["new"] != preset_of(self.form["model"].get()):
            with self.form.quiet():
                self.form["model"].set(PRESETS[change["new"]])
            self.form.changed()

    def show(self, model: Mapping[str, Any]) -> None:
        """Select the preset that equals the model."""
        self.menu.value = preset_of(model) or CUSTOM


FORMATS: Mapping[str, Callable[[Experiment], str]] = {
    "Python": experiment_code.python,
    "YAML": experiment_code.as_yaml,
    "Magic": experiment_code.magic,
}
"""Format → function that writes an experiment as code."""

USES = ("Run in a notebook cell", "Save as a file for lmkit train FILE.yaml", "Run in a cell after %load_ext lmkit")


class Code:
    """Tabs of code with a copy button.

    Args:
        formats: the name of a tab → the function that writes its code.
        uses: where each format is used, as tooltips.
        subject: what the code describes.
    """

    def __init__(
        self,
        formats: Mapping[str, Callable[..., str]] = FORMATS,
        uses: Sequence[str] = USES,
        subject: str = "experiment",
    ) -> None:
        self.formats, self.subject = formats, subject
        self.texts = {name: E.HTML() for name in formats}
        self.widget = E.Tabs(list(self.texts.values()), titles=tuple(formats), tooltips=tuple(uses))

    def show(self, *values: Any, is_current: bool = True) -> None:
        """Show the code of ``values``.

        Args:
            values: what the functions of ``formats`` take.
            is_current: whether this is what the form says; otherwise the code is dimmed and cannot be copied.
        """
        note = '<span class="lkc-outdated" role="status">As before the errors in the form</span>'
        css_class = "" if is_current else ' class="lkc-stale"'
        for name, write in self.formats.items():
            copy = f'<button type="button" aria-label="Copy the {name} code" onclick="{_COPY}">Copy</button>'
            self.texts[name].value = (
                f'<div class="lkc-code">{copy if is_current else note}<pre{css_class} tabindex="0" '
                f'aria-label="The {self.subject} as {name} code">{highlight(write(*values))}</pre></div>'
            )


# navigator.clipboard needs https; selecting and copying works on any page.
_COPY = (
    "const text = this.nextElementSibling, range = document.createRange(), selection = getSelection();"
    "range.selectNodeContents(text); selection.removeAllRanges(); selection.addRange(range);"
    "document.execCommand('copy'); selection.removeAllRanges();"
    "this.textContent = 'Copied'; setTimeout(() => this.textContent = 'Copy', 1500)"
)

_TOKENS = re.compile(
    r"(?P<c>#[^\n]*)|(?P<s>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\n]|'')*')|(?P<k>\b(?:import|as|true|false|null|True|False|None)\b|%%\w+)"
    r"|(?P<n>(?<![\w.-])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?\b)"
)


def highlight(text: str) -> str:
    """Return Python or YAML as HTML with keywords, strings, numbers and comments marked."""
    marked, end = [], 0
    for match in _TOKENS.finditer(text):
        marked.append(html.escape(text[end : match.start()], quote=False))
        marked.append(f'<span class="{match.lastgroup}">{html.escape(match[0], quote=False)}</span>')
        end = match.end()
    return "".join([*marked, html.escape(text[end:], quote=False)])
