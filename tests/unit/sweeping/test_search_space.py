"""What a sweep goes through is read, drawn from, and held to what its parameters may be before anything starts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from narrowing import require_type

import lmkit as lk
from lmkit.exceptions import SweepError
from lmkit.runfolder.folder import runs_root
from lmkit.specs.models import MLP
from lmkit.sweeping.folder import sweeps_root
from lmkit.sweeping.search_space import Choice, Range, Space, check_space, read_space, split_values
from lmkit.sweeping.target import resolve_target

# -- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("0..0.5", Range(0, 0.5)),
        ("1e-4..1e-1:log", Range(1e-4, 0.1, log=True)),
        ("8..64:log:int", Range(8, 64, log=True, integer=True)),
        ("-1..+1", Range(-1, 1)),
        ((1, 8, "int"), Range(1, 8, integer=True)),
        ((1e-3, 1.0, "log"), Range(1e-3, 1.0, log=True)),
        ({"low": 0, "high": 2, "whole": True}, Range(0, 2, integer=True)),
        ("adam,sgd", Choice(("adam", "sgd"))),
        ("[32],[64, 64]", Choice(([32], [64, 64]))),
        ("1e-3,true,null,#fff", Choice((1e-3, True, None, "#fff"))),
        ("[[32], [64, 64]]", Choice(([32], [64, 64]))),
        ("[0.1, 0.01]", Choice((0.1, 0.01))),
        ([(32,), (64, 64)], Choice(([32], [64, 64]))),
        (np.array([1, 2]).tolist(), Choice((1, 2))),
    ],
)
def test_a_search_is_read(given: Any, read: Range | Choice) -> None:
    assert read_space({}, {"x": given}).search["x"] == read


def test_a_grid_is_read_and_goes_round() -> None:
    space = read_space({"a": "1,2", "b": np.linspace(0, 1, 3)}, {})
    assert space.combinations == 6
    assert [space.combination(i) for i in (0, 1, 5, 6)] == [
        {"a": 1, "b": 0.0},
        {"a": 1, "b": 0.5},
        {"a": 2, "b": 1.0},
        {"a": 1, "b": 0.0},
    ]
    assert len({tuple(space.combination(i).values()) for i in range(6)}) == 6


def test_commas_within_brackets_and_quotes_are_none() -> None:
    assert split_values("[1, [2, 3]], {a: 1, b: 2},'x,y'") == ["[1, [2, 3]]", "{a: 1, b: 2}", "'x,y'"]


@pytest.mark.parametrize(
    ("grid", "search", "said"),
    [
        ({}, {}, "nothing to vary"),
        ({"a": []}, {}, "grid a: the list of values is empty"),
        ({"a": ""}, {}, "grid a: the list of values is empty"),
        ({"a": 3}, {}, "grid a: given 3, expected a list of values"),
        ({"a": [1, 1]}, {}, r"grid a: duplicate value in \[1, 1\]"),
        ({"a": [1]}, {"a": (0, 1)}, "a: in both the grid and the search"),
        ({}, {"a": []}, "search a: the list of values is empty"),
        ({}, {"a": "0..1:log"}, "search a: given 0..1 on a logarithmic scale, expected a lower bound greater than 0"),
        ({}, {"a": (-1, 1, "log")}, "search a: given -1..1 on a logarithmic scale"),
        ({}, {"a": "1..0"}, r"search a: given the range 1\.\.0, expected the lower bound first"),
        ({}, {"a": (1, 1)}, "expected the lower bound first"),
        ({}, {"a": "0..x"}, r"search a: given '0\.\.x', expected a range such as"),
        ({}, {"a": (0, math.inf)}, "search a: given inf as a bound of a range, expected a number"),
        ({}, {"a": (True, 2)}, "search a: given True as a bound"),
        ({}, {"a": (0.5, 2, "int")}, "for integers, expected integer bounds"),
        ({}, {"a": {"low": 1}}, r"search a: given \{'low': 1\}, expected \{low"),
        ({}, {"a": 5}, "search a: given 5, expected a range"),
    ],
)
def test_a_space_that_cannot_be_is_refused(grid: dict[str, Any], search: dict[str, Any], said: str) -> None:
    with pytest.raises(SweepError, match=said):
        read_space(grid, search)


def test_a_space_survives_its_folder() -> None:
    space = read_space({"a": [1, [2]]}, {"b": "1..8:int", "c": "x,y", "d": "1e-4..1:log"})
    assert Space.from_dict(space.to_dict()) == space


# -- drawing --------------------------------------------------------------------------------------


def test_what_is_drawn_lies_within_and_is_even() -> None:
    space = read_space({}, {"u": "2..4", "l": "1e-4..1:log", "n": "1..4:int", "m": "1..64:log:int", "c": "a,b"})
    drawn = [space.draw(i, 0) for i in range(2000)]
    u, logs = np.array([d["u"] for d in drawn]), np.log10([d["l"] for d in drawn])
    assert 2 <= u.min() <= u.max() <= 4
    assert abs(u.mean() - 3) < 0.05  # 4 standard errors of a uniform variable of width 2
    assert -4 <= logs.min() <= logs.max() <= 0
    assert abs(logs.mean() + 2) < 0.11
    counts = np.bincount([d["n"] for d in drawn], minlength=5)
    assert counts[0] == 0
    assert np.all(abs(counts[1:] - 500) < 80)
    small = sum(d["m"] < 8 for d in drawn) / 2000
    assert abs(small - math.log(8) / math.log(65)) < 0.05
    assert {d["m"] for d in drawn} <= set(range(1, 65))
    assert {d["c"] for d in drawn} == {"a", "b"}


def test_the_same_number_and_seed_draw_the_same() -> None:
    space = read_space({"a": [1, 2]}, {"u": "0..1"})
    assert space.draw(3, 7) == space.draw(3, 7)
    assert len({space.draw(i, s)["u"] for i in range(5) for s in range(2)}) == 10


# -- held to the schema ---------------------------------------------------------------------------


def test_a_range_between_whole_numbers_is_whole_only_where_it_must() -> None:
    target = resolve_target("train", None, None)
    space = read_space({}, {"epochs": "1..8", "lr": "1..2", "data.batch_size": (8, 64)})
    found = check_space(space, target.experiment).search
    assert [found[n].integer for n in ("epochs", "lr", "data.batch_size")] == [True, False, True]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("grid", "search", "said"),
    [
        ({"training.optimiser.lr": [0.1]}, {}, "training.optimiser.*did you mean 'optimizer'"),
        ({"lrr": [0.1]}, {}, "lrr: no parameter of the template 'train', and no path .*did you mean 'lr'"),
        ({"lr": [0.1, -1]}, {}, r"grid lr=-1: training\.optimizer\.lr: given -1, expected"),
        ({"lr": ["fast"]}, {}, "grid lr=fast: .*given 'fast'"),
        ({"framework": ["torch", "torhc"]}, {}, "grid framework=torhc: .*did you mean 'torch'"),
        ({}, {"validation": "0..2"}, r"search validation=0..2: data\.validation: given 2"),
        ({}, {"epochs": "0.5..3"}, "search epochs=0.5..3: epochs: given 0.5, expected int"),
        ({}, {"optimizer": "adam,sdg"}, "search optimizer=adam,sdg: .*did you mean 'sgd'"),
        ({"lr": [0.1]}, {"training.optimizer.lr": "0..1"}, "training.optimizer.lr and lr are the same parameter"),
        ({"training.epochs": [1, 2]}, {}, "epochs: both fixed and varied"),
    ],
)
def test_what_the_experiment_does_not_take_is_refused_before_anything_starts(
    grid: dict[str, Any], search: dict[str, Any], said: str
) -> None:
    given = {"epochs": 3} if "training.epochs" in grid else None
    with pytest.raises(lk.SweepError, match=said):
        lk.sweep("train", given, grid=grid, search=search, trials=4, method="random", inline=True, name="x")
    assert not sweeps_root().exists()
    assert not runs_root().exists()


def test_an_experiment_is_varied_by_its_paths_and_by_their_ends() -> None:
    experiment = lk.Experiment(data="digits", model={"hidden": [8]}, training={"epochs": 7, "optimizer": "adam"})
    target = resolve_target(experiment, {"lr": 0.5}, {"seed": "3"})
    varied = {"epochs": 2, "framework": "tensorflow", "model.hidden": [4], "data": "wine"}
    made = target.experiment(varied)
    assert made is not None
    assert (made.training.epochs, made.framework, made.data.source, made.seed) == (2, "tensorflow", "wine", 3)
    assert (require_type(made.model, MLP).hidden, made.training.optimizer.name, made.training.optimizer.lr) == (
        (4,),
        "adam",
        0.5,
    )
    assert made.name == "wine-mlp", "a name that was made is made anew"
    assert set(target.fixed.bind(varied)) == {"overrides"}
    named = resolve_target(experiment.override({"name": "mine"}), None, None)
    assert named.experiment({}) == experiment.override({"name": "mine"})
