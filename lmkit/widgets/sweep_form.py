"""The part of the configurator that makes a sweep of its experiment: which fields vary, and how they are gone through.

rows (path, values) + settings ──> checked as lk.sweep does ──> what it makes, in words and as code
                                                          └──> Sweep
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as W

from lmkit.batch.templates import full_path
from lmkit.errors import LmkitError
from lmkit.experiment import Experiment, paths
from lmkit.placeholders import escape
from lmkit.sweeping.beginning import set_course
from lmkit.sweeping.methods import METHODS
from lmkit.sweeping.pruning import RULES
from lmkit.sweeping.setting import experiment_of, refuse_twice, setting
from lmkit.sweeping.space import Choice, Space, checked, read_space
from lmkit.widgets import snippets
from lmkit.widgets.fields import Fold, set_class
from lmkit.widgets.form import Form, Hint, split_problem
from lmkit.widgets.later import Later
from lmkit.widgets.parts import Code, Section

if TYPE_CHECKING:
    from lmkit.widgets.configurator import Configurator

GRID, SEARCH = "grid", "search"
WAYS = {"each of": GRID, "drawn from": SEARCH}
"""What becomes of the values of a row."""

WAIT = 0.25
"""Seconds without a keystroke after which the sweep is checked."""


def _maybe(kind: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {"anyOf": [kind, {"type": "null"}], "default": None, "description": text}


SETTINGS: Mapping[str, Any] = {
    "properties": {
        "trials": _maybe({"type": "integer"}, "How many; where there is a grid alone, as many as it has combinations."),
        "objective": {
            "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}],
            "default": None,
            "description": "What to compare trials by, such as val_accuracy, or several; maximize f1 says which way.",
        },
        "method": _maybe({"enum": list(METHODS)}, "How parameters are chosen."),
        "prune": _maybe({"enum": list(RULES)}, "Gives up weak trials before their end."),
        "workers": _maybe({"type": "integer"}, "Trials at a time; each has an equal share of the cores."),
        "name": _maybe({"type": "string"}, "Of the sweep's folder; the same sweep again goes on with it."),
        "seed": {"type": "integer", "default": 0, "description": "Decides what is drawn."},
        "engine": {"type": "string", "default": "threads", "description": "threads, or a cluster's address."},
        "time_limit": _maybe({"type": "number"}, "Ends a trial after so long."),
        "retry_failed": {"type": "boolean", "default": False, "description": "Tries those again that failed for good."},
    }
}
"""The arguments of ``lk.sweep`` that say how, as a form is made of them."""

HINTS = {
    "objective": Hint(empty="val_loss", rare=False),
    "trials": Hint(empty="all combinations", rare=False),
    "method": Hint(empty="as suits", rare=False),
    "prune": Hint(rare=False),
    "workers": Hint(unit="at a time", empty="as fit", rare=False),
    "name": Hint(label="sweep name", empty="by time", rare=False),
    "seed": Hint(label="drawing seed", rare=True),
    "engine": Hint(rare=True),
    "time_limit": Hint(unit="seconds a trial", rare=True),
    "retry_failed": Hint(rare=True),
}


class Varied:
    """A field that varies: its path, what becomes of its values, and they, as on the command line."""

    def __init__(self, form: SweepForm) -> None:
        self.path = W.Combobox(placeholder="a field, such as lr", tooltip="The field that varies")
        self.way = W.Dropdown(options=WAYS, tooltip="Whether each value is tried, or some are drawn")
        self.values = W.Text(placeholder="0.1,0.01 or 1e-4..1e-1:log", tooltip="Its values, or a range of them")
        self.note = W.HTML()
        line = W.HBox([self.path, self.way, self.values])
        self.widget = W.VBox([line, self.note])
        line.add_class("lkc-line")
        self.widget.add_class("lkc-varied")
        self.values.observe(self._ranged, "value")
        for control in (self.path, self.way, self.values):
            control.observe(form.changed, "value")

    def _ranged(self, change: Any) -> None:
        """A range is drawn from; a list is taken whole, unless somebody says otherwise."""
        ranged = [".." in str(text) for text in (change["old"], change["new"])]
        if ranged[0] != ranged[1]:
            self.way.value = SEARCH if ranged[1] else GRID

    @property
    def name(self) -> str:
        """Its path, as it was typed."""
        return str(self.path.value).strip()

    @property
    def empty(self) -> bool:
        """Whether nothing is typed in it."""
        return not self.name and not self.values.value.strip()

    def say(self, text: str, wrong: bool = False) -> None:
        """Shows a sentence under it."""
        set_class(self.widget, "lkc-bad", wrong)
        role = ' class="lkc-problem" role="alert"' if wrong else ' class="lkc-soft"'
        self.note.value = f"<span{role}>{html.escape(text)}</span>"


class SweepForm:
    """Rows of fields that vary, and settings; made when it is opened first.

    Attributes:
        rows: the fields that vary; the last is always empty.
        arguments: what ``lk.sweep`` is called with, besides the experiment; None while something is wrong.
        problem: what is wrong, in a sentence.
    """

    def __init__(self, owner: Configurator) -> None:
        self.owner = owner
        self.rows: list[Varied] = []
        self.arguments: dict[str, Any] | None = None
        self.problem = ""
        self._later = Later(self.check, WAIT)
        self.button = W.Button(description="Sweep", tooltip="Start a sweep: a run for each set of values")
        self.button.add_class("lkc-train")
        self.button.on_click(lambda _: self.owner.sweep())
        self.status = W.HTML()
        self.status.add_class("lkc-status")
        self.code = Code({"Python": python, "Magic": magic, "Command": command}, PLACES, "sweep")
        self.code.widget.add_class("lkc-hidden")
        self.lines = W.VBox()
        self.fold = Fold(["vary fields over many trials"], [])
        self.fold.button.observe(self._opened, "value")
        self.widget = Section("Sweep", self.fold.widgets, [self.code.widget]).widget

    def _opened(self, _: Any) -> None:
        if not self.rows:
            self.form = Form(SETTINGS, hints=HINTS, changed=self.changed)
            foot = W.HBox([self.button, self.status])
            foot.add_class("lkc-foot")
            self.fold.box.children = [self.lines, *self.form.root.widgets, foot]
            self._grow()
        set_class(self.code.widget, "lkc-hidden", not self.fold.open)
        self.check()

    def _grow(self) -> None:
        """Sees to it that the last row is an empty one."""
        if not self.rows or not self.rows[-1].empty:
            self.rows.append(Varied(self))
            self.lines.children = [row.widget for row in self.rows]

    def changed(self, _: Any = None) -> None:
        """Somebody typed, here or in the experiment's form."""
        if self.rows:
            self._grow()
            self._later()

    def check(self) -> None:
        """Says at each row what is wrong with it, and of the whole what it makes."""
        settings = {name: value for name, value in self.form.value.items() if value not in (SETTING_DEFAULTS[name], [])}
        used = [row for row in self.rows if not row.empty]
        self.arguments, self.problem = None, ""
        experiment = self.owner.experiment
        known, now = list(paths(experiment)), experiment.settings()
        for row in self.rows:
            row.path.options = known
        refused = _refused(experiment, used)
        for row in self.rows:
            if row in refused:
                row.say(refused[row], wrong=True)
            else:
                holds = now.get(full_path(row.name), "")
                row.say("" if row.empty else f"now {holds}" if holds != "" else "")
        told = ""
        try:
            if refused:
                raise LmkitError(next(iter(refused.values())))
            if self.owner.problems:
                raise LmkitError(self.owner.problems[0])
            told = _made(experiment, used, settings)
            self.arguments = {**_space(used), **settings}
            self.form.tell(())
        except LmkitError as error:
            self.problem = str(error)
            homeless = self.form.tell([] if refused else [self.problem])
            told = self.problem if homeless or refused else split_problem(self.problem)[1]
        self.button.disabled = bool(self.problem)
        self.say(told, bool(self.problem) and bool(used))
        self.code.show(experiment, self.arguments or _space(used))

    def say(self, text: str, wrong: bool = False) -> None:
        """Shows a sentence beside the button."""
        kind = "lkc-problem" if wrong else "lkc-soft"
        self.status.value = f'<span class="{kind}" role="status">{html.escape(text)}</span>'


SETTING_DEFAULTS = {name: schema["default"] for name, schema in SETTINGS["properties"].items()}


# -- checking -------------------------------------------------------------------------------------


def _space(rows: Sequence[Varied]) -> dict[str, dict[str, str]]:
    found = {way: {r.name: r.values.value.strip() for r in rows if r.way.value == way} for way in (GRID, SEARCH)}
    return {way: values for way, values in found.items() if values}


def _checked(experiment: Experiment, rows: Sequence[Varied]) -> Space:
    """What the rows make; refused as ``lk.sweep`` would."""
    template, common = setting(experiment, None, None)
    if not rows:
        raise LmkitError("Say which field varies, and its values.")
    given = _space(rows)
    space = read_space(given.get(GRID), given.get(SEARCH))
    refuse_twice(common, [*space.grid, *space.search])
    return checked(space, lambda varied: experiment_of(template, common, varied))


def _refused(experiment: Experiment, rows: Sequence[Varied]) -> dict[Varied, str]:
    """What is wrong with each row, beside those that are right."""
    found: dict[Varied, str] = {}
    right: list[Varied] = []
    if not rows:
        return found
    for row in rows:
        if not row.name or not row.values.value.strip():
            found[row] = "expected its values, such as 0.1,0.01" if row.name else "expected the field that varies"
        elif row.name in {r.name for r in right}:
            found[row] = f"{row.name} varies already; give all its values in one row"
        else:
            right.append(row)
    while right:
        try:
            _checked(experiment, right)
            return found
        except LmkitError as error:
            wrong = next((r for i, r in enumerate(right) if not _can_be(experiment, right[: i + 1])), right[-1])
            found[wrong] = re.sub(r"^(grid|search) [^:]*: (?=\S)", "", str(error))
            right.remove(wrong)
    return found


def _can_be(experiment: Experiment, rows: Sequence[Varied]) -> bool:
    try:
        _checked(experiment, rows)
    except LmkitError:
        return False
    return True


def _made(experiment: Experiment, rows: Sequence[Varied], settings: Mapping[str, Any]) -> str:
    """What comes of it, in words.

    Raises:
        LmkitError: it cannot be.
    """
    space = _checked(experiment, rows)
    how = {name: settings.get(name) for name in ("trials", "method", "objective", "prune")}
    course, trials = set_course(space, experiment, **how), settings.get("trials")
    sizes = " × ".join(str(len(c.values)) for c in space.grid.values())
    aim = f", to {' and '.join(map(str, course.objectives))}."
    if not space.search and trials is None:
        made = f"{sizes} = {space.combinations}" if len(space.grid) > 1 else sizes
        return f"{made} trial{'s'[: space.combinations != 1]}{aim}"
    gone = f", through {sizes} combinations" if sizes else ""
    return f"{trials} trial{'s'[: trials != 1]}{gone}, by {course.method}{aim}"


# -- as code --------------------------------------------------------------------------------------

FILE = "experiment.yaml"
PLACES = ("A cell of a notebook", "A cell, after %load_ext lmkit and the experiment's Save", "A terminal, after Save")


def python(experiment: Experiment, arguments: Mapping[str, Any]) -> str:
    """The cell that begins the sweep."""
    made = snippets.python(experiment).rpartition("\nrun = ")[0]
    lines = (f"    {n}={snippets._literal(_plain(v), 4, len(n) + 2)},\n" for n, v in arguments.items())
    return f"{made}\nsweep = lk.sweep(\n    experiment,\n{''.join(lines)})\nsweep"


def _plain(value: Any) -> Any:
    """The values of a grid as they are, and not as typed."""
    if not isinstance(value, Mapping):
        return value
    return {n: list(c.values) if isinstance(c, Choice) else value[n] for n, c in _read_each(value).items()}


def _read_each(given: Mapping[str, str]) -> dict[str, Any]:
    """What each text of a row means; itself where it cannot be read."""
    found: dict[str, Any] = {}
    for name, text in given.items():
        try:
            found |= read_space(None, {name: text}).search
        except LmkitError:
            found[name] = text
    return {n: found[n] for n in given}


def command(experiment: Experiment, arguments: Mapping[str, Any]) -> str:
    """The line for a terminal; the experiment lies in a file."""
    return f"lmkit sweep {FILE}{_options(arguments)}"


def magic(experiment: Experiment, arguments: Mapping[str, Any]) -> str:
    """The same as a magic."""
    return f"%lmkit sweep {FILE}{escape(_options(arguments, ' '))}"


def _options(arguments: Mapping[str, Any], between: str = " \\\n  ") -> str:
    import shlex

    words: list[str] = []
    for name, value in arguments.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, Mapping):
            words += [f"{option} {shlex.quote(f'{path}={text}')}" for path, text in value.items()]
        elif isinstance(value, bool):
            words.append(option)
        else:
            words += [f"{option} {shlex.quote(str(v))}" for v in (value if isinstance(value, list) else [value])]
    return "".join(between + w for w in words)
