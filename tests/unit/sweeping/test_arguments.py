"""A sweep is asked for in the same words on a command line, in a magic and in its cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lmkit as lk
from lmkit.commands import cli
from lmkit.commands.completion import complete
from lmkit.commands.magics import _call
from lmkit.commands.output import DONE, NOT_COMPLETED, REFUSED
from lmkit.exceptions import SweepError
from lmkit.experiment.placeholders import Placeholders


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What ``lmkit.sweep`` is called with, instead of sweeping."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def sweep(*given: Any, **options: Any) -> None:
        calls.append((given, {k: v for k, v in options.items() if v or (v == 0 and v is not False)}))

    monkeypatch.setattr(lk, "sweep", sweep)
    return calls


WORDS = (
    "sweep train --grid training.optimizer.lr=0.1,0.01 --search model.dropout=0..0.5 --trials 50 --workers 4 --name n"
)


def test_a_magic_says_what_the_function_does(asked: list[Any]) -> None:
    _call(f"{WORDS} --name n -p epochs 3 --objective 'maximize f1' --objective loss", None, Placeholders({}))
    ((given, options),) = asked
    assert given == ("train", {})
    assert options == {
        "typed": {"epochs": "3"},
        "grid": {"training.optimizer.lr": "0.1,0.01"},
        "search": {"model.dropout": "0..0.5"},
        "trials": 50,
        "workers": 4,
        "name": "n",
        "objective": ["maximize f1", "loss"],
        "engine": "threads",
        "seed": 0,
    }


def test_values_of_the_notebook_are_swept(asked: list[Any]) -> None:
    _call("sweep train --grid lr=$rates -p epochs $n", None, Placeholders({"rates": [0.1, 0.01], "n": 3}))
    ((given, options),) = asked
    assert (given, options["grid"]) == (("train", {"epochs": 3}), {"lr": "[0.1, 0.01]"})


def test_a_cell_holds_what_is_varied_and_what_is_not(asked: list[Any]) -> None:
    cell = "grid: {lr: $rates}\nsearch: {model.dropout: 0..0.5}\nepochs: 3\nmodel: {hidden: [8]}"
    _call("sweep train --trials 4 --grid seed=1,2", cell, Placeholders({"rates": [0.1, 0.01]}))
    ((given, options),) = asked
    assert given == ("train", {"epochs": 3, "model": {"hidden": [8]}})
    assert options["grid"] == {"lr": [0.1, 0.01], "seed": "1,2"}
    assert options["search"] == {"model.dropout": "0..0.5"}
    with pytest.raises(SweepError, match=r"grid: given \[1\], expected a mapping"):
        _call("sweep train", "grid: [1]", Placeholders({}))


def test_a_command_line_drives_it_itself_and_tells(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("grid: {lr: [1e-1]}\nepochs: 2\n")
    # there is no sweep to print
    assert cli.main(["sweep", "train", "-f", str(tmp_path / "space.yaml"), "--retry-failed"]) == NOT_COMPLETED
    ((given, options),) = asked
    assert given == ("train", {"epochs": 2})
    assert (options["grid"], options["inline"], options["retry_failed"]) == ({"lr": [0.1]}, True, True)
    assert callable(options["tell"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--grid", "lr"], "--grid: given 'lr', expected PATH=VALUES, such as --grid lr=0.1,0.01"),
        (["--search", "=1..2"], "--search: given '=1..2', expected PATH=VALUES"),
        (["--grid", "lr=1", "--grid", "lr=2"], "--grid: lr is given twice"),
        (
            ["--search", "lr=0.1", "--trials", "3"],
            "search lr: given the single value '0.1'; expected a",
        ),
        ([], "nothing to vary"),
        (["--search", "model.dropout=0..0.5:log", "--trials", "3"], "expected a lower bound greater than 0"),
        (["--grid", "training.optimizer.rl=1"], "training.optimizer.rl: .*did you mean"),
    ],
)
def test_words_that_cannot_be_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    assert cli.main(["sweep", "train", *words]) == REFUSED
    assert re.search(said, capsys.readouterr().err)


def test_words_are_completed(tmp_path: Path) -> None:
    (tmp_path / "sweeps" / "night-1").mkdir(parents=True)
    (tmp_path / "sweeps" / "night-1" / "sweep.yaml").touch()
    for line, found in {
        "%lmkit sweep tr": ["train"],
        "%lmkit sweep train --retry-failed --me": ["--method"],
        "%lmkit sweep train --method ": ["grid", "random", "tpe"],
        "%lmkit sweep train --prune h": ["halving"],
        "%lmkit sweep train --name ni": ["night-1"],
        "%lmkit sweeps n": ["night-1"],
        "%lmkit stop-sweep ": ["last", "night-1"],
        "%lmkit sweep train --grid training.optimizer.l": ["training.optimizer.lr"],
    }.items():
        assert complete(line)[1] == found, line


def test_sweeps_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweeps"]) == DONE
    assert "no sweeps yet" in capsys.readouterr().err
    assert cli.main(["sweeps", "night-1"]) == REFUSED
    assert cli.main(["stop-sweep", "night-1"]) == REFUSED
    assert "no sweep 'night-1'" in capsys.readouterr().err
