"""Which parameters a notebook reads while it runs: an extension of the kernel that executes it.

Every cell's code is changed a little before it runs, unseen: a name that is a parameter's tells that it was read, but
not where the notebook has put something else in its place before.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmkit.events import JOURNAL, JsonLines

GIVEN = "LMKIT_PARAMETERS"
"""The environment variable that names a JSON file of the parameters that were given: name → value."""

MARK = "__lmkit_read__"
BLIND = {"globals", "locals", "vars", "eval", "exec"}
"""Functions that may read any name."""


def load_ipython_extension(shell: Any) -> None:
    """Watches the parameters that the environment names."""
    path, journal = os.environ.get(GIVEN), os.environ.get(JOURNAL)
    if not path or not journal:
        return
    lines = JsonLines(Path(journal))
    given = json.loads(Path(path).read_text(encoding="utf-8"))
    unread = set(given)
    lines.append({"watched": sorted(unread)})

    def read(name: str) -> None:
        if name in unread:
            unread.discard(name)
            lines.append({"read": name})

    def mark(name: str, value: Any) -> Any:
        # what is equal to the parameter serves as well as itself: it would have made no difference
        if name in unread and (type(value), repr(value)) == (type(given[name]), repr(given[name])):
            read(name)
        return value

    shell.user_ns[MARK] = mark
    shell.user_ns_hidden[MARK] = mark
    shell.ast_transformers.append(Marking(unread, read))


class Marking(ast.NodeTransformer):
    """Puts ``mark("name", name)`` in the place of each ``name`` that is awaited.

    Functions stay as they are written, for they may be sent elsewhere: what one reads counts once it is defined.

    Args:
        awaited: names of parameters that were not read yet.
        read: called with a name that is read where no mark can be put.
    """

    def __init__(self, awaited: set[str], read: Callable[[str], None]) -> None:
        self.awaited, self.read = awaited, read
        self.own: list[set[str]] = []

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Marks a name that is read."""
        if node.id in BLIND:
            self._all(self.awaited)
        if not isinstance(node.ctx, ast.Load) or node.id not in self.awaited or any(node.id in o for o in self.own):
            return node
        called = ast.Call(ast.Name(MARK, ast.Load()), [ast.Constant(node.id), node], [])
        return ast.fix_missing_locations(ast.copy_location(called, node))

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """``name += 1`` reads it, and no mark can be put there."""
        if isinstance(node.target, ast.Name):
            self._all({node.target.id})
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """What a magic is given is text: every word of it counts."""
        if isinstance(node.func, ast.Attribute) and "get_ipython" in ast.unparse(node.func.value):
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            self._all(set(re.findall(r"\w+", " ".join(texts))))
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        """Its defaults and decorators are computed here and now, its body is not."""
        node.decorator_list = [self.visit(d) for d in node.decorator_list]
        self._function(node.args, node.body)
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """As a function."""
        self._function(node.args, [node.body])
        return node

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> ast.AST:
        """Its own variables are none of the notebook's; what it goes over is computed outside."""
        node.generators[0].iter = self.visit(node.generators[0].iter)
        first, node.generators[0].iter = node.generators[0].iter, ast.Constant(None)
        self.own.append({n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)})
        self.generic_visit(node)
        self.own.pop()
        node.generators[0].iter = first
        return node

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp  # noqa: N815

    def _function(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        arguments.defaults = [self.visit(d) for d in arguments.defaults]
        arguments.kw_defaults = [d and self.visit(d) for d in arguments.kw_defaults]
        names = [n for part in body for n in ast.walk(part) if isinstance(n, ast.Name)]
        shared = {n for part in body for node in ast.walk(part) if isinstance(node, ast.Global) for n in node.names}
        own = {a.arg for a in ast.walk(arguments) if isinstance(a, ast.arg)}
        own |= {n.id for n in names if isinstance(n.ctx, ast.Store)} - shared
        read = {n.id for n in names if isinstance(n.ctx, ast.Load)}
        self._all(self.awaited if read & BLIND else read - own)

    def _all(self, names: set[str]) -> None:
        for name in names & self.awaited:
            if not any(name in o for o in self.own):
                self.read(name)
