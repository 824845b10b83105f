"""Values of files as dataclasses: each value has the type of its field, or a ``DamagedFile`` names the field."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Lt, MaxLen
from pydantic import Field, TypeAdapter, ValidationError

from lmkit.exceptions import DamagedFile, shorten
from lmkit.system.reading import read_object

Count = Annotated[int, Ge(0), Lt(2**62)]
"""A number of steps, epochs, bytes or rows."""

Seconds = Annotated[float, Ge(0), Lt(253_402_300_800)]
"""A duration, or a time since 1970 of which a date can be made (before the year 10000)."""

Number = Annotated[float, Field(allow_inf_nan=False, lt=2.0**1000, gt=-(2.0**1000))]
"""A finite number with which one can compute."""

Statistic = Annotated[float, Field(allow_inf_nan=False)] | None
"""A finite number; None where it was not finite, or does not exist."""

MAX_ENTRIES, MAX_LETTERS = 1000, 10_000
"""Entries of a list, and letters of a text, that are read of a file that is displayed, at most."""

Text = Annotated[str, MaxLen(MAX_LETTERS)]

MAX_PROBLEMS = 3
"""Wrong fields that a message names."""

T = TypeVar("T")


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def parse_record(cls: type[T], values: Any, path: Path) -> T:
    """Return the dataclass that plain values describe; unknown keys are ignored.

    Args:
        cls: the dataclass.
        values: as read from a file.
        path: the file, for messages.

    Raises:
        DamagedFile: a value is missing or has another type than its field.
    """
    if not isinstance(values, Mapping):
        raise DamagedFile(path, f"given {shorten(values)}, expected an object")
    try:
        record: T = _adapter(cls).validate_python(values)  # type: ignore[arg-type]
        return record
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc']))}: "
            + ("missing" if e["type"] == "missing" else f"given {shorten(e['input'])}; {e['msg']}")
            for e in error.errors()[:MAX_PROBLEMS]
        ]
    except RecursionError:
        problems = ["its values are nested too deep"]
    raise DamagedFile(path, "; ".join(problems)) from None


def read_record(cls: type[T], path: Path) -> T | None:
    """Return the dataclass in a JSON file; None if it does not exist; raises what ``parse_record`` raises."""
    values = read_object(path)
    return None if values is None else parse_record(cls, values, path)


def is_number(value: Any, low: float = -(2.0**1023), high: float = 2.0**1023) -> bool:
    """Whether a value is a finite number within bounds; by default those of a float.

    >>> is_number(3), is_number(True), is_number(float("nan")), is_number(-1, 0)
    (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return low <= value <= high  # NaN is not
