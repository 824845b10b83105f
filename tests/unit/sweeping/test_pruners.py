"""What trials are compared by, and which are given up before their end."""

from __future__ import annotations

import pytest

from lmkit.exceptions import SweepError
from lmkit.sweeping.objectives import Objective, is_dominated, objective_values, read_objectives
from lmkit.sweeping.pruners import HalvingPruner, MedianPruner, Pruner, pruner_to_dict, read_pruner

# -- objectives -----------------------------------------------------------------------------------


def test_which_way_is_better_is_known_or_said() -> None:
    given = ["val_loss", "test_accuracy", "maximize cost", "minimize f1"]
    assert [o.direction for o in read_objectives(given)] == ["minimize", "maximize", "maximize", "minimize"]
    assert read_objectives(None, "val_loss") == (Objective("val_loss", "minimize"),)
    assert read_objectives(None) == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "cost",
            "objective: given 'cost', expected a name such as val_loss; other names need a direction",
        ),
        ("least cost", "objective: given 'least cost'"),
        (["loss", "maximize loss"], "duplicate names: loss, loss"),
    ],
)
def test_an_objective_that_cannot_be_is_refused(given: str | list[str], said: str) -> None:
    with pytest.raises(SweepError, match=said):
        read_objectives(given)


def test_a_value_that_is_missing_says_what_there_is() -> None:
    objectives = read_objectives(["loss", "f1"])
    assert objective_values(objectives, {"loss": 1, "f1": 0.5}) == [1.0, 0.5]
    with pytest.raises(SweepError, match=r"no value for the objective 'f1'; values: loss"):
        objective_values(objectives, {"loss": 1, "f1": "high"})


def test_a_trial_is_dominated_where_another_is_better_in_one_and_worse_in_none() -> None:
    objectives = read_objectives(["loss", "accuracy"])
    points = [[1.0, 0.9], [2.0, 0.95], [2.0, 0.9], [1.0, 0.9]]
    assert [is_dominated(p, points, objectives) for p in points] == [False, False, True, False]


# -- pruning --------------------------------------------------------------------------------------


def falling(*values: float) -> dict[float, float]:
    return dict(enumerate(values, start=1))


def test_the_median_rule_compares_the_best_so_far_at_the_same_epoch() -> None:
    others = [falling(5, 4, 3), falling(6, 5, 4), falling(7, 6, 5)]  # at epoch 2 the bests are 4, 5, 6
    pruner = MedianPruner(warmup=1, trials=3)
    assert pruner.reason_to_prune(falling(9, 5.5), others) == "after epoch 2 worse than the median of 3 others"
    assert pruner.reason_to_prune(falling(4.5, 9), others) == "", "its best so far counts"
    assert pruner.reason_to_prune(falling(9, 5), others) == "", "as good as the median is good enough"
    assert pruner.reason_to_prune(falling(99), others) == "", "every trial is granted its warmup"
    assert pruner.reason_to_prune(falling(9, 9), others[:2]) == "", "too few to compare with"
    assert pruner.reason_to_prune(falling(9, 9, 9, 9), others) == "", "none of the others has come as far"
    assert pruner.reason_to_prune({}, others) == ""


def test_halving_lets_the_best_part_beyond_each_rung() -> None:
    pruner = HalvingPruner(first=1, factor=3)
    others = [falling(1), falling(2), falling(3), falling(4), falling(5)]
    assert pruner.reason_to_prune(falling(1.5), others) == "", "one of two that may go on"
    assert pruner.reason_to_prune(falling(2.5), others) == "at epoch 1 behind 2 of 5 others, of which 2 may continue"
    assert pruner.reason_to_prune(falling(9), others[:1]) == "", "of two trials none is the best third"
    late = [falling(1, 1, 0.1), falling(1, 1, 0.2), falling(1, 1, 0.3)]
    assert pruner.reason_to_prune(falling(0.9, 0.9), late) == ""
    assert pruner.reason_to_prune(falling(0.9, 0.9, 0.25), late).startswith("at epoch 3 behind 2 of 3")


@pytest.mark.parametrize("pruner", [None, MedianPruner(2, 5), HalvingPruner(2, 4)])
def test_a_rule_survives_its_folder(pruner: Pruner | None) -> None:
    assert read_pruner(pruner_to_dict(pruner)) == pruner


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("medain", "prune: given 'medain', did you mean 'median'"),
        ({"rule": "median", "warmpu": 1}, "prune: warmpu: unknown setting of 'median'; did you mean 'warmup'"),
        ({"rule": "median", "warmup": 0}, "prune: warmup: given 0, expected a whole number"),
        ({"rule": "halving", "factor": 1}, "prune: factor: given 1"),
        ({"rule": "halving", "first": 1.5}, "prune: first: given 1.5"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(given: object, said: str) -> None:
    with pytest.raises(SweepError, match=said):
        read_pruner(given)
