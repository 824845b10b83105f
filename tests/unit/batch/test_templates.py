"""Templates are found, read, and their parameters checked before anything starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from narrowing import require_type
from written_notebook import write_notebook

import lmkit as lk
from lmkit.batch.templates import allowed, build_experiment, check_parameters, read_template, template_paths
from lmkit.exceptions import ConfigError, TemplateError
from lmkit.runfolder.folder import runs_root
from lmkit.specs.models import MLP

OWN = 'rate: float = 0.1  # how fast\nname: str = "x"\nidle: int = 1  # read by nobody'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A notebook of one's own that describes no experiment."""
    return write_notebook(
        tmp_path / "own.ipynb", "import math", "%time rate\nprint(name)", parameters=OWN, heading="Mine"
    )


# -- finding and reading --------------------------------------------------------------------------


def test_the_templates_of_lmkit_are_listed_with_their_parameters() -> None:
    table = lk.templates()
    assert {"train", "report"} <= set(table["template"])
    train = table[table["template"] == "train"].set_index("parameter")
    assert list(train.index) == ["framework", "data", "model", "epochs", "seed", "name", "overrides"]
    assert train.loc["epochs", "type"] == "int | None"
    assert train.loc["epochs", "default"] is None
    assert train.loc["epochs", "allowed"] == "at least 1"
    assert train.loc["framework", "allowed"] == "torch, tensorflow"
    assert train.loc["seed", "allowed"] == "at least 0 and below 4294967296"
    assert train["title"].unique().tolist() == ["Train a model"]
    assert (train["documentation"].str.len() > 0).all()


def test_what_a_parameter_may_be_is_told_of_a_notebook_of_ones_own(tmp_path: Path) -> None:
    cell = "from typing import Literal\nhow: Literal['fast', 'slow'] | None = None\nrate: float = 1.0"
    found = read_template(write_notebook(tmp_path / "own.ipynb", "how, rate", parameters=cell))
    assert [allowed(found, p) for p in found.parameters.values()] == ["fast, slow", ""]


def test_a_template_is_found_by_its_name_and_by_its_path(own: Path) -> None:
    assert read_template("train").path == template_paths()["train"]
    found = read_template(own)
    assert (found.name, found.title, list(found.parameters)) == ("own", "Mine", ["rate", "name", "idle"])
    assert read_template(str(own)).path == own


def test_a_notebook_without_parameters_has_none(tmp_path: Path) -> None:
    found = read_template(write_notebook(tmp_path / "plain.ipynb", "1 + 1"))
    assert (found.title, found.parameters) == ("plain", {})
    with pytest.raises(TemplateError, match="a: the template 'plain' has no parameters: none of its cells is tagged"):
        check_parameters(found, {"a": 1})


def test_an_unknown_template_names_the_nearest() -> None:
    with pytest.raises(TemplateError, match=r"no notebook 'trian'; did you mean 'train'\? Templates: compare, "):
        read_template("trian")


NOT_NOTEBOOKS = [
    "no json",
    "[]",
    "{}",
    "[" * 100_000,
    '{"cells": [1]}',
    '{"cells": {"cell_type": "code"}}',
    '{"cells": [{"cell_type": "code", "source": 3}]}',
    '{"cells": [{"cell_type": "code", "source": [1]}]}',
    '{"cells": [{"cell_type": "code", "metadata": null}]}',
    '{"cells": [{"cell_type": "code", "metadata": [1]}]}',
    '{"cells": [], "metadata": [1]}',
]


@pytest.mark.parametrize("content", NOT_NOTEBOOKS)
def test_what_is_no_notebook_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(content)
    with pytest.raises(TemplateError, match="is not a notebook"):
        read_template(path)


def test_of_two_cells_of_parameters_the_first_counts(own: Path) -> None:
    notebook = json.loads(own.read_text())
    second = {**notebook["cells"][2], "source": "print(rate, idle)\nother = 1"}
    notebook["cells"].append(second)
    own.write_text(json.dumps(notebook))
    template = read_template(own)
    assert list(template.parameters) == ["rate", "name", "idle"]
    assert template.warnings == ("2 cells are tagged 'parameters'; the first is used",)
    assert check_parameters(template, {"idle": 2}) == {"idle": 2}, "the second one reads it"


def test_parameters_of_a_cell_that_is_not_python_are_not_checked(tmp_path: Path) -> None:
    template = read_template(write_notebook(tmp_path / "own.ipynb", "0", "print(x)", parameters="x = (1 +"))
    assert "not Python" in template.warnings[0]
    assert check_parameters(template, {}, {"x": "[1, 2]"}) == {"x": [1, 2]}


def test_a_type_without_its_import_is_refused_with_the_line_to_add(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "own.ipynb", "how", parameters="how: Literal['a'] = 'a'")
    with pytest.raises(TemplateError, match="uses Literal without an import; add 'from typing import Literal' to it"):
        read_template(path)


def test_a_parameter_named_as_a_section_stays_whole(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "own.ipynb", "0", "print(data, model)", parameters="data: dict = {}\nmodel = None")
    values = {"data": {"b": 2}, "model": {"family": "mlp"}}
    assert check_parameters(read_template(path), values) == values


def test_the_sections_of_an_experiment_become_paths() -> None:
    values = check_parameters(
        read_template("train"), {"training": {"epochs": 3, "optimizer.lr": 0.5}, "data": {"batch_size": 8}}
    )
    assert values == {"epochs": 3, "overrides": {"training.optimizer.lr": 0.5, "data.batch_size": 8}}


def test_every_template_reads_every_parameter_that_it_declares() -> None:
    for template in map(read_template, template_paths()):
        assert [p for p in template.parameters if not template.reads(p)] == [], template.name


# -- checking -------------------------------------------------------------------------------------


def test_values_of_a_notebook_of_ones_own(own: Path) -> None:
    template = read_template(own)
    assert check_parameters(template, {"rate": 1}, {"name": "010"}) == {"rate": 1, "name": "010"}
    assert check_parameters(template, {"rate": 1}, {"rate": "2e-1"}) == {"rate": 0.2}, "what is typed comes first"
    assert build_experiment(template, {}) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rat": 1}, "rat: no such parameter of the template 'own'; did you mean 'rate'"),
        ({"training.optimizer.lr": 1}, "training.optimizer.lr: no such parameter of the template 'own'"),
        ({"rate": "fast"}, "rate: given 'fast', expected float .*default 0.1"),
        ({"idle": 2}, "idle: no cell of the template 'own' reads it"),
    ],
)
def test_what_a_notebook_of_ones_own_does_not_take(own: Path, given: dict[str, object], said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        check_parameters(read_template(own), given)


def test_paths_of_the_experiment_become_overrides() -> None:
    template = read_template("train")
    values = check_parameters(template, {"epochs": 3, "model.hidden": (4, 5)}, {"training.optimizer.lr": "1e-3"})
    assert values == {"epochs": 3, "overrides": {"model.hidden": [4, 5], "training.optimizer.lr": 1e-3}}
    experiment = build_experiment(template, values)
    assert experiment is not None
    assert (
        experiment.training.epochs,
        require_type(experiment.model, MLP).hidden,
        experiment.training.optimizer.lr,
    ) == (3, (4, 5), 1e-3)


def test_the_end_of_a_path_is_enough_where_it_is_the_only_one() -> None:
    values = check_parameters(read_template("train"), {"lr": 0.5}, {"batch_size": "16"})
    experiment = build_experiment(read_template("train"), values)
    assert experiment is not None
    assert (experiment.training.optimizer.lr, experiment.data.batch_size) == (0.5, 16)


def test_a_path_that_a_parameter_stands_for_sets_the_parameter() -> None:
    assert check_parameters(read_template("train"), {"training.epochs": 3}) == {"epochs": 3}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 3, "training.epochs": 4}, "epochs and training.epochs are the same parameter; use one of them"),
        (
            {"epoch": 3},
            "epoch: no parameter of the template 'train', and no path of an experiment; did you mean 'epochs'",
        ),
        ({"epochs": 2.5}, "epochs: given 2.5, expected int"),
        ({"epochs": True}, "epochs: given True, expected int"),
        ({"name": 10}, "name: given 10, expected str"),
        ({"overrides": [1]}, r"overrides: given \[1\], expected dict"),
    ],
)
def test_what_the_train_template_does_not_take(given: dict[str, object], said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        check_parameters(read_template("train"), given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 0}, "training.epochs"),
        ({"framework": "torhc"}, "framework.*'torhc'.*torch"),
        ({"training.optimiser.lr": 0.1}, "training.optimiser.*did you mean 'optimizer'"),
        ({"training.optimizer.lr": -1}, "training.optimizer.*lr"),
        ({"data": "digits", "training.loss": "mean_squared_error"}, "training.loss"),
    ],
)
def test_an_experiment_that_cannot_be_is_refused_before_anything_starts(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        lk.run_template("train", given)
    assert not runs_root().exists()


def test_data_that_cannot_be_trained_on_is_refused_before_anything_starts(tmp_path: Path) -> None:
    table = tmp_path / "x.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(lk.DataError, match="target"):
        lk.run_template("train", {"data": str(table)}, runs=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_the_templates_are_found_inside_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmkit.batch import templates

    package = tmp_path / "lmkit"
    shutil.copytree(template_paths()["train"].parent, package / "templates")
    monkeypatch.setattr(templates, "__file__", str(package / "batch" / "templates.py"))
    assert template_paths()["train"] == package / "templates" / "train.ipynb"
