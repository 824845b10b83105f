"""The table of verbs: what it says can be typed, and names what exists."""

from __future__ import annotations

import argparse
import shlex

import pytest

import lmkit
from lmkit.commands import cli, magics
from lmkit.commands.arguments import PairParser, add_arguments
from lmkit.commands.verbs import VERBS
from lmkit.experiment.placeholders import RawText


def parsed(name: str, words: list[str]) -> argparse.Namespace:
    parser = PairParser(exit_on_error=False)
    add_arguments(parser, VERBS[name].arguments)
    return parser.parse_args(words)


@pytest.mark.parametrize("name", VERBS)
def test_an_example_can_be_typed(name: str) -> None:
    verb, *words = shlex.split(VERBS[name].example)
    assert verb == name
    parsed(name, words)
    assert f"%lmkit {VERBS[name].example}" in magics.overview()


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_is_called_as_the_function_that_it_calls(name: str) -> None:
    owner = lmkit.Run if name in ("checkpoint", "doctor", "note", "set-learning-rate") else lmkit
    called = {"new": "configure", "run": "run_template"}.get(name, name.replace("-", "_"))
    assert called in dir(owner)


def test_the_command_line_has_every_verb_but_those_that_need_a_notebook() -> None:
    assert {name for name, verb in VERBS.items() if verb.notebook_only} == {"new", "attach", "monitor"}
    assert set(cli.COMMANDS) <= set(VERBS)


def test_the_words_of_train() -> None:
    args = parsed("train", ["e.yaml", "-p", "lr", "1e-3", "-p", "model.hidden", "[8, 4]", "--runs", "there"])
    assert (args.file, args.runs) == ("e.yaml", "there")
    assert [(path, value.value) for path, value in args.parameter] == [("lr", 0.001), ("model.hidden", [8, 4])]
    assert all(isinstance(value, RawText) for _, value in args.parameter)
