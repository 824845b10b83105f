"""What can go wrong, as one tree.

    LmkitError
    ├── ConfigError       an experiment that cannot be: unknown key, wrong type, impossible combination
    ├── DataError         data that cannot be trained on as configured
    ├── TemplateError     a notebook template, or a parameter given to one
    ├── SweepError        a sweep that cannot be: its space, its folder, its settings
    ├── CommandError      a line of the magic that cannot be followed
    ├── MissingPackage    an optional package is not installed
    └── RunError
        ├── RunNotFound   no run, or more than one, has that name
        ├── RunStateError the run is not in a state in which this can be done
        └── RunFailed     the result of a run that did not complete was asked for

Every message says what was given, what was expected, and what to type next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LmkitError(Exception):
    """Anything that lmkit refuses or reports."""


class ConfigError(LmkitError, ValueError):
    """An experiment that cannot be: each problem names its path, what was given and what was expected.

    Attributes:
        problems: one sentence a problem, each beginning with the path it speaks of.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("The experiment cannot be used:\n  " + "\n  ".join(self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class DataError(LmkitError, ValueError):
    """Data that cannot be trained on as configured."""


class TemplateError(LmkitError, ValueError):
    """A notebook template, or a parameter given to one, cannot be used."""


class SweepError(LmkitError, ValueError):
    """A sweep cannot be as asked for: what it goes through, where it is kept, what it is after."""


class CommandError(LmkitError, ValueError):
    """A line of the magic cannot be followed: an unknown verb, a word too many or too few, a value that is absent."""


class MissingPackage(LmkitError, ImportError):
    """An optional package is not installed; the message names the line that installs it."""


class RunError(LmkitError):
    """Something about a run."""


class RunNotFound(RunError, LookupError):
    """No run, or more than one, has the name that was given."""


class RunStateError(RunError):
    """The run is not in a state in which this can be done."""


class RunFailed(RunError):
    """The result of a run was asked for that ended without completing."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint that ends an "unknown name" message: the nearest known name and the list of all.

    >>> nearest("reluu", ["relu", "tanh"])
    "did you mean 'relu'? (known: relu, tanh)"
    """
    names = [str(k) for k in known]
    lowered = {n.lower(): n for n in names}
    close = difflib.get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.5)
    hint = f"did you mean {lowered[close[0]]!r}? " if close else ""
    return f"{hint}(known: {', '.join(names) or 'none'})"
