"""The checks, in a registry: each is a function of the evidence that returns a finding, or None.

    @check("rate-high", strength=80, explains=("dead-units",))
    def rate_high(evidence: Evidence) -> Finding | None:
        ...

Another distribution adds one with an entry point of the group ``lmkit.checks``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lmkit.doctor.evidence import Evidence
from lmkit.doctor.finding import Finding
from lmkit.system.registry import Registry

Examine = Callable[[Evidence], Finding | None]
"""Looks at the evidence; returns what is wrong, or None."""


class Check(NamedTuple):
    """A check.

    Attributes:
        name: of the check.
        examine: the function.
        strength: the order among findings of one confidence: exact tests 100, causes in data and configuration 60 to
            90, what mostly follows from something else below 50.
        explains: names of checks whose findings follow from this one's, where both speak.
        judges_learning: whether it looks at what training has reached, and says nothing at its beginning.
        title: the problem in some words, without numbers.
    """

    name: str
    examine: Examine
    strength: int
    explains: tuple[str, ...]
    judges_learning: bool = False
    title: str = ""


CHECKS: Registry[Check] = Registry("check", "lmkit.checks", __name__, requires=("examine", "strength", "explains"))


def check(
    name: str, *, strength: int, explains: tuple[str, ...] = (), judges_learning: bool = False, title: str = ""
) -> Callable[[Examine], Examine]:
    """Return a decorator that registers a function of the evidence as a check."""

    def add(examine: Examine) -> Examine:
        CHECKS.add(name, Check(name, examine, strength, explains, judges_learning, title))
        return examine

    return add


def title(name: str) -> str:
    """Return the title of a check; of one without a title, its name in words.

    >>> title("rate-high"), title("dead-units")
    ('learning rate too high', 'dead units')
    """
    return (CHECKS.get(name).title if name in CHECKS else "") or name.replace("-", " ")
