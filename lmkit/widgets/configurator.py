"""The configurator: a form over the Experiment, and beside it what the experiment means, always current.

form (from the schema) ──> experiment ──> preview of the data, drawing of the model, code
                                     └──> Train · Sweep · Save
"""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets as W
import traitlets as T

from lmkit.backends import require
from lmkit.data.sources import check_sizes
from lmkit.errors import ConfigError, DataError, LmkitError, MissingPackage
from lmkit.experiment import Experiment, made_name
from lmkit.run import Run, attach
from lmkit.specs.data import BUNDLED, TEXTS, DataSpec, is_text
from lmkit.specs.data import FILES as DATA_FILES
from lmkit.specs.losses import resolve_loss
from lmkit.sweeping.beginning import sweep
from lmkit.sweeping.sweep import Sweep
from lmkit.training import train
from lmkit.widgets import drawing, preview, snippets, style
from lmkit.widgets.fields import LABEL_WIDTH, Constant, Field, Group
from lmkit.widgets.form import Form, Hint, split_problem
from lmkit.widgets.later import Later, in_background
from lmkit.widgets.parts import Code, Preset, Section, Source
from lmkit.widgets.planned import Planned
from lmkit.widgets.sweep_form import SweepForm

HINTS = {
    "seed": Hint(rare=True),
    "data.target": Hint(rare=False),
    "data.task": Hint(rare=True),
    "data.axes": Hint(rare=True),
    "data.missing": Hint(rare=True),
    "data.scale_target": Hint(rare=True),
    "data.validation": Hint(unit="of the rows"),
    "data.test": Hint(unit="of the rows"),
    "data.batch_size": Hint(unit="rows a step"),
    "data.text.vocabulary": Hint(unit="tokens at most"),
    "data.text.length": Hint(unit="tokens a row"),
    "data.text.column": Hint(rare=True),
    "data.size": Hint(unit="pixels", rare=True),
    "data.streaming": Hint(rare=True),
    "data.augment.shift": Hint(unit="pixels, or share"),
    "data.augment.rotate": Hint(unit="degrees"),
    "data.augment.noise": Hint(unit="deviations"),
    "data.augment.mixup": Hint(unit="α"),
    "model": Hint(label="family"),
    "model.hidden": Hint(unit="units a layer"),
    "model.dropout": Hint(unit="of the units"),
    "model.dense": Hint(unit="units a layer"),
    "model.channels": Hint(unit="channels a block"),
    "model.convolutions": Hint(unit="a block"),
    "model.groups": Hint(rare=True),
    "model.heads": Hint(unit="a layer"),
    "model.depth": Hint(unit="blocks"),
    "model.width": Hint(unit="numbers a place"),
    "model.head_size": Hint(empty="width / heads", rare=True),
    "model.kv_heads": Hint(empty="as many as heads", rare=True),
    "model.feedforward": Hint(empty="4 × width"),
    "model.context": Hint(empty="the length of a row", rare=True),
    "model.bias": Hint(rare=True),
    "model.tied": Hint(rare=True),
    "training.early_stopping": Hint(rare=False),
    "training.precision": Hint(rare=True),
    "training.compile": Hint(rare=True),
    "training.checkpoint_seconds": Hint(unit="seconds apart", label="checkpoints", rare=True),
    "training.epochs": Hint(unit="passes"),
    "training.steps": Hint(unit="steps at most", rare=True),
    "training.validate_every": Hint(unit="steps", empty="only at epochs", rare=True),
    "training.seconds": Hint(unit="seconds at most", rare=True),
    "training.threads": Hint(empty="auto"),
    "lr": Hint(label="learning rate"),
    "nesterov": Hint(rare=True),
    "beta1": Hint(rare=True),
    "beta2": Hint(rare=True),
    "epsilon": Hint(rare=True),
    "patience": Hint(unit="epochs"),
    "min_delta": Hint(rare=True),
    "restore_best": Hint(rare=True),
    "every": Hint(unit="epochs"),
    "warmup": Hint(unit="steps"),
}
"""What the schema does not say; a field that is not listed shows all the same."""

WAIT = 0.25
"""Seconds without a keystroke after which what stands beside the form is drawn anew."""

FILES = (".yaml", ".yml", ".json")
"""What an experiment is saved to."""


def configure(
    experiment: Experiment | Run | Mapping[str, Any] | str | Path | None = None, *, runs: str | Path | None = None
) -> Configurator:
    """A form for an experiment, with its data, its model and its code beside it.

    Args:
        experiment: what to begin with: an experiment, a run, a mapping, the path of a .yaml file, or a run's name.
        runs: where runs are kept (default: $LMKIT_RUNS or ./runs; of a run, where that is).

    Raises:
        ConfigError: it is no experiment.
        RunNotFound: there is no such file and no such run.

    >>> import lmkit as lk
    >>> form = lk.configure()  # doctest: +SKIP
    >>> form.experiment.training.epochs  # doctest: +SKIP
    50
    """
    if isinstance(experiment, str | Path):
        given = Path(experiment).expanduser()
        named = given.suffix in FILES or given.is_file()
        experiment = Experiment.load(given) if named else attach(experiment, runs=runs)
    if isinstance(experiment, Run):
        runs = runs or experiment.path.parent
        experiment = experiment.experiment
    if experiment is None:
        experiment = Experiment()
    elif not isinstance(experiment, Experiment):
        experiment = Experiment.from_dict(experiment)
    return Configurator(experiment, runs)


class Configurator(W.VBox):
    """A form for an experiment.

    Attributes:
        experiment: the configuration as it stands; while something is wrong, the last one that was right. It can be
            set, and observed.
        problems: what is wrong, a sentence each.
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
        self._target = W.Combobox(placeholder="the column to predict", style={"description_width": LABEL_WIDTH})
        self._data: preview.Preview | None = None
        self._data_key: object = None
        self._split_key: object = None
        self._reading = False
        self._refusal: LmkitError | None = None
        self._shown = experiment
        self._redraw = Later(self._refresh, WAIT)
        self.form = Form(
            Experiment.model_json_schema(),
            hints=HINTS,
            controls={"data.source": self._source, "data.target": self._target},
            changed=self._changed,
        )
        self._preset = Preset(self.form)
        self._preview, self._picture = W.HTML(), W.HTML()
        self._plan = Planned(self._draw_model)
        self._code = Code()
        self._actions = Actions(self)
        self._sweep = SweepForm(self)
        self.output = W.Output()
        parts = [*self._sections(), self._sweep.widget, self._actions.widget]
        super().__init__([style.sheet("configurator"), *parts, self.output])
        self.add_class("lmkit-configurator")
        self.show(experiment)

    def _sections(self) -> list[W.Widget]:
        """One a part of the experiment; what is no part comes first."""
        nodes = self.form.root.nodes
        parts = {name: node for name, node in nodes.items() if not isinstance(node, Field | Constant)}
        self._preview.add_class("lkc-preview")
        self._picture.add_class("lkc-model")
        beside: dict[str, list[W.Widget]] = {
            "data": [self._preview],
            "model": [self._picture, self._plan.widget],
            "training": [self._code.widget],
        }
        above = {"model": [self._preset.row.widget]}
        intro = W.HTML(
            '<span class="lkc-soft">What a field means shows while you point at it or type in it. Everything that is '
            "set here stands below as code, to be copied.</span>"
        )
        inside = {id(w) for part in parts.values() for w in part.widgets}
        first = Section("Experiment", [w for w in self.form.root.widgets if id(w) not in inside], [intro])
        first.widget.add_class("lkc-first")
        sections = [first]
        for name, part in parts.items():
            section = Section(name.capitalize(), [*above.get(name, []), *part.widgets], beside.get(name, []))
            if isinstance(part, Group):
                part.row = section
            sections.append(section)
        return [section.widget for section in sections]

    # -- from the form to the experiment ----------------------------------------------------------

    @T.observe("experiment")
    def _given(self, change: Any) -> None:
        """An experiment was set: the form shows it."""
        if change["new"] != self._from_form():
            self.show(change["new"])

    def show(self, experiment: Experiment) -> None:
        """Fills the form with ``experiment``, whatever it held."""
        values = experiment.to_dict()
        if values["name"] == made_name(values["data"], values["model"]):
            values["name"] = ""
        self.form.value = values
        self._update()
        self._refresh()

    def _from_form(self) -> Experiment | None:
        try:
            return Experiment(**self.form.value)
        except ConfigError:
            return None

    def _changed(self) -> None:
        """Somebody typed."""
        self._update()
        self._redraw()

    def _update(self) -> None:
        """Takes up what the form holds; says beside the fields what is wrong."""
        bundled = self._source.value in BUNDLED or is_text(self._source.value)
        self.form.field("data.target").row.visible = not bundled
        values = self.form.value
        problems: tuple[str, ...] = ()
        try:
            self._shown = experiment = Experiment(**values)
        except ConfigError as error:
            problems = error.problems
            self._shown = self._nearest(values, problems)
        else:
            self.experiment = experiment
        self.problems = (*problems, *(p for p in self._obstacles() if p not in problems))
        self.form.tell(self.problems)
        self.form.field("name").control.placeholder = made_name(values["data"], values["model"])
        self._preset.show(values["model"])
        self._actions.show()
        self._sweep.changed()

    def _nearest(self, values: Mapping[str, Any], problems: Iterable[str]) -> Experiment:
        """What is shown while something is wrong: the parts that are right as they are typed, the others as before."""
        before = self._shown.to_dict()
        wrong = {split_problem(problem)[0].partition(".")[0] for problem in problems}
        try:
            return Experiment(**{**values, **{k: v for k, v in before.items() if k in wrong}})
        except ConfigError:
            return self._shown

    def _obstacles(self) -> list[str]:
        """What keeps a right configuration from being trained: the framework, the data."""
        spec = self._shown.data
        found = []
        try:
            require(self._shown.framework)
        except MissingPackage as error:
            found.append(f"framework: {error}")
        known = self._known()
        try:
            if known:
                if spec.kind != "text":  # its parts are whole documents, and were looked at
                    check_sizes(spec, known.rows)
                resolve_loss(self._shown.training.loss, known.signature.task)
                self._shown.model.check(spec.signature or known.signature)
            elif self._refusal and self._data_key == self._key() and not isinstance(self._refusal, preview.TooLarge):
                found.append(str(self._refusal))
        except ConfigError as error:
            found += error.problems
        except DataError as error:
            found.append(str(error))
        return found

    def _key(self) -> object:
        """What decides what the data looks like."""
        spec = self._shown.data
        try:
            files = [spec.source] if spec.is_file else []
            files += [spec.graph.edges] if spec.graph else []
            stamp = tuple(Path(file).expanduser().stat().st_mtime_ns for file in files)
        except (OSError, ValueError, RuntimeError):
            stamp = ()  # no such file, or no such name of a file
        return spec.model_copy(update={"batch_size": 1, "validation": 0.0, "test": 0.0, "scale": "none"}), stamp

    def _split(self) -> object:
        """What decides which rows are in which part."""
        return self._shown.seed, self._shown.data.validation, self._shown.data.test

    def _known(self) -> Any:
        """Rows, task, inputs and outputs of the data, as far as they are known already."""
        if self._data and self._data_key == self._key():
            return self._data
        spec = self._shown.data
        return None if spec.drop or spec.categorical else spec.bundled

    # -- beside the form --------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Draws anew what stands beside the form."""
        self._code.show(self.experiment)
        self._draw_model()
        self._read_data()

    def _draw_model(self) -> None:
        known, spec = self._known(), self._shown
        if known is None:
            wait = "The model is drawn as soon as the data is known, for its size decides the shapes."
            self._picture.value = preview.notice_html(wait)
            self._plan.clear()
            return
        signature = spec.data.signature or known.signature
        if spec.model.family == "own":
            self._picture.value = preview.notice_html("A model of your own is known once it is built.")
            self._plan.clear()
            return
        try:
            self._plan.show(spec, signature, known.rows)
        except ConfigError as error:
            self._picture.value = preview.notice_html(error.problems[0], wrong=True)
            self._plan.clear()
            return
        self._picture.value = drawing.model_svg(signature.shape, spec.model.layers(signature))

    def _read_data(self) -> None:
        """Has the data read, unless it was; meanwhile the form stays quick."""
        key, split, spec = self._key(), self._split(), self._shown.data
        self._target.options = preview.columns(spec, self._runs)
        found, seed = self._data, self._shown.seed
        if key == self._data_key:
            self._draw_data()
            if found and split != self._split_key and not self._reading:
                self._reading = True
                in_background(lambda: preview.split(found, spec, seed), lambda found: self._seen(key, split, found))
            return
        if self._reading:
            return  # what is read now is old; when it is done, it is looked at again
        self._reading = True
        if self._data is None:
            self._preview.value = preview.notice_html("The data is being read …")
        self._preview.add_class("lkc-stale")
        in_background(lambda: self._look(spec, seed), lambda found: self._seen(key, split, found))

    def _look(self, spec: DataSpec, seed: int) -> preview.Preview | LmkitError:
        if not spec.source:
            return DataError(f"data.source: type the path of a file that ends in {', '.join((*DATA_FILES, *TEXTS))}")
        try:
            return preview.look(spec, self._runs, seed)
        except LmkitError as error:
            return error
        except Exception as error:  # a file can hold anything; the form goes on
            return DataError(f"data.source: cannot be read: {type(error).__name__}: {error}")

    def _seen(self, key: object, split: object, found: preview.Preview | LmkitError) -> None:
        """The data has been read, or refused."""
        self._reading = False
        self._data_key, self._split_key = key, split
        self._data = found if isinstance(found, preview.Preview) else None
        self._refusal = found if isinstance(found, LmkitError) else None
        self._update()
        self._draw_model()
        self._read_data()

    def _draw_data(self) -> None:
        self._preview.remove_class("lkc-stale")
        if self._data:
            self._preview.value = preview.preview_html(self._data, self._shown.data)
        else:
            _, sentence = split_problem(str(self._refusal))
            self._preview.value = preview.notice_html(sentence, not isinstance(self._refusal, preview.TooLarge))

    # -- what is done -----------------------------------------------------------------------------

    def train(self) -> Run | None:
        """Starts a run, and shows it below; None where that cannot be, and the reason beside the button."""
        try:
            self.run = train(self.experiment, runs=self._runs)
        except LmkitError as error:
            self._actions.say(str(error), wrong=True)
            return None
        self._actions.say(f"{self.run.name} has begun.")
        self._display(self.run)
        return self.run

    def sweep(self) -> Sweep | None:
        """Starts the sweep, and shows it below; None where that cannot be, and the reason beside its button."""
        if self._sweep.arguments is None:
            return None
        try:
            self.swept = sweep(self.experiment, **self._sweep.arguments, runs=self._runs)
        except LmkitError as error:
            self._sweep.say(str(error), wrong=True)
            return None
        self._sweep.say(f"{self.swept.name} has begun.")
        self._display(self.swept)
        return self.swept

    def _display(self, shown: Run | Sweep) -> None:
        from IPython.display import display

        self.output.clear_output(wait=True)
        with self.output:
            display(shown)

    def __repr__(self) -> str:
        return f"<Configurator of {self.experiment.name}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The form; where there are no widgets, the code."""
        return {**super()._repr_mimebundle_(**kwargs), "text/plain": snippets.python(self.experiment)}


class Actions:
    """Train, Save, Load, and what became of them."""

    def __init__(self, owner: Configurator) -> None:
        self.owner = owner
        self.button = W.Button(description="Train", tooltip="Start a run with this configuration")
        self.button.add_class("lkc-train")
        self.path = W.Text(
            "experiment.yaml",
            placeholder="experiment.yaml",
            tooltip="The file to save to or load from (.yaml or .json)",
        )
        save = W.Button(description="Save", tooltip="Write the configuration to the file")
        load = W.Button(description="Load", tooltip="Fill the form from the file")
        self.status = W.HTML()
        self.status.add_class("lkc-status")
        file = W.HBox([self.path, save, load])
        file.add_class("lkc-file")
        self.widget = W.HBox([self.button, self.status, file])
        self.widget.add_class("lkc-actions")
        self._started = 0.0
        self._replace = ""
        self.button.on_click(self._train)
        save.on_click(self._save)
        load.on_click(self._load)

    def say(self, text: str, wrong: bool = False) -> None:
        """Shows a sentence beside the buttons."""
        kind = "lkc-problem" if wrong else "lkc-soft"
        self.status.value = f'<span class="{kind}" role="status">{html.escape(text)}</span>'

    def show(self) -> None:
        """Shows whether the configuration can be trained."""
        problems = self.owner.problems
        self.button.disabled = bool(problems)
        if not problems:
            self.say("Ready to train.")
            return
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        self.say(f"{problems[0]}{more}", wrong=True)

    def _train(self, _: Any) -> None:
        if time.monotonic() - self._started < 1.0:
            return  # a second click of the same hand
        if not self.owner.problems:
            self.owner.train()
        self._started = time.monotonic()

    def _path(self) -> Path | None:
        text = self.path.value.strip()
        if not text.endswith(FILES):
            self.say(f"Given {text!r}, expected a file that ends in {', '.join(FILES)}.", wrong=True)
            return None
        return Path(text)

    def _save(self, _: Any) -> None:
        path = self._path()
        if path is None:
            return
        if self.owner.problems and self.owner._from_form() is None:
            self.say(f"Not saved: {self.owner.problems[0]}", wrong=True)
            return
        try:
            if path.exists() and self._replace != str(path):
                self._replace = str(path)
                self.say(f"{path} exists already; Save once more replaces it.", wrong=True)
                return
            self.owner.experiment.save(path)
        except OSError as error:
            self.say(f"{path} cannot be written: {error.strerror}", wrong=True)
            return
        self._replace = str(path)
        self.say(f"Saved to {path}.")

    def _load(self, _: Any) -> None:
        path = self._path()
        if path is None:
            return
        try:
            experiment = Experiment.load(path)
        except (ConfigError, OSError) as error:
            self.say("; ".join(getattr(error, "problems", [str(error)])), wrong=True)
            return
        self.owner.show(experiment)
        self._replace = str(path)
        if not self.owner.problems:
            self.say(f"Loaded from {path}.")
