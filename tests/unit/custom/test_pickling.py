"""What an object captures, how it is named, and its text."""

from __future__ import annotations

import functools
import json
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from narrowing import require_type, require_value
from sklearn.metrics import f1_score

import lmkit as lk
from lmkit.custom import arguments, objects, pickling
from lmkit.exceptions import ConfigError
from lmkit.specs.models import Custom
from lmkit.specs.references import is_reference, label

TABLE: dict[str, Any] = {"small": np.arange(3.0), "frame": pd.DataFrame({"a": np.arange(4)})}


def reads(x: float, scale: Any = np.ones(2)) -> float:  # noqa: B008
    """Looks up a global name, and in a function inside it another."""

    def inner() -> float:
        return float(TABLE["small"][0])

    return inner() * x


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module is one that another process does not find."""
    found = pickling.is_on_path
    monkeypatch.setattr(pickling, "is_on_path", lambda module: module != __name__ and found(module))


def names(value: Any) -> set[str]:
    return {name for name, _ in pickling.iter_captured(value, "itself")}


@pytest.fixture
def notebook() -> Callable[[str], dict[str, Any]]:
    """Runs a cell in a module that cannot be imported, as ``__main__`` of a notebook is."""

    def run(cell: str) -> dict[str, Any]:
        module = types.ModuleType("of_a_notebook")
        sys.modules["of_a_notebook"] = module
        exec(compile(cell, "<cell>", "exec"), module.__dict__)
        return module.__dict__

    return run


def test_what_can_be_imported_is_named_by_where_it_lies() -> None:
    assert pickling.import_path(f1_score) == "sklearn.metrics._classification:f1_score"
    assert pickling.import_path(json.JSONDecoder.decode) == "json.decoder:JSONDecoder.decode"
    assert pickling.import_path(len) == "builtins:len"
    assert pickling.import_path(lambda: 0) == ""
    assert pickling.import_path(np.arange(3)) == ""
    assert pickling.import_path(functools.partial(f1_score)) == ""


def test_what_another_thing_of_that_name_hides_is_kept(notebook: Any) -> None:
    assert pickling.import_path(notebook("def build(): pass")["build"]) == ""
    other = functools.wraps(json.loads)(lambda text: text)  # says of itself that it is json.loads
    assert pickling.import_path(other) == ""


@pytest.mark.usefixtures("unreachable")
def test_all_that_is_referred_to_is_found_by_its_name() -> None:
    held = np.zeros(5)

    class Holder:
        inside = np.ones(7)

        def __init__(self) -> None:
            self.mine = {"deep": [held]}

        def method(self) -> Any:
            return other

    other = bytearray(9)
    assert {"TABLE", "small", "frame", "scale"} <= names(reads)
    assert {"inside", "method", "other"} <= names(Holder)
    assert {"mine", "deep"} <= names(Holder())
    assert {"other"} <= names(Holder().method)
    assert {"key", "held"} <= names(functools.partial(lambda key: held, key=bytearray(3)))
    assert "loads" not in names(lambda: json.loads("1"))  # it is imported where it is needed


def test_sizes_are_told_of_arrays_tensors_tables_and_texts() -> None:
    import torch

    assert pickling.size(np.zeros((3, 2))) == 48
    assert pickling.size(torch.zeros(5)) == 20
    assert pickling.size(bytearray(11)) == 11
    assert require_value(pickling.size(pd.DataFrame({"a": np.arange(10)}))) >= 80
    assert pickling.size([1, 2]) is None


def test_a_kept_function_is_found_again_by_another_process(tmp_path: Path, notebook: Any) -> None:
    cell = "import math\nfactor = 3\ndef helper(x): return factor * x\ndef build(x): return helper(x) + math.pi"
    build = notebook(cell)["build"]
    reference = objects.to_reference(build, "model.builder", tmp_path)
    assert is_reference(reference)
    assert label(reference) == "build"
    del sys.modules["of_a_notebook"]
    with objects.pickle_path(reference, tmp_path).open("rb") as file:
        again = pickle.load(file)
    assert again is not build
    assert again(2) == 6 + np.pi
    assert objects.resolve(reference, "model.builder", tmp_path)(1) == 3 + np.pi


def test_a_reference_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="kept:build-0123456789ab is not in this folder of runs; pass the object again"
    ):
        objects.resolve("kept:build-0123456789ab", "model.builder", tmp_path)
    broken = objects.pickle_path("kept:build-ffffffffffff", tmp_path)
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="kept:build-ffffffffffff cannot be loaded here: UnpicklingError"):
        objects.resolve("kept:build-ffffffffffff", "model.builder", tmp_path)


def test_only_who_needs_it_unpickles(tmp_path: Path) -> None:
    """To look at a run is not to run what is in it."""

    class Trap:
        def __reduce__(self) -> Any:
            return (tmp_path / "sprung").touch, ()

        def __call__(self) -> None:
            raise AssertionError

    run = lk.train(data="wine", model=lambda: None, inline=True)
    reference = objects.to_reference(Trap(), "model.builder")
    text = (run.path / "experiment.yaml").read_text()
    (run.path / "experiment.yaml").write_text(
        text.replace(require_type(run.experiment.model, Custom).builder, reference)
    )
    run = lk.attach(run.name)
    assert require_type(run.experiment.model, Custom).builder == reference
    lk.runs()
    lk.tables.summary(run)
    arguments.check_objects(run.experiment)
    assert not (tmp_path / "sprung").exists()


def test_more_than_may_be_sent_is_told_although_it_lies_deep(tmp_path: Path) -> None:
    class Slots:
        __slots__ = ("array",)

        def __init__(self) -> None:
            self.array = np.zeros(2**23 + 1)

    held = Slots()
    with pytest.raises(ConfigError, match=r"lambda captures more than 67.1 MB, which is not copied silently"):
        objects.to_reference(lambda: held, "model.builder", tmp_path)
    assert not list((tmp_path / ".data").iterdir())


@pytest.mark.usefixtures("unreachable")
def test_the_text_of_a_function_and_of_what_it_calls(notebook: Any) -> None:
    assert "def f1_score(" in pickling.source(f1_score)

    def calls() -> float:
        return reads(2)

    text = pickling.source(calls)
    assert text.startswith("def reads(x: float")
    assert text.endswith("def calls() -> float:\n    return reads(2)")
    assert pickling.source(notebook("def build(): pass")["build"]) == ""  # no line of it is anywhere


def test_the_text_of_a_class_of_a_notebook() -> None:
    import linecache

    cell = "class Net:\n    width = 3\n\n    def forward(self):\n        return self.width\n"
    linecache.cache["<cell 7>"] = (len(cell), None, cell.splitlines(True), "<cell 7>")
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(cell, "<cell 7>", "exec"), space)
    assert pickling.source(space["Net"]) == cell.strip()
