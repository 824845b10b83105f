"""One argument, one answer: every verb takes what means something to it, and says the same sentence where it cannot."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lmkit as lk
from lmkit import reports, trackers
from lmkit.deploy.bundle import bundle
from lmkit.deploy.compare import comparison
from lmkit.planning import plan
from lmkit.run import attach, convert, resolve, start
from lmkit.run.run import Run
from lmkit.runfolder.folder import RunFolder
from lmkit.sweeping import target
from lmkit.tables import dataset
from lmkit.widgets import configurator

X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1] * 3)
FRAME = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "t": Y})


class Resolved(Exception):
    """Raised right after the resolving, so that no verb does its work."""

    def __init__(self, value: Any) -> None:
        self.value = value


EXPERIMENT_VERBS: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "train": (start, "resolve_experiment", lk.train),
    "plan": (plan, "resolve_experiment", lk.plan),
    "describe": (dataset, "resolve_experiment", lk.describe),
    "configure": (configurator, "resolve_run_or_experiment", lk.configure),
    "sweep": (target, "resolve_experiment", lambda source: lk.sweep(source, grid={"lr": [0.1]})),
}
"""Verb → the module that resolves its argument, by which function, and the call."""

RUN_VERBS: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "attach": (attach, "resolve_run", lk.attach),
    "watch": (attach, "resolve_run", lk.watch),
    "pause": (attach, "resolve_run", lk.pause),
    "resume": (attach, "resolve_run", lk.resume),
    "stop": (attach, "resolve_run", lk.stop),
    "generate": (attach, "resolve_run", lk.generate),
    "convert": (convert, "resolve_run", lambda source: lk.convert(source, to="tensorflow")),
    "bundle": (bundle, "resolve_run", lambda source: lk.bundle(source, "onnx", "out")),
    "compare": (comparison, "resolve_runs", lk.compare),
    "comparison": (comparison, "resolve_runs", lk.comparison),
    "report": (reports, "resolve_run resolve_runs", lk.report),
    "mirror": (trackers, "resolve_run", lk.mirror),
}

MEANINGS: dict[str, tuple[str, str]] = {
    "an experiment": ("wine", "mlp"),
    "a mapping": ("wine", "mlp"),
    "a mapping with (X, y)": ("stored:", "mlp"),
    "a mapping with a DataFrame": ("stored:", "mlp"),
    "a mapping with a source": ("wine", "mlp"),
    "a .yaml file": ("wine", "mlp"),
    "a .YML file": ("wine", "mlp"),
    "a .json path": ("wine", "mlp"),
    "a run": ("diabetes", "mlp"),
    "its name": ("diabetes", "mlp"),
    "its short id": ("diabetes", "mlp"),
    "a prefix of its name": ("diabetes", "mlp"),
    "its folder": ("diabetes", "mlp"),
    "last": ("diabetes", "mlp"),
    "(X, y)": ("stored:", "mlp"),
    "(DataFrame, target)": ("stored:", "mlp"),
    "a mapping of data": ("stored:", "mlp"),
    "a loader": ("object:", "mlp"),
    "a bundled source": ("digits", "mlp"),
    "a data file": ("table.csv", "mlp"),
    "a model": ("digits", "cnn"),
    "a preset": ("digits", "cnn"),
}
"""Input → the source of the data and the family of the model that it means to a verb of experiments."""

RUNS = {"a run", "its name", "its short id", "a prefix of its name", "its folder", "last"}

NO_RUN = {
    "an experiment": "given an Experiment, expected a run: its name, its folder, 'last' or a Run",
    "a mapping": "given a dict, expected a run: its name, its folder, 'last' or a Run",
    "(X, y)": "given a tuple of 2, expected a run: its name, its folder, 'last' or a Run",
    "a bundled source": "no run 'digits' under ",
    "a preset": "no run 'cnn:small' under ",
    "a number": "given a float, expected a run: its name, its folder, 'last' or a Run",
    "nothing": "no run 'nothing' under ",
}
"""What a verb of runs says of what is none."""


def batches() -> Any:
    return iter([(X.astype("float32"), Y)])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(RunFolder.create(lk.Experiment(data="diabetes", name="first"), tmp_path / "runs"))


@pytest.fixture
def inputs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    experiment = lk.Experiment(data="wine")
    for name in ("e.yaml", "e.YML", "e.json"):
        experiment.save(tmp_path / name)
    FRAME.to_csv(tmp_path / "table.csv", index=False)
    return {
        "an experiment": experiment,
        "a mapping": {"data": "wine"},
        "a mapping with (X, y)": {"data": (X, Y)},
        "a mapping with a DataFrame": {"data": {"source": FRAME, "target": "t"}},
        "a mapping with a source": {"data": {"source": "wine"}, "training": {"epochs": 3}},
        "a .yaml file": "e.yaml",
        "a .YML file": "e.YML",
        "a .json path": tmp_path / "e.json",
        "a run": run,
        "its name": run.name,
        "its short id": run.name.rsplit("-", 1)[-1],
        "a prefix of its name": "firs",
        "its folder": run.path,
        "last": "last",
        "(X, y)": (X, Y),
        "(DataFrame, target)": (FRAME, "t"),
        "a mapping of data": {"source": FRAME, "target": "t"},
        "a loader": batches,
        "a bundled source": "digits",
        "a data file": "table.csv",
        "a model": "cnn",
        "a preset": "cnn:small",
        "a number": 3.5,
        "nothing": "nothing",
    }


def resolved(
    monkeypatch: pytest.MonkeyPatch, verb: tuple[Any, str, Callable[[Any], Any]], source: Any
) -> Run | lk.Experiment:
    """What a verb takes its argument for."""
    module, names, call = verb

    def capture(function: Callable[..., Any]) -> Callable[..., Any]:
        def resolve_and_raise(*arguments: Any, **options: Any) -> Any:
            raise Resolved(function(*arguments, **options))

        return resolve_and_raise

    if module is reports:
        monkeypatch.delitem(reports.REPORTS, Run)  # a Run, too, goes through the resolver
    for name in names.split():
        monkeypatch.setattr(module, name, capture(getattr(resolve, name)))
    with pytest.raises(Resolved) as caught:
        call(source)
    value = caught.value.value
    return value[0] if isinstance(value, list) else value


@pytest.mark.parametrize("given", MEANINGS)
@pytest.mark.parametrize("verb", EXPERIMENT_VERBS)
def test_a_verb_of_experiments(verb: str, given: str, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    value = resolved(monkeypatch, EXPERIMENT_VERBS[verb], inputs[given])
    experiment = value.experiment if isinstance(value, Run) else value
    source, family = MEANINGS[given]
    assert experiment.data.source.startswith(source)
    assert experiment.model.family == family


@pytest.mark.parametrize("given", sorted(RUNS))
@pytest.mark.parametrize("verb", RUN_VERBS)
def test_a_verb_of_runs(
    verb: str, given: str, inputs: dict[str, Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = resolved(monkeypatch, RUN_VERBS[verb], inputs[given])
    assert isinstance(value, Run)
    assert value.name == run.name


@pytest.mark.parametrize("given", NO_RUN)
@pytest.mark.parametrize("verb", RUN_VERBS)
def test_what_is_no_run(verb: str, given: str, inputs: dict[str, Any]) -> None:
    with pytest.raises(lk.RunNotFound, match="^" + re.escape(NO_RUN[given])):
        RUN_VERBS[verb][2](inputs[given])


@pytest.mark.parametrize("verb", EXPERIMENT_VERBS)
def test_what_means_nothing(verb: str, inputs: dict[str, Any]) -> None:
    call = EXPERIMENT_VERBS[verb][2]
    with pytest.raises(lk.RunNotFound, match=r"^no file, run, data source or model 'nothing'; "):
        call("nothing")
    with pytest.raises(
        lk.RunNotFound, match=r"^no file, run, data source or model 'brest_cancer'; .*did you mean 'breast_cancer'\?"
    ):
        call("brest_cancer")
    with pytest.raises(lk.ConfigError, match="given a float, expected an experiment, a mapping,"):
        call(inputs["a number"])
    with pytest.raises(lk.ConfigError, match=r"no file 'nowhere\.YAML'"):
        call("nowhere.YAML")


def test_changes_join_what_is_meant(inputs: dict[str, Any]) -> None:
    experiment = resolve.resolve_experiment("cnn:small", {"epochs": 3, "data": {"source": FRAME, "target": "t"}})
    assert experiment.model.family == "cnn"
    assert experiment.training.epochs == 3
    assert experiment.data.target == "t"
    assert resolve.resolve_experiment(inputs["a run"], data="wine").data.source == "wine"
    assert resolve.resolve_experiment(None, data=(X, Y)).data.source.startswith("stored:")
