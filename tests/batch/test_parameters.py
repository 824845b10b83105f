"""Parameters are read from a cell without running it, and values are held to their types."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lmkit.batch.parameters import parameter_value, read_parameters
from lmkit.errors import TemplateError

CELL = '''
"""What this notebook can be asked for."""
rate: float = 1e-3  # learning rate, in 1/step
flag: bool = False
count: int = -3
text: str = "a # b"  # a comment behind a hash
sizes: list[int] = [
    1,
    2,
]  # behind the end
table: dict = {"a": {"b": None}}
maybe: int | None = None
choice: Literal["sgd", "adam"] = "sgd"
anything = (1, 2.5)
'''
KNOWN = read_parameters(CELL)


def read(name: str, value: object, text: bool = False) -> object:
    return parameter_value(KNOWN[name], value, text, "some")


def test_types_may_be_written_as_members_of_typing() -> None:
    known = read_parameters("a: typing.Literal['x', 'y'] = 'x'")["a"]
    assert parameter_value(known, "y", False, "some") == "y"


def test_names_types_defaults_and_comments_are_read() -> None:
    assert list(KNOWN) == ["rate", "flag", "count", "text", "sizes", "table", "maybe", "choice", "anything"]
    assert [p.annotation for p in KNOWN.values()] == [
        "float", "bool", "int", "str", "list[int]", "dict", "int | None", "Literal['sgd', 'adam']", "",
    ]  # fmt: skip
    assert [p.default for p in KNOWN.values()] == [
        1e-3, False, -3, "a # b", [1, 2], {"a": {"b": None}}, None, "sgd", [1, 2.5],
    ]  # fmt: skip
    assert KNOWN["rate"].documentation == "learning rate, in 1/step"
    assert KNOWN["text"].documentation == "a comment behind a hash"
    assert KNOWN["sizes"].documentation == "behind the end"
    assert KNOWN["flag"].documentation == ""


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a: int = 1 +", "is not Python"),
        ("print('ran')", "expected only 'name: type = value"),
        ("a = b = 1", "expected only"),
        ("a, b = 1, 2", "expected only"),
        ("a: int", "expected only"),
        ("import os", "expected only"),
        ("a: int = len('x')", "expected a literal"),
        ("a: int = other", "expected a literal"),
        ("a: Number = 1", "the type Number is not understood"),
        ("a: __import__('os') = 1", "is not understood"),
        ("a: ().__class__ = 1", "is not understood"),
        ("a: typing.sys.exit = 1", "is not understood"),
        ("a: 3 = 1", "is not understood"),
        ("a: list[1] = 1", "is not understood"),
    ],
)
def test_a_cell_that_is_more_than_parameters_is_refused(source: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        read_parameters(source, "x.ipynb")


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("rate", "1e-3", 0.001),
        ("rate", "1", 1),
        ("rate", "inf", math.inf),
        ("rate", "-inf", -math.inf),
        ("flag", "true", True),
        ("flag", "False", False),
        ("count", "010", None),
        ("count", "7", 7),
        ("text", "true", "true"),
        ("text", "010", "010"),
        ("text", "1e-3", "1e-3"),
        ("text", "#fff", "#fff"),
        ("text", "none", "none"),
        ("text", "", ""),
        ("text", "say \"hi\"\nand 'ho' \\ {x}", "say \"hi\"\nand 'ho' \\ {x}"),
        ("sizes", "[3, 4]", [3, 4]),
        ("sizes", "[]", []),
        ("table", "{a: 1, b: [x, null]}", {"a": 1, "b": ["x", None]}),
        ("maybe", "none", None),
        ("maybe", "null", None),
        ("maybe", "5", 5),
        ("choice", "adam", "adam"),
        ("anything", "[1, a]", [1, "a"]),
        ("anything", "1e-3", 0.001),
    ],
)
def test_a_typed_text_is_read_by_the_declared_type(name: str, typed: str, value: object) -> None:
    if value is None and name != "maybe":
        with pytest.raises(TemplateError, match=f"{name}: given '{typed}', expected int"):
            read(name, typed, text=True)
    else:
        found = read(name, typed, text=True)
        assert found == value
        assert type(found) is type(value)


def test_not_a_number_is_a_float() -> None:
    found = read("rate", "nan", text=True)
    assert isinstance(found, float)
    assert math.isnan(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 1.5), ("count", True), ("count", "3"), ("flag", 1), ("flag", "true"), ("rate", "0.1"), ("rate", None),
        ("text", 3), ("sizes", [1, "a"]), ("sizes", 3), ("table", [1]), ("maybe", "x"), ("choice", "adamw"),
        ("count", object()),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(TemplateError, match=f"{name}: given .*, expected .*of the template 'some'; its default is"):
        read(name, value)


@pytest.mark.parametrize(
    ("name", "typed"), [("count", "1.5"), ("count", "three"), ("flag", "maybe"), ("rate", "#fff"), ("sizes", "1")]
)
def test_a_typed_text_of_the_wrong_type_is_refused(name: str, typed: str) -> None:
    with pytest.raises(TemplateError, match=f"{name}: given '{typed}', expected"):
        read(name, typed, text=True)


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("rate", np.float32(0.5), 0.5),
        ("count", np.int64(4), 4),
        ("text", Path("data") / "x.csv", str(Path("data") / "x.csv")),
        ("sizes", (np.int32(1), 2), [1, 2]),
        ("table", {"where": Path("x")}, {"where": "x"}),
        ("anything", None, None),
    ],
)
def test_what_python_hands_over_becomes_plain(name: str, value: object, plain: object) -> None:
    found = read(name, value)
    assert found == plain
    assert type(found) is type(plain)
