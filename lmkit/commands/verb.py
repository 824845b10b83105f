"""What a verb is: a function that a decorator adds to the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lmkit.commands.arguments import Argument


class Verb(NamedTuple):
    """One verb.

    Attributes:
        name: as it is typed.
        help: what it does, in one line.
        arguments: its arguments.
        example: a line that uses it, beginning with its name.
        call: calls the function with the parsed arguments and returns its result.
        notebook_only: needs a notebook, so that the command line does not offer it.
        notebook_arguments: switches of the magic alone, passed to ``call`` by keyword.
    """

    name: str
    help: str
    arguments: tuple[Argument, ...]
    example: str
    call: Callable[..., Any]
    notebook_only: bool = False
    notebook_arguments: tuple[Argument, ...] = ()

    def parser_options(self, prefix: str) -> dict[str, Any]:
        """Return what an ``ArgumentParser`` of this verb is made with, where ``prefix`` is typed before it."""
        return {"description": self.help, "epilog": f"example: {prefix} {self.example}", "allow_abbrev": False}


VERBS: dict[str, Verb] = {}
"""Name → verb, in the order of the help."""


def verb(
    *its: Argument, example: str, notebook_only: bool = False, notebook_arguments: tuple[Argument, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that makes a function a verb, named as the function and documented by its first line."""

    def add(call: Callable[..., Any]) -> Callable[..., Any]:
        name = call.__name__.replace("_", "-")
        documentation = (call.__doc__ or "").partition("\n")[0].rstrip(".")
        VERBS[name] = Verb(name, documentation, its, example, call, notebook_only, notebook_arguments)
        return call

    return add
