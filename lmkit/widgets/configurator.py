"""The configurator: a form for an Experiment, with a preview of its data, its model and its code.

form (from the schema) ──> experiment ──> preview of the data, drawing of the model, code
                                     └──> Train · Sweep · Save
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as W
import traitlets as T

from lmkit.data.kinds import get_kind
from lmkit.data.profile import Profile
from lmkit.doctor.before import examine_experiment
from lmkit.doctor.finding import Finding
from lmkit.exceptions import ConfigError, LmkitError, UntrustedCode
from lmkit.executors.worker import prepare
from lmkit.experiment.defaults import made_name
from lmkit.experiment.experiment import Experiment
from lmkit.run.resolve import resolve_run_or_experiment
from lmkit.run.run import Run
from lmkit.run.start import train
from lmkit.specs.data import BUNDLED, DataSpec, is_text
from lmkit.sweeping.start import sweep
from lmkit.sweeping.sweep import Sweep
from lmkit.widgets import drawing, experiment_code, preview
from lmkit.widgets import elements as E
from lmkit.widgets.actions import Actions
from lmkit.widgets.advice import Advice
from lmkit.widgets.debounce import Debounced, in_background
from lmkit.widgets.fields import Constant, Field, Group
from lmkit.widgets.finders import FinderButtons
from lmkit.widgets.form import Form, in_fields, split_problem
from lmkit.widgets.hints import HINTS
from lmkit.widgets.obstacles import find_obstacles
from lmkit.widgets.parts import Code, Preset, Section, Source
from lmkit.widgets.plan import PlanView
from lmkit.widgets.suited_values import update_defaults
from lmkit.widgets.sweep_form import SweepForm

DEBOUNCE_SECONDS = 0.25
"""Seconds after the last keystroke until preview, drawing and code are redrawn."""


def configure(experiment: Any = None, *, runs: str | Path | None = None) -> Configurator:
    """Show a form for an experiment, with a preview of its data, its model and its code.

    Args:
        experiment: the initial values: an experiment, a run, a mapping, the path of a .yaml file, or a run's name.
        runs: the folder of the runs (default: the folder of the given run, $LMKIT_RUNS or ./runs).

    Raises:
        ConfigError: the experiment is invalid.
        RunNotFound: no such file or run exists.

    >>> import lmkit as lk
    >>> form = lk.configure()  # doctest: +SKIP
    >>> form.experiment.training.epochs  # doctest: +SKIP
    50
    """
    source = resolve_run_or_experiment(experiment, runs=runs)
    if isinstance(source, Run):
        return Configurator(source.experiment, runs or source.path.parent)
    return Configurator(source, runs)


class Configurator(W.VBox):
    """A form for an experiment.

    Attributes:
        experiment: the current experiment; while a field is invalid, the last valid one. It can be set and observed.
        problems: the validation errors, one sentence each.
        run: the run that was started last.
        swept: the sweep that was started last.
    """

    experiment = T.Instance(Experiment)
    problems = T.Tuple()
    run = T.Instance(Run, allow_none=True)
    swept = T.Instance(Sweep, allow_none=True)

    def __init__(self, experiment: Experiment, runs: str | Path | None = None) -> None:
        self._runs = runs
        self._source = Source(runs)
        self._target = E.Combobox(placeholder="the column to predict")
        self._data: preview.Preview | None = None
        self._data_key: object = None
        self._split_key: object = None
        self._reading = False
        self._values: dict[str, Any] = {}
        self._data_error: LmkitError | None = None
        self._previewed = experiment
        self._redraw = Debounced(self._refresh, DEBOUNCE_SECONDS)
        self.form = Form(
            Experiment.model_json_schema(),
            hints=HINTS,
            controls={"data.source": self._source, "data.target": self._target},
            changed=self._changed,
        )
        self._preset = Preset(self.form)
        self._preview, self._picture = E.HTML(), E.HTML()
        self._plan = PlanView(self._draw_model)
        self._finders = FinderButtons(self.current_experiment, self.show, runs)
        self._code = Code()
        self._advice = Advice(self._apply)
        self._actions = Actions(self)
        self._sweep = SweepForm(self)
        parts = [*self._sections(), self._sweep.widget, self._actions.trust.widget, self._actions.widget]
        super().__init__()
        self._view: E.FormView | None = None
        self.show(experiment)
        self.root = E.Box(parts)
        self.output: W.Output | None = None
        self._view = E.FormView(self.root, "form of an experiment")
        self.children = [self._view]

    def _sections(self) -> list[E.Element]:
        """One section per part of the experiment, after a first section for the fields outside of all parts."""
        nodes = self.form.root.nodes
        parts = {name: node for name, node in nodes.items() if not isinstance(node, Field | Constant)}
        self._preview.add_class("lkc-preview")
        self._picture.add_class("lkc-model")
        side: dict[str, list[E.Element]] = {
            "data": [self._preview],
            "model": [self._picture, self._plan.widget],
            "training": [self._finders.widget, self._code.widget],
        }
        top = {"model": [self._preset.row.widget]}
        intro = E.HTML(
            '<span class="lkc-soft">Hover over or focus a field for help. Your settings appear as code below.</span>'
        )
        in_parts = {id(w) for part in parts.values() for w in part.widgets}
        first = Section(
            "Experiment", [w for w in self.form.root.widgets if id(w) not in in_parts], [intro, self._advice.widget]
        )
        first.widget.add_class("lkc-first")
        sections = [first]
        for name, part in parts.items():
            section = Section(name.capitalize(), [*top.get(name, []), *part.widgets], side.get(name, []))
            if isinstance(part, Group):
                part.row = section
            sections.append(section)
        return [section.widget for section in sections]

    # -- from the form to the experiment ----------------------------------------------------------

    @T.observe("experiment")
    def _experiment_set(self, change: Any) -> None:
        """Show an experiment that was assigned."""
        if change["new"] != self.current_experiment():
            self.show(change["new"])

    def show(self, experiment: Experiment) -> None:
        """Fill the form with ``experiment``, replacing its values."""
        values = experiment.to_dict()
        if values["name"] == made_name(values["data"], values["model"]):
            values["name"] = ""
        self.form.value = values
        self._values = self.form.value
        self._update()
        self._actions.saved = self.current_experiment()
        self._refresh()

    def current_experiment(self) -> Experiment | None:
        """The experiment that the form's values make; None while they are invalid."""
        try:
            return Experiment(**self.form.value)
        except ConfigError:
            return None

    def _is_invalid(self) -> bool:
        """Whether the form's values make no experiment, and ``experiment`` is an earlier one."""
        return bool(self.problems) and self.current_experiment() is None

    def _changed(self) -> None:
        """Handle a change by the user: defaults that depend on the data and the model follow them."""
        values = update_defaults(self.form.value, self._values)
        if values != self.form.value:
            self.form.value = values
        self._values = values
        self._update()
        self._redraw()

    def _update(self) -> None:
        """Validate the form's values, and show problems next to their fields."""
        has_target = self._source.value in BUNDLED or is_text(self._source.value)
        self.form.field("data.target").row.visible = not has_target  # hidden first: a hidden field has no value
        values = self.form.value
        problems: tuple[str, ...] = ()
        try:
            self._previewed = experiment = Experiment(**values)
        except ConfigError as error:
            problems = error.problems
            self._previewed = self._nearest_valid(values, problems)
        else:
            self.experiment = experiment
        self._hide_unused(values["data"])
        invalid = {split_problem(problem)[0].partition(".")[0] for problem in problems}
        self.problems = (*problems, *(p for p in self._obstacles(invalid) if p not in problems))
        self.form.show_problems(self.problems)
        self.form.field("name").control.placeholder = made_name(values["data"], values["model"])
        self._preset.show(values["model"])
        self._advice.show([] if problems else examine_experiment(self.experiment, self._profile()))
        self._actions.show()
        self._sweep.changed()

    def _hide_unused(self, values: Mapping[str, Any]) -> None:
        """Hide the fields of the data that have no effect on its kind, unless they are set."""
        spec = self._previewed.data
        unused = get_kind(spec).unused
        for name in DataSpec.model_fields:
            node = self.form["data"].inner(name)
            if isinstance(node, Field) and name != "target":
                node.row.visible = name not in unused or values[name] != node.default

    def _nearest_valid(self, values: Mapping[str, Any], problems: Iterable[str]) -> Experiment:
        """The experiment to preview while a field is invalid: invalid parts keep their previous values."""
        previous = self._previewed.to_dict()
        invalid = {split_problem(problem)[0].partition(".")[0] for problem in problems}
        try:
            return Experiment(**{**values, **{k: v for k, v in previous.items() if k in invalid}})
        except ConfigError:
            return self._previewed

    def _obstacles(self, invalid: Collection[str]) -> list[str]:
        """Problems with the framework or the data that prevent a valid experiment from being trained."""
        is_read = self._data_key == self._key() and not self._is_too_large()
        return find_obstacles(self._previewed, self._data_info(), self._data_error if is_read else None, invalid)

    def _is_too_large(self) -> bool:
        """Whether the data was not previewed because of its size."""
        return isinstance(self._data_error, preview.TooLarge)

    def _key(self) -> object:
        """The settings and file times that determine the data."""
        spec = self._previewed.data
        try:
            files = [spec.source] if spec.is_file else []
            files += [spec.graph.edges] if spec.graph else []
            stamp = tuple(Path(file).expanduser().stat().st_mtime_ns for file in files)
        except (OSError, ValueError, RuntimeError):
            stamp = ()  # no such file, or an invalid file name
        return spec.model_copy(update={"batch_size": 1, "validation": 0.0, "test": 0.0, "scale": "none"}), stamp

    def _split(self) -> object:
        """The settings that determine the split, and the prepared data."""
        spec = self._previewed.data
        return self._previewed.seed, spec.validation, spec.test, spec.scale, spec.scale_target

    def _profile(self) -> Profile | None:
        """What the prepared data are like; None until they were read for the current settings."""
        is_current = self._data_key == self._key() and self._split_key == self._split()
        return self._data.profile if self._data and is_current else None

    def _apply(self, finding: Finding) -> None:
        """Change the form as a finding advises."""
        try:
            values = finding.apply(self.experiment).to_dict()
        except ConfigError as error:
            self._actions.show_message(error.problems[0], is_error=True)
            return
        values["name"] = self.form.value["name"]
        self.form.value = values
        self._changed()

    def _data_info(self) -> Any:
        """Rows, task, inputs and outputs of the data; None until they are available."""
        if self._data and self._data_key == self._key():
            return self._data
        spec = self._previewed.data
        return None if spec.drop or spec.categorical else spec.bundled

    # -- preview, drawing, code -------------------------------------------------------------------

    def _refresh(self) -> None:
        """Redraw the preview, the model and the code."""
        self._code.show(self.experiment, is_current=not self._is_invalid())
        self._draw_model()
        self._read_data()

    def _draw_model(self) -> None:
        info, spec = self._data_info(), self._previewed
        if info is None:
            self._show_no_model("The model is drawn once the data has been read; its shapes depend on the data.")
            return
        signature = spec.data.signature or info.signature
        if spec.model.family == "own":
            self._show_no_model("The layers of a custom model are available once it is built.")
            return
        try:
            self._plan.show(spec, signature, info.rows)
        except ConfigError as error:
            self._show_no_model(error.problems[0], is_error=True)
            return
        self._picture.value = drawing.model_svg(signature.shape, spec.model.layers(signature))

    def _show_no_model(self, text: str, is_error: bool = False) -> None:
        self._picture.value = preview.notice_html(text, is_error)
        self._plan.clear()

    def _read_data(self) -> None:
        """Read the data in the background, unless that was done for the current settings."""
        key, split, spec = self._key(), self._split(), self._previewed.data
        self._target.options = preview.columns(spec, self._runs)
        data, seed = self._data, self._previewed.seed
        if key == self._data_key:
            self._draw_data()
            if data and split != self._split_key and not self._reading:
                self._reading = True
                in_background(lambda: preview.try_split(data, spec, seed), lambda new: self._data_read(key, split, new))
            return
        if self._reading:
            return  # the data being read is outdated; _data_read starts again
        self._reading = True
        if self._data is None:
            self._preview.value = preview.notice_html("Reading the data…")
        self._preview.add_class("lkc-stale")
        work = partial(preview.try_preview, spec, self._runs, seed)
        in_background(work, lambda result: self._data_read(key, split, result))

    def _data_read(self, key: object, split: object, result: preview.Preview | LmkitError) -> None:
        """Take up the data that was read in the background, or the error."""
        self._reading = False
        self._data_key, self._split_key = key, split
        self._data = result if isinstance(result, preview.Preview) else None
        self._data_error = result if isinstance(result, LmkitError) else None
        self._update()
        self._draw_model()
        self._read_data()
        if self._view is not None and self._view.is_displayed and not self.problems:
            prepare(self.experiment.framework)  # a person who opens a form is likely to train

    def _draw_data(self) -> None:
        self._preview.remove_class("lkc-stale")
        if self._data:
            self._preview.value = preview.preview_html(self._data, self._previewed.data)
        else:
            _, sentence = split_problem(str(self._data_error))
            self._preview.value = preview.notice_html(in_fields(sentence), not self._is_too_large())

    # -- actions ----------------------------------------------------------------------------------

    def train(self, *, trust: bool = False) -> Run | None:
        """Start a run and show it below. On an error, show it next to the button and return None.

        Args:
            trust: allow the code that the experiment names to run, now and later.
        """
        try:
            self.run = train(self.experiment, trust=trust, runs=self._runs)
        except UntrustedCode as error:
            self._actions.offer_trust(str(error))
            return None
        except LmkitError as error:
            self._actions.show_message(str(error), is_error=True)
            return None
        self._actions.show_message(f"Started {self.run.name}.")
        self._display(self.run)
        return self.run

    def sweep(self) -> Sweep | None:
        """Start the sweep and show it below. On an error, show it next to the button and return None."""
        if self._sweep.arguments is None:
            return None
        try:
            self.swept = sweep(self.experiment, **self._sweep.arguments, runs=self._runs)
        except LmkitError as error:
            self._sweep.show_message(str(error), is_error=True)
            return None
        self._sweep.show_message(f"Started {self.swept.name}.")
        self._display(self.swept)
        return self.swept

    def _display(self, result: Run | Sweep) -> None:
        from IPython.display import display

        if self.output is None:
            self.output = W.Output()
            self.children = [*self.children, self.output]
        self.output.clear_output(wait=True)
        with self.output:
            display(result)

    def __repr__(self) -> str:
        return f"<Configurator of {self.experiment.name}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The form; where widgets are not supported, the code."""
        return {**super()._repr_mimebundle_(**kwargs), "text/plain": experiment_code.python(self.experiment)}
