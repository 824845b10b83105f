"""The table of verbs: what it says can be typed, and names what exists."""

from __future__ import annotations

import argparse
import shlex

import pytest

import lmkit
from lmkit import cli, magics
from lmkit.placeholders import Typed
from lmkit.verbs import VERBS, add_words


def parsed(name: str, words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_words(parser, VERBS[name].words)
    return parser.parse_args(words)


@pytest.mark.parametrize("name", VERBS)
def test_an_example_can_be_typed(name: str) -> None:
    verb, *words = shlex.split(VERBS[name].example)
    assert verb == name
    parsed(name, words)
    assert f"%lmkit {VERBS[name].example}" in magics.overview()


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_is_called_as_the_function_that_it_calls(name: str) -> None:
    owner = lmkit.Run if name in ("checkpoint", "note", "set-learning-rate") else lmkit
    called = {"new": "configure", "run": "run_template"}.get(name, name.replace("-", "_"))
    assert called in dir(owner)


def test_the_command_line_has_every_verb_but_those_that_need_a_notebook() -> None:
    assert set(VERBS) - set(cli.COMMANDS) == {"new", "attach", "monitor"}


def test_the_words_of_train() -> None:
    chosen = parsed("train", ["e.yaml", "-p", "lr", "1e-3", "-p", "model.hidden", "[8, 4]", "--runs", "there"])
    assert (chosen.file, chosen.runs) == ("e.yaml", "there")
    assert [(path, value.value) for path, value in chosen.parameter] == [("lr", 0.001), ("model.hidden", [8, 4])]
    assert all(isinstance(value, Typed) for _, value in chosen.parameter)
