"""Charts of sweeps: the plain data exactly, the drawing as a smoke test."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from narrowing import require_type
from written_sweep import written_sweep, written_trial

import lmkit as lk
from lmkit.charts.variance import correlation_ratio, importances
from lmkit.display.figure import VERMILLION
from lmkit.display.panels import Bars, Parallel
from lmkit.display.plot import Plot

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
    (panel,) = (require_type(panel, Plot) for panel in chart.panels)
    pruned, completed, best = panel.series
    assert (pruned.x, pruned.y) == ([5.0], [0.9])
    assert (completed.x, completed.y) == ([1.0, 2.0, 3.0, 4.0], list(LOSSES))
    # a staircase, to the last trial that told anything
    assert list(zip(best.x, best.y, strict=True)) == [(1, 0.5), (2, 0.5), (2, 0.3), (4, 0.3), (4, 0.2), (5, 0.2)]
    assert [(m.x, m.text) for m in panel.marks] == [(6.0, "trial 6 failed: the loss is nan")]
    assert "trial 4 with val_loss 0.2: lr=0.01, hidden=[64, 32]" in chart.text
    assert panel.y_title == "val_loss (lower is better)"
    assert not panel.log


def test_what_is_to_be_high_climbs(tmp_path: Path) -> None:
    several = (("val_accuracy", "maximize"), ("seconds", "minimize"))
    made = written_sweep(tmp_path, grid=GRID, objectives=several)
    for i, (score, seconds) in enumerate([(0.5, 1.0), (0.9, 60.0), (0.7, 2.0)]):
        written_trial(made, made.space.combination(i), {"val_accuracy": score, "seconds": seconds})
    first, second = (require_type(panel, Plot) for panel in lk.charts.sweep_history(made).panels)
    assert first.series[-1].y[-1] == 0.9
    assert first.y_title.endswith("(higher is better)")
    assert second.series[-1].y[-1] == 1.0
    assert second.log, "far apart"


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
    assert best.numbers == (4,)
    assert best.places == ((0.0, 1.0, 0.0),)
    assert best.colour == VERMILLION
    pruned = panel.lines[0]
    assert pruned.places == ((1.0, 0.0, 1.0),), "the highest loss"
    assert best.words[0] == ("lr: 0.01", "hidden: [64, 32]", "val_loss: 0.2")


def test_ranges_are_to_scale(tmp_path: Path) -> None:
    made = written_sweep(tmp_path, search={"lr": "1e-4..1e-2:log", "model.dropout": "0..0.5"}, trials=2)
    written_trial(made, {"lr": 1e-3, "model.dropout": 0.1}, {"val_loss": 1.0})
    written_trial(made, {"lr": 1e-4, "model.dropout": 0.5}, {"val_loss": 1e4})
    (panel,) = (require_type(panel, Parallel) for panel in lk.charts.parallel_coordinates(made).panels)
    places = {n: p for g in panel.lines for n, p in zip(g.numbers, g.places, strict=True)}
    assert places == {1: (0.5, 0.2, 0.0), 2: (0.0, 1.0, 1.0)}
    assert panel.axes[2].ticks[1] == (0.5, "100"), "the middle of a logarithmic axis"


def test_a_diverged_trial_does_not_stretch_the_axis(tmp_path: Path) -> None:
    made = written_sweep(tmp_path, search={"lr": "1e-4..1e-2:log"}, trials=10)
    losses = [0.30, 0.31, 0.32, 0.33, 0.34, 0.35, 0.36, 0.37, 0.40, 1e9]
    for loss in losses:
        written_trial(made, {"lr": 1e-3}, {"val_loss": loss})
    (panel,) = (require_type(panel, Parallel) for panel in lk.charts.parallel_coordinates(made).panels)
    places = {n: p[-1] for g in panel.lines for n, p in zip(g.numbers, g.places, strict=True)}
    assert [places[i + 1] for i in range(9)] == pytest.approx([(v - 0.3) / 0.1 for v in losses[:9]], abs=1e-4)
    assert places[10] == 1.0
    assert panel.axes[-1].ticks[-1] == (1.0, "≥ 0.4 (1 beyond)")
    words = {n: w for g in panel.lines for n, w in zip(g.numbers, g.words, strict=True)}
    assert words[10][-1] == "val_loss: 1e+09"
    # what is maximized has its outliers below; values over decades are judged on their scale
    made = written_sweep(tmp_path / "2", search={"lr": "1e-4..1e-2:log"}, trials=9, objectives=(("r2", "maximize"),))
    for score in [0.8, 0.81, 0.82, 0.83, 0.84, 0.85, 0.86, 0.87, -1e6]:
        written_trial(made, {"lr": 1e-3}, {"r2": score})
    (panel,) = (require_type(panel, Parallel) for panel in lk.charts.parallel_coordinates(made).panels)
    assert panel.axes[-1].ticks[0] == (0.0, "≤ 0.8 (1 beyond)")
    made = written_sweep(tmp_path / "3", search={"lr": "1e-4..1e-2:log"}, trials=6)
    for loss in [0.01, 0.02, 0.05, 0.1, 1.0, 10.0]:
        written_trial(made, {"lr": 1e-3}, {"val_loss": loss})
    (panel,) = (require_type(panel, Parallel) for panel in lk.charts.parallel_coordinates(made).panels)
    assert panel.axes[-1].ticks[-1] == (1.0, "10")


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
    assert list(found.shares) == ["lr", "epochs"]
    assert found.how == "variance between groups"
    (bars,) = lk.charts.importance(made).panels
    assert isinstance(bars, Bars)
    assert bars.names == ("lr", "epochs")


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
    assert found.how == "fANOVA"
    assert found.trials == 60
    assert sum(found.shares.values()) == pytest.approx(1.0)
    # of a sum of uniform numbers, widths 2 and 1: variances 4 : 1
    assert found.shares["lr"] == pytest.approx(0.8, abs=0.06)
    assert found.shares["framework"] < 0.02


def test_one_that_diverged_does_not_hide_the_others(tmp_path: Path) -> None:
    made = written_sweep(tmp_path, grid=GRID)
    for i, loss in enumerate([0.5, 1e9, 0.4, float("inf")]):
        written_trial(made, made.space.combination(i), {"val_loss": loss})
    assert require_type(lk.charts.sweep_history(made).panels[0], Plot).log
    with pytest.raises(lk.DataError, match="3 completed trials, expected at least 4"):
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
    with pytest.raises(lk.DataError, match="all trials have the same val_loss"):
        lk.charts.importance(made)


def test_each_is_figure_picture_and_words(sweep: lk.Sweep) -> None:
    for draw in (lk.charts.sweep_history, lk.charts.parallel_coordinates, lk.charts.importance):
        data, metadata = draw(sweep)._repr_mimebundle_()
        assert set(data) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
        assert metadata["image/png"]["width"] == 720
        assert len(json.dumps(data)) < 60_000


def test_the_pareto_front_is_drawn_apart(tmp_path: Path) -> None:
    objectives = (("val_accuracy", "maximize"), ("seconds", "minimize"))
    made = written_sweep(tmp_path, grid=GRID, objectives=objectives)
    for i, (score, seconds) in enumerate([(0.5, 1.0), (0.9, 60.0), (0.7, 2.0), (0.6, 3.0)]):
        written_trial(made, made.space.combination(i), {"val_accuracy": score, "seconds": seconds})
    chart = lk.charts.pareto_front(made)
    (panel,) = (require_type(panel, Plot) for panel in chart.panels)
    others, front = panel.series
    assert (others.x, others.y) == ([0.6], [3.0])
    assert (front.x, front.y, front.colour) == ([0.5, 0.9, 0.7], [1.0, 60.0, 2.0], VERMILLION)
    assert "3 of 4 trials: trial 1 (val_accuracy 0.5, seconds 1)" in chart.text
    assert [row[0] for row in lk.tables.front(made).rows] == [1, 2, 3]
    with pytest.raises(lk.DataError, match="fewer than two objectives"):
        lk.charts.pareto_front(written_sweep(tmp_path, grid=GRID, name="single"))


def test_a_seed_is_chance_and_no_parameter(tmp_path: Path) -> None:
    made = written_sweep(tmp_path, grid={"lr": [0.1, 0.01], "seed": [0, 1]}, trials=4)
    for i, loss in enumerate(LOSSES):
        written_trial(made, made.space.combination(i), {"val_loss": loss})
    assert list(importances(made).shares) == ["lr"]
    assert "seed" not in lk.charts.parallel_coordinates(made).text.partition("have in common")[2]
    seeds = written_sweep(tmp_path, grid={"seed": [0, 1, 2, 3]}, name="seeds")
    for i, loss in enumerate(LOSSES):
        written_trial(seeds, seeds.space.combination(i), {"val_loss": loss})
    with pytest.raises(lk.DataError, match="only the random seed varies"):
        importances(seeds)
