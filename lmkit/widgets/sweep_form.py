"""The part of the configurator that sets up a sweep: the parameters to vary, and how to search them.

rows (path, values) + settings ──> validated as by lk.sweep ──> summary and code
                                                          └──> Sweep
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lmkit.exceptions import LmkitError
from lmkit.experiment.experiment import Experiment
from lmkit.experiment.paths import paths
from lmkit.experiment.placeholders import escape
from lmkit.experiment.schema import full_path
from lmkit.sweeping.pruners import PRUNERS
from lmkit.sweeping.samplers import METHODS
from lmkit.sweeping.search_space import Choice, Space, check_space, read_space
from lmkit.sweeping.start import plan_search
from lmkit.sweeping.target import resolve_target
from lmkit.widgets import elements as E
from lmkit.widgets import experiment_code
from lmkit.widgets.debounce import Debounced
from lmkit.widgets.fields import Hint
from lmkit.widgets.form import Form, split_problem
from lmkit.widgets.parts import Code, Section
from lmkit.widgets.rows import Fold, set_class

GRID, SEARCH = "grid", "search"
MODES = {"grid": GRID, "search (sampled)": SEARCH}
"""Label → how the values of a row are used."""

DEBOUNCE_SECONDS = 0.25
"""Seconds after the last keystroke until the sweep is checked."""


def _optional(kind: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {"anyOf": [kind, {"type": "null"}], "default": None, "description": text}


SETTINGS: Mapping[str, Any] = {
    "properties": {
        "trials": _optional({"type": "integer"}, "Number of trials. For a grid without a search: all combinations."),
        "objective": {
            "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}],
            "default": None,
            "description": "Metrics to optimize, such as val_accuracy. Write maximize f1 to set the direction.",
        },
        "method": _optional({"enum": list(METHODS)}, "The search method."),
        "prune": _optional({"enum": list(PRUNERS)}, "Stop weak trials early."),
        "workers": _optional({"type": "integer"}, "Number of parallel trials. Each gets an equal share of the cores."),
        "name": _optional(
            {"type": "string"}, "The name of the sweep's folder. Start the same sweep again to continue it."
        ),
        "seed": {"type": "integer", "default": 0, "description": "Random seed of the search."},
        "engine": {
            "type": "string",
            "default": "threads",
            "description": "threads, or the address of a cluster (dask://…, ray://…).",
        },
        "time_limit": _optional({"type": "number"}, "Stop a trial after this time."),
        "retry_failed": {"type": "boolean", "default": False, "description": "Retry trials that failed permanently."},
    }
}
"""The schema of the settings of ``lk.sweep``, for a form."""

HINTS = {
    "objective": Hint(empty="val_loss", rare=False),
    "trials": Hint(empty="all combinations", rare=False),
    "method": Hint(empty="automatic", rare=False),
    "prune": Hint(rare=False),
    "workers": Hint(unit="parallel trials", empty="automatic", rare=False),
    "name": Hint(label="sweep name", empty="automatic", rare=False),
    "seed": Hint(label="search seed", rare=True),
    "engine": Hint(rare=True),
    "time_limit": Hint(unit="seconds per trial", rare=True),
    "retry_failed": Hint(rare=True),
}


class Owner(Protocol):
    """The part of the configurator that the sweep's form uses."""

    experiment: Any
    problems: Any

    def sweep(self) -> Any:
        """Start the sweep."""


class ParameterRow:
    """A parameter of the sweep: its path, how its values are used, and its values as on the command line."""

    def __init__(self, form: SweepForm) -> None:
        self.path = E.Combobox(placeholder="a field, e.g. lr", tooltip="The field to vary")
        self.mode = E.Dropdown(list(MODES.items()), tooltip="Try all values (grid), or sample from them (search)")
        self.values = E.Text(placeholder="0.1,0.01 or 1e-4..1e-1:log", tooltip="Values, or a range of values")
        self.note = E.HTML()
        line = E.Row([self.path, self.mode, self.values])
        self.widget = E.Box([line, self.note])
        line.add_class("lkc-line")
        self.widget.add_class("lkc-varied")
        self.values.observe(self._select_mode, "value")
        for control in (self.path, self.mode, self.values):
            control.observe(form.changed, "value")

    def _select_mode(self, change: Any) -> None:
        """Select search for a range and grid for a list, unless the user selects otherwise."""
        is_range = [".." in str(text) for text in (change["old"], change["new"])]
        if is_range[0] != is_range[1]:
            self.mode.value = SEARCH if is_range[1] else GRID

    @property
    def name(self) -> str:
        """The path as typed."""
        return str(self.path.value).strip()

    @property
    def empty(self) -> bool:
        """Whether path and values are empty."""
        return not self.name and not self.values.value.strip()

    def show_note(self, text: str, is_error: bool = False) -> None:
        """Show a note below the row."""
        set_class(self.widget, "lkc-bad", is_error)
        role = ' class="lkc-problem" role="alert"' if is_error else ' class="lkc-soft"'
        self.note.value = f"<span{role}>{html.escape(text)}</span>"


class SweepForm:
    """Rows of parameters, and settings; created when first opened.

    Attributes:
        rows: the parameters of the sweep; the last is always empty.
        arguments: the arguments of ``lk.sweep`` other than the experiment; None while invalid.
        problem: the validation error; empty for none.
    """

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.rows: list[ParameterRow] = []
        self.arguments: dict[str, Any] | None = None
        self.problem = ""
        self._check_later = Debounced(self.check, DEBOUNCE_SECONDS)
        self.button = E.Button(description="Sweep", tooltip="Start a sweep: one run per set of values")
        self.button.add_class("lkc-train")
        self.button.on_click(lambda _: self.owner.sweep())
        self.status = E.HTML()
        self.status.add_class("lkc-status")
        self.code = Code({"Python": python, "Magic": magic, "Command": command}, USES, "sweep")
        self.code.widget.visible = False
        self.lines = E.Box()
        self.fold = Fold([], "Set up a sweep", "Hide the sweep")
        self.fold.button.observe(self._opened, "value")
        self.widget = Section("Sweep", self.fold.widgets, [self.code.widget]).widget

    def _opened(self, _: Any) -> None:
        if not self.rows:
            self.form = Form(SETTINGS, hints=HINTS, changed=self.changed)
            foot = E.Row([self.button, self.status])
            foot.add_class("lkc-foot")
            self.fold.box.children = [self.lines, *self.form.root.widgets, foot]
            self._append_empty_row()
        self.code.widget.visible = self.fold.is_open
        self.check()

    def _append_empty_row(self) -> None:
        """Append an empty row unless the last one is empty."""
        if not self.rows or not self.rows[-1].empty:
            self.rows.append(ParameterRow(self))
            self.lines.children = [row.widget for row in self.rows]

    def changed(self, _: Any = None) -> None:
        """Handle a change here or in the experiment's form."""
        if self.rows:
            self._append_empty_row()
            self._check_later()

    def check(self) -> None:
        """Validate the sweep: show problems at their rows, and a summary next to the button."""
        settings = {name: value for name, value in self.form.value.items() if value not in (SETTING_DEFAULTS[name], [])}
        rows = [row for row in self.rows if not row.empty]
        self.arguments, self.problem = None, ""
        experiment = self.owner.experiment
        field_paths, current = list(paths(experiment)), experiment.settings()
        for row in self.rows:
            row.path.options = field_paths
        row_problems = _row_problems(experiment, rows)
        for row in self.rows:
            if row in row_problems:
                row.show_note(row_problems[row], is_error=True)
            else:
                value = current.get(full_path(row.name), "")
                row.show_note(f"current value: {value}" if value != "" and not row.empty else "")
        message = ""
        try:
            if row_problems:
                raise LmkitError(next(iter(row_problems.values())))
            if self.owner.problems:
                raise LmkitError(self.owner.problems[0])
            message = _describe_sweep(experiment, rows, settings)
            self.arguments = {**_space_arguments(rows), **settings}
            self.form.show_problems(())
        except LmkitError as error:
            self.problem = str(error)
            unplaced = self.form.show_problems([] if row_problems else [self.problem])
            message = self.problem if unplaced or row_problems else split_problem(self.problem)[1]
        self.button.disabled = bool(self.problem)
        self.show_message(message, bool(self.problem) and bool(rows))
        self.code.show(experiment, self.arguments or _space_arguments(rows), is_current=not self.problem)

    def show_message(self, text: str, is_error: bool = False) -> None:
        """Show a message next to the button."""
        kind = "lkc-problem" if is_error else "lkc-soft"
        self.status.value = f'<span class="{kind}" role="status">{html.escape(text)}</span>'


SETTING_DEFAULTS = {name: schema["default"] for name, schema in SETTINGS["properties"].items()}


# -- checking -------------------------------------------------------------------------------------


def _space_arguments(rows: Sequence[ParameterRow]) -> dict[str, dict[str, str]]:
    arguments = {
        mode: {r.name: r.values.value.strip() for r in rows if r.mode.value == mode} for mode in (GRID, SEARCH)
    }
    return {mode: values for mode, values in arguments.items() if values}


def _checked_space(experiment: Experiment, rows: Sequence[ParameterRow]) -> Space:
    """Return the search space of the rows, validated as by ``lk.sweep``."""
    target = resolve_target(experiment, None, None)
    if not rows:
        raise LmkitError("Enter a field to vary and its values.")
    arguments = _space_arguments(rows)
    space = read_space(arguments.get(GRID), arguments.get(SEARCH))
    target.check_overlap(list(space.domains))
    return check_space(space, target.experiment)


def _row_problems(experiment: Experiment, rows: Sequence[ParameterRow]) -> dict[ParameterRow, str]:
    """Return the problem of each invalid row."""
    problems: dict[ParameterRow, str] = {}
    valid: list[ParameterRow] = []
    if not rows:
        return problems
    for row in rows:
        if not row.name or not row.values.value.strip():
            problems[row] = "enter its values, e.g. 0.1,0.01" if row.name else "enter the field to vary"
        elif row.name in {r.name for r in valid}:
            problems[row] = f"{row.name} is already in use; enter all its values in one row"
        else:
            valid.append(row)
    while valid:
        try:
            _checked_space(experiment, valid)
            return problems
        except LmkitError as error:
            first_invalid = next(
                (r for i, r in enumerate(valid) if not _is_valid(experiment, valid[: i + 1])), valid[-1]
            )
            problems[first_invalid] = re.sub(r"^(grid|search) [^:]*: (?=\S)", "", str(error))
            valid.remove(first_invalid)
    return problems


def _is_valid(experiment: Experiment, rows: Sequence[ParameterRow]) -> bool:
    try:
        _checked_space(experiment, rows)
    except LmkitError:
        return False
    return True


def _describe_sweep(experiment: Experiment, rows: Sequence[ParameterRow], settings: Mapping[str, Any]) -> str:
    """Describe the number of trials, the method and the objectives.

    Raises:
        LmkitError: the sweep is invalid.
    """
    space = _checked_space(experiment, rows)
    search = {name: settings.get(name) for name in ("trials", "method", "objective", "prune")}
    plan, trials = plan_search(space, experiment, **search), settings.get("trials")
    sizes = " × ".join(str(len(c.values)) for c in space.grid.values())
    objectives = f", to {' and '.join(map(str, plan.objectives))}."
    if not space.search and trials is None:
        size = f"{sizes} = {space.combinations}" if len(space.grid) > 1 else sizes
        return f"{size} trial{'s'[: space.combinations != 1]}{objectives}"
    combinations = f", through {sizes} combinations" if sizes else ""
    return f"{trials} trial{'s'[: trials != 1]}{combinations}, method {plan.method}{objectives}"


# -- as code --------------------------------------------------------------------------------------

FILE = "experiment.yaml"
USES = (
    "Run in a notebook cell",
    "Save the experiment, then run in a cell after %load_ext lmkit",
    "Save the experiment, then run in a terminal",
)


def python(experiment: Experiment, arguments: Mapping[str, Any]) -> str:
    """Return the cell that starts the sweep."""
    experiment_cell = experiment_code.python(experiment).rpartition("\nrun = ")[0]
    lines = (
        f"    {n}={experiment_code.python_literal(_parsed_values(v), 4, len(n) + 2)},\n" for n, v in arguments.items()
    )
    return f"{experiment_cell}\nsweep = lk.sweep(\n    experiment,\n{''.join(lines)})\nsweep"


def _parsed_values(value: Any) -> Any:
    """Return the values of a grid as Python values instead of text."""
    if not isinstance(value, Mapping):
        return value
    return {n: list(c.values) if isinstance(c, Choice) else value[n] for n, c in _parse_each(value).items()}


def _parse_each(texts: Mapping[str, str]) -> dict[str, Any]:
    """Parse the text of each row; text that cannot be parsed is returned unchanged."""
    parsed: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            parsed |= read_space(None, {name: text}).search
        except LmkitError:
            parsed[name] = text
    return {n: parsed[n] for n in texts}


def command(_: Experiment, arguments: Mapping[str, Any]) -> str:
    """Return the command line, with the experiment in a file."""
    return f"lmkit sweep {FILE}{_options(arguments)}"


def magic(_: Experiment, arguments: Mapping[str, Any]) -> str:
    """Return the magic, with the experiment in a file."""
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
