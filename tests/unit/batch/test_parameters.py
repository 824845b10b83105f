"""Parameters are read from a cell without running it, and values are held to their types."""

from __future__ import annotations

import ast
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmkit.batch.parameters import missing_imports, parameter_value, parameters_code, read_parameters
from lmkit.exceptions import TemplateError

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
KNOWN = read_parameters(CELL) or {}


def read(name: str, value: object, text: bool = False) -> object:
    return parameter_value(KNOWN[name], value, text, "some")


def test_types_may_be_written_as_members_of_typing() -> None:
    known = (read_parameters("a: typing.Literal['x', 'y'] = 'x'") or {})["a"]
    assert parameter_value(known, "y", False, "some") == "y"


def test_names_types_defaults_and_comments_are_read() -> None:
    assert list(KNOWN) == ["rate", "flag", "count", "text", "sizes", "table", "maybe", "choice", "anything"]
    assert [p.annotation for p in KNOWN.values()] == [
        "float",
        "bool",
        "int",
        "str",
        "list[int]",
        "dict",
        "int | None",
        "Literal['sgd', 'adam']",
        "",
    ]
    assert [p.default for p in KNOWN.values()] == [
        1e-3,
        False,
        -3,
        "a # b",
        [1, 2],
        {"a": {"b": None}},
        None,
        "sgd",
        [1, 2.5],
    ]
    assert KNOWN["rate"].documentation == "learning rate, in 1/step"
    assert KNOWN["text"].documentation == "a comment behind a hash"
    assert KNOWN["sizes"].documentation == "behind the end"
    assert KNOWN["flag"].documentation == ""


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("print('ran')", []),
        ("import os\nfrom datetime import date\nday: date = date(2020, 1, 2)", ["day"]),
        ("%matplotlib inline\nrate = 10**-3\n!ls\nrate?", ["rate"]),
        ("files = !ls\nhome = %env HOME", ["files", "home"]),
        ("data = Path('data')\ntext = f'{data}'\nlimit = float('inf')", ["data", "text", "limit"]),
        ("a = b = 1\nx, (y, *z) = 1, (2, 3)\nn: int\nn += 1", ["a", "b", "x", "y", "z", "n"]),
        ("if a:\n    b = 1\nelse:\n    c = 2\ntry:\n    d = 3\nexcept OSError:\n    e = 4", ["b", "c", "d", "e"]),
        ("def f():\n    inside = 1\nclass C:\n    member = 1\nvalue = await g()", ["value"]),
        ("a: ().__class__ = 1\nb: __import__('os') = 2\nc: list[1] = 3\nd: typing.sys.exit = 4", list("abcd")),
    ],
)
def test_any_code_may_stand_beside_literals(source: str, names: list[str]) -> None:
    parameters = read_parameters(source)
    assert parameters is not None
    assert list(parameters) == names
    assert all(p.type in (Any, int) for p in parameters.values()), "types that nothing but running the cell can tell"


@pytest.mark.parametrize("source", ["a: int = 1 +", "%%R\na <- 1"])
def test_a_cell_that_is_not_python_has_unknown_parameters(source: str) -> None:
    assert read_parameters(source) is None


def test_reading_a_cell_runs_none_of_it(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    read_parameters(f"import pathlib\na: pathlib.Path({str(target)!r}).touch() = pathlib.Path({str(target)!r}).touch()")
    assert not target.exists()


@pytest.mark.parametrize(
    ("source", "good", "bad"),
    [
        ("from typing import Literal\na: Literal['x', 'y'] = 'x'", "y", "z"),
        ("from typing import Literal as L\na: L['x', 'y'] = 'x'", "y", "z"),
        ("import typing as t\na: t.Optional[int] = None", None, "x"),
        ("a: 'int' = 3", 4, "x"),
        ("a = 3  # type: int  # rows", 4, "x"),
        ("from typing import List\na: List[int] = []", [1], ["x"]),
    ],
)
def test_types_are_read_however_they_are_written(source: str, good: object, bad: object) -> None:
    parameter = (read_parameters(source) or {})["a"]
    assert parameter_value(parameter, good, False, "some") == good
    with pytest.raises(TemplateError, match="a: given"):
        parameter_value(parameter, bad, False, "some")


def test_what_tools_hang_on_the_shared_nodes_of_trees_is_not_followed() -> None:
    shared = ast.parse("x").body[0].value.ctx  # type: ignore[attr-defined]  # one Load() for all trees of the process
    shared.parent = threading.Lock()  # as IPython's tracebacks do with a tree; this cannot be copied at all
    try:
        parameter = (read_parameters("epochs: int = 3") or {})["epochs"]
    finally:
        del shared.parent
    assert parameter.type is int


def test_a_type_without_its_import_is_named() -> None:
    cell = "a: Literal['x'] = 'x'\nb: Optional[int] = None"
    assert missing_imports(cell, ["import os"]) == ["Literal", "Optional"]
    assert missing_imports(cell, ["from typing import Literal, Optional"]) == []
    assert missing_imports(cell, ["from typing import *"]) == []
    assert missing_imports(f"from __future__ import annotations\n{cell}", []) == []
    assert missing_imports(f"from typing import Literal\n{cell}", ["Optional = 1"]) == []


@pytest.mark.parametrize(
    ("cell", "value", "expected"),
    [
        ("a: tuple = (3, 4)", [5, 6], (5, 6)),
        ("a = (3, 4)", [5], (5,)),
        ("a: list[tuple[int, int]] = []", [[1, 2]], [(1, 2)]),
        ("a: Path = Path('x')", "y", Path("y")),
        ("a = Path('x')", "y", Path("y")),
        ("a: float = 1.0", 1, 1),
        ("a: float = 1.0", math.inf, math.inf),
        ("a: dict = {}", {"k": [None, True, "it's \\ü\n"]}, {"k": [None, True, "it's \\ü\n"]}),
    ],
)
def test_the_code_of_parameters_assigns_what_their_types_say(cell: str, value: object, expected: object) -> None:
    namespace: dict[str, object] = {}
    exec(parameters_code({"a": value}, read_parameters(cell) or {}), namespace)
    assert namespace["a"] == expected
    assert type(namespace["a"]) is type(expected)


def test_a_tuple_may_be_typed_as_a_tuple_or_a_list() -> None:
    parameter = (read_parameters("a: tuple = (3, 4)") or {})["a"]
    assert (
        parameter_value(parameter, "(5, 6)", True, "some")
        == [5, 6]
        == parameter_value(parameter, "[5, 6]", True, "some")
    )
    with pytest.raises(TemplateError, match=r"default \(3, 4\)"):
        parameter_value(parameter, "5", True, "some")


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
        ("count", 1.5),
        ("count", True),
        ("count", "3"),
        ("flag", 1),
        ("flag", "true"),
        ("rate", "0.1"),
        ("rate", None),
        ("text", 3),
        ("sizes", [1, "a"]),
        ("sizes", 3),
        ("table", [1]),
        ("maybe", "x"),
        ("choice", "adamw"),
        ("count", object()),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(TemplateError, match=f"{name}: given .*, expected .*of the template 'some', default"):
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
