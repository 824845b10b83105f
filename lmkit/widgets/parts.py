"""Parts of the configurator: its sections, where data comes from, ready-made models, the code."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as W
import traitlets as T

from lmkit.data.store import FOLDER
from lmkit.experiment import Experiment
from lmkit.runfolder import runs_root
from lmkit.specs.data import BUNDLED, FILES, PYTHON_DOCS, STORED, TEXTS
from lmkit.specs.models import PRESETS
from lmkit.widgets import snippets
from lmkit.widgets.fields import LABEL_WIDTH, Row
from lmkit.widgets.form import Form

FILE = "a file …"
OWN = "own values"


class Section:
    """A heading, the fields under it, and what stands beside them. Takes the place of a row for problems of a whole."""

    def __init__(self, title: str, fields: list[W.Widget], beside: list[W.Widget]) -> None:
        self.title, self._problem = title, ""
        self.heading = W.HTML()
        side = W.VBox(beside)
        side.add_class("lkc-side")
        self.widget = W.VBox([W.VBox([self.heading, *fields]), side])
        self.widget.add_class("lkc-section")
        self._draw()

    @property
    def problem(self) -> str:
        """What is wrong with the whole of it."""
        return self._problem

    @problem.setter
    def problem(self, problem: str) -> None:
        self._problem = problem
        self._draw()

    def _draw(self) -> None:
        wrong = f'<span class="lkc-problem" role="alert">{html.escape(self._problem)}</span>' if self._problem else ""
        self.heading.value = f'<div class="lkc-title">{html.escape(self.title)}{wrong}</div>'


class Source(W.VBox):
    """Where data comes from: a menu of what lies at hand, and a path where it is a file."""

    value = T.Unicode()
    about = T.Unicode()

    def __init__(self, runs: str | Path | None) -> None:
        self._kept = runs_root(runs) / FOLDER
        look = {"description_width": LABEL_WIDTH}
        self.menu = W.Dropdown(description="source", style=look)
        self.path = W.Combobox(description="file", placeholder="data.csv, .parquet, .npz, .txt or .jsonl", style=look)
        super().__init__([self.menu])
        self._menu("")
        self.menu.observe(self._chosen, "value")
        self.path.observe(self._chosen, "value")
        self.observe(self._set, "value")
        self.observe(self._explain, "about")

    def _menu(self, also: str) -> None:
        known = {f"{name} ({b.rows} × {b.signature.features}, {b.task})": name for name, b in BUNDLED.items()}
        known[f"{PYTHON_DOCS} (a text)"] = PYTHON_DOCS
        kept = sorted(self._kept.glob("*.parquet"), key=lambda p: -p.stat().st_mtime)
        stored = dict.fromkeys([*([also] if also else []), *(STORED + p.stem for p in kept[:10])])
        known |= {f"kept beside the runs: {s.removeprefix(STORED)[:8]}": s for s in stored}
        self.menu.options = [*known.items(), (FILE, FILE)]

    def _chosen(self, _: Any = None) -> None:
        file = self.menu.value == FILE
        if file and not self.path.options:
            endings = (*FILES, *TEXTS)
            self.path.options = sorted(p.name for p in Path.cwd().iterdir() if p.name.lower().endswith(endings))
        self.children = [self.menu, self.path] if file else [self.menu]
        self.value = self.path.value.strip() if file else self.menu.value

    def _set(self, change: Any) -> None:
        """Shows a source that was set."""
        value = change["new"]
        if value == (self.path.value.strip() if self.menu.value == FILE else self.menu.value):
            return
        if value.startswith(STORED) and value not in dict(self.menu.options).values():
            self._menu(value)
        if value in dict(self.menu.options).values():
            self.menu.value = value
        else:
            self.path.value = value
            self.menu.value = FILE

    def _explain(self, change: Any) -> None:
        self.menu.tooltip = self.path.tooltip = change["new"]


class Preset:
    """The menu of ready-made models."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.menu = form.make(W.Dropdown, description="preset", options=[OWN, *PRESETS])
        self.row = Row(self.menu, "", "A ready-made shape; every field can be changed afterwards.")
        self.menu.tooltip = self.row.text
        self.menu.observe(self._chosen, "value")

    def _chosen(self, change: Any) -> None:
        if change["new"] in PRESETS and change["new"] != self._matching(self.form["model"].get()):
            with self.form.quiet():
                self.form["model"].set(PRESETS[change["new"]])
            self.form.changed()

    def _matching(self, model: Mapping[str, Any]) -> str:
        """The preset that the model is."""
        for name, preset in PRESETS.items():
            if all(model.get(k) == v for k, v in preset.items()):
                return name
        return OWN

    def show(self, model: Mapping[str, Any]) -> None:
        """Shows which preset the model is."""
        self.menu.value = self._matching(model)


FORMS: Mapping[str, Callable[[Experiment], str]] = {
    "Python": snippets.python,
    "YAML": snippets.as_yaml,
    "Magic": snippets.magic,
}
"""An experiment as code."""

PLACES = ("A cell of a notebook", "A file, for lmkit train FILE.yaml", "A cell, after %load_ext lmkit")


class Code:
    """What the form holds as code, in tabs, to be copied.

    Args:
        forms: a tab's name → what writes its code.
        places: where each is used.
        of: what it is the code of.
    """

    def __init__(
        self,
        forms: Mapping[str, Callable[..., str]] = FORMS,
        places: Sequence[str] = PLACES,
        of: str = "experiment",
    ) -> None:
        self.forms, self.of = forms, of
        self.tabs = W.ToggleButtons(options=list(forms), tooltips=list(places))
        self.tabs.add_class("lkc-tabs")
        self.texts = {name: W.HTML() for name in forms}
        self.stack = W.Stack(list(self.texts.values()), selected_index=0)
        self.stack.add_class("lkc-stack")
        W.jslink((self.tabs, "index"), (self.stack, "selected_index"))  # in the browser: no wait for the kernel
        self.widget = W.VBox([self.tabs, self.stack])

    def show(self, *what: Any) -> None:
        """Shows the code of ``what``."""
        for name, write in self.forms.items():
            text = write(*what)
            self.texts[name].value = (
                f'<div class="lkc-code"><button type="button" aria-label="Copy the {name} code" onclick="{_COPY}">Copy'
                f'</button><pre tabindex="0" aria-label="The {self.of} as {name} code">{highlight(text)}</pre></div>'
            )


# Selecting and copying works where navigator.clipboard does not, as in a page that is not served over https.
_COPY = (
    "const text = this.nextElementSibling, range = document.createRange(), chosen = getSelection();"
    "range.selectNodeContents(text); chosen.removeAllRanges(); chosen.addRange(range);"
    "document.execCommand('copy'); chosen.removeAllRanges();"
    "this.textContent = 'Copied'; setTimeout(() => this.textContent = 'Copy', 1500)"
)

_TOKENS = re.compile(
    r"(?P<c>#[^\n]*)|(?P<s>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\n]|'')*')|(?P<k>\b(?:import|as|true|false|null|True|False|None)\b|%%\w+)"
    r"|(?P<n>(?<![\w.-])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?\b)"
)


def highlight(text: str) -> str:
    """Python or YAML with its words, texts and numbers marked."""
    marked, end = [], 0
    for found in _TOKENS.finditer(text):
        marked.append(html.escape(text[end : found.start()], quote=False))
        marked.append(f'<span class="{found.lastgroup}">{html.escape(found[0], quote=False)}</span>')
        end = found.end()
    return "".join([*marked, html.escape(text[end:], quote=False)])
