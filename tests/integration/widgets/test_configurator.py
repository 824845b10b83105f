"""The configurator without a browser: the form, what stands beside it, and what its buttons do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import pytest
from experiments import EXPERIMENTS
from narrowing import require_type, require_value
from pydantic import BeforeValidator, Field

import lmkit as lk
from lmkit import ConfigError, Experiment, MissingPackage, RunNotFound
from lmkit.data.memory import store_data
from lmkit.run.run import Run
from lmkit.runfolder.folder import RunFolder
from lmkit.specs.models import MLP, PRESETS, _expand
from lmkit.widgets import configurator, obstacles, preview
from lmkit.widgets import elements as E
from lmkit.widgets.configurator import Configurator, configure
from lmkit.widgets.fields import Choice
from lmkit.widgets.parts import CUSTOM, FILE, highlight


def type_in(form: Configurator, path: str, value: Any) -> None:
    """What a person's typing does."""
    form.form.field(path).control.value = value


@pytest.fixture
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [(i * i, "AB"[i % 2], i * 2.5 + 0.25) for i in range(60)]
    pd.DataFrame(rows, columns=["area", "town", "price"]).to_csv("prices.csv", index=False)
    return tmp_path / "prices.csv"


# -- opening --------------------------------------------------------------------------------------


def test_it_opens_on_whatever_describes_an_experiment(tmp_path: Path) -> None:
    wanted = Experiment(data="wine", training={"epochs": 3})
    wanted.save(tmp_path / "wine.yaml")
    folder = RunFolder.create(wanted, tmp_path / "elsewhere")
    assert configure().experiment == Experiment()
    assert lk.configure(wanted).experiment == wanted
    assert configure({"data": "wine", "training": {"epochs": 3}}).experiment == wanted
    assert configure(tmp_path / "wine.yaml").experiment == wanted
    assert configure(Run(folder)).experiment == wanted
    assert configure("wine-mlp", runs=tmp_path / "elsewhere").experiment == wanted
    with pytest.raises(ConfigError, match="no file"):
        configure("nowhere.yaml")
    with pytest.raises(RunNotFound):
        configure("no-such-run", runs=tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="did you mean 'data'"):
        configure({"dota": "wine"})


def test_it_opens_beside_stored_data_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / ".data").mkdir()
    (tmp_path / ".data" / "0123456789ab.parquet").symlink_to(tmp_path / "gone")
    options = configure(runs=tmp_path)._source.menu.options
    assert "stored:0123456789ab" in dict(options).values()


@pytest.mark.parametrize("values", EXPERIMENTS)
def test_every_experiment_can_be_opened_and_is_kept_as_it_is(values: dict[str, Any]) -> None:
    experiment = Experiment(**values)
    form = configure(experiment)
    assert form.experiment == experiment
    type_in(form, "seed", "12345")
    assert form.experiment == experiment.override({"seed": 12345})


def test_fields_that_a_text_does_not_use_are_hidden_unless_they_are_set() -> None:
    form = configure(Experiment())
    fields = form.form["data"].nodes  # type: ignore[attr-defined]
    assert fields["scale"].row.visible
    form._source.menu.value = "python_docs"
    assert not any(fields[name].row.visible for name in ("scale", "scale_target", "missing", "target", "axes"))
    assert fields["batch_size"].row.visible
    form._source.menu.value = "digits"
    assert fields["scale"].row.visible
    scaled = Experiment(data={"source": "python_docs", "scale": "minmax"})
    form.show(scaled)
    assert fields["scale"].row.visible
    assert form.experiment == scaled


def test_every_optional_menu_shows_its_empty_option() -> None:
    form = configure()
    form._sweep.fold.is_open = True
    controls = [node.control for node in form._sweep.form.root.nodes.values() if hasattr(node, "control")]
    menus = [control for control in controls if isinstance(control, E.Dropdown)]
    assert menus
    assert all(menu.index is not None for menu in menus)


def test_code_of_an_earlier_experiment_is_marked_and_cannot_be_copied() -> None:
    form = configure()
    type_in(form, "training.epochs", "0")
    form._refresh()
    for text in form._code.texts.values():
        assert "As before the errors" in text.value
        assert "<button" not in text.value
    type_in(form, "training.epochs", "3")
    form._refresh()
    assert all("As before" not in text.value and "<button" in text.value for text in form._code.texts.values())


def test_no_problem_of_a_part_that_was_replaced_stays() -> None:
    form = configure(Experiment(data="wine"))
    form.form["model"].menu.value = "transformer"  # type: ignore[attr-defined]
    assert any("'transformer' needs" in problem for problem in form.problems)
    form.form["model"].menu.value = "own"  # type: ignore[attr-defined]
    assert not any("transformer" in problem for problem in form.problems)
    assert any("model.builder" in problem for problem in form.problems)


# -- typing ---------------------------------------------------------------------------------------


def test_the_last_right_experiment_is_kept_while_something_is_wrong() -> None:
    form = configure()
    seen: list[float] = []
    form.observe(lambda change: seen.append(change["new"].training.optimizer.lr), "experiment")
    for text in ("0.5", "0.", "", "-1", "fast", "1e-2", "5e-2"):
        type_in(form, "training.optimizer.lr", text)
        assert form._actions.button.disabled == bool(form.problems)
    assert seen == [0.5, 0.01, 0.05]
    type_in(form, "training.optimizer.lr", "fast")
    type_in(form, "training.epochs", "0")
    assert form.experiment.training.optimizer.lr == 0.05
    assert form.problems == (
        "training.epochs: given 0, expected a number of at least 1",
        "training.optimizer.lr: given 'fast', expected a number",
    )
    assert "(and 1 more)" in form._actions.status.value
    form.experiment = Experiment(data="wine")  # whatever was wrong is gone
    assert form.problems == ()
    assert form._actions.button.disabled is False


def test_what_concerns_a_whole_part_is_told_at_its_heading() -> None:
    form = configure()
    type_in(form, "data.test", "0.9")
    section = require_value(form.form["data"].row)
    assert section.problem.startswith("validation (0.2) and test (0.9) leave nothing to train on")
    type_in(form, "data.test", "0.1")
    assert section.problem == ""
    assert form.experiment.data.test == 0.1
    type_in(form, "name", "no/slashes")
    assert form.form.field("name").row.problem.startswith("given 'no/slashes', expected letters")


def test_a_name_is_made_until_one_is_given() -> None:
    form = configure()
    control = form.form.field("name").control
    assert (control.value, control.placeholder) == ("", "breast-cancer-mlp")
    type_in(form, "data.source", "wine")
    assert (form.experiment.name, control.placeholder) == ("wine-mlp", "wine-mlp")
    type_in(form, "name", "mine")
    type_in(form, "data.source", "digits")
    assert form.experiment.name == "mine"


def test_presets_fill_the_model_and_are_recognized() -> None:
    form = configure()
    menu = form._preset.menu
    assert menu.value == "mlp:standard"
    menu.value = "mlp:wide"
    assert form.experiment.model == Experiment(model="mlp:wide").model
    type_in(form, "model.hidden", "256, 256, 8")
    assert menu.value == CUSTOM
    type_in(form, "model.hidden", "64, 64")
    assert menu.value == "mlp:small"
    type_in(form, "model.dropout", "0.5")
    assert form.experiment.model == MLP(hidden=(64, 64), dropout=0.5)
    assert set(menu.options) == {CUSTOM, *PRESETS}


def test_what_keeps_it_from_being_trained_is_told_too(monkeypatch: pytest.MonkeyPatch, prices: Path) -> None:
    form = configure({"data": {"source": "prices.csv", "target": "price"}})
    type_in(form, "training.loss", "binary_crossentropy")
    assert form.problems[0].startswith("training.loss: given 'binary_crossentropy' for a regression target")
    type_in(form, "training.loss", "auto")
    assert form.problems == ()

    def absent(name: str) -> None:
        raise MissingPackage(f"{name} is not installed; install it: python -m pip install 'jupyter-lmkit[{name}]'")

    monkeypatch.setattr(obstacles, "require", absent)
    type_in(form, "framework", "tensorflow")
    assert form.form.field("framework").row.problem.startswith("tensorflow is not installed; install it")
    assert form._actions.button.disabled


# -- data -----------------------------------------------------------------------------------------


def test_a_file_is_chosen_and_its_columns_are_offered(prices: Path) -> None:
    form = configure()
    source, target = form._source, form.form.field("data.target")
    assert not target.row.visible
    source.menu.value = FILE
    assert source.path.options == ("prices.csv",)
    tables = ".csv, .parquet, .npz, .tsv, .feather, .json, .ndjson, .xlsx, .arff (text also compressed)"
    endings = f"{tables}, .txt, .jsonl"
    assert form.problems == (f"data.source: enter the path of a file that ends in {endings}",)
    source.path.value = "prices.csv"
    assert target.row.visible
    assert target.control.options == ("area", "town", "price")
    assert target.row.problem.startswith("'prices.csv' needs the column to predict")
    assert "needs the column to predict" in form._preview.value
    assert "drawn once the data has been read" in form._picture.value
    target.control.value = "price"
    assert form.problems == ()
    assert "<b>60</b> rows × <b>2</b> columns (3 after one-hot encoding)" in form._preview.value
    assert "input 3" in form._picture.value
    pd.read_csv(prices).assign(town="C").head(30).to_csv(prices, index=False)  # another program writes the file
    type_in(form, "data.batch_size", "4")
    assert "<b>30</b> rows × <b>2</b> columns · " in form._preview.value
    source.menu.value = "wine"
    assert not target.row.visible
    assert form.experiment.data == Experiment(data={"source": "wine", "batch_size": 4}).data
    assert "input 13" in form._picture.value


@pytest.mark.parametrize("path", ["nowhere.csv", "~nobody-at-all/x.csv", "a" * 300 + ".csv", "x.xlsx", "\0.csv"])
def test_a_wrong_path_is_told_beside_it(path: str) -> None:
    form = configure()
    form._source.menu.value = FILE
    form._source.path.value = path
    assert form.form.field("data.source").row.problem
    assert 'role="alert"' in form._preview.value or "role=alert" in form._preview.value
    assert form._actions.button.disabled


def test_what_is_too_large_to_look_into_can_be_trained(prices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "EAGER_BYTES", 10)
    form = configure({"data": {"source": "prices.csv", "target": "price"}})
    assert form.problems == ()
    assert "too large to preview" in form._preview.value
    assert "alert" not in form._preview.value


def test_data_kept_beside_the_runs_can_be_chosen(tmp_path: Path, prices: Path) -> None:
    runs = tmp_path / "kept"
    kept = store_data((pd.read_csv(prices), "price"), runs)
    run = Run(RunFolder.create(Experiment(data=kept), runs))
    form = configure(run)
    assert form.experiment == run.experiment
    assert "<b>60</b> rows" in form._preview.value
    assert form._source.menu.value == kept["source"]
    fresh = configure(runs=runs)
    assert kept["source"] in dict(fresh._source.menu.options).values()
    fresh._source.menu.value = kept["source"]
    type_in(fresh, "data.target", "price")
    assert fresh.experiment.data == run.experiment.data
    assert fresh.problems == ()
    elsewhere = configure(run.experiment, runs=tmp_path / "empty")  # named, though it is not there
    assert elsewhere.experiment == run.experiment
    assert "is not in this folder of runs" in elsewhere._preview.value


def test_rows_of_the_parts_follow_without_reading_again(monkeypatch: pytest.MonkeyPatch) -> None:
    form = configure({"data": "wine"})
    monkeypatch.setattr(preview, "load_preview", lambda *_: pytest.fail("read again"))
    type_in(form, "data.validation", "0.5")
    type_in(form, "data.test", "0")
    type_in(form, "data.batch_size", "8")
    type_in(form, "model.hidden", "5")
    assert "89 training, 89 validation rows<" in form._preview.value.replace("</div>", "<")


# -- beside the form ------------------------------------------------------------------------------


def test_drawing_numbers_and_code_follow_the_form() -> None:
    form = configure()
    type_in(form, "model.hidden", "20, 4")
    require_type(form.form["training.optimizer"], Choice).menu.value = "adamw"
    parameters = 30 * 20 + 20 + 20 * 4 + 4 + 4 * 1 + 1
    assert f'<dd class="lkc-tile">{parameters:,}</dd>' in form._plan.numbers.value
    assert "dense 20, relu, 620 parameters; dense 4, relu, 84 parameters" in form._picture.value
    for text in form._code.texts.values():
        assert "adamw" in text.value
    type_in(form, "training.precision", "float64")
    assert f"weights {parameters * 8 / 1000:.3g} kB" in form._plan.numbers.value
    assert "<span" not in form._repr_mimebundle_()["text/plain"]
    assert "float64" in form._repr_mimebundle_()["text/plain"]  # where no widgets are, there is the code


def test_one_wrong_part_keeps_nothing_else_from_being_shown(prices: Path) -> None:
    form = configure()
    type_in(form, "training.epochs", "many")
    type_in(form, "model.hidden", "33")
    type_in(form, "data.source", "wine")
    assert "dense 33, relu, 462 parameters" in form._picture.value
    assert "classification into 3 classes" in form._preview.value
    type_in(form, "model.hidden", "33, x")
    assert "dense 33, relu, 462 parameters" in form._picture.value
    type_in(form, "data.source", "nowhere.csv")
    paths = [problem.partition(":")[0] for problem in form.problems]
    assert paths == ["model.hidden.1", "training.epochs", "data.source"]
    assert form.form.field("data.source").row.problem.startswith("no file 'nowhere.csv'")
    assert form.experiment == Experiment()  # the last one that was right as a whole
    assert "epochs" not in form._code.texts["Python"].value
    type_in(form, "model.hidden", "4")
    type_in(form, "training.epochs", "3")
    assert form.experiment == Experiment(data="nowhere.csv", model={"hidden": [4]}, training={"epochs": 3})


def test_marking_loses_no_character() -> None:
    lines = (
        'import lmkit as lk  # "a" <b>',
        'x = {"a\\"b": [1, -2.5e-3, True]}',
        "c: 'it''s'",
        "name: mlp-2",
        "%%lmkit train & x",
    )
    text = "\n".join(lines)
    marked = highlight(text)
    plain = marked
    for kind in "ksnc":
        plain = plain.replace(f'<span class="{kind}">', "")
    assert plain.replace("</span>", "").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text
    assert '<span class="n">-2.5e-3</span>' in marked
    assert "mlp-2" in marked


def test_in_an_event_loop_typing_is_not_held_up() -> None:
    async def typed() -> list[int]:
        form = configure()
        while form._data is None:
            await asyncio.sleep(0.01)  # read in the background
        drawn: list[int] = []
        form._redraw.action = lambda: drawn.append(len(require_type(form.experiment.model, MLP).hidden))
        for n in range(1, 30):
            type_in(form, "model.hidden", ", ".join(["8"] * n))
            assert len(require_type(form.experiment.model, MLP).hidden) == n  # the configuration is current at once
        assert drawn == []
        while not drawn:
            await asyncio.sleep(0.01)
        return drawn

    assert asyncio.run(typed()) == [29]  # what stands beside is drawn once


def test_data_that_changes_while_it_is_read_is_read_again() -> None:
    async def changed() -> str:
        form = configure()
        form._redraw.seconds = 0
        type_in(form, "data.source", "digits")
        type_in(form, "data.source", "wine")
        while form._reading or form._data is None or form._data.rows != 178:
            await asyncio.sleep(0.01)
        return form._preview.value

    assert "classification into 3 classes" in asyncio.run(changed())


# -- a schema that grows --------------------------------------------------------------------------


class Forest(MLP):
    """Another family."""

    family: Literal["forest"] = "forest"  # type: ignore[assignment]
    """Trees."""
    trees: int = Field(7, ge=1)
    """How many trees."""


class Grown(Experiment):
    """An experiment with one more family of models and one more field."""

    model: Annotated[
        Annotated[MLP | Forest, Field(discriminator="family")],
        BeforeValidator(lambda v: v if isinstance(v, dict) and v.get("family") == "forest" else _expand(v)),
    ] = MLP()  # type: ignore[assignment]
    patience: int = Field(3, ge=0)
    """A new field."""


def test_a_new_family_and_a_new_field_appear_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configurator, "Experiment", Grown)
    form = Configurator(Grown())
    assert form.form.field("patience").control.value == "3"
    menu = require_type(form.form["model"], Choice).menu
    assert tuple(menu.options) == ("mlp", "forest")
    menu.value = "forest"
    type_in(form, "model.trees", "70")
    assert isinstance(form.experiment.model, Forest)
    assert form.experiment.model.trees == 70
    type_in(form, "model.trees", "0")
    assert form.form.field("model.trees").row.problem == "given 0, expected a number of at least 1"
    form._preset.menu.value = "mlp:small"
    assert form.experiment.model == MLP(hidden=(64, 64))
    titles = [box.children[0].children[0].value for box in form.root.children if "lkc-section" in box.classes]
    assert [t for t in ("Experiment", "Data", "Model", "Training") if not any(t in title for title in titles)] == []


# -- buttons --------------------------------------------------------------------------------------


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Experiment, Any]]:
    """What is trained, and where; nothing starts."""
    calls: list[tuple[Experiment, Any]] = []

    def train(experiment: Experiment, *, trust: bool = False, runs: Any = None) -> Run:
        calls.append((experiment, runs))
        return Run(RunFolder.create(experiment, runs))

    monkeypatch.setattr(configurator, "train", train)
    monkeypatch.setattr("IPython.display.display", lambda *_: None)
    return calls


def test_train_starts_one_run_of_what_the_form_holds(tmp_path: Path, trained: list[tuple[Experiment, Any]]) -> None:
    form = configure(runs=tmp_path / "mine")
    type_in(form, "training.epochs", "2")
    form._actions.button.click()
    form._actions.button.click()  # a double click
    assert trained == [(Experiment(training={"epochs": 2}), tmp_path / "mine")]
    assert form.run is not None
    assert form.run.path.parent == tmp_path / "mine"
    assert f"Started {form.run.name}." in form._actions.status.value
    form._actions._started = 0.0
    type_in(form, "training.epochs", "-2")
    form._actions.button.click()
    assert len(trained) == 1  # what is wrong is not trained


def test_a_refusal_to_train_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Run:
        raise lk.RunStateError("no run can be kept here; name another folder")

    monkeypatch.setattr(configurator, "train", refuse)
    form = configure()
    assert form.train() is None
    assert "no run can be kept here" in form._actions.status.value


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    form = configure()
    form._actions.path.value = "~/mine.yaml"
    form._actions._save(None)
    assert Experiment.load(tmp_path / "mine.yaml") == form.experiment


def test_save_and_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    form = configure()
    actions = form._actions

    def press(name: str) -> str:
        button = next(b for b in actions.widget.children[-1].children if getattr(b, "description", "") == name)
        button.click()
        return str(actions.status.value)

    type_in(form, "training.epochs", "7")
    assert "Saved to experiment.yaml" in press("Save")
    assert Experiment.load("experiment.yaml") == form.experiment
    type_in(form, "training.epochs", "8")
    assert "Saved" in press("Save")  # its own file is replaced without a word
    Experiment(seed=5).save("other.json")
    actions.path.value = "other.json"
    assert "already exists" in press("Save")
    assert Experiment.load("other.json").seed == 5
    assert "Saved" in press("Save")
    assert Experiment.load("other.json").training.epochs == 8
    type_in(form, "training.epochs", "many")
    assert "Not saved: training.epochs: given" in press("Save")
    assert Experiment.load("other.json").training.epochs == 8
    actions.path.value = "notebook.ipynb"
    assert "expected a file that ends in .yaml" in press("Save")
    assert "expected a file that ends in .yaml" in press("Load")
    actions.path.value = "nowhere/x.yaml"
    assert "no file" in press("Load")
    type_in(form, "training.epochs", "8")
    assert "Cannot write nowhere/x.yaml: there is no folder" in press("Save")
    Path("torn.yaml").write_text("data: {source: wine\n")
    actions.path.value = "torn.yaml"
    assert "not YAML" in press("Load")
    Path("wrong.yaml").write_text("training: {epoch: 3}\n")
    actions.path.value = "wrong.yaml"
    assert "training.epoch: unknown key; did you mean &#x27;epochs&#x27;?" in press("Load")
    assert form.experiment.training.epochs == 8
    Experiment(data="wine").save("wine.yaml")
    actions.path.value = "wine.yaml"
    type_in(form, "training.epochs", "9")
    assert "Click Load again" in press("Load")  # 9 epochs are in no file
    assert form.experiment.training.epochs == 9
    assert "Loaded from wine.yaml" in press("Load")
    assert form.experiment == Experiment(data="wine")
    type_in(form, "training.epochs", "many")
    assert "Loaded from wine.yaml" in press("Load")  # the same once more: what was wrong is gone
    assert form.problems == ()
