"""Records which parameters a notebook reads while it runs: an extension of the kernel that executes it.

It transforms the code of every cell before it runs, so that reading a parameter's name is recorded; but not after the
notebook has assigned another value to that name.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmkit.runfolder.journal import JOURNAL
from lmkit.specs.plain import plain
from lmkit.system.files import JsonLines

PARAMETERS = "LMKIT_PARAMETERS"
"""The environment variable with the path of a JSON file of the parameters: name → value."""

MARK = "__lmkit_read__"
READS_ALL = {"globals", "locals", "vars", "eval", "exec"}
"""Functions that may read any name."""


def load_ipython_extension(shell: Any) -> None:
    """Record the use of the parameters that the environment names."""
    path, journal = os.environ.get(PARAMETERS), os.environ.get(JOURNAL)
    if not path or not journal:
        return
    lines = JsonLines(Path(journal))
    parameters = json.loads(Path(path).read_text(encoding="utf-8"))
    unread = set(parameters)
    lines.append({"watched": sorted(unread)})

    def record(name: str) -> None:
        if name in unread:
            unread.discard(name)
            lines.append({"read": name})

    def mark(name: str, value: Any) -> Any:
        # an equal value that the notebook assigned itself counts as well: it makes no difference
        parameter = parameters.get(name)
        if name in unread and _canonical(value) == _canonical(parameter):
            record(name)
        return value

    shell.user_ns[MARK] = mark
    shell.user_ns_hidden[MARK] = mark
    shell.ast_transformers.append(UsageTransformer(unread, record))


def _canonical(value: Any) -> Any:
    """Return the type and the text of a value; a tuple equals a list, and a path its text, as in the JSON file."""
    plain_value = plain(value)
    return type(plain_value), repr(plain_value)


class UsageTransformer(ast.NodeTransformer):
    """Replaces each unread ``name`` by ``mark("name", name)``.

    The bodies of functions are not transformed, since a function may be sent to another process: the names that it
    reads count as read when it is defined.

    Args:
        unread: names of parameters that were not read yet.
        record: called with a name that is read where no mark can be inserted.
    """

    def __init__(self, unread: set[str], record: Callable[[str], None]) -> None:
        self.unread, self.record = unread, record
        self.scopes: list[set[str]] = []

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Mark a name that is read."""
        if node.id in READS_ALL:
            self._record(self.unread)
        if not isinstance(node.ctx, ast.Load) or node.id not in self.unread or self._is_local(node.id):
            return node
        call = ast.Call(ast.Name(MARK, ast.Load()), [ast.Constant(node.id), node], [])
        return ast.fix_missing_locations(ast.copy_location(call, node))

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """Record ``name += 1``, where no mark can be inserted."""
        if isinstance(node.target, ast.Name):
            self._record({node.target.id})
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Record every word in the text of a magic."""
        if isinstance(node.func, ast.Attribute) and "get_ipython" in ast.unparse(node.func.value):
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            self._record(set(re.findall(r"\w+", " ".join(texts))))
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        """Mark the defaults and decorators, which are evaluated at once, but not the body."""
        node.decorator_list = [self.visit(d) for d in node.decorator_list]
        self._function(node.args, node.body)
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """Treat a lambda as a function."""
        self._function(node.args, [node.body])
        return node

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> ast.AST:
        """Treat the variables of a comprehension as local; its first iterable is evaluated outside."""
        node.generators[0].iter = self.visit(node.generators[0].iter)
        first, node.generators[0].iter = node.generators[0].iter, ast.Constant(None)
        self.scopes.append({n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)})
        self.generic_visit(node)
        self.scopes.pop()
        node.generators[0].iter = first
        return node

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp  # noqa: N815

    def _function(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        arguments.defaults = [self.visit(d) for d in arguments.defaults]
        arguments.kw_defaults = [d and self.visit(d) for d in arguments.kw_defaults]
        names = [n for part in body for n in ast.walk(part) if isinstance(n, ast.Name)]
        shared = {n for part in body for node in ast.walk(part) if isinstance(node, ast.Global) for n in node.names}
        local = {a.arg for a in ast.walk(arguments) if isinstance(a, ast.arg)}
        local |= {n.id for n in names if isinstance(n.ctx, ast.Store)} - shared
        read = {n.id for n in names if isinstance(n.ctx, ast.Load)}
        self._record(self.unread if read & READS_ALL else read - local)

    def _is_local(self, name: str) -> bool:
        return any(name in scope for scope in self.scopes)

    def _record(self, names: set[str]) -> None:
        for name in names & self.unread:
            if not self._is_local(name):
                self.record(name)
