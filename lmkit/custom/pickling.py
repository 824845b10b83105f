"""The objects that a pickle captures, inspected before anything is copied.

A function of a notebook refers to other objects by its closure, its defaults and the global names in its code. Most are
small; an array of a gigabyte or an open file is reported by its name in the code.
"""

from __future__ import annotations

import functools
import inspect
import io
import sys
import types
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import hashlib
    from typing import BinaryIO

MAX_OBJECTS = 20_000
"""Objects that are inspected at most."""

NamedObject = tuple[str, Any]
"""An object and its name in the code."""


def import_path(value: Any) -> str:
    """Return the ``module:name`` by which another process can import ``value``; empty where it cannot."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not module or not name or not isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return ""
    if module == "__main__" or "<" in name or not is_on_path(module):
        return ""
    target: Any = sys.modules.get(module)
    for part in name.split("."):
        target = getattr(target, part, None)
    return f"{module}:{name}" if target is value else ""


def is_on_path(module: str) -> bool:
    """Whether another process can import a module."""
    return _has_spec(module, tuple(sys.path), str(Path.cwd()))


@functools.cache
def _has_spec(module: str, path: tuple[str, ...], folder: str) -> bool:
    del path, folder  # keys of the cache
    if module in sys.builtin_module_names:
        return True
    parts, locations = module.split("."), None
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), locations)
        if spec is None:
            return False
        locations = spec.submodule_search_locations
    return True


def iter_captured(value: Any, name: str = "") -> Iterator[NamedObject]:
    """Iterate over ``value`` and every object that it refers to and that cannot be imported, with their names."""
    seen: dict[int, Any] = {}  # holds the objects, since the id of a deleted object is reused
    queue: list[NamedObject] = [(name, value)]
    while queue and len(seen) < MAX_OBJECTS:
        name, value = queue.pop(0)
        if id(value) in seen or isinstance(value, types.ModuleType) or import_path(value):
            continue
        seen[id(value)] = value
        yield name, value
        queue += list(_references(name, value))


def _references(name: str, value: Any) -> Iterator[NamedObject]:
    """Iterate over the objects that ``value`` refers to."""
    if isinstance(value, types.FunctionType):
        yield from _function_references(value)
    elif isinstance(value, types.MethodType):
        yield from ((name, value.__func__), (name, value.__self__))
    elif isinstance(value, functools.partial):
        yield name, value.func
        yield from ((name, v) for v in value.args)
        yield from value.keywords.items()
    elif isinstance(value, staticmethod | classmethod):
        yield name, value.__func__
    elif isinstance(value, property):
        yield from ((name, f) for f in (value.fget, value.fset) if f)
    elif isinstance(value, type):
        yield from ((n, v) for n, v in vars(value).items() if not (n.startswith("__") and n != "__init__"))
    elif isinstance(value, Mapping):
        yield from ((str(k), v) for k, v in list(value.items()))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((name, v) for v in list(value)[:MAX_OBJECTS])
    elif size(value) is None and isinstance(getattr(value, "__dict__", None), dict):
        yield from ((n, v) for n, v in vars(value).items())


def _function_references(function: types.FunctionType) -> Iterator[NamedObject]:
    """Iterate over the closure, the globals and the defaults of a function."""
    cells = function.__closure__ or ()
    for inner, cell in zip(function.__code__.co_freevars, cells, strict=True):
        try:
            yield inner, cell.cell_contents
        except ValueError:  # an empty cell
            continue
    for inner in sorted(_globals(function.__code__)):
        if inner in function.__globals__:
            yield inner, function.__globals__[inner]
    yield from zip(_parameters(function), function.__defaults__ or (), strict=False)
    yield from (function.__kwdefaults__ or {}).items()


def _globals(code: types.CodeType) -> set[str]:
    """Return the global names in code and in the functions that it defines."""
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*map(_globals, inner))


def _parameters(function: types.FunctionType) -> list[str]:
    """Return the names of the parameters with a default."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    return list(names[len(names) - len(function.__defaults__ or ()) :])


def size(value: Any) -> int | None:
    """Return the bytes of an array, a tensor, a table or a text; None for other objects."""
    if isinstance(value, bytes | bytearray | memoryview | str):
        return len(value)
    if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "memory_usage"):
        usage = value.memory_usage()
        return int(usage.sum() if hasattr(usage, "sum") else usage)
    nbytes = getattr(value, "nbytes", None) if hasattr(value, "dtype") else None
    return nbytes if isinstance(nbytes, int) else None


class TooLarge(Exception):
    """A pickle exceeds its limit."""


class LimitedFile(io.RawIOBase):
    """A file of at most ``max_bytes`` bytes, which are hashed as they are written."""

    def __init__(self, file: BinaryIO, digest: hashlib._Hash, max_bytes: int) -> None:
        self.file, self.digest, self.remaining = file, digest, max_bytes

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Write ``data``, or raise ``TooLarge``."""
        view = memoryview(data).cast("B")
        self.remaining -= len(view)
        if self.remaining < 0:
            raise TooLarge
        self.digest.update(view)
        return self.file.write(view)


def source(value: Any) -> str:
    """Return the source of a function or class and of the objects that it captures, as far as it is available."""
    texts: dict[str, str] = {}
    if import_path(value):
        return _text(value)
    for _, inner in iter_captured(value):
        if isinstance(inner, type | types.FunctionType) and inner.__qualname__.rpartition(".")[0] not in texts:
            texts |= {inner.__qualname__: text} if (text := _text(inner)) else {}
    return "\n\n\n".join(reversed(texts.values()))


def _text(value: Any) -> str:
    try:
        return inspect.cleandoc("\n" + inspect.getsource(value)).strip()
    except (OSError, TypeError):
        return _class_text(value) if isinstance(value, type) else ""


def _class_text(cls: type) -> str:
    """Return the source of a class of a notebook by one of its methods; ``inspect`` fails before Python 3.13."""
    import ast
    import linecache

    for method in vars(cls).values():
        if isinstance(method, types.FunctionType):
            cell = "".join(linecache.getlines(method.__code__.co_filename))
            for node in ast.walk(ast.parse(cell)) if cell else ():
                if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
                    return ast.get_source_segment(cell, node) or ""
    return ""
