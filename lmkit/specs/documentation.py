"""The documentation of a specification's fields: the text under each, read from the source when it is needed.

pydantic can do this for each class as it is made; it takes a third of the time in which the configuration is imported.
"""

from __future__ import annotations

import ast
import inspect
from functools import cache
from itertools import pairwise
from pathlib import Path


@cache
def field_documentation(cls: type) -> dict[str, str]:
    """Return the text under each field of a class and of its bases; empty where there is no source.

    >>> from lmkit.specs.training import TrainingSpec
    >>> field_documentation(TrainingSpec)["epochs"]
    'Passes over the training part, at most; default for a text: 50.'
    """
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        for definition in _definitions(owner.__module__).get(owner.__name__, ())[-1:]:
            for field, text in pairwise(definition.body):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(value))):
                        texts[name] = inspect.cleandoc(value)
    return texts


@cache
def _definitions(module: str) -> dict[str, list[ast.ClassDef]]:
    """Return the definitions of classes in the source of a module, by name."""
    import sys

    path = getattr(sys.modules.get(module), "__file__", None)
    found: dict[str, list[ast.ClassDef]] = {}
    if path and path.endswith(".py"):
        try:
            tree = ast.parse(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError):
            return {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found
