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
    """

    name: str
    examine: Examine
    strength: int
    explains: tuple[str, ...]


CHECKS: Registry[Check] = Registry("check", "lmkit.checks", __name__, requires=("examine", "strength", "explains"))


def check(name: str, *, strength: int, explains: tuple[str, ...] = ()) -> Callable[[Examine], Examine]:
    """Return a decorator that registers a function of the evidence as a check."""

    def add(examine: Examine) -> Examine:
        CHECKS.add(name, Check(name, examine, strength, explains))
        return examine

    return add
