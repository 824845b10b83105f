"""Learning curves whose trials follow a known law, by the sweep's own machinery."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, mean_absolute_error

import lmkit as lk
from lmkit.analysis import curve as module
from lmkit.analysis.baselines import baseline_scores
from lmkit.analysis.curve import LearningCurve
from lmkit.commands import cli
from lmkit.data.preparation import prepare
from lmkit.specs.data import DataSpec
from lmkit.sweeping.folder import TrialFolder
from lmkit.sweeping.records import TrialOutcome
from lmkit.sweeping.trial import Job

Use = Callable[[Callable[[Job], TrialOutcome]], None]
Law = Callable[[float, int], float]


@pytest.fixture
def jobs(work: Use, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Has trials score by a law of the share and the seed; returns the parameters of the jobs that were done.

    The baselines score 0.5, unless they are to be fitted.
    """

    def follow(law: Law, metric: str = "test_accuracy", *, fitted: bool = False) -> list[dict[str, Any]]:
        if not fitted:
            monkeypatch.setattr(module, "baseline_scores", lambda *_: {"linear": 0.5, "forest": 0.5})
        done: list[dict[str, Any]] = []

        def do(job: Job) -> TrialOutcome:
            overrides = job.parameters["overrides"]
            done.append(overrides)
            folder = TrialFolder(Path(job.folder))
            value = law(overrides["data.training_share"], overrides["seed"])
            outcome = TrialOutcome("completed", values={metric: value}, attempt=folder.new_attempt().name, seconds=1.0)
            folder.finish(outcome)
            return outcome

        work(do)
        return done

    return follow


def noise(share: float, seed: int) -> float:
    return 0.002 * np.sin(1000 * share + seed)


def curve(**options: Any) -> LearningCurve:
    return lk.learning_curve("digits", model="mlp", workers=1, tell=lambda _: None, **options)


def test_twice_the_rows(jobs: Any) -> None:
    done = jobs(lambda share, seed: 0.98 - 0.07 * share**-0.5 + noise(share, seed))
    result = curve()
    assert len(done) == 18
    assert sorted({overrides["seed"] for overrides in done}) == [0, 1, 2]
    assert result.table["rows"].drop_duplicates().tolist() == pytest.approx([34, 67, 135, 269, 538, 1077], abs=1)
    now, double = result.predict(1), result.predict(2)
    assert now.score == pytest.approx(0.91, abs=0.004)
    assert double.score == pytest.approx(0.98 - 0.07 * 2**-0.5, abs=0.005)
    assert double.low < double.score < double.high
    assert result.advice.startswith("twice the rows: accuracy 0.91 → 0.93")
    assert "better model" not in result.advice, "neither baseline is better than 0.91"


def test_a_better_simple_model_is_advised(jobs: Any) -> None:
    jobs(lambda share, seed: 0.9 - 0.07 * share**-0.5 + noise(share, seed), fitted=True)
    result = curve(sizes=[0.1, 0.2, 0.5, 1.0], seeds=[3])
    assert result.table["seed"].tolist() == [3] * 4
    assert "; a random forest reaches 0.9" in result.advice
    assert result.table["linear"].iloc[0] < result.table["linear"].iloc[3]


def test_the_same_call_continues_and_trains_nothing_twice(jobs: Any) -> None:
    done = jobs(lambda share, seed: 0.9 - 0.1 * share**-0.5 + noise(share, seed))
    first, again = curve(sizes=4, seeds=2), curve(sizes=4, seeds=2)
    assert len(done) == 8
    assert first.sweep.name == again.sweep.name
    curve(sizes=4, seeds=3)
    assert len(done) == 12, "one more seed"


def test_rows_that_hardly_help(jobs: Any) -> None:
    jobs(lambda share, seed: 0.8 + 0.0002 * np.sin(100 * share + seed))
    assert curve(sizes=5).advice.startswith("more rows will hardly help: twice the rows: accuracy 0.8 → 0.8")


def test_noise_is_not_called_a_gain(jobs: Any) -> None:
    draw = np.random.default_rng(1)
    jobs(lambda share, seed: 0.94 - 0.02 * share**-0.3 + draw.normal(0, 0.03))
    assert "which may be no gain: more seeds would tell" in curve().advice


def test_errors_of_numbers_are_errors_themselves(jobs: Any) -> None:
    jobs(lambda share, seed: 40 + 5 * share**-0.5 + 10 * noise(share, seed), "test_mae", fitted=True)
    result = lk.learning_curve("diabetes", model="mlp", workers=1, tell=lambda _: None)
    assert result.predict(4).score == pytest.approx(42.5, abs=0.5)
    assert result.table["linear"].between(30, 80).all(), "in the unit of the target"


def test_all_take_the_same_number_of_steps(jobs: Any) -> None:
    jobs(lambda share, seed: 0.9 + noise(share, seed))
    training = curve(epochs=4).experiment.training
    assert training.steps == 4 * 34
    assert training.epochs >= 4 * 32
    by_epochs = curve(schedule={"name": "step", "every": 3}).experiment.training
    assert by_epochs.steps is None


def test_it_is_drawn_and_printed(jobs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    jobs(lambda share, seed: 0.98 - 0.07 * share**-0.5 + noise(share, seed))
    words = ["learning-curve", "digits", "-p", "model", "mlp", "--sizes", "4", "--seeds", "2", "--json"]
    assert cli.main(words) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert "trial 8/8" in printed.err
    assert result["advice"].startswith("twice the rows")
    assert len(result["points"]) == 8
    data, _ = curve(sizes=4, seeds=2).chart()._repr_mimebundle_()
    assert {"application/vnd.plotly.v1+json", "image/png", "text/plain"} == set(data)
    assert {trace["name"] for trace in data["application/vnd.plotly.v1+json"]["data"]} >= {
        "power law",
        "extrapolated",
        "95 % interval",
        "linear model",
        "random forest",
    }


# -- the baselines --------------------------------------------------------------------------------


def test_a_linear_baseline_is_scikit_learns() -> None:
    for source, metric, model, score in (
        ("breast_cancer", "accuracy", LogisticRegression(max_iter=500), accuracy_score),
        ("wine", "accuracy", LogisticRegression(max_iter=500), accuracy_score),
        ("diabetes", "mae", Ridge(), mean_absolute_error),
    ):
        data = prepare(DataSpec(source=source), 0, "float64")
        y = [np.asarray(part.y).reshape(-1) for part in (data.training, data.test)]
        prediction = model.fit(data.training.X, y[0]).predict(data.test.X)
        expected = score(y[1], prediction) * data.preprocessing.target["scale"] ** (metric == "mae")
        scores = baseline_scores(data, "test", metric)
        assert scores["linear"] == pytest.approx(expected, abs=1e-9)
        assert np.isfinite(scores["forest"])


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sizes": 3}, "sizes: given 3, expected a number from 4 to 20"),
        ({"sizes": [0.1, 0.5, 1.0]}, "at least 4 shares"),
        ({"sizes": [0.0, 0.1, 0.5, 1.0]}, "above 0 and up to 1"),
        ({"seeds": 0}, "expected a number from 1 on"),
        ({"seeds": True}, "expected a number from 1 on"),
        ({"metric": "f7"}, "other names need a direction"),
        ({"training_share": 0.5}, "a learning curve varies it"),
        ({"data.test": 0, "data.validation": 0}, "expected rows to score"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_trained(options: dict[str, Any], words: str) -> None:
    with pytest.raises(lk.LmkitError, match=words):
        lk.learning_curve("digits", **options)


def test_what_has_no_share_or_too_few_rows_is_refused() -> None:
    with pytest.raises(lk.ConfigError, match=r"data\.training_share: given 0\.5 for a text"):
        lk.learning_curve("python_docs")
    few = (np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2)
    with pytest.raises(lk.DataError, match="24 training rows are too few for a learning curve; expected at least 40"):
        lk.learning_curve(few)


def test_further_than_fourfold_is_a_guess(jobs: Any) -> None:
    jobs(lambda share, seed: 0.9 + noise(share, seed))
    with pytest.raises(lk.ConfigError, match="factor: given 5, expected a number up to 4"):
        curve(sizes=4, seeds=1).predict(5)


def test_a_score_beyond_the_best_that_is_assumed_is_refused(jobs: Any) -> None:
    jobs(lambda share, seed: 5 + share, "test_gain")
    with pytest.raises(lk.DataError, match="gain: a score is better than 1, the best one that is assumed"):
        curve(sizes=4, seeds=1, metric="maximize gain").advice  # noqa: B018


def test_trials_without_a_score_are_an_error(work: Use) -> None:
    def fail(job: Job) -> TrialOutcome:
        folder = TrialFolder(Path(job.folder))
        outcome = TrialOutcome("failed", error="it broke", attempt=folder.new_attempt().name)
        folder.finish(outcome)
        return outcome

    work(fail)
    with pytest.raises(lk.DataError, match="no trial has a test_accuracy; it is failed; the first error: it broke"):
        curve(sizes=4, seeds=1).advice  # noqa: B018
