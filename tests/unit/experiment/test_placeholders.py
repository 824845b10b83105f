"""Values of a notebook in a text: each case says what is written, and which Python value must arrive.

PyYAML's own safe loader reads the texts here, which knows nothing of lmkit.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from lmkit.exceptions import CommandError
from lmkit.experiment.placeholders import Placeholders, RawText, escape

DATA = object()
NAMES = {
    "n": 3,
    "rate": 1e-5,
    "widths": [64, 32],
    "nothing": None,
    "quoted": """it's "x": {y} # $z""",
    "digits": "010",
    "word": "true",
    "lines": "a\nb: c",
    "table": {"a": {"b": [1, None]}},
    "folder": Path("/data"),
    "thing": SimpleNamespace(size=7),
    "data": DATA,
}


def read(cell: str) -> object:
    values = Placeholders(NAMES)
    return values.fill(yaml.safe_load(values.hide(cell, first=2)))


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("$n", 3),
        ("$rate", 1e-5),
        ("$widths", [64, 32]),
        ("$nothing", None),
        ("$quoted", """it's "x": {y} # $z"""),
        ("$digits", "010"),
        ("$word", "true"),
        ("$lines", "a\nb: c"),
        ("$table", {"a": {"b": [1, None]}}),
        ("$folder", Path("/data")),
        ("$data", DATA),
        ("{n}", 3),
        ("{ n * 2 }", 6),
        ("{-rate}", -1e-5),
        ("{thing.size}", 7),
        ("{widths[0:1]}", [64]),
        ("{[w * n for w in widths]}", [192, 96]),
        ("{ {k: k * n for k in (1, 2)} }", {1: 3, 2: 6}),
        ("{dict(a=1)['a']}", 1),
        ('{dict([("}", 4)])["}"]}', 4),
        ('{f"{n:03d}"}', "003"),
        ("{None if n else 1}", None),
        ("{'a: b'}", "a: b"),
        ("[$n, {n + 1}, 5]", [3, 4, 5]),
        ("[{widths}, $nothing]", [[64, 32], None]),
        ("{a: $n, b: {c: {n + 1}}}", {"a": 3, "b": {"c": 4}}),
        ("{$n: 1}", {3: 1}),
    ],
)
def test_a_value_arrives_as_what_it_is(written: str, value: object) -> None:
    assert read(f"field: {written}") == {"field": value}


@pytest.mark.parametrize(
    "cell",
    [
        "data: {source: digits}",
        "data: {source: digits, batch_size: 3}",
        "data: {source: digits,\n  batch_size: 3}",
        "data: {\n  source: digits\n}",
        'data: {"source": "digits", "drop": ["a", "b"]}',
        '{"data":{"source":"digits"},"seed":1}',
        "data: {'a key': 1}",
        "data: {}",
        "data: { }",
        "training: {schedule: {name: step}, optimizer: {name: adam, lr: 1e-3}}",
        "model: {lambda: 3, a-b: 2, 1: 2}",
        "price: 5$, or $ 5",
        "never closed: '{'",
        "data: digits  # {n x} $unknown costs $5 {unknown}",
    ],
)
def test_what_is_yaml_stays_yaml(cell: str) -> None:
    assert read(cell) == yaml.safe_load(cell)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("run-$n", "run-3"),
        ("run-{n + 1}-of-$n", "run-4-of-3"),
        ("'$n'", "3"),
        ('"{n}"', "3"),
        ("'$widths of $n'", "[64, 32] of 3"),
        ("$folder/prices.csv", "/data/prices.csv"),
    ],
)
def test_in_quotes_or_amid_text_a_value_is_text(written: str, value: str) -> None:
    assert read(f"field: {written}") == {"field": value}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("$$n", "$n"),
        ("'{{n}}'", "{n}"),
        ("a{{$n}}b", "a{$n}b"),
        ("{{key: $$}}", {"key": "$$"}),
        ("cost-$$$n", "cost-$3"),
    ],
)
def test_doubled_signs_stand_for_themselves(written: str, value: object) -> None:
    assert read(f"field: {written}") == {"field": value}


@pytest.mark.parametrize("text", ["$n", "$$n", "{n}", "{{n}}", "{n} and {rate}", "a { b", "{a: b}", "5$", "{$n}"])
def test_an_escaped_text_stands_for_itself(text: str) -> None:
    cell = yaml.safe_dump({"field": text}, default_style="'")
    assert read(escape(cell)) == {"field": text}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            "data: digits\nseed: $missing",
            "line 3: $missing: NameError: name 'missing' is not defined; "
            "for the text itself write $$missing\n      seed: $missing",
        ),
        (
            "\n\nseed: [1, {1 / 0}]",
            "line 4: {1 / 0}: ZeroDivisionError: division by zero; "
            "for the text itself write {{1 / 0}}\n      seed: [1, {1 / 0}]",
        ),
        (
            "seed: {n +}",
            "line 2: {n +}: SyntaxError: invalid syntax; for the text itself write {{n +}}\n      seed: {n +}",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_told_with_its_line(cell: str, message: str) -> None:
    with pytest.raises(CommandError) as error:
        read(cell)
    assert str(error.value) == message


def test_a_line_is_told_without_a_number() -> None:
    values = Placeholders({})
    hidden = values.hide("note $missing")
    with pytest.raises(CommandError, match=r"^\$missing: NameError"):
        values.fill(hidden)


def test_nothing_is_evaluated_that_is_not_read() -> None:
    called: list[int] = []
    values = Placeholders({"call": lambda: called.append(1)})
    hidden = values.hide("field: {call()}  # {call()}\n# {call()}\n")
    assert called == []
    assert values.fill(yaml.safe_load(hidden)) == {"field": None}
    assert called == [1]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("$digits", "010"),  # a value already, not the number ten
        ("$rate", 1e-5),
        ("[$n, {n + 1}]", [3, 4]),
        ("{name: adam, lr: $rate}", {"name": "adam", "lr": 1e-5}),
        ("run-$n", "run-3"),
    ],
)
def test_a_typed_word_with_values_in_it_is_a_value(word: str, value: object) -> None:
    values = Placeholders(NAMES)
    filled = values.fill(RawText(values.hide(word)))
    assert filled == value
    assert not isinstance(filled, RawText)


def test_a_typed_word_without_values_is_still_to_be_read() -> None:
    values = Placeholders(NAMES)
    filled = values.fill(RawText(values.hide("1e-3")))
    assert isinstance(filled, RawText)
    assert filled.value == 0.001
