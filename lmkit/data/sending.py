"""What an object takes along when it is sent to another process, looked at before anything is copied.

A function of a notebook refers to other things by its closure, its defaults and the global names in its code. Most are
small; an array of a gigabyte or an open file is found here, by the name that it has in the code.
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

MOST = 20_000
"""Things that are looked at, at most."""

Found = tuple[str, Any]
"""A thing and the name that it has in the code."""


def imported(value: Any) -> str:
    """The ``module:name`` by which another process can import ``value``; empty where none can."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not module or not name or not isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return ""
    if module == "__main__" or "<" in name or not _on_path(module):
        return ""
    at: Any = sys.modules.get(module)
    for part in name.split("."):
        at = getattr(at, part, None)
    return f"{module}:{name}" if at is value else ""


def _on_path(module: str) -> bool:
    """Whether a module lies where another process finds it."""
    return _found(module, tuple(sys.path), str(Path.cwd()))


@functools.cache
def _found(module: str, path: tuple[str, ...], folder: str) -> bool:
    if module in sys.builtin_module_names:
        return True
    parts, place = module.split("."), None
    for i in range(len(parts)):
        found = PathFinder.find_spec(".".join(parts[: i + 1]), place)
        if found is None:
            return False
        place = found.submodule_search_locations
    return True


def taken_along(value: Any, name: str = "") -> Iterator[Found]:
    """``value`` and all that it refers to which cannot be imported, each with its name."""
    seen: dict[int, Any] = {}  # what is looked at is held, for the number of a thing that is gone is used again
    waiting: list[Found] = [(name, value)]
    while waiting and len(seen) < MOST:
        name, value = waiting.pop(0)
        if id(value) in seen or isinstance(value, types.ModuleType) or imported(value):
            continue
        seen[id(value)] = value
        yield name, value
        waiting += list(_inside(name, value))


def _inside(name: str, value: Any) -> Iterator[Found]:
    """What ``value`` refers to."""
    if isinstance(value, types.FunctionType):
        cells = value.__closure__ or ()
        for inner, cell in zip(value.__code__.co_freevars, cells, strict=True):
            try:
                yield inner, cell.cell_contents
            except ValueError:  # not filled yet
                continue
        for inner in sorted(_globals(value.__code__)):
            if inner in value.__globals__:
                yield inner, value.__globals__[inner]
        yield from zip(_parameters(value), value.__defaults__ or (), strict=False)
        yield from (value.__kwdefaults__ or {}).items()
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
        yield from ((name, v) for v in list(value)[:MOST])
    elif size(value) is None and isinstance(getattr(value, "__dict__", None), dict):
        yield from ((n, v) for n, v in vars(value).items())


def _globals(code: types.CodeType) -> set[str]:
    """The names that the code, and what is defined in it, looks up outside."""
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*map(_globals, inner))


def _parameters(function: types.FunctionType) -> list[str]:
    """The names of the parameters that have a default."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    return list(names[len(names) - len(function.__defaults__ or ()) :])


def size(value: Any) -> int | None:
    """Bytes of an array, a tensor, a table or a text; None for what is none of these."""
    if isinstance(value, bytes | bytearray | memoryview | str):
        return len(value)
    if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "memory_usage"):
        used = value.memory_usage()
        return int(used.sum() if hasattr(used, "sum") else used)
    held = getattr(value, "nbytes", None) if hasattr(value, "dtype") else None
    return held if isinstance(held, int) else None


def size_text(held: float) -> str:
    """Bytes as a person says it.

    >>> size_text(1.5e9), size_text(70e6)
    ('1.5 GB', '70 MB')
    """
    return f"{held / 1e9:.1f} GB" if held >= 1e9 else f"{held / 1e6:.0f} MB"


class TooMuch(Exception):
    """More is sent than may be."""


class Capped(io.RawIOBase):
    """A file that takes so many bytes at most, and hashes them."""

    def __init__(self, file: BinaryIO, digest: hashlib._Hash, most: int) -> None:
        self.file, self.digest, self.left = file, digest, most

    def writable(self) -> bool:
        """It can be written."""
        return True

    def write(self, data: Any) -> int:
        """Writes ``data``, or raises ``TooMuch``."""
        view = memoryview(data).cast("B")
        self.left -= len(view)
        if self.left < 0:
            raise TooMuch
        self.digest.update(view)
        return self.file.write(view)


def source(value: Any) -> str:
    """The text of a function or class and of what it takes along, as far as it can be got; empty where it cannot."""
    texts: dict[str, str] = {}
    if imported(value):
        return _text(value)
    for _, inner in taken_along(value):
        if isinstance(inner, type | types.FunctionType) and inner.__qualname__.rpartition(".")[0] not in texts:
            texts |= {inner.__qualname__: text} if (text := _text(inner)) else {}
    return "\n\n\n".join(reversed(texts.values()))


def _text(value: Any) -> str:
    try:
        return inspect.cleandoc("\n" + inspect.getsource(value)).strip()
    except (OSError, TypeError):
        return _class_text(value) if isinstance(value, type) else ""


def _class_text(cls: type) -> str:
    """The text of a class of a notebook, which ``inspect`` does not find before Python 3.13: by one of its methods."""
    import ast
    import linecache

    for method in vars(cls).values():
        if isinstance(method, types.FunctionType):
            cell = "".join(linecache.getlines(method.__code__.co_filename))
            for node in ast.walk(ast.parse(cell)) if cell else ():
                if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
                    return ast.get_source_segment(cell, node) or ""
    return ""
