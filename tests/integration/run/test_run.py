"""Run, the handle: what it tells, how it is steered, predicted with, found and listed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from narrowing import require_type, require_value
from sklearn import datasets
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import lmkit as lk

FAST = {"data": "wine", "model": "mlp:textbook", "seed": 1, "training": {"epochs": 3}}


@pytest.fixture
def run() -> lk.Run:
    """A run that has completed."""
    return lk.train(FAST, inline=True)


# -- what it tells --------------------------------------------------------------------------------


def test_a_run_tells_everything_from_its_folder(run: lk.Run, tmp_path: Path) -> None:
    assert run.path.parent == tmp_path / "runs"
    assert run.path.name == run.name
    assert run.state == run.status.state == "completed"
    assert run.experiment == lk.Experiment(**FAST)
    assert list(run.history.columns)[:3] == ["epoch", "step", "seconds"]
    assert {"lr", "loss", "accuracy", "auc", "val_loss", "val_accuracy", "val_auc"} <= set(run.history.columns)
    assert list(run.steps.columns) == ["step", "loss", "lr", "gradient_norm"]
    assert {"python", "packages", "cpu", "backend", "command"} <= set(run.environment)
    assert run.preprocessing.classes == [0, 1, 2]
    assert set(run.metrics) == {"loss", "accuracy", "auc"}
    assert f"completed, epoch 3/3, step 12, test loss {run.metrics['loss']:.4g}" in repr(run)


def test_an_attached_run_tells_the_same(run: lk.Run) -> None:
    other = lk.attach(run.name)
    assert other.status == run.status
    pd.testing.assert_frame_equal(other.history, run.history)
    pd.testing.assert_frame_equal(other.steps, run.steps)
    weights = run.model.state_dict()
    assert all(np.array_equal(v.numpy(), weights[k].numpy()) for k, v in other.model.state_dict().items())


def test_the_metrics_are_those_of_the_test_part(run: lk.Run) -> None:
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

    X, y = datasets.load_wine(return_X_y=True)
    rest, test = train_test_split(np.arange(178), test_size=36, random_state=1, stratify=y)
    training, _ = train_test_split(rest, test_size=36, random_state=1, stratify=y[rest])
    p = numpy_probabilities(run, StandardScaler().fit(X[training]).transform(X[test]))
    assert run.metrics["loss"] == pytest.approx(log_loss(y[test], p), rel=1e-5)
    assert run.metrics["accuracy"] == pytest.approx(accuracy_score(y[test], p.argmax(axis=1)))
    assert run.metrics["auc"] == pytest.approx(roc_auc_score(y[test], p, multi_class="ovr"), rel=1e-6)
    assert run.predictions["target"].tolist() == y[test].tolist()
    assert run.predictions["prediction"].tolist() == p.argmax(axis=1).tolist()


def numpy_logits(run: lk.Run, X: np.ndarray) -> np.ndarray:
    """The logits of a run's last weights on prepared rows, for one hidden layer and relu."""
    w = require_value(run.folder.load_checkpoint("last"))[0]
    return np.maximum(X @ w["dense_0.kernel"] + w["dense_0.bias"], 0) @ w["dense_1.kernel"] + w["dense_1.bias"]


def numpy_probabilities(run: lk.Run, X: np.ndarray) -> np.ndarray:
    z = numpy_logits(run, X)
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def test_what_is_not_there_yet_is_said(tmp_path: Path) -> None:
    from lmkit.runfolder.folder import RunFolder

    fresh = lk.Run(RunFolder.create(lk.Experiment(**FAST), tmp_path))
    assert fresh.state == "pending"
    assert fresh.history.empty
    assert fresh.steps.empty
    with pytest.raises(lk.LmkitError, match="has no checkpoint 'last' yet; it is pending"):
        fresh.load_model()
    with pytest.raises(lk.LmkitError, match="has not prepared its data yet"):
        _ = fresh.preprocessing
    fresh.folder.write_status(type(fresh.status)(state="stopped"))


# -- prediction -----------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_predictions_for_raw_rows_equal_scikit_learn_and_numpy(framework: str) -> None:
    X, y = datasets.load_wine(return_X_y=True)
    names = np.array(["barbera", "grignolino", "nebbiolo"])[y]
    run = lk.train(FAST, data=(X, names), framework=framework, inline=True, precision="float64", epochs=30)
    rest, _ = train_test_split(np.arange(178), test_size=36, random_state=1, stratify=names)
    training, _ = train_test_split(rest, test_size=36, random_state=1, stratify=names[rest])
    raw = X[::7] + 0.01
    expected = numpy_probabilities(run, StandardScaler().fit(X[training]).transform(raw))
    assert run.preprocessing.classes == ["barbera", "grignolino", "nebbiolo"]
    np.testing.assert_allclose(run.predict_proba(raw), expected, rtol=1e-9)
    told = np.array(["barbera", "grignolino", "nebbiolo"])[expected.argmax(axis=1)]
    assert run.predict(raw).tolist() == told.tolist()
    assert len(set(told)) == 3


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_predictions_for_tables_with_gaps_and_categories(framework: str) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": draw.normal(50, 10, 200),
            "colour": draw.choice(["red", "green", "blue"], 200),
            "age": draw.integers(1, 9, 200).astype(float),
            "sold": draw.choice(["no", "yes"], 200),
        }
    )
    frame.loc[::9, "age"] = np.nan
    run = lk.train(FAST, data=(frame, "sold"), framework=framework, missing="median", precision="float64", inline=True)
    assert run.state == "completed"
    rest, _ = train_test_split(np.arange(200), test_size=40, random_state=1, stratify=frame["sold"])
    training, _ = train_test_split(rest, test_size=40, random_state=1, stratify=frame["sold"].iloc[rest])
    prepared = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["size", "age"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["colour"]),
    ).fit(frame.iloc[training])
    raw = pd.DataFrame({"age": [3, np.nan, 1], "colour": ["blue", "red", "purple"], "size": [40, 50.0, 61], "more": 1})
    yes = 1 / (1 + np.exp(-numpy_logits(run, prepared.transform(raw))[:, 0]))
    np.testing.assert_allclose(run.predict_proba(raw), np.column_stack([1 - yes, yes]), rtol=1e-9)
    assert run.predict(raw).tolist() == ["yes" if p > 0.5 else "no" for p in yes]


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_predictions_of_a_number_are_in_its_own_unit(framework: str) -> None:
    X, y = datasets.load_diabetes(return_X_y=True)
    run = lk.train(FAST, data="diabetes", framework=framework, inline=True, precision="float64", epochs=20)
    rest, test = train_test_split(np.arange(442), test_size=89, random_state=1)
    training, _ = train_test_split(rest, test_size=89, random_state=1)
    scaled = StandardScaler().fit(X[training]).transform(X)
    guess = numpy_logits(run, scaled)[:, 0] * y[training].std() + y[training].mean()
    np.testing.assert_allclose(run.predict(X), guess, rtol=1e-9)
    assert run.metrics["mae"] == pytest.approx(np.abs(guess - y)[test].mean(), rel=1e-9)
    with pytest.raises(lk.DataError, match="no classes"):
        run.predict_proba(X)


def test_rows_of_another_shape_are_refused(run: lk.Run) -> None:
    with pytest.raises(lk.DataError, match=r"given rows of shape \(2, 5\), expected \(rows, 13\)"):
        run.predict(np.zeros((2, 5)))


def test_a_model_is_an_ordinary_model_of_its_framework(run: lk.Run) -> None:
    import torch

    assert isinstance(run.model, torch.nn.Module)
    before = run.predict_proba(np.zeros((1, 13)))
    layer: Any = run.model.dense_1
    with torch.no_grad():
        layer.bias += 5
    assert np.allclose(run.predict_proba(np.zeros((1, 13))), before)  # the same for all: a softmax does not see it
    with torch.no_grad():
        layer.bias[0] += 50
    assert run.predict_proba(np.zeros((1, 13)))[0, 0] > 0.999  # the model that was handed out is the one in use


# -- data in memory -------------------------------------------------------------------------------


def test_data_in_memory_is_kept_once_for_ten_runs(tmp_path: Path) -> None:
    X, y = datasets.load_wine(return_X_y=True)
    made = [lk.train(FAST, data=(X.copy(), y.copy()), epochs=1, seed=i, inline=True) for i in range(10)]
    assert {r.state for r in made} == {"completed"}
    kept = list((tmp_path / "runs" / ".data").iterdir())
    assert [p.suffix for p in kept] == [".parquet"]
    assert len({r.experiment.data.source for r in made}) == 1
    lk.train(FAST, data=(X + 1, y), epochs=1, inline=True)
    assert len(list((tmp_path / "runs" / ".data").iterdir())) == 2
    again = lk.train(made[3].experiment, inline=True)  # repeated without the data at hand
    assert again.steps["loss"].tolist() == made[3].steps["loss"].tolist()
    assert lk.attach(made[3].name).predict(X).shape == (178,)


# -- names ----------------------------------------------------------------------------------------


def test_runs_are_listed_the_newest_first(run: lk.Run) -> None:
    other = lk.train(FAST, data="diabetes", inline=True, framework="tensorflow", epochs=1)
    table = lk.runs()
    assert table["name"].tolist() == sorted([run.name, other.name], reverse=True)
    mine = require_type(table.set_index("name").loc[other.name], pd.Series)
    assert mine[["state", "framework", "data", "model", "epoch", "step"]].tolist() == [
        "completed",
        "tensorflow",
        "diabetes",
        "mlp",
        1,
        9,
    ]
    assert mine["test_mae"] == other.metrics["mae"]
    assert lk.attach(mine["path"]).name == other.name


def test_a_damaged_run_does_not_hide_the_others(run: lk.Run, tmp_path: Path) -> None:
    broken = tmp_path / "runs" / "20200101-000000-broken-abcdef"
    broken.mkdir()
    (broken / "experiment.yaml").write_text("framework: abacus\n")
    table = lk.runs()
    assert table[["name", "state"]].to_numpy().tolist() == [[run.name, "completed"], [broken.name, "damaged"]]
    assert table["reason"].iloc[1].startswith("framework: given 'abacus'")


def test_no_runs_is_an_empty_table() -> None:
    assert lk.runs().empty
    assert "state" in lk.runs().columns


@pytest.mark.parametrize("verb", [lk.attach, lk.watch, lk.pause, lk.stop, lk.resume])
@pytest.mark.parametrize(
    ("name", "said"),
    [("nonsense", "no run 'nonsense'"), ("../wine", r"not a path with '\.\.' in it"), ("2", "write more")],
)
def test_every_verb_refuses_names_that_mean_nothing(verb: Any, name: str, said: str) -> None:
    for _ in range(2):
        lk.train(FAST, epochs=1, inline=True)
    with pytest.raises(lk.RunNotFound, match=said):
        verb(name)


# -- what cannot be -------------------------------------------------------------------------------


def test_a_run_that_has_ended_takes_no_commands(run: lk.Run) -> None:
    for ask in (run.pause, run.stop, run.checkpoint, lambda: run.note("x"), lambda: run.set_learning_rate(0.1)):
        with pytest.raises(lk.RunStateError, match=r"is not running \(completed\)"):
            ask()
    with pytest.raises(lk.RunStateError, match="has completed; to train again"):
        run.resume()
    assert not (run.path / "control.jsonl").exists()


@pytest.mark.parametrize("rate", [0, -0.1, float("nan"), float("inf"), True, "0.1", None])
def test_a_learning_rate_that_is_none_is_refused(run: lk.Run, rate: Any) -> None:
    with pytest.raises(lk.ConfigError, match="expected a number greater than 0"):
        run.set_learning_rate(rate)


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_framework_that_is_not_installed_is_named_with_the_line_that_installs_it(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = lk.train(FAST, epochs=1, framework=framework, inline=True)
    before = sorted((tmp_path / "runs").iterdir())
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == framework else find(name, *a))
    line = rf"{framework} is not installed; install it: python -m pip install 'jupyter-lmkit\[{framework}\]'"
    with pytest.raises(lk.MissingPackage, match=line):
        lk.train(FAST, framework=framework)
    with pytest.raises(lk.MissingPackage, match=line):
        lk.attach(trained.name).predict(np.zeros((1, 13)))
    trained.folder.write_status(type(trained.status)(state="stopped"))
    with pytest.raises(lk.MissingPackage, match=line):
        trained.resume()
    assert sorted((tmp_path / "runs").iterdir()) == before  # nothing was begun
    assert trained.state == "stopped"


def test_results_of_a_run_that_failed_are_refused() -> None:
    run = lk.train(data="diabetes", optimizer="sgd", lr=1e4, inline=True, epochs=30, **{"data.scale_target": False})
    assert run.state == "failed"
    for ask in (lambda: run.metrics, lambda: run.model, lambda: run.predict([[0] * 10]), lambda: run.predictions):
        with pytest.raises(lk.RunFailed, match="training diverged"):
            ask()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"framework": "abacus"}, "framework: given 'abacus'"),
        ({"lr": 0}, "training.optimizer.lr: given 0"),
        ({"lr": float("nan")}, "training.optimizer.lr: given nan"),
        ({"hiden": [3]}, "hiden: no such path; did you mean 'hidden'"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_a_run_is_made(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(lk.LmkitError, match=said):
        lk.train(FAST, **given)
    assert not (tmp_path / "runs").exists()


# -- what reading does not do ---------------------------------------------------------------------

_unpickled: list[str] = []
sys.addaudithook(lambda event, arguments: _unpickled.append(str(arguments)) if event == "pickle.find_class" else None)

PLAIN = {".yaml", ".json", ".jsonl", ".txt", ".safetensors", ".parquet"}


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_reading_a_run_runs_no_code(framework: str) -> None:
    X, y = datasets.load_wine(return_X_y=True)
    run = lk.train(FAST, data=(X, y), framework=framework, inline=True, optimizer="adam")
    files = [p for p in run.path.parent.rglob("*") if p.is_file()]
    assert {p.suffix for p in files if p.name != "lock"} <= PLAIN
    assert all(p.stat().st_size == 0 for p in files if p.name == "lock")
    assert {p.suffix for p in files} >= {".yaml", ".json", ".jsonl", ".safetensors", ".parquet"}
    for file in files:
        start = file.read_bytes()[:4]
        assert not start.startswith((b"\x80", b"PK", b"\x89HDF"))  # a pickle, a zip of pickles
    _unpickled.clear()
    other = lk.attach(run.name)
    _ = other.history, other.steps, other.status, other.environment, other.metrics, other.predictions, lk.runs()
    other.predict(X)
    assert _unpickled == []


def test_a_configuration_that_asks_for_code_is_refused(run: lk.Run, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f"name: !!python/object/apply:pathlib.Path.touch [{str(mark)!r}]\n"
    (run.path / "experiment.yaml").write_text(text)
    with pytest.raises(lk.ConfigError, match="not YAML"):
        _ = lk.attach(run.name).experiment
    assert not mark.exists()
