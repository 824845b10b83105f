"""Charts of sweeps: the plain data exactly, the drawing as a smoke test."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from written_sweep import written_sweep, written_trial

import lmkit as lk
from lmkit.panels import Bars, Parallel
from lmkit.plots import VERMILLION
from lmkit.sweep_charts import correlation_ratio, importances

GRID = {"lr": [0.1, 0.01], "hidden": [[32], [64, 32]]}
LOSSES = (0.5, 0.3, 0.4, 0.2)


@pytest.fixture
def sweep(tmp_path: Path) -> lk.Sweep:
    """Two by two trials, then one that was given up, one that failed, one that runs."""
    made = written_sweep(tmp_path, grid=GRID, trials=7)
    for i, loss in enumerate(LOSSES):
        written_trial(made, made.space.combination(i), {"val_loss": loss})
    written_trial(made, made.space.combination(0), {"val_loss": 0.9}, state="pruned", error="weak")
    written_trial(made, made.space.combination(1), state="failed", error="the loss is nan\nand more")
    written_trial(made, made.space.combination(2), state="running")
    return made


def test_history_shows_each_trial_and_the_best_so_far(sweep: lk.Sweep) -> None:
    chart = lk.charts.sweep_history(sweep)
    (panel,) = chart.panels
    pruned, completed, best = panel.series
    assert (pruned.x, pruned.y) == ([5.0], [0.9])
    assert (completed.x, completed.y) == ([1.0, 2.0, 3.0, 4.0], list(LOSSES))
    # a staircase, to the last trial that told anything
    assert list(zip(best.x, best.y, strict=True)) == [(1, 0.5), (2, 0.5), (2, 0.3), (4, 0.3), (4, 0.2), (5, 0.2)]
    assert [(m.x, m.text) for m in panel.marks] == [(6.0, "trial 6 failed: the loss is nan")]
    assert "trial 4 with val_loss 0.2: lr=0.01, hidden=[64, 32]" in chart.text
    assert panel.y_title == "val_loss (lower is better)" and not panel.log


def test_what_is_to_be_high_climbs(tmp_path: Path) -> None:
    several = (("val_accuracy", "maximize"), ("seconds", "minimize"))
    made = written_sweep(tmp_path, grid=GRID, objectives=several)
    for i, (score, seconds) in enumerate([(0.5, 1.0), (0.9, 60.0), (0.7, 2.0)]):
        written_trial(made, made.space.combination(i), {"val_accuracy": score, "seconds": seconds})
    first, second = lk.charts.sweep_history(made).panels
    assert first.series[-1].y[-1] == 0.9 and first.y_title.endswith("(higher is better)")
    assert second.series[-1].y[-1] == 1.0 and second.log, "far apart"


def test_parallel_coordinates_place_values_and_the_best_stands_out(sweep: lk.Sweep) -> None:
    chart = lk.charts.parallel_coordinates(sweep)
    (panel,) = chart.panels
    assert isinstance(panel, Parallel)
    assert [a.title for a in panel.axes] == ["lr", "hidden", "val_loss"]
    assert panel.axes[0].ticks == ((0.0, "0.01"), (1.0, "0.1")), "numbers in their order"
    assert panel.axes[1].ticks == ((0.0, "[32]"), (1.0, "[64, 32]"))
    assert [g.name for g in panel.lines] == ["pruned", "others", "best"]
    assert [g.look for g in panel.lines] == ["dotted", "faint", "first"], "told apart without colour"
    best = panel.lines[-1]
    assert best.numbers == (4,) and best.places == ((0.0, 1.0, 0.0),) and best.colour == VERMILLION
    pruned = panel.lines[0]
    assert pruned.places == ((1.0, 0.0, 1.0),), "the highest loss"
    assert best.words[0] == ("lr: 0.01", "hidden: [64, 32]", "val_loss: 0.2")


def test_ranges_are_to_scale(tmp_path: Path) -> None:
    made = written_sweep(tmp_path, search={"lr": "1e-4..1e-2:log", "model.dropout": "0..0.5"}, trials=2)
    written_trial(made, {"lr": 1e-3, "model.dropout": 0.1}, {"val_loss": 1.0})
    written_trial(made, {"lr": 1e-4, "model.dropout": 0.5}, {"val_loss": 1e4})
    (panel,) = lk.charts.parallel_coordinates(made).panels
    places = {n: p for g in panel.lines for n, p in zip(g.numbers, g.places, strict=True)}
    assert places == {1: (0.5, 0.2, 0.0), 2: (0.0, 1.0, 1.0)}
    assert panel.axes[2].ticks[1] == (0.5, "100"), "the middle of a logarithmic axis"


def test_importance_of_a_grid_is_the_variance_between_its_groups(tmp_path: Path) -> None:
    made = written_sweep(tmp_path, grid={"lr": [0.1, 0.01], "epochs": [1, 2, 3]}, trials=6)
    effect = {0.1: 1.0, 0.01: 2.0}
    rows = list(itertools.product([0.1, 0.01], [1, 2, 3]))
    for lr, epochs in rows:
        written_trial(made, {"lr": lr, "epochs": epochs}, {"val_loss": effect[lr] + 0.1 * epochs})
    found = importances(made)
    # two ways, balanced and additive: the shares are the variances of the effects
    of_lr, of_epochs = np.var([1.0, 2.0]), np.var([0.1, 0.2, 0.3])
    assert found.shares["lr"] == pytest.approx(of_lr / (of_lr + of_epochs))
    assert found.shares["epochs"] == pytest.approx(of_epochs / (of_lr + of_epochs))
    assert list(found.shares) == ["lr", "epochs"] and found.how == "variance between groups"
    (bars,) = lk.charts.importance(made).panels
    assert isinstance(bars, Bars) and bars.names == ("lr", "epochs")


def test_numbers_that_each_trial_has_its_own_of_are_grouped() -> None:
    rng = np.random.default_rng(0)
    x, noise = rng.permutation(40) / 40, rng.permutation(40) / 40
    assert correlation_ratio(x.tolist(), x) > 0.9
    assert correlation_ratio(noise.tolist(), x) < 0.3


def test_importance_of_what_was_drawn_is_that_of_a_functional_anova(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    made = written_sweep(tmp_path, search={"lr": "0..1", "model.dropout": "0..0.5", "framework": "torch,tensorflow"})
    for i in range(60):
        given = made.space.draw(i, 0)
        written_trial(made, given, {"val_loss": 2 * given["lr"] + 2 * given["model.dropout"]})
    found = importances(made)
    assert found.how == "fANOVA" and found.trials == 60
    assert sum(found.shares.values()) == pytest.approx(1.0)
    # of a sum of uniform numbers, widths 2 and 1: variances 4 : 1
    assert found.shares["lr"] == pytest.approx(0.8, abs=0.06)
    assert found.shares["framework"] < 0.02


def test_one_that_diverged_does_not_hide_the_others(tmp_path: Path) -> None:
    made = written_sweep(tmp_path, grid=GRID)
    for i, loss in enumerate([0.5, 1e9, 0.4, float("inf")]):
        written_trial(made, made.space.combination(i), {"val_loss": loss})
    assert lk.charts.sweep_history(made).panels[0].log
    with pytest.raises(lk.DataError, match="3 completed trials are too few"):
        lk.charts.importance(made)


def test_what_cannot_be_drawn_yet_says_so(tmp_path: Path) -> None:
    made = written_sweep(tmp_path, grid=GRID)
    written_trial(made, made.space.combination(0), state="waiting")
    for draw in (lk.charts.sweep_history, lk.charts.parallel_coordinates, lk.charts.importance):
        with pytest.raises(lk.DataError, match="no trial has completed yet"):
            draw(made)
    blind = written_sweep(tmp_path, grid=GRID, objectives=(), name="blind")
    with pytest.raises(lk.DataError, match="has no objective to draw"):
        lk.charts.sweep_history(blind)
    for i in range(4):
        written_trial(made, made.space.combination(i), {"val_loss": 0.5})
    with pytest.raises(lk.DataError, match="all trials came out alike"):
        lk.charts.importance(made)


def test_each_is_figure_picture_and_words(sweep: lk.Sweep) -> None:
    for draw in (lk.charts.sweep_history, lk.charts.parallel_coordinates, lk.charts.importance):
        data, metadata = draw(sweep)._repr_mimebundle_()
        assert set(data) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
        assert metadata["image/png"]["width"] == 720
        assert len(json.dumps(data)) < 60_000
