"""Values as people type them: YAML without its traps."""

import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from lmkit.specs.plain import dump_yaml, load_yaml, parse_value, plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("0.1", 0.1),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("-.inf", -math.inf),
        ("[10, 10]", [10, 10]),
        ("[]", []),
        ("{name: adam, lr: 1e-3}", {"name": "adam", "lr": 0.001}),
        # what YAML 1.1 would make numbers, truths and dates of
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("on", "on"),
        ("no", "no"),
        ("2024-01-01", "2024-01-01"),
        # what is no YAML, or a comment
        ("#fff", "#fff"),
        ("a #b", "a #b"),
        ("'#fff'", "#fff"),
        ("[1, 2", "[1, 2"),
        ("{[1]: 2}", "{[1]: 2}"),
        ("{a: 1, a: 2}", "{a: 1, a: 2}"),
        ("*a", "*a"),
        ("@x", "@x"),
        ("=", "="),
        ("!!python/object/apply:os.getcwd []", "!!python/object/apply:os.getcwd []"),
        ("", ""),
        ("prices.csv", "prices.csv"),
    ],
)
def test_a_value_as_typed(text, value):
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_one():
    assert math.isnan(parse_value(".nan"))


def test_a_key_that_is_written_twice_is_an_error():
    with pytest.raises(yaml.YAMLError, match="the key 'epochs' is written twice"):
        load_yaml("training: {epochs: 3, lr: 1, epochs: 4}")


def test_a_tag_that_would_run_code_is_an_error():
    with pytest.raises(yaml.YAMLError):
        load_yaml("!!python/object/apply:os.getcwd []")


@pytest.mark.parametrize(
    "text",
    [
        "1e5",
        "12e3",
        "010",
        "0x1f",
        "1_000",
        "1:30",
        "1.5",
        "3",
        ".nan",
        "-.inf",
        "on",
        "no",
        "y",
        "true",
        "null",
        "~",
        "2024-01-01",
        "",
        " a ",
        "#fff",
        "a: b",
        "[x",
        "=",
        "<<",
        "é",
        "two\nlines",
        "it's",
        '"quoted"',
        "- a",
        "*a",
        "!x",
    ],
)
def test_a_text_stays_that_text(text):
    written = dump_yaml({"text": text, "list": [text]})
    assert load_yaml(written) == {"text": text, "list": [text]}
    assert yaml.safe_load(written) == {"text": text, "list": [text]}  # for readers of YAML 1.1 too


@pytest.mark.parametrize("number", [0.1, 1e-8, 1e20, 1.5e300, 5e-324, 0.0, -0.0, 1 / 3, 7, -1, 10**20])
def test_a_number_stays_that_number(number):
    for read in (load_yaml, yaml.safe_load):
        found = read(dump_yaml({"n": number}))["n"]
        assert found == number
        assert type(found) is type(number)


def test_numpy_tuples_and_paths_become_plain():
    value = {"a": np.float32(0.5), "b": (np.int64(3), [np.bool_(True)]), "c": Path("data") / "x.csv", "d": None}
    found = plain(value)
    assert found == {"a": 0.5, "b": [3, [True]], "c": str(Path("data/x.csv")), "d": None}
    assert [type(v) for v in (found["a"], *found["b"][:1], found["b"][1][0])] == [float, int, bool]
