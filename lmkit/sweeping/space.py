"""What a sweep goes through: grids, of which every combination is tried, and ranges and choices that are drawn from."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmkit.errors import LmkitError, SweepError
from lmkit.specs.plain import parse_value, plain

if TYPE_CHECKING:
    import numpy as np

Check = Callable[[Mapping[str, Any]], object]
"""Refuses parameters that cannot be, by raising an LmkitError."""

MOST_CHECKED = 2000
"""Combinations of a grid that are checked before anything starts; the rest each as its turn comes."""

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*({NUMBER})\.\.({NUMBER})(?:[:\s]+(log))?(?:[:\s]+(int))?\s*")

EXPECTED = "expected a range such as 0..0.5, 1e-4..1e-1:log or 8..64:int, or choices such as adam,sgd"


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, both included.

    Attributes:
        low, high: the ends.
        log: even on a logarithmic scale.
        whole: whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        """One of them."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high + (1 if self.whole else 0))
            value = math.exp(rng.uniform(low, high))
            return min(int(value), int(self.high)) if self.whole else min(max(value, self.low), self.high)
        return int(rng.integers(int(self.low), int(self.high) + 1)) if self.whole else rng.uniform(self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a sweep's folder holds them."""
        return {"low": self.low, "high": self.high, "log": self.log, "whole": self.whole}

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}" + (":log" if self.log else "") + (":int" if self.whole else "")


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """One of them."""
        return self.values[int(rng.integers(len(self.values)))]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a sweep's folder holds them."""
        return {"values": list(self.values)}

    def __str__(self) -> str:
        return ",".join(map(str, self.values))


@dataclass(frozen=True)
class Space:
    """The parameters that a sweep varies.

    Attributes:
        grid: parameter → all the values that it takes.
        search: parameter → what it is drawn from.
    """

    grid: dict[str, Choice] = field(default_factory=dict)
    search: dict[str, Range | Choice] = field(default_factory=dict)

    @property
    def combinations(self) -> int:
        """How many there are in the grid."""
        return math.prod(len(c.values) for c in self.grid.values())

    def combination(self, number: int) -> dict[str, Any]:
        """One of the grid; they go round.

        >>> Space({"a": Choice((1, 2)), "b": Choice((3, 4))}).combination(5)
        {'a': 1, 'b': 4}
        """
        found, rest = {}, number % self.combinations
        for name, choice in reversed(self.grid.items()):
            rest, at = divmod(rest, len(choice.values))
            found[name] = choice.values[at]
        return {name: found[name] for name in self.grid}

    def draw(self, number: int, seed: int) -> dict[str, Any]:
        """The parameters of a trial, at random where they are not the grid's; the same for the same number and seed."""
        import numpy as np

        rng = np.random.default_rng([seed, number])
        return self.combination(number) | {name: among.draw(rng) for name, among in self.search.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a sweep's folder holds them."""
        return {
            "grid": {name: list(c.values) for name, c in self.grid.items()},
            "search": {name: s.to_dict() for name, s in self.search.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
        """What ``to_dict`` gave."""
        return cls(
            {name: Choice(tuple(v)) for name, v in values["grid"].items()},
            {n: Choice(tuple(v["values"])) if "values" in v else Range(**v) for n, v in values["search"].items()},
        )


# -- reading --------------------------------------------------------------------------------------


def read_space(grid: Mapping[str, Any] | None, search: Mapping[str, Any] | None) -> Space:
    """The space that was asked for.

    Args:
        grid: parameter → list of values, or a text such as ``0.1,0.01``.
        search: parameter → ``(low, high)``, ``(low, high, "log")``, a list of choices, or a text such as ``0..0.5``,
            ``1e-4..1e-1:log``, ``8..64:int``, ``adam,sgd``.

    Raises:
        SweepError: something else was given.

    >>> str(read_space({}, {"lr": "1e-4..1e-1:log"}).search["lr"])
    '0.0001..0.1:log'
    """
    dimensions = {name: _choice(f"grid {name}", values) for name, values in (grid or {}).items()}
    drawn = {name: _drawn(f"search {name}", values) for name, values in (search or {}).items()}
    if not dimensions and not drawn:
        raise SweepError("there is nothing to vary; give a grid, such as grid={'lr': [0.1, 0.01]}, or a search")
    if both := dimensions.keys() & drawn.keys():
        raise SweepError(f"{min(both)}: is in the grid and in the search; give it in one of them")
    return Space(dimensions, drawn)


def split(text: str) -> list[str]:
    """The parts of a text between its commas, but not those within brackets or quotes.

    >>> split("[1, 2],'a,b', 3")
    ['[1, 2]', "'a,b'", '3']
    """
    parts, depth, quote = [""], 0, ""
    for c in text:
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        elif c in "[{(":
            depth += 1
        elif c in "]})":
            depth -= 1
        if c == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [p.strip() for p in parts if p.strip()]


def _choice(where: str, values: Any) -> Choice:
    if isinstance(values, str):
        values = [parse_value(p) for p in split(values)]
        values = values[0] if len(values) == 1 and isinstance(values[0], list) else values  # written as one list
    if isinstance(values, Mapping) or not hasattr(values, "__iter__"):
        raise SweepError(f"{where}: given {values!r}, expected a list of values, such as [0.1, 0.01]")
    found = tuple(plain(list(values)))
    if not found:
        raise SweepError(f"{where}: the list of values is empty; expected at least one, such as [0.1, 0.01]")
    if any(a == b and type(a) is type(b) for a, b in itertools.combinations(found, 2)):
        raise SweepError(f"{where}: a value is given twice: {list(found)}")
    return Choice(found)


def _drawn(where: str, values: Any) -> Range | Choice:
    if isinstance(values, Range | Choice):
        return values
    if isinstance(values, str):
        found = _RANGE.fullmatch(values)
        if found is None:
            if ".." in values:
                raise SweepError(f"{where}: given {values!r}, {EXPECTED}")
            among = _choice(where, values)
            if len(among.values) == 1:
                raise SweepError(f"{where}: given {values!r} alone, from which nothing is drawn; {EXPECTED}")
            return among
        low, high = (parse_value(n) for n in found.groups()[:2])
        return _range(where, low, high, bool(found[3]), bool(found[4]))
    if isinstance(values, Mapping):
        unknown = set(values) - {"low", "high", "log", "whole"}
        if unknown or not {"low", "high"} <= set(values):
            raise SweepError(f"{where}: given {dict(values)!r}, expected {{low: …, high: …}}, and perhaps log, whole")
        return _range(where, values["low"], values["high"], bool(values.get("log")), bool(values.get("whole")))
    if isinstance(values, tuple) and len(values) >= 2 and all(w in ("log", "int") for w in values[2:]):
        return _range(where, plain(values[0]), plain(values[1]), "log" in values[2:], "int" in values[2:])
    if isinstance(values, Sequence):
        return _choice(where, values)
    raise SweepError(f"{where}: given {values!r}, {EXPECTED}")


def _range(where: str, low: Any, high: Any, log: bool, whole: bool) -> Range:
    for end in (low, high):
        if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
            raise SweepError(f"{where}: given {end!r} as an end of a range, expected a number")
    if not low < high:
        raise SweepError(f"{where}: given the range {low}..{high}, expected its lower end first")
    if log and low <= 0:
        raise SweepError(
            f"{where}: given {low}..{high} on a logarithmic scale, which never comes to zero; expected a lower end "
            "greater than 0, such as 1e-4"
        )
    if whole and not (float(low).is_integer() and float(high).is_integer()):
        raise SweepError(f"{where}: given {low}..{high} for whole numbers, expected whole ends")
    return Range(low, high, log, whole)


# -- checking -------------------------------------------------------------------------------------


def checked(space: Space, check: Check) -> Space:
    """The space, held to what its parameters may be; a range between whole numbers is one of whole numbers where no
    others are allowed.

    Args:
        space: what was asked for.
        check: refuses parameters that cannot be.

    Raises:
        SweepError: some of it cannot be: an unknown path, a wrong type, a value out of bounds.
    """
    first = space.combination(0) if space.grid else {}
    search = dict(space.search)
    for name, among in space.search.items():
        rest = {n: _typical(a) for n, a in search.items() if n != name}
        if isinstance(among, Range):
            if not among.whole and isinstance(among.low, int) and isinstance(among.high, int):
                among = _whole_if_needed(among, lambda v, n=name, r=rest: check({**first, **r, n: v}))  # type: ignore[misc]
                search[name] = among
            tried: Sequence[Any] = (among.low, among.high)
        else:
            tried = among.values
        for value in tried:
            _ask(check, {**first, **rest, name: value}, f"search {name}={among}")
    drawn = {name: _typical(among) for name, among in search.items()}
    for number in range(min(space.combinations, MOST_CHECKED) if space.grid else 0):
        combination = space.combination(number)
        _ask(check, {**drawn, **combination}, "grid " + ", ".join(f"{n}={v}" for n, v in combination.items()))
    return Space(space.grid, search)


def _typical(among: Range | Choice) -> Any:
    return among.low if isinstance(among, Range) else among.values[0]


def _whole_if_needed(among: Range, check: Callable[[Any], object]) -> Range:
    try:
        check(among.low)
    except LmkitError:
        return among  # what is wrong is told as such
    try:
        check(among.low + 0.5)
    except LmkitError:
        return Range(among.low, among.high, among.log, True)
    return among


def _ask(check: Check, parameters: Mapping[str, Any], where: str) -> None:
    try:
        check(parameters)
    except LmkitError as error:
        said = "; ".join(getattr(error, "problems", ())) or str(error)
        raise SweepError(f"{where}: {said}") from None
