"""What a model looks at, held to closed forms, hand-written loops and other packages, in both frameworks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import torch
from drawing_models import Drawing, never_same
from explanation_fixtures import house_run, houses, trained
from scipy import stats

import lmkit as lk
from lmkit.backends import get_backend
from lmkit.custom import objects
from lmkit.data.tables.fit import split
from lmkit.data.tables.sources import load
from lmkit.explanations.methods import permutation as permutation_module
from lmkit.explanations.methods.base import METHODS, Request
from lmkit.explanations.methods.permutation import REPEATS
from lmkit.explanations.model import ExplainedModel
from lmkit.explanations.rows import resolve_rows
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.status import Status
from lmkit.widgets.explanation import ExplanationView


@pytest.fixture(params=["torch", "tensorflow"])
def framework(request: pytest.FixtureRequest) -> str:
    return request.param


def linear_weights(run: lk.Run) -> np.ndarray:
    """Return dJ/dx (features,) of a linear regression, in the unit of the target."""
    weights = get_backend(run.experiment.framework).weights(run.built())
    return weights["dense_0.kernel"][:, 0] * run.preprocessing.target["scale"]


def rows_of_test(run: lk.Run) -> pd.DataFrame:
    """The test part in the columns of the source."""
    spec = run.experiment
    table = load(spec.data, run.path.parent)
    frame = table.X if table.raw is None else table.raw
    return frame.iloc[split(spec.data, table, spec.seed)[2]].reset_index(drop=True)


# -- attributions ---------------------------------------------------------------------------------


def test_attributions_of_a_linear_model_are_its_weights_times_the_difference(framework: str) -> None:
    run = house_run(framework=framework, model={"hidden": []})
    result = run.explain(range(10), methods=["attributions"]).attributions
    data = run.prepare_data()
    by_feature = linear_weights(run) * (data.test.X[:10] - data.training.X.mean(axis=0))
    features = run.preprocessing.features
    for i, name in enumerate(result.columns):
        owned = [j for j, f in enumerate(features) if f == name or f.startswith((f"{name}=", f"{name}."))]
        assert result.values[:, i] == pytest.approx(by_feature[:, owned].sum(axis=1), rel=1e-6, abs=1e-6)
    assert list(result.columns) == ["area", "rooms", "town", "noise", "built"]
    assert result.scores == pytest.approx(run.predict(rows_of_test(run)[:10]), rel=1e-9)
    assert result.values.sum(axis=1) == pytest.approx(result.scores - result.baseline, rel=1e-6)
    assert result.originals[2] == rows_of_test(run)["town"].iloc[:10].tolist()


def test_attributions_are_equal_in_both_frameworks() -> None:
    run = house_run(framework="torch")
    converted = lk.convert(run, "tensorflow")
    first, second = (r.explain(range(6)) for r in (run, converted))
    scale = np.abs(first.attributions.values).max()
    np.testing.assert_allclose(first.attributions.values, second.attributions.values, atol=1e-6 * scale)
    for a, b in zip(first.permutation.importances, second.permutation.importances, strict=True):
        assert a.name == b.name
        assert a.loss == pytest.approx(b.loss, rel=1e-6)
    for one, two in zip(first.dependence.curves, second.dependence.curves, strict=True):
        np.testing.assert_allclose(one.individual, two.individual, rtol=1e-6)


def test_attributions_are_those_of_a_hand_written_loop(framework: str) -> None:
    run = trained("wine", framework=framework)
    result = run.explain([2], methods=["attributions"], target="class_1", baseline="zero").attributions
    weights = get_backend(framework).weights(run.built())
    x = run.prepare_data().test.X[2]
    total, steps = np.zeros(len(x)), 20_000
    for t in (np.arange(steps) + 0.5) / steps:
        active = (t * x) @ weights["dense_0.kernel"] + weights["dense_0.bias"] > 0
        total += weights["dense_0.kernel"] @ (active * weights["dense_1.kernel"][:, 1]) / steps
    assert result.remainders[0] < 0.01
    np.testing.assert_allclose(result.values[0], total * x, atol=0.01 * np.abs(total * x).sum())
    assert result.score == "logit of 'class_1'"


@pytest.mark.parametrize("data", ["wine", "breast_cancer"])
def test_captum_gives_the_same(data: str) -> None:
    attr = pytest.importorskip("captum.attr")
    run = trained(data, framework="torch")
    result = run.explain(range(5), methods=["attributions"], baseline="zero").attributions
    x = torch.from_numpy(run.prepare_data().test.X[:5])
    target = run.built()(x).argmax(dim=1) if data == "wine" else None
    model = run.built().eval()
    other = attr.IntegratedGradients(model).attribute(
        x, torch.zeros_like(x), target, n_steps=int(result.points.max()), method="gausslegendre"
    )
    np.testing.assert_allclose(result.values, other.numpy(), atol=0.02 * float(other.abs().max()))


def test_a_logit_of_the_other_class_has_the_opposite_sign(framework: str) -> None:
    run = trained("breast_cancer", framework=framework)
    benign, malignant = (
        run.explain([0, 1], methods=["attributions"], target=name).attributions for name in ("benign", "malignant")
    )
    np.testing.assert_allclose(benign.values, -malignant.values, rtol=1e-9)
    assert benign.score == "logit of 'benign'"


# -- permutation ----------------------------------------------------------------------------------


def test_importance_is_that_of_a_hand_written_loop(framework: str) -> None:
    run = trained("wine", framework=framework)
    result = run.explain(methods=["permutation"], seed=3).permutation
    X, y = run.prepare_data().test
    model, backend = run.built(), get_backend(framework)

    def losses(rows: np.ndarray) -> np.ndarray:
        z = backend.predict(model, rows)
        return np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]

    number = list(run.preprocessing.columns).index("proline")
    rng, changes = np.random.default_rng([3, number]), []
    for _ in range(REPEATS):
        shuffled = X.copy()
        shuffled[:, number] = X[rng.permutation(len(X)), number]
        changes.append(losses(shuffled) - losses(X))
    by_row = np.mean(changes, axis=0)
    importance = next(i for i in result.importances if i.name == "proline")
    assert importance.loss[0] == pytest.approx(by_row.mean(), rel=1e-9)
    assert importance.loss[1:] == pytest.approx(stats.t.interval(0.95, len(y) - 1, by_row.mean(), stats.sem(by_row)))


def test_a_column_that_the_model_does_not_use_has_no_importance(framework: str) -> None:
    run = house_run(framework=framework, model={"hidden": []})
    backend, model = get_backend(framework), run.built()
    weights = backend.weights(model)
    weights["dense_0.kernel"][run.preprocessing.features.index("noise")] = 0
    backend.set_weights(model, weights)
    explained = ExplainedModel(run)
    explained.wrapped = model
    result: Any = METHODS.get("permutation").explain(Request(explained, resolve_rows(explained, 0)))
    noise = next(i for i in result.importances if i.name == "noise")
    assert np.abs(noise.loss).max() < 1e-6  # of about 1e5
    assert result.importances[0].loss[0] > 0


def test_groups_are_shuffled_together(framework: str) -> None:
    run = house_run(framework=framework)
    found = run.explain(methods=["permutation"]).permutation
    assert [group.columns for group in found.groups] == [("area", "rooms")]
    named = run.explain(methods=["permutation"], groups={"place": ["town", "built"]}).permutation
    assert [(g.name, g.columns) for g in named.groups] == [("place (group)", ("town", "built"))]


# -- dependence -----------------------------------------------------------------------------------


def test_dependence_of_a_linear_model_is_a_line_in_the_units_of_the_data(framework: str) -> None:
    run = house_run(framework=framework, model={"hidden": []})
    area, town = run.explain(0, columns=["area", "town"], methods=["dependence"]).dependence.curves
    weights, features = linear_weights(run), run.preprocessing.features
    slope = weights[features.index("area")] / run.preprocessing.numbers["area"]["scale"]
    assert np.diff(area.individual, axis=1) / np.diff(area.points) == pytest.approx(
        np.full((len(area.individual), len(area.points) - 1), slope), rel=1e-5
    )
    assert 30 <= area.points[0] < area.points[-1] <= 200
    assert town.categories == ("Bern", "Uri", "Zug")
    steps = [weights[features.index(f"town={name}")] for name in town.categories]
    assert np.diff(town.mean) == pytest.approx(np.diff(steps), rel=1e-6)


def test_partial_dependence_is_scikit_learns(framework: str) -> None:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.inspection import partial_dependence

    run = trained("diabetes", framework=framework)
    curve = run.explain(0, columns=["bmi"], methods=["dependence"]).dependence.curves[0]
    frame = pd.DataFrame(run.prepare_data().training.X)
    rows = frame.iloc[np.linspace(0, len(frame) - 1, 200).astype(int)].to_numpy()

    class Wrapped(RegressorMixin, BaseEstimator):
        def __init__(self) -> None:
            self.fitted_ = True

        def fit(self, X: Any, y: Any) -> Wrapped:
            return self

        def predict(self, X: Any) -> np.ndarray:
            return run.preprocessing.decode(get_backend(framework).predict(model, X))

        def __sklearn_is_fitted__(self) -> bool:
            return True

    model = run.built()
    number, fit = list(run.preprocessing.numbers).index("bmi"), run.preprocessing.numbers["bmi"]
    grid = (curve.points - fit["shift"]) / fit["scale"]
    expected = partial_dependence(Wrapped(), rows, [number], custom_values={number: grid}, kind="both")
    np.testing.assert_allclose(curve.mean, expected["average"][0], rtol=1e-5)
    np.testing.assert_allclose(curve.individual, expected["individual"][0], rtol=1e-5)


def test_dependence_alone_shows_the_columns_that_matter() -> None:
    X = np.random.default_rng(0).normal(size=(120, 6))
    run = trained((X, 3 * X[:, 4]), framework="torch", model={"hidden": []}, epochs=20)
    explanation = run.explain(methods=["dependence", "attributions"])
    assert list(explanation) == ["attributions", "dependence"], "in the order in which they use each other"
    assert explanation.dependence.curves[0].name == "x4"
    alone = run.explain(methods=["dependence"]).dependence
    assert [c.name for c in alone.curves] == [c.name for c in explanation.dependence.curves]


# -- rows and display -----------------------------------------------------------------------------


def test_rows_are_numbers_of_the_test_part_or_rows_as_predict_takes_them() -> None:
    run = house_run(framework="torch")
    rows = rows_of_test(run)
    by_number = run.explain([3, 1], methods="attributions").attributions
    by_frame = run.explain(rows.iloc[[3, 1]], methods="attributions").attributions
    by_mapping = run.explain(rows.iloc[[3, 1]].to_dict("records"), methods="attributions").attributions
    np.testing.assert_allclose(by_number.values, by_frame.values, rtol=1e-9)
    np.testing.assert_allclose(by_number.values, by_mapping.values, rtol=1e-9)
    assert (by_number.rows, by_frame.rows) == (("test 3", "test 1"), ("row 0", "row 1"))
    assert len(run.explain(slice(0, 4), methods="attributions").attributions.rows) == 4


def test_an_explanation_shows_charts_tables_and_sentences() -> None:
    from lmkit.widgets.output import explanation_outputs

    explanation = trained("wine", framework="torch").explain([0, 1, 2])
    assert list(explanation) == ["attributions", "permutation", "dependence", "neighbours"]
    for name, result in explanation.items():
        assert getattr(explanation, name) is result
        assert result.text in explanation.text
        assert result.table.rows
        assert result.chart.png()[:4] == b"\x89PNG"
        assert len(result.chart.figure.data) > 0
    kinds = [set(data) for data, _ in explanation_outputs(explanation)]
    assert kinds.count({"application/vnd.plotly.v1+json", "image/png", "text/plain"}) == 4
    assert explanation.attributions.frame.shape == (3, 13)
    with pytest.raises(AttributeError, match="the explanation has no 'shap'; it has attributions"):
        _ = explanation.shap


def test_the_command_line_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    from lmkit.commands import cli

    house_run(framework="torch")
    assert cli.main(["explain", "last", "--row", "2", "--column", "area", "--method", "dependence"]) == 0
    assert "Partial dependence of the prediction" in capsys.readouterr().out
    assert cli.main(["explain", "last", "--column", "aera"]) == 2
    assert "no column 'aera'; did you mean 'area'?" in capsys.readouterr().err


# -- input that cannot be explained ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": 99}, r"rows: no row 99 in the test part, which has 24 rows, 0 to 23"),
        ({"rows": []}, r"rows: no rows to explain"),
        ({"rows": np.zeros((2, 3))}, r"given rows of shape \(2, 3\), expected \(rows, 5\): area, rooms, town"),
        ({"rows": houses()[["area"]]}, r"the rows have no column rooms, town, noise, built"),
        ({"columns": ["size"]}, r"columns: no column 'size'; columns: area, rooms"),
        ({"groups": {"g": ["arae"]}, "methods": ["permutation"]}, r"columns: no column 'arae'; did you mean 'area'\?"),
        ({"methods": ["shap"]}, r"no method of explanation 'shap'; expected one of"),
        ({"baseline": "median", "methods": "attributions"}, r"baseline: given 'median', expected mean or zero"),
        ({"target": "Bern"}, r"target: given 'Bern', but .* predicts numbers"),
    ],
)
def test_arguments_that_mean_nothing(one_run: lk.Run, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(lk.LmkitError, match=message):
        lk.explain(one_run, **arguments)


@pytest.fixture
def one_run() -> lk.Run:
    return house_run(framework="torch", epochs=1)


def test_a_class_that_does_not_exist_is_named() -> None:
    with pytest.raises(lk.DataError, match=r"target: no class 'class_9'; did you mean 'class_"):
        trained("wine", framework="torch", epochs=1).explain(0, target="class_9")


def test_one_row_of_data_has_attributions_and_no_importance() -> None:
    run = trained({"source": "diabetes", "test": 0.002, "validation": 0}, framework="torch", epochs=1)
    explanation = run.explain()
    assert len(explanation.attributions.rows) == 1
    assert explanation.notes["permutation"] == "permutation importance needs two rows, and the test part has 1"
    assert "No permutation: permutation importance needs two rows" in explanation.text


def test_a_run_without_checkpoints_is_refused(tmp_path: Path) -> None:
    run = lk.Run(RunFolder.create(lk.Experiment(data="wine"), tmp_path))
    run.folder.write_status(Status(**{**vars(run.folder.status()), "state": "failed"}))
    with pytest.raises(lk.RunStateError, match="has no checkpoint 'last' yet; it is failed"):
        run.explain()


def test_data_that_are_gone_or_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "houses.csv"
    houses().to_csv(path, index=False)
    run = trained({"source": str(path), "target": "price"}, framework="torch", epochs=1)
    row = houses().iloc[:1]
    path.unlink()
    with pytest.raises(lk.DataError, match="it is no longer there"):
        run.explain()
    alone = run.explain(row, baseline="zero", methods="attributions")  # needs no data
    assert alone.attributions.rows == ("row 0",)
    houses().iloc[:50].to_csv(path, index=False)
    with pytest.raises(lk.DataError, match=r"is not what .* was trained on"):
        run.explain()


def test_as_many_columns_as_are_shuffled_are_those_with_the_largest_attributions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(permutation_module, "MAX_COLUMNS", 4)
    explanation = trained("wine", framework="torch", epochs=1).explain(range(5))
    top = [explanation.attributions.columns[i] for i in explanation.attributions.ranking[:4]]
    assert sorted(i.name for i in explanation.permutation.importances) == sorted(top)


def stepped(features: int, outputs: int) -> keras.Model:
    """A model whose inputs have no gradient."""
    inputs = keras.Input((features,))
    return keras.Model(inputs, keras.layers.Dense(outputs)(keras.ops.stop_gradient(keras.ops.sign(inputs))))


@pytest.mark.parametrize(("framework", "builder"), [("torch", Drawing), ("tensorflow", never_same)])
def test_a_model_that_always_draws_is_refused(framework: str, builder: Any) -> None:
    run = trained("wine", framework=framework, model=builder, epochs=1)
    with pytest.raises(lk.ConfigError, match=r"gives other outputs each time .* draw only in training"):
        run.explain(0)


@pytest.mark.parametrize(
    ("framework", "model"),
    [("torch", {"builder": Drawing, "arguments": {"detach": True}}), ("tensorflow", {"builder": stepped})],
)
def test_a_model_without_a_gradient_is_explained_by_what_needs_none(framework: str, model: Any) -> None:
    run = trained("wine", framework=framework, model=model, epochs=1)
    explanation = run.explain(0)
    assert list(explanation) == ["permutation", "dependence", "neighbours"]
    assert "do not depend on its inputs" in explanation.notes["attributions"]
    with pytest.raises(lk.LmkitError, match="do not depend on its inputs"):
        run.explain(0, methods=["attributions"])


def with_probabilities(features: int, outputs: int) -> torch.nn.Module:
    """A model that ends in a softmax."""
    return torch.nn.Sequential(
        torch.nn.Linear(features, 6), torch.nn.Tanh(), torch.nn.Linear(6, outputs), torch.nn.Softmax(1)
    )


def test_the_logit_of_a_model_that_gives_probabilities_is_their_logarithm() -> None:
    run = trained("wine", framework="torch", model=with_probabilities)
    result = run.explain([0, 5], methods="attributions", target="class_2").attributions
    p = run.predict_proba(rows_of_test(run).iloc[[0, 5]])[:, 2]
    assert result.scores == pytest.approx(np.log(p), rel=1e-6)
    assert result.values.sum(axis=1) == pytest.approx(result.scores - result.baseline, rel=1e-6)


@pytest.mark.parametrize("name", ["20261129-064908-wine-mlp-ef956f", "20261129-064920-wine-mlp-1c8d6d"])
def test_a_run_of_an_earlier_version_is_explained(name: str, tmp_path: Path) -> None:
    golden = Path(__file__).parents[2] / "golden" / "run_folders" / name
    run = lk.attach(shutil.copytree(golden, tmp_path / name))
    explanation = run.explain([0, 1])
    assert list(explanation) == ["attributions", "permutation", "dependence", "neighbours"]


def test_code_of_others_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained("wine", framework="torch", model=with_probabilities, epochs=1)
    moved = lk.attach(shutil.copytree(run.path.parent, tmp_path / "elsewhere") / run.name)
    monkeypatch.setenv("LMKIT_DATA", str(tmp_path / "another-user"))
    monkeypatch.setattr(objects, "is_passed", lambda _: False)
    monkeypatch.setattr(objects, "is_provided", lambda _: False)
    with pytest.raises(lk.UntrustedCode):
        moved.explain(0)


def test_an_explanation_can_be_looked_through_row_by_row() -> None:
    explanation = trained("wine", framework="torch", epochs=1).explain([4, 2])
    view = lk.explore(explanation)
    assert isinstance(view, ExplanationView)
    assert [label for label, _ in view.method.pairs] == list(explanation)
    assert [label for label, _ in view.row.pairs] == ["test 4", "test 2"]
    assert view.chart.title.startswith("test 4: attributions to the logit of")
    view.row.value = 1
    assert view.chart.title.startswith("test 2: attributions")
    view.method.value = "dependence"
    assert not view.row.visible
    assert view.chart.title == explanation.dependence.chart.title
    view.method.value = "neighbours"
    assert view.row.visible
    assert view.row.value == 0
    data, _ = view._repr_mimebundle_()
    assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} <= set(data)
