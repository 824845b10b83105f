"""The exceptions, as one tree.

    LmkitError
    ├── ConfigError       an invalid experiment or argument: unknown key, wrong type, impossible combination
    ├── DataError         data that cannot be trained on as configured
    ├── TemplateError     an invalid notebook template, or an invalid parameter of one
    ├── SweepError        an invalid sweep: its search space, its folder, its settings
    ├── CommandError      an invalid line of the magic
    ├── UntrustedCode     a run or bundle names code that did not come from this user on this machine
    ├── MissingPackage    an optional package is not installed
    ├── DamagedFile       a file of a run, a sweep or a bundle that cannot be read
    ├── LinkError         a symbolic link in a folder, through which a file would be written elsewhere
    └── RunError
        ├── RunNotFound   no run, or more than one, matches a name
        ├── RunStateError the state of a run does not allow the operation
        └── RunFailed     the result of a run that did not complete was requested

Every message says what was given, what was expected, and what to type next; its first line is the problem itself.
"""

from __future__ import annotations

import difflib
import errno
import os
import reprlib
import traceback
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any


class LmkitError(Exception):
    """The base class of all exceptions of lmkit."""


class ConfigError(LmkitError, ValueError):
    """An invalid experiment or argument: each problem names its path, what was given and what was expected.

    Attributes:
        problems: one sentence per problem, beginning with the path of the field.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        header = ["Invalid experiment:"] if len(self.problems) > 1 else []
        super().__init__("\n  ".join([*header, *self.problems]))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class DataError(LmkitError, ValueError):
    """Data that cannot be trained on as configured."""


class TemplateError(LmkitError, ValueError):
    """An invalid notebook template, or an invalid parameter of one."""


class SweepError(LmkitError, ValueError):
    """An invalid sweep: its search space, its folder, its settings."""


class CommandError(LmkitError, ValueError):
    """An invalid line of the magic: an unknown verb, a missing or unexpected argument, a value that is not defined."""


class UntrustedCode(LmkitError):
    """A run, bundle or experiment names code that did not come from this user on this machine; nothing was run."""


class MissingPackage(LmkitError, ImportError):
    """An optional package is not installed; the message contains the command that installs it."""


class DamagedFile(LmkitError, ValueError):
    """A file of a run, a sweep or a bundle cannot be read: the message names it and says what is wrong.

    Attributes:
        path: the file.
        problem: what is wrong, without the path.
        is_cut_short: whether it seems not to have been written to its end, as when a machine fails.
    """

    def __init__(
        self, path: str | os.PathLike[str], problem: str = "its content is damaged", *, is_cut_short: bool = False
    ) -> None:
        self.path, self.problem, self.is_cut_short = os.fspath(path), problem, is_cut_short
        super().__init__(f"{self.path!r} cannot be read: {problem}")

    def __reduce__(self) -> tuple[type[DamagedFile], tuple[str, str]]:
        return type(self), (self.path, self.problem)


class LinkError(LmkitError, OSError):
    """A symbolic link is where a file is to be written, so that the file would be written elsewhere."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(
            errno.ELOOP, "it is a symbolic link, and no file is written through one; remove it", os.fspath(path)
        )

    def __str__(self) -> str:
        return f"{self.filename!r} cannot be written: {self.strerror}"

    def __reduce__(self) -> tuple[type[LinkError], tuple[str]]:
        return type(self), (self.filename,)


class RunError(LmkitError):
    """The base class of the exceptions about a run."""


class RunNotFound(RunError, LookupError):
    """No run, or more than one, matches a name."""


class RunStateError(RunError):
    """The state of a run does not allow the operation."""


class RunFailed(RunError):
    """The result of a run that did not complete was requested."""


def nearest(name: str, names: Iterable[str], label: str = "expected one of") -> str:
    """Return the hint that ends an "unknown name" message: the nearest of the names, and all of them.

    >>> nearest("reluu", ["relu", "tanh"])
    "did you mean 'relu'? Expected one of relu, tanh"
    >>> nearest("town", ["price", "rooms"], "columns:")
    'columns: price, rooms'
    """
    names = [str(n) for n in names]
    lowered = {n.lower(): n for n in names}
    matches = difflib.get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.5)
    choices = f"{label} {', '.join(names)}" if names else "none available"
    return f"did you mean {lowered[matches[0]]!r}? {choices[0].upper()}{choices[1:]}" if matches else choices


MAX_MESSAGE = 500
"""Characters of another package's message that are repeated."""


def describe_exception(error: BaseException) -> str:
    """Return an exception of another package in one line: its type, its message, and where it was raised.

    >>> describe_exception(KeyError("x"))
    "KeyError: 'x'"
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({'/'.join(PurePath(frames[-1].filename).parts[-2:])}, line {frames[-1].lineno})" if frames else ""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if message else ''}{message[:MAX_MESSAGE]}{where}"


MAX_LETTERS = 80
"""Letters of a value in a message."""

MAX_NODES = 50
"""Values in a collection that is written out before it is cut."""


def shorten(value: Any, limit: int = MAX_LETTERS) -> str:
    """Return ``repr(value)`` for a message, cut after ``limit`` letters; its cost is bounded, however large the value.

    >>> shorten({"lr": "fast"}), len(shorten("x" * 10**6))
    ("{'lr': 'fast'}", 80)
    """
    try:
        text = repr(value) if _is_small(value) else _Short(limit).repr(value)
    except (RecursionError, ValueError):  # nested too deep; the digits of an integer
        text = f"a {type(value).__name__} that cannot be written"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class _Short(reprlib.Repr):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 4, limit + 20, limit + 20
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = MAX_NODES


def _is_small(value: Any) -> bool:
    """Whether a value holds few others and no long text."""
    remaining, count = [value], 0
    while remaining:
        inner = remaining.pop()
        count += 1
        if count > MAX_NODES or (isinstance(inner, str | bytes) and len(inner) > 10 * MAX_LETTERS):
            return False
        if isinstance(inner, Mapping):
            if len(inner) > MAX_NODES:
                return False
            remaining += [*inner.keys(), *inner.values()]
        elif isinstance(inner, list | tuple | set | frozenset):
            if len(inner) > MAX_NODES:
                return False
            remaining += inner
    return True
