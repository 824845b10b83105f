"""Charts are plain data, and that data is exact."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from written_run import falling, written_run

import lmkit as lk
from lmkit.charts.runs import SCATTER_POINTS, STEP_POINTS, decimate
from lmkit.charts.values import LOG_FACTOR
from lmkit.charts.variants import comparison
from lmkit.deploy.compare.comparison import Comparison
from lmkit.deploy.measure.statistics import Interval, Latency
from lmkit.deploy.variant import Variant
from lmkit.display.figure import Matrix, Plot, Series
from lmkit.run.run import Run
from lmkit.runfolder.folder import RunFolder

EPOCHS = [
    {"loss": 1 / i, "accuracy": 1 - 0.5 / i, "val_loss": 1.5 / i + 0.1, "val_accuracy": 0.9 - 0.5 / i}
    for i in range(1, 13)
]


def five_digits(values: object) -> list[float]:
    return [float(np.format_float_scientific(v, precision=4, unique=False)) for v in np.asarray(values)]


def plot(panel: Plot | Matrix) -> Plot:
    assert isinstance(panel, Plot)
    return panel


def named(panel: Plot | Matrix) -> dict[str, Series]:
    return {s.name: s for s in plot(panel).series}


# -- thinning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 299, 300, 301, 1000, 12_345])
@pytest.mark.parametrize("points", [4, 75, 300])
def test_a_thinned_curve_keeps_its_ends_and_every_bucket_its_extremes(n: int, points: int) -> None:
    y = np.random.default_rng(n).standard_cauchy(n)
    x, kept = decimate(np.arange(n), y, points)
    assert len(x) == len(kept) == min(n, len(x)) <= points
    assert all(a < b for a, b in itertools.pairwise(x))
    assert kept == five_digits(y[np.array(x, dtype=int)])
    assert (x[0], x[-1]) == (0, n - 1)
    assert max(kept) == five_digits([y.max()])[0]
    assert min(kept) == five_digits([y.min()])[0]


def test_no_single_spike_is_lost() -> None:
    for spike in range(0, 5000, 7):
        y = np.zeros(5000)
        y[spike] = -3.0
        assert min(decimate(range(5000), y, 60)[1]) == -3.0


def test_what_is_not_finite_is_left_out() -> None:
    assert decimate([0, 1, 2, 3], [1.0, np.nan, np.inf, 4.0], 4) == ([0.0, 3.0], [1.0, 4.0])
    assert decimate([], [], 4) == ([], [])


# -- learning curves ------------------------------------------------------------------------------


def test_the_curves_of_a_run_are_its_history(tmp_path: Path) -> None:
    losses = falling(1200)
    run = written_run(tmp_path, losses=losses, epochs=EPOCHS)
    chart = lk.charts.learning_curves(run)
    loss, metric = chart.panels
    numbers = [float(i) for i in range(1, 13)]
    assert list(named(loss)) == ["training (per step)", "training", "validation"]
    for part, column in (("training", "loss"), ("validation", "val_loss")):
        assert named(loss)[part].x == numbers
        assert named(loss)[part].y == five_digits([e[column] for e in EPOCHS])
    for part, column in (("training", "accuracy"), ("validation", "val_accuracy")):
        assert named(metric)[part].y == five_digits([e[column] for e in EPOCHS])
    steps = named(loss)["training (per step)"]
    assert len(steps.x) <= STEP_POINTS
    assert steps.x[-1] == 12.0, "1200 steps are 12 epochs"
    assert max(steps.y) == five_digits([losses.max()])[0]
    assert (plot(metric).x_title, plot(metric).y_title) == ("epoch", "accuracy (fraction of rows)")
    assert "12 epochs, 1200 steps; training loss 1 → 0.08333; validation loss 1.6 → 0.225" in chart.text
    assert "lowest validation loss 0.225 in epoch 12" in chart.text


def test_with_few_epochs_the_steps_are_smoothed(tmp_path: Path) -> None:
    losses = falling(30)
    loss = lk.charts.learning_curves(written_run(tmp_path, losses=losses, epochs=EPOCHS[:3])).panels[0]
    smooth = named(loss)["training (smoothed)"]
    # an exponential mean of span s weighs a step k back by (1 − 2/(s + 1))^k
    keep = 1 - 2 / (max(2, 30 // 15) + 1)
    weights = [keep ** np.arange(i, -1, -1) for i in range(30)]
    expected = [float(np.dot(w, losses[: len(w)]) / w.sum()) for w in weights]
    assert smooth.y == five_digits(expected)
    np.testing.assert_allclose(smooth.x, (np.arange(30) + 1) / 10, rtol=1e-4)


def test_a_run_without_a_whole_epoch_shows_its_steps(tmp_path: Path) -> None:
    chart = lk.charts.learning_curves(written_run(tmp_path, state="running", losses=[3.0, 2.0, np.nan, 1.0]))
    (loss,) = chart.panels
    assert plot(loss).x_title == "step"
    assert named(loss)["training (per step)"][1:3] == ([1.0, 2.0, 4.0], [3.0, 2.0, 1.0])
    assert named(loss)["training (smoothed)"].x == [1.0, 2.0, 4.0]
    assert "4 steps, no completed epoch; loss 1." in chart.text


@pytest.mark.parametrize(("factor", "log"), [(0.9 * LOG_FACTOR, False), (1.1 * LOG_FACTOR, True)])
def test_a_loss_that_falls_far_is_drawn_on_a_logarithmic_scale(tmp_path: Path, factor: float, log: bool) -> None:
    losses = np.geomspace(factor, 1, 24)
    rows = [{"loss": float(v), "val_loss": float(v)} for v in np.geomspace(factor, 1, 12)]
    loss = plot(lk.charts.learning_curves(written_run(tmp_path, losses=losses, epochs=rows)).panels[0])
    assert loss.log is log
    assert loss.y_title == ("loss (log scale)" if log else "loss (mean over rows)")
    assert loss.y_range is not None
    assert loss.y_range[0] < 1
    assert loss.y_range[1] > factor
    assert loss.y_range[0] > 0 or not log


def test_one_outlier_among_the_steps_does_not_press_the_curves_flat(tmp_path: Path) -> None:
    losses = np.linspace(2, 1, 1200)
    losses[600] = 1e6
    rows = [{"loss": 2 - i / 12, "val_loss": 2 - i / 12} for i in range(12)]
    loss = plot(lk.charts.learning_curves(written_run(tmp_path, losses=losses, epochs=rows)).panels[0])
    assert loss.y_range is not None
    assert loss.y_range[1] < 3
    assert max(named(loss)["training (per step)"].y) == 1e6


def test_a_deep_r2_of_the_first_epochs_does_not_press_the_rest_flat(tmp_path: Path) -> None:
    rows = [{"loss": 1.0, "r2": r2, "val_loss": 1.0, "val_r2": r2} for r2 in (-500.0, 0.2, 0.4)]
    chart = lk.charts.learning_curves(written_run(tmp_path, data="diabetes", losses=[1.0] * 9, epochs=rows))
    metric = plot(chart.panels[1])
    assert metric.y_title == "R² (1 is perfect)"
    assert metric.y_range == pytest.approx((-1.12, 1.12))


def test_rates_that_change_and_gradient_norms_are_drawn_per_step(tmp_path: Path) -> None:
    run = written_run(tmp_path, losses=falling(24), epochs=EPOCHS)
    with pytest.raises(lk.DataError, match="no learning rate that changes"):
        lk.charts.step_curves(written_run(tmp_path, name="constant", losses=falling(24), epochs=EPOCHS))
    run.folder.metrics.append({"step": 25, "loss": [1.0, 1.0], "lr": [0.5, 1e-4], "gradient_norm": [2.0, 1.0]})
    rate, norm = lk.charts.step_curves(run).panels
    assert (plot(rate).x_title, plot(rate).y_title, plot(rate).log) == ("epoch", "learning rate", True)
    assert plot(rate).series[0].y[-2:] == [0.5, 1e-4]
    assert (plot(norm).y_title, plot(norm).series[0].x[-2:]) == ("gradient norm", [12.5, 13.0])
    assert plot(norm).series[0].y[-2:] == [2.0, 1.0]


def test_several_runs_side_by_side(tmp_path: Path) -> None:
    runs = [written_run(tmp_path, losses=falling(24), epochs=EPOCHS, name=n) for n in ("first", "second")]
    empty = written_run(tmp_path, name="empty")
    loss, metric = lk.charts.learning_curves([*runs, empty]).panels
    for panel in (plot(loss), plot(metric)):
        assert [s.name.rsplit("-", 1)[0] for s in panel.series] == ["first", "first", "second", "second"]
        assert [s.style for s in panel.series] == ["line", "dashed"] * 2
        assert len({s.colour for s in panel.series}) == 2
    assert plot(loss).series[0].y == five_digits([e["val_loss"] for e in EPOCHS])
    assert plot(loss).series[1].y == five_digits([e["loss"] for e in EPOCHS])
    assert "dashed: training" in plot(loss).y_title


def test_runs_without_a_common_metric_share_the_loss_alone(tmp_path: Path) -> None:
    a = written_run(tmp_path, losses=falling(24), epochs=EPOCHS)
    b = written_run(tmp_path, data="diabetes", losses=falling(24), epochs=[{"loss": 1.0, "r2": 0.5}] * 12)
    assert len(lk.charts.learning_curves([a, b]).panels) == 1


def test_without_a_step_there_is_nothing_to_draw(tmp_path: Path) -> None:
    run = written_run(tmp_path, state="failed")
    with pytest.raises(lk.DataError, match=re.escape(f"{run.name}: no step to draw yet")):
        lk.charts.learning_curves(run)
    with pytest.raises(lk.DataError, match="no run was given"):
        lk.charts.learning_curves([])


# -- what the model says of the test part ---------------------------------------------------------


@pytest.mark.parametrize("data", ["breast_cancer", "wine", "digits"])
def test_the_confusion_matrix_is_that_of_scikit_learn(tmp_path: Path, data: str) -> None:
    draw = np.random.default_rng(0)
    classes = written_run(tmp_path, data=data).preprocessing.classes
    truth, guess = (draw.choice(classes[:-1] if i else classes, 200) for i in range(2))
    run = written_run(tmp_path, data=data, predictions=(truth, guess))
    (matrix,) = lk.charts.predictions(run).panels
    assert isinstance(matrix, Matrix)
    expected = metrics.confusion_matrix(truth, guess, labels=classes)
    assert matrix.counts == tuple(map(tuple, expected.tolist()))
    assert matrix.labels == tuple(run.preprocessing.labels)
    right = int((truth == guess).sum())
    text = lk.charts.confusion_matrix(run).text
    assert f"{right} of 200 rows correct ({metrics.accuracy_score(truth, guess):.1%})" in text
    wrong = expected - np.diag(np.diag(expected))
    assert f": {wrong.max()}" in text.split("Most frequent mistakes: ")[1].split(";")[0]


def test_no_mistakes_are_said(tmp_path: Path) -> None:
    run = written_run(tmp_path, predictions=([0, 1, 1], [0, 1, 1]))
    assert lk.charts.confusion_matrix(run).text.endswith("3 of 3 rows correct (100.0%). No mistakes.")


@pytest.mark.parametrize("n", [50, 5000])
def test_residuals_are_prediction_minus_truth(tmp_path: Path, n: int) -> None:
    draw = np.random.default_rng(0)
    truth = draw.normal(150, 70, n)
    guess = truth + draw.standard_t(2, n) * 20 + 3
    chart = lk.charts.predictions(written_run(tmp_path, data="diabetes", predictions=(truth, guess)))
    against, left = (named(panel)["test row"] for panel in chart.panels)
    assert len(against.x) == min(n, len(against.x)) <= SCATTER_POINTS
    assert against.y == left.x
    np.testing.assert_allclose(left.y, np.array(against.y) - np.array(against.x), rtol=1e-3, atol=0.02)
    worst = int(np.abs(guess - truth).argmax())
    assert five_digits([guess[worst] - truth[worst]])[0] in left.y, "the largest error is always drawn"
    assert f"{n} rows; mean absolute error {metrics.mean_absolute_error(truth, guess):.4g}" in chart.text
    assert f"mean of predicted minus true value {(guess - truth).mean():.4g}" in chart.text
    assert (
        f"the largest error is {guess[worst] - truth[worst]:.4g}, at a true value of {truth[worst]:.4g}" in chart.text
    )


def test_the_wrong_chart_for_the_task_is_refused(tmp_path: Path) -> None:
    numbers = written_run(tmp_path, data="diabetes", predictions=([1.0], [1.0]))
    classes = written_run(tmp_path, predictions=([0], [1]))
    with pytest.raises(lk.DataError, match=r"predicts numbers.*use charts\.residuals"):
        lk.charts.confusion_matrix(numbers)
    with pytest.raises(lk.DataError, match=r"predicts classes.*use charts\.confusion_matrix"):
        lk.charts.residuals(classes)


def test_predictions_of_a_run_without_any(tmp_path: Path) -> None:
    with pytest.raises(lk.DataError, match=r"no test split; train with data: \{test: 0\.2\}"):
        lk.charts.predictions(written_run(tmp_path))
    with pytest.raises(lk.RunFailed, match="it failed"):
        lk.charts.predictions(written_run(tmp_path, state="failed"))


def test_what_was_asked_of_a_run_is_marked_on_its_curves(tmp_path: Path) -> None:
    folder = RunFolder.create(lk.Experiment(), tmp_path)
    folder.metrics.append({"step": 1, "loss": [4.0, 3.0, 2.0, 1.0], "lr": 0.1})
    for epoch in (1, 2):
        folder.events.append("epoch", epoch=epoch, step=2 * epoch, loss=1.0)
    folder.events.append("learning_rate", step=3, old=0.1, value=0.01)
    folder.events.append("note", step=4, text="enough")
    chart = lk.charts.learning_curves(Run(folder))
    assert [(m.x, m.text) for m in plot(chart.panels[0]).marks] == [
        (1.5, "learning rate 0.1 → 0.01 after step 3"),
        (2.0, "note at step 4: enough"),
    ]
    assert "enough" in chart.text
    shown = json.loads(chart.figure.to_json())["layout"]
    assert [s["x0"] for s in shown["shapes"]] == [1.5, 2.0]
    assert "enough" in [a.get("hovertext", "") for a in shown["annotations"]][-1]


# -- a comparison of variants ---------------------------------------------------------------------


def _variant(
    run: str, technique: str, group: str, milliseconds: float, scores: dict[str, float], size: int = 1000
) -> Variant:
    seconds, one = milliseconds / 1e3, Interval(1.0, 0.95, 1.05)
    timed = Latency(1, Interval(seconds, 0.9 * seconds, 1.2 * seconds), None, one, one, 100)
    return Variant(run, technique, group, "measured", "", size, latency=(timed,), metrics=scores)


def test_the_front_is_what_no_other_variant_beats_in_latency_and_metric() -> None:
    compared = Comparison(
        [
            _variant("a", "baseline", "baseline", 4.0, {"accuracy": 0.95}),
            _variant("a", "onnx", "convert", 2.0, {"accuracy": 0.95}),
            _variant("a", "litert", "convert", 3.0, {"accuracy": 0.94}),
            _variant("a", "onnx-int8-static", "quantize", 1.0, {"accuracy": 0.93}),
            _variant("a", "distil", "distil", 5.0, {"accuracy": 0.96}, 4000),
        ]
    )
    chart = comparison(compared)
    (panel,) = chart.panels
    assert isinstance(panel, Plot)
    front, *groups = panel.series
    assert list(zip(front.x, front.y, strict=True)) == [(1.0, 0.93), (2.0, 0.95), (5.0, 0.96)]
    told = {label for s in groups for label, is_told in zip(s.labels, s.labelled, strict=True) if is_told}
    assert told == {"onnx", "onnx-int8-static", "distil"}
    assert panel.log_x
    assert not panel.log
    spans = dict(zip(groups[1].labels, groups[1].spans, strict=True))
    assert spans["onnx"] == pytest.approx((1.8, 2.4))
    areas = [(s - 8) ** 2 for g in groups for s in g.sizes]  # beyond what the smallest is given to be seen
    assert max(areas) == pytest.approx(4 * min(areas))


def test_lower_perplexity_is_better_and_far_apart_numbers_are_on_a_logarithmic_axis() -> None:
    compared = Comparison(
        [
            _variant("a", "baseline", "baseline", 2.0, {"perplexity": 3.0}),
            _variant("a", "prune-70", "prune", 1.5, {"perplexity": 90.0}),
            _variant("a", "onnx", "convert", 1.6, {"perplexity": 3.0}),
        ]
    )
    (panel,) = comparison(compared).panels
    assert isinstance(panel, Plot)
    assert panel.series[0].x == [1.5, 1.6]
    assert panel.log
    assert not panel.log_x
    assert panel.y_title == "perplexity (log scale)"


def test_several_runs_are_told_apart_by_symbols() -> None:
    compared = Comparison(
        [_variant(run, "onnx", "convert", 1.0 + i, {"accuracy": 0.9}) for i, run in enumerate(("a", "b"))]
    )
    chart = comparison(compared)
    (panel,) = chart.panels
    assert isinstance(panel, Plot)
    _, points, *runs = panel.series
    assert points.symbols == ("circle", "square")
    assert [(s.name, s.symbols) for s in runs] == [("a", ("circle",)), ("b", ("square",))]
    assert [t.name for t in chart.figure.data] == ["front", "convert", "a", "b"]
    assert chart.png().startswith(b"\x89PNG")
