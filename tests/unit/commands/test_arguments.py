"""The words of a command become parameters, however papermill's users write them."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

import pytest

from lmkit.commands.arguments import PairParser, add_arguments, template_parameters
from lmkit.commands.verbs import VERBS
from lmkit.exceptions import TemplateError


def parsed(*words: str) -> argparse.Namespace:
    parser = PairParser(exit_on_error=False)
    add_arguments(parser, VERBS["run"].arguments)
    return parser.parse_args(["x.ipynb", *words])


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["-p", "rate", "0.1"], {"rate": "0.1"}),
        (["-p", "rate=0.1"], {"rate": "0.1"}),
        (["-p", "text=a=b"], {"text": "a=b"}),
        (["-p", "text", "a=b"], {"text": "a=b"}),
        (["-p", "text="], {"text": ""}),
        (["-p", "text", ""], {"text": ""}),
        (["-p", "text", "-abc"], {"text": "-abc"}),
        (["-p", "text=--json"], {"text": "--json"}),
        (["-p", "low", "-1e-3", "-p", "high=2"], {"low": "-1e-3", "high": "2"}),
    ],
)
def test_a_parameter_is_two_words_or_one(words: list[str], texts: dict[str, str]) -> None:
    assert template_parameters(parsed(*words)) == ({}, texts)


@pytest.mark.parametrize("words", [["-p", "rate"], ["-p", "rate", "--cwd", "x"], ["-p", "=1"]])
def test_a_parameter_without_a_value_is_refused(words: list[str]) -> None:
    with pytest.raises((argparse.ArgumentError, SystemExit), match="expected NAME VALUE or NAME=VALUE"):
        parsed(*words)


def test_papermills_ways_of_passing_parameters_and_their_order(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("a: file\nb: file\nc: file\n")
    encoded = base64.b64encode(b"a: encoded\nz: 1e-3").decode()
    args = parsed("-r", "d", "010", "-p", "c", "typed", "-y", "b: yaml", "-f", str(file), "-b", encoded)
    assert template_parameters(args) == ({"a": "file", "z": 1e-3, "b": "yaml", "c": "file", "d": "010"}, {"c": "typed"})
    assert template_parameters(parsed("-p", "a=1", "-r", "a=2")) == ({"a": "2"}, {})


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["-y", "[1, 2]"], r"-y: given \[1, 2\], expected a mapping"),
        (["-y", "a: [1"], "-y: line 1: not YAML"),
        (["-b", "&"], "-b: given '&', expected YAML encoded in base64"),
    ],
)
def test_parameters_that_are_no_mapping_are_refused(words: list[str], problem: str) -> None:
    with pytest.raises(TemplateError, match=problem):
        template_parameters(parsed(*words))
