"""Small texts with large effects: aliases, depth, huge numbers, long values. They cost little, and errors are short."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import lmkit as lk
from lmkit import Experiment
from lmkit.exceptions import LmkitError, shorten
from lmkit.runfolder.folder import RunFolder
from lmkit.specs.plain import MAX_DEPTH, compose_yaml, load_written, load_yaml, parse_value

MAX_MESSAGE = 1000
"""Letters of an error that quotes one value and lists choices."""


def alias_text(depth: int) -> str:
    """A text of which each line holds the one before nine times."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth)]
    return "\n".join([*lines, f"data: *a{depth - 1}"])


TEXTS = {
    "aliases": alias_text(9),
    "one alias": "data: &d digits\nname: *d\n",
    "an alias of itself": "a: &a [*a]",
    "brackets": "data: " + "[" * 1500,
    "braces": "{a: " * 3000,
    "lists": "- " * 3000 + "x",
    "indents": "".join(" " * i + "a:\n" for i in range(300)),
    "digits": "seed: " + "9" * 5000,
    "digits in a list": "data: {drop: [" + "9" * 5000 + "]}",
    "a tag": "data: !!int x",
    "a date": "data: !!timestamp x",
    "a float": "seed: !!float x",
    "code": "data: !!python/object/apply:os.getcwd []",
    "long": "data: " + "x" * (2**22 + 1),
    "many values": "data: [" + "1," * 60_000 + "1]",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_small_text_is_refused_at_a_small_cost(name: str) -> None:
    begin = time.process_time()
    for read in (load_yaml, load_written, compose_yaml):
        if name not in ("digits", "digits in a list", "a tag", "a date", "a float", "code") or read is not compose_yaml:
            with pytest.raises(yaml.YAMLError):
                read(TEXTS[name])
    with pytest.raises(lk.ConfigError) as raised:
        Experiment.from_yaml(TEXTS[name])
    assert time.process_time() - begin < 5
    assert len(str(raised.value)) < MAX_MESSAGE


def test_a_run_with_aliases_is_listed(tmp_path: Path) -> None:
    folder = RunFolder.create(Experiment(), tmp_path)
    (folder.path / "experiment.yaml").write_text(alias_text(9))
    assert lk.runs(tmp_path)["state"].tolist() == ["damaged"]
    assert "alias" in lk.runs(tmp_path)["reason"][0]


def test_a_text_on_the_command_line_that_is_no_value_stays_text() -> None:
    for text in ("*a", "&a [*a]", "[" * 3000, "9" * 5000):
        assert parse_value(text) == text


def test_values_within_the_limits_are_read() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH - 2):
        value = [value]
    assert load_yaml(f"a: {value}") == {"a": value}
    assert load_written("a: '*b & c'\nb: 12345678901234567890") == {"a": "*b & c", "b": 12345678901234567890}


def nested(depth: int, kind: type) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("depth", [60, 500, 5000])
@pytest.mark.parametrize("field", ["data", "model", "training", "name", "seed", "data.drop", "model.hidden"])
def test_a_deep_value_is_a_problem_of_the_experiment(field: str, depth: int, kind: type) -> None:
    part, _, name = field.partition(".")
    value = nested(depth, kind)
    with pytest.raises(lk.ConfigError) as raised:
        Experiment(**{part: {name: value} if name else value})
    assert len(str(raised.value)) < MAX_MESSAGE


def long_values() -> Iterator[Any]:
    yield from ("x" * 10**5, "é" * 10**4, ["x" * 10**4] * 3, list(range(3000)), {str(i): i for i in range(500)})
    yield from (10**300, {"x" * 10**4: 1}, [[list(range(30))] * 30] * 30, b"x" * 10**5)


PATHS = random.Random(0).sample([*Experiment().settings()], 12)


@pytest.mark.parametrize("path", [*PATHS, "data", "model", "training", "data.source", "x" * 10**4])
def test_a_long_value_is_cut_in_every_message(path: str) -> None:
    for value in long_values():
        parts: Any = value
        for name in reversed(path.split(".")):
            parts = {name: parts}
        try:
            Experiment.from_dict(parts)
        except LmkitError as error:
            problems = getattr(error, "problems", (str(error),))
            assert len(problems) <= 11
            assert max(map(len, problems)) < 2 * MAX_MESSAGE, (path[:50], str(value)[:20])


def test_a_shortened_value_begins_as_it_is() -> None:
    draw = random.Random(0)
    for _ in range(300):
        value: Any = draw.choice([draw.random(), "x" * draw.randrange(200), [draw.randrange(9)] * draw.randrange(60)])
        short = shorten(value)
        assert len(short) <= 80
        assert short == repr(value) or (short[-1] == "…" and repr(value).startswith(short[:40]))
