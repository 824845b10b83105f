"""The parameters of a notebook: read from its cell without executing it, and values checked against their types."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import math
import re
import tokenize
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from lmkit.exceptions import TemplateError, shorten
from lmkit.specs.plain import parse_value, plain


class Parameter(NamedTuple):
    """One parameter of a template.

    Attributes:
        name: the variable.
        annotation: its type as written; empty without a type.
        default: its value in the template; None where that is not a literal.
        documentation: the comment at the end of its line.
        type: its type; Any without an annotation, or with one that only executing the cell would tell.
        expression: its value in the template as written; empty without one.
    """

    name: str
    annotation: str
    default: Any
    documentation: str
    type: Any
    expression: str = ""


def parse_cell(source: str) -> ast.Module | None:
    """Return the syntax tree of a cell, in which lines for IPython are empty; None if it is not Python.

    >>> ast.unparse(parse_cell("%matplotlib inline\\nfiles = !ls\\nrate = 0.1"))
    'pass\\nfiles = magic()\\nrate = 0.1'
    """
    if re.match(r"\s*%%(?!(time|timeit|capture|prun)\b)", source):
        return None  # of another language
    for text in (source, _without_magics(source)):
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # those of ast.parse
            flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            return typing.cast("ast.Module", compile(text, "cell", "exec", flags, dont_inherit=True))
    return None


def _without_magics(source: str) -> str:
    """Return the source with ``pass`` for each magic, shell command and question, and ``name = magic()`` for theirs."""
    source = re.sub(r"(?m)^([ \t]*)([%!?].*|[\w.]+\?{1,2}[ \t]*)$", r"\1pass", source)
    return re.sub(r"(?m)^([ \t]*[\w, ]+=)[ \t]*[%!].*$", r"\1 magic()", source)


def read_parameters(source: str) -> dict[str, Parameter] | None:
    """Read the parameters that a cell assigns, without executing it.

    Args:
        source: the cell's code; best is one literal per name, ``name: type = value  # comment``. Of any other code, the
            assigned names are parameters without a type.

    Returns:
        Name → parameter; None if the cell is not Python.

    >>> read_parameters("colour: str = '#fff'  # of the line")["colour"].documentation
    'of the line'
    """
    tree = parse_cell(source)
    if tree is None:
        return None
    comments = _comments(source)
    names, modules = _type_names(tree)
    parameters: dict[str, Parameter] = {}
    for node in _statements(tree.body):
        value = getattr(node, "value", None)
        annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
        targets = _targets(node)
        comment = comments.get(node.end_lineno or node.lineno, "") if targets else ""
        if annotation is None and (typed := re.match(r"type:\s*(\S+)\s*(?:#\s*)?(.*)", comment)):
            annotation, comment = _expression(typed[1]), typed[2]
        for name in targets:
            alone = value if len(targets) == 1 and isinstance(node, ast.Assign | ast.AnnAssign) else None
            parameters[name] = Parameter(
                name,
                ast.unparse(annotation) if annotation else "",
                _literal(alone),
                comment,
                _type(annotation, names, modules) if annotation else Any,
                ast.unparse(alone) if alone else "",
            )
    return parameters


def missing_imports(source: str, earlier: Iterable[str]) -> list[str]:
    """Return the names of ``typing`` and ``pathlib`` that the cell's types use and no cell up to it imports."""
    trees = [tree for cell in (*earlier, source) if (tree := parse_cell(cell))]
    tree = parse_cell(source)
    used = [n for a in ast.walk(tree) if isinstance(a, ast.AnnAssign) for n in ast.walk(a.annotation)] if tree else []
    bound = {
        a.asname or a.name
        for t in trees
        for n in ast.walk(t)
        for a in getattr(n, "names", ())
        if not isinstance(a, str)
    }
    bound |= {n.id for t in trees for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.name for t in trees for n in ast.walk(t) if isinstance(n, ast.ClassDef)}
    if {"*", "annotations"} & bound or any(re.search(r"(?m)^\s*%(run|load|pylab)\b", cell) for cell in earlier):
        return []
    required = {*TYPING, "Path", "typing"}
    return list(dict.fromkeys(n.id for n in used if isinstance(n, ast.Name) and n.id in required - bound))


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a cell, and those inside ``if``, ``for``, ``with`` and ``try``, in order."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for inner in (getattr(node, part, ()) for part in ("body", "handlers", "orelse", "finalbody")):
                yield from _statements(inner)


def _targets(node: ast.AST) -> list[str]:
    """Return the variables that a statement assigns."""
    targets = [*getattr(node, "targets", ())] if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    stored = (n for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return [n.id for n in stored]


def _comments(source: str) -> dict[int, str]:
    """Return the comments of a cell by the number of their line."""
    comments: dict[int, str] = {}
    with contextlib.suppress(tokenize.TokenError, SyntaxError):  # magics
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                comments[token.start[0]] = token.string.lstrip("#").strip()
    return comments


def _literal(value: ast.expr | None) -> Any:
    """Return the value of a literal, as a plain value; None for any other expression."""
    with contextlib.suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        if value is not None and isinstance(
            literal := ast.literal_eval(value), bool | int | float | str | list | dict | tuple
        ):
            return plain(literal)
    return None


def _expression(text: str) -> ast.expr | None:
    """Return the syntax tree of a type in a comment or in quotes; None if it is none."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.parse(text, mode="eval").body
    return None


TYPING = ("Any", "Literal", "Optional", "Union", "Annotated", "List", "Dict", "Tuple", "Sequence")
"""The types of ``typing`` that are read."""


def _type_names(tree: ast.Module) -> tuple[dict[str, Any], set[str]]:
    """Return the types that an annotation can name, and the modules that it can name them in, with a cell's imports."""
    types: dict[str, Any] = {t.__name__: t for t in (bool, int, float, str, list, dict, tuple)} | {"Path": Path}
    types |= {name: getattr(typing, name) for name in TYPING}
    names, modules = dict(types), {"typing", "pathlib"}
    for node in ast.walk(tree):
        for alias in getattr(node, "names", ()) if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if isinstance(node, ast.Import) and alias.name in ("typing", "pathlib", "typing_extensions"):
                modules.add(alias.asname or alias.name)
            elif isinstance(node, ast.ImportFrom) and alias.name in types:
                names[alias.asname or alias.name] = types[alias.name]
    return names, modules


def _type(annotation: ast.expr, names: dict[str, Any], modules: set[str]) -> Any:
    """Return the type of an annotation, of which nothing is called; Any if it contains other types."""
    from pydantic import TypeAdapter

    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = _expression(annotation.value) or annotation
    allowed = (
        ast.Name,
        ast.Subscript,
        ast.BinOp,
        ast.BitOr,
        ast.Constant,
        ast.Tuple,
        ast.List,
        ast.Load,
        ast.UnaryOp,
        ast.USub,
    )
    try:
        # not a deep copy: contexts such as Load() are shared by all trees, and tools hang their own trees on them
        bare = _Members(modules).visit(ast.parse(ast.unparse(annotation), mode="eval").body)
        if not all(isinstance(node, allowed) for node in ast.walk(bare)):
            return Any
        annotated = eval(compile(ast.Expression(bare), "annotation", "eval"), {"__builtins__": {}}, dict(names))
        TypeAdapter(annotated)
    except Exception:  # it may be any combination of these nodes, and the type itself is not needed
        return Any
    return annotated


class _Members(ast.NodeTransformer):
    """Replaces ``module.name`` by ``name``."""

    def __init__(self, modules: set[str]) -> None:
        self.modules = modules

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """Replace a member of one of the modules."""
        if isinstance(node.value, ast.Name) and node.value.id in self.modules:
            return ast.copy_location(ast.Name(node.attr, ast.Load()), node)
        return node


def parameter_value(parameter: Parameter, value: Any, text: bool, template: str) -> Any:
    """Return ``value`` as a plain value of the parameter's type.

    Args:
        parameter: the parameter.
        value: the value.
        text: whether ``value`` is a text from a command line, to be read by the type.
        template: the name of the template in messages.

    Raises:
        TemplateError: the value has another type.
    """
    from pydantic import TypeAdapter, ValidationError

    candidates = _read_text(value, parameter.type) if text else [plain(value)]
    adapter = TypeAdapter(parameter.type)
    for candidate in candidates:
        try:
            # JSON's rules: no text for a number, but a list for a tuple and a text for a path
            adapter.validate_json(json.dumps(candidate), strict=True)
        except (ValidationError, TypeError):
            continue
        return candidate
    raise TemplateError(
        f"{parameter.name}: given {shorten(value)}, expected {_describe_type(parameter)} "
        f"(parameter of the template {template!r}, default {parameter.expression or repr(parameter.default)})"
    )


def _describe_type(parameter: Parameter) -> str:
    if typing.get_origin(parameter.type) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(parameter.type)))}"
    return parameter.annotation or "a plain value"


def _read_text(text: str, expected: Any) -> list[Any]:
    """Return the possible values of a text from a command line, the most likely first."""
    words = {"none": None, "nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    value = words.get(text.strip().lower(), parse_value(text))
    if expected is str:
        return [text]
    if text.lstrip().startswith("("):
        value = _literal(_expression(text.strip())) or value
    if isinstance(value, str):
        return [text]
    return [value, text]  # the text, for a type such as `str | None`


# -- code -----------------------------------------------------------------------------------------


def parameters_code(values: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> str:
    """Return the lines of Python that assign plain values to parameters, as what their types say.

    >>> print(parameters_code({"shape": [5, 6]}, read_parameters("shape: tuple = (3, 4)")))
    shape = (5, 6)
    """
    restored = {n: _restore(parameters[n], v) if n in parameters else v for n, v in values.items()}
    needs_path = any(_contains(v, PurePath) for v in restored.values())
    lines = [f"{name} = {_code(value)}" for name, value in restored.items()]
    return "\n".join([*(["from pathlib import Path"] if needs_path else []), *lines])


def _restore(parameter: Parameter, value: Any) -> Any:
    """Return a plain value as a tuple or a path where the parameter's type or its default is one."""
    from pydantic import TypeAdapter

    if parameter.type is Any:
        default = _expression(parameter.expression)
        if isinstance(default, ast.Tuple) and isinstance(value, list):
            return tuple(value)
        is_path = isinstance(default, ast.Call) and ast.unparse(default.func) in ("Path", "pathlib.Path")
        return Path(value) if is_path and isinstance(value, str) else value
    restored = TypeAdapter(parameter.type).validate_json(json.dumps(value), strict=True)
    return restored if _contains(restored, (tuple, PurePath)) else value


def _contains(value: Any, kind: Any) -> bool:
    if isinstance(value, kind):
        return True
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return any(_contains(member, kind) for member in members)


def _code(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_code(k)}: {_code(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        members = ", ".join(map(_code, value))
        return f"[{members}]" if isinstance(value, list) else f"({members}{',' if len(value) == 1 else ''})"
    if isinstance(value, PurePath):
        return f"Path({str(value)!r})"
    return f"float('{value}')" if isinstance(value, float) and not math.isfinite(value) else repr(value)
