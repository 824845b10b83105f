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
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from types import TracebackType
from typing import Any

FOLDER = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 (this module imports little)
"""The folder of lmkit."""


class LmkitError(Exception):
    """The base class of all exceptions of lmkit."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the frames of the user's own code, and the message.

        IPython calls it. ``LMKIT_DEBUG=1`` shows all frames.
        """
        return _render_user_frames(self)


class WaitInterrupted(KeyboardInterrupt):
    """An interrupt while a run was waited for; the message says that the run itself continues."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows, as for ``LmkitError``."""
        return _render_user_frames(self)


def _render_user_frames(error: BaseException) -> list[str]:
    frames = None if os.environ.get("LMKIT_DEBUG") else _user_frames(error.__traceback__)
    return _render(error, error.__traceback__ if frames is None else frames)


def _user_frames(frames: TracebackType | None) -> TracebackType | None:
    """Return the frames of a traceback that are neither lmkit's nor a package's: those of notebooks and scripts."""
    libraries = (f"{FOLDER}{os.sep}", f"{os.path.dirname(os.path.realpath(os.__file__))}{os.sep}")  # noqa: PTH120
    user: list[TracebackType] = []
    while frames is not None:
        path = os.path.realpath(frames.tb_frame.f_code.co_filename)
        if not path.startswith(libraries) and not {"site-packages", "dist-packages"} & set(PurePath(path).parts):
            user.append(frames)
        frames = frames.tb_next
    result = None
    for frame in reversed(user):
        result = TracebackType(result, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return result


def _render(error: BaseException, frames: TracebackType | None) -> list[str]:
    """Return the lines of a traceback as the shell formats them; without frames the message alone."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if frames is None or shell is None:
        return [*traceback.format_tb(frames), f"{type(error).__name__}: {error}"]
    cause, suppressed = error.__cause__, error.__suppress_context__
    error.__cause__, error.__suppress_context__ = None, True  # what it was raised from is lmkit's own business
    try:
        return list(shell.InteractiveTB.structured_traceback(type(error), error, frames, tb_offset=0))
    finally:
        error.__cause__, error.__suppress_context__ = cause, suppressed


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


MAX_NAMES = 10
"""Names in a message that lists what there is; more of them are counted."""


def join_names(names: Iterable[Any], limit: int = MAX_NAMES) -> str:
    """Return names for a message: the first ``limit`` of them, and how many more there are.

    >>> join_names("abc"), join_names(range(350), limit=3)
    ('a, b, c', '0, 1, 2, … and 347 more')
    """
    texts = [str(name) for name in names]
    more = [f"… and {len(texts) - limit:,} more"] if len(texts) > limit else []
    return ", ".join(
        [*(text if len(text) <= MAX_LETTERS else f"{text[:MAX_LETTERS]}…" for text in texts[:limit]), *more]
    )


def nearest(name: str, names: Iterable[str], label: str = "expected one of") -> str:
    """Return the hint that ends an "unknown name" message: the nearest of the names, and all or ten of them.

    Of more than ten names those are listed that resemble the name most, the nearest first.

    >>> nearest("reluu", ["relu", "tanh"])
    "did you mean 'relu'? Expected one of relu, tanh"
    >>> nearest("town", ["price", "rooms"], "columns:")
    'columns: price, rooms'
    """
    names = [str(n) for n in names]
    lowered = {n.lower(): n for n in names}
    text = str(name).lower()
    matches = difflib.get_close_matches(text, list(lowered), n=1, cutoff=0.5)
    if len(names) > MAX_NAMES:
        matcher = difflib.SequenceMatcher(b=text[:MAX_LETTERS])

        def similarity(other: str) -> float:
            matcher.set_seq1(other.lower()[:MAX_LETTERS])
            return matcher.ratio()

        names = sorted(names, key=similarity, reverse=True)
    choices = f"{label} {join_names(names)}" if names else "none available"
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
