"""Search spaces: grids, of which every combination is tried, and ranges and choices that are sampled."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmkit.exceptions import LmkitError, SweepError, UntrustedCode, shorten
from lmkit.specs.plain import parse_value, plain

if TYPE_CHECKING:
    import numpy as np

Check = Callable[[Mapping[str, Any]], object]
"""Raises an LmkitError for invalid parameters."""

MAX_CHECKED = 2000
"""Combinations of a grid that are checked before the sweep starts; the others are checked when their trial starts."""

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*({NUMBER})\.\.({NUMBER})(?:[:\s]+(log))?(?:[:\s]+(int))?\s*")

EXPECTED = "expected a range such as 0..0.5, 1e-4..1e-1:log or 8..64:int, or choices such as adam,sgd"


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, both included.

    Attributes:
        low, high: the bounds.
        log: uniform on a logarithmic scale.
        integer: integers only.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        """Return a random number of the range."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high + (1 if self.integer else 0))
            value = math.exp(rng.uniform(low, high))
            return min(int(value), int(self.high)) if self.integer else min(max(value, self.low), self.high)
        return (
            int(rng.integers(int(self.low), int(self.high) + 1)) if self.integer else rng.uniform(self.low, self.high)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they are stored in a sweep's folder."""
        return {"low": self.low, "high": self.high, "log": self.log, "whole": self.integer}

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}" + (":log" if self.log else "") + (":int" if self.integer else "")


@dataclass(frozen=True)
class Choice:
    """A list of values, one of which is taken."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """Return one of the values at random."""
        return self.values[int(rng.integers(len(self.values)))]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they are stored in a sweep's folder."""
        return {"values": list(self.values)}

    def __str__(self) -> str:
        return ",".join(map(str, self.values))


@dataclass(frozen=True)
class Space:
    """The parameters that a sweep varies.

    Attributes:
        grid: parameter → its values, of which all combinations are tried.
        search: parameter → the range or choice that is sampled.
    """

    grid: dict[str, Choice] = field(default_factory=dict)
    search: dict[str, Range | Choice] = field(default_factory=dict)

    @property
    def domains(self) -> dict[str, Range | Choice]:
        """Parameter → its values, of the grid and of the search."""
        return {**self.grid, **self.search}

    @property
    def combinations(self) -> int:
        """The number of combinations of the grid."""
        return math.prod(len(c.values) for c in self.grid.values())

    def combination(self, number: int) -> dict[str, Any]:
        """Return a combination of the grid; the number wraps around.

        >>> Space({"a": Choice((1, 2)), "b": Choice((3, 4))}).combination(5)
        {'a': 1, 'b': 4}
        """
        parameters, rest = {}, number % self.combinations
        for name, choice in reversed(self.grid.items()):
            rest, index = divmod(rest, len(choice.values))
            parameters[name] = choice.values[index]
        return {name: parameters[name] for name in self.grid}

    def draw(self, number: int, seed: int) -> dict[str, Any]:
        """Return a combination of the grid and random values of the search; number and seed determine both."""
        import numpy as np

        rng = np.random.default_rng([seed, number])
        return self.combination(number) | {name: domain.draw(rng) for name, domain in self.search.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they are stored in a sweep's folder."""
        return {
            "grid": {name: list(c.values) for name, c in self.grid.items()},
            "search": {name: s.to_dict() for name, s in self.search.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
        """Return the space that ``to_dict`` described."""
        return cls(
            {name: Choice(tuple(v)) for name, v in values["grid"].items()},
            {name: _domain_from_dict(v) for name, v in values["search"].items()},
        )


def _domain_from_dict(values: Mapping[str, Any]) -> Range | Choice:
    if "values" in values:
        return Choice(tuple(values["values"]))
    return Range(values["low"], values["high"], values.get("log", False), values.get("whole", False))


# -- reading --------------------------------------------------------------------------------------


def read_space(grid: Mapping[str, Any] | None, search: Mapping[str, Any] | None) -> Space:
    """Read a search space.

    Args:
        grid: parameter → list of values, or a text such as ``0.1,0.01``.
        search: parameter → ``(low, high)``, ``(low, high, "log")``, a list of choices, or a text such as ``0..0.5``,
            ``1e-4..1e-1:log``, ``8..64:int``, ``adam,sgd``.

    Raises:
        SweepError: a value has another form.

    >>> str(read_space({}, {"lr": "1e-4..1e-1:log"}).search["lr"])
    '0.0001..0.1:log'
    """
    choices = {name: _read_choice(f"grid {name}", values) for name, values in (grid or {}).items()}
    domains = {name: _read_domain(f"search {name}", values) for name, values in (search or {}).items()}
    if not choices and not domains:
        raise SweepError("nothing to vary; set a grid, such as grid={'lr': [0.1, 0.01]}, or a search")
    if both := choices.keys() & domains.keys():
        raise SweepError(f"{min(both)}: in both the grid and the search; set it in one of them")
    return Space(choices, domains)


def split_values(text: str) -> list[str]:
    """Split a text at its commas, except for those within brackets or quotes.

    >>> split_values("[1, 2],'a,b', 3")
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


def _read_choice(where: str, values: Any) -> Choice:
    if isinstance(values, str):
        values = [parse_value(p) for p in split_values(values)]
        values = values[0] if len(values) == 1 and isinstance(values[0], list) else values  # written as one list
    if isinstance(values, Mapping) or not hasattr(values, "__iter__"):
        raise SweepError(f"{where}: given {shorten(values)}, expected a list of values, such as [0.1, 0.01]")
    options = tuple(plain(list(values)))
    if not options:
        raise SweepError(f"{where}: the list of values is empty; expected at least one, such as [0.1, 0.01]")
    if any(isinstance(value, float) and not math.isfinite(value) for value in options):
        raise SweepError(f"{where}: given {list(options)}, expected finite numbers")
    if any(a == b and type(a) is type(b) for a, b in itertools.combinations(options, 2)):
        raise SweepError(f"{where}: duplicate value in {list(options)}")
    return Choice(options)


def _read_domain(where: str, values: Any) -> Range | Choice:
    if isinstance(values, Range | Choice):
        return values
    if isinstance(values, str):
        match = _RANGE.fullmatch(values)
        if match is None:
            if ".." in values:
                raise SweepError(f"{where}: given {shorten(values)}, {EXPECTED}")
            choice = _read_choice(where, values)
            if len(choice.values) == 1:
                raise SweepError(f"{where}: given the single value {values!r}; {EXPECTED}")
            return choice
        low, high = (parse_value(n) for n in match.groups()[:2])
        return _make_range(where, low, high, bool(match[3]), bool(match[4]))
    if isinstance(values, Mapping):
        unknown = set(values) - {"low", "high", "log", "whole"}
        if unknown or not {"low", "high"} <= set(values):
            raise SweepError(
                f"{where}: given {shorten(dict(values))}, expected {{low: …, high: …}}, with log and whole optional"
            )
        return _make_range(where, values["low"], values["high"], bool(values.get("log")), bool(values.get("whole")))
    if isinstance(values, tuple) and len(values) >= 2 and all(w in ("log", "int") for w in values[2:]):
        return _make_range(where, plain(values[0]), plain(values[1]), "log" in values[2:], "int" in values[2:])
    if isinstance(values, Sequence):
        return _read_choice(where, values)
    raise SweepError(f"{where}: given {shorten(values)}, {EXPECTED}")


def _make_range(where: str, low: Any, high: Any, log: bool, integer: bool) -> Range:
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
            raise SweepError(f"{where}: given {shorten(bound)} as a bound of a range, expected a number")
    if not low < high:
        raise SweepError(f"{where}: given the range {low}..{high}, expected the lower bound first")
    if log and low <= 0:
        raise SweepError(
            f"{where}: given {low}..{high} on a logarithmic scale, expected a lower bound greater than 0, such as 1e-4"
        )
    if integer and not (float(low).is_integer() and float(high).is_integer()):
        raise SweepError(f"{where}: given {low}..{high} for integers, expected integer bounds")
    return Range(low, high, log, integer)


# -- checking -------------------------------------------------------------------------------------


def check_space(space: Space, check: Check) -> Space:
    """Check a space against the schema of its parameters, and return it.

    A range between integers becomes a range of integers where only integers are valid.

    Args:
        space: the space.
        check: raises for invalid parameters.

    Raises:
        SweepError: an unknown path, a wrong type, or a value out of bounds.
    """
    first = space.combination(0) if space.grid else {}
    search = dict(space.search)
    for name, domain in space.search.items():
        rest = {n: _first_value(d) for n, d in search.items() if n != name}
        if isinstance(domain, Range):
            if not domain.integer and isinstance(domain.low, int) and isinstance(domain.high, int):
                domain = _integer_if_required(domain, lambda v, n=name, r=rest: check({**first, **r, n: v}))  # type: ignore[misc]
                search[name] = domain
            values: Sequence[Any] = (domain.low, domain.high)
        else:
            values = domain.values
        for value in values:
            _check(check, {**first, **rest, name: value}, f"search {name}={domain}")
    rest = {name: _first_value(domain) for name, domain in search.items()}
    for number in range(min(space.combinations, MAX_CHECKED) if space.grid else 0):
        combination = space.combination(number)
        _check(check, {**rest, **combination}, "grid " + ", ".join(f"{n}={v}" for n, v in combination.items()))
    return Space(space.grid, search)


def _first_value(domain: Range | Choice) -> Any:
    return domain.low if isinstance(domain, Range) else domain.values[0]


def _integer_if_required(domain: Range, check: Callable[[Any], object]) -> Range:
    try:
        check(domain.low)
    except LmkitError:
        return domain  # the caller reports this error
    try:
        check(domain.low + 0.5)
    except LmkitError:
        return Range(domain.low, domain.high, domain.log, True)
    return domain


def _check(check: Check, parameters: Mapping[str, Any], where: str) -> None:
    try:
        check(parameters)
    except UntrustedCode:
        raise
    except LmkitError as error:
        message = "; ".join(getattr(error, "problems", ())) or str(error)
        raise SweepError(f"{where}: {message}") from None
