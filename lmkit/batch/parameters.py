"""The parameters of a notebook: read from its cell, and values checked against their types; nothing in it is run."""

from __future__ import annotations

import ast
import io
import json
import math
import tokenize
import typing
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.errors import TemplateError
from lmkit.specs.plain import parse_value, plain


class Parameter(NamedTuple):
    """One parameter of a template.

    Attributes:
        name: what it is assigned to.
        annotation: its type as written; empty where none is.
        default: its value in the template.
        documentation: the comment behind it.
        type: its type; Any where none is written.
    """

    name: str
    annotation: str
    default: Any
    documentation: str
    type: Any


def read_parameters(source: str, where: str = "the parameters cell") -> dict[str, Parameter]:
    """The parameters that a cell assigns: name, type, default, and the comment behind each.

    Args:
        source: the cell's code: one literal a name, ``name: type = value  # comment``.
        where: what messages call it.

    Raises:
        TemplateError: it is not Python, or holds something else than that.

    >>> read_parameters("colour: str = '#fff'  # of the line")["colour"].documentation
    'of the line'
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise TemplateError(f"{where}: the cell tagged 'parameters' is not Python: {error}") from None
    comments = {
        token.start[0]: token.string.lstrip("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a text that explains the cell
        targets = (
            [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
        )
        names = [t.id for t in targets if isinstance(t, ast.Name)]
        value = getattr(node, "value", None)
        if len(names) != 1 or len(targets) != 1 or value is None:
            raise TemplateError(
                f"{where}: expected only 'name: type = value  # comment' in the cell tagged 'parameters', "
                f"given: {ast.unparse(node)}"
            )
        try:
            default = plain(ast.literal_eval(value))
        except ValueError:
            raise TemplateError(
                f"{where}: the default of {names[0]!r} is {ast.unparse(value)}; expected a literal, such as a number, "
                "a text, a list or None"
            ) from None
        annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
        found[names[0]] = Parameter(
            names[0],
            ast.unparse(annotation) if annotation else "",
            default,
            comments.get(node.end_lineno or node.lineno, ""),
            _type(annotation, f"{where}: {names[0]}") if annotation else Any,
        )
    return found


def _type(annotation: ast.expr, where: str) -> Any:
    """The type that an annotation stands for: built-in ones and those of ``typing``; nothing in it is called."""
    from pydantic import PydanticUserError, TypeAdapter

    names = {t.__name__: t for t in (bool, int, float, str, list, dict, tuple)} | {"Path": Path, "typing": typing}
    names |= {n: getattr(typing, n) for n in ("Any", "Literal", "Optional", "Union", "Annotated")}
    allowed = (ast.Name, ast.Subscript, ast.BinOp, ast.BitOr, ast.Constant, ast.Tuple, ast.List, ast.Load,
               ast.UnaryOp, ast.USub)  # fmt: skip
    text = ast.unparse(annotation)
    try:
        for node in ast.walk(annotation):
            is_typing = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "typing" and node.attr in names
            if not isinstance(node, allowed) and not is_typing:
                raise TypeError
        found = eval(compile(ast.Expression(annotation), where, "eval"), {"__builtins__": {}}, names)
        TypeAdapter(found)
        return found
    except (NameError, TypeError, PydanticUserError):
        raise TemplateError(
            f"{where}: the type {text} is not understood; expected one made of {', '.join(sorted(names))}"
        ) from None


def parameter_value(parameter: Parameter, value: Any, text: bool, template: str) -> Any:
    """``value`` as a plain one of the parameter's type."""
    from pydantic import TypeAdapter, ValidationError

    readings = _readings(value, parameter.type) if text else [plain(value)]
    adapter = TypeAdapter(parameter.type)
    for reading in readings:
        try:
            # JSON's rules: no text for a number, but a list for a tuple and a text for a path
            adapter.validate_json(json.dumps(reading), strict=True)
        except (ValidationError, TypeError):
            continue
        return reading
    raise TemplateError(
        f"{parameter.name}: given {value!r}, expected {parameter.annotation or 'a plain value'} "
        f"(a parameter of the template {template!r}; its default is {parameter.default!r})"
    )


def _readings(text: str, wanted: Any) -> list[Any]:
    """What a text on a command line may mean, the likeliest first."""
    words = {"none": None, "nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    value = words.get(text.strip().lower(), parse_value(text))
    if wanted is str or isinstance(value, str):
        return [text]
    return [value, text]  # the text itself, for a type such as `str | None`
