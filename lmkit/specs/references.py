"""References: how a configuration names a function, a class or data that is somebody's own.

package.module:name      what can be imported, by the syntax of entry points
kept:name-0123456789ab   what a notebook holds itself: a pickle beside the runs (``lmkit.data.objects``)
held:name-0123456789ab   what the process that trains inline holds, and nobody else
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

KEPT, HELD = "kept:", "held:"

OBJECT = "object:"
"""Begins the source of data that an object gives: a loader, a dataset, a function of one; then its reference."""

_ASIDE = re.compile(r"(kept|held):[A-Za-z_]\w*-[0-9a-f]{12}")
_IMPORTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_reference(text: str) -> bool:
    """Whether ``text`` is written as a reference is.

    >>> [is_reference(t) for t in ("shapes:build", "kept:build-0123456789ab", "mlp", "shapes.build")]
    [True, True, False, False]
    """
    return bool((_ASIDE if text.startswith((KEPT, HELD)) else _IMPORTED).fullmatch(text))


def label(reference: str) -> str:
    """What a person calls the thing.

    >>> label("package.shapes:Net.small"), label("kept:build-0123456789ab")
    ('small', 'build')
    """
    reference = reference.removeprefix(OBJECT)
    name = reference.rpartition(":")[2]
    return name.rpartition("-")[0] if reference.startswith((KEPT, HELD)) else name.rpartition(".")[2]


def _checked(text: str) -> str:
    if not is_reference(text):
        raise ValueError(
            f"given {text!r}, expected 'package.module:name', such as 'shapes:build'; what is defined in a notebook is "
            "handed over itself: lk.train(model=build)"
        )
    return text


Reference = Annotated[str, AfterValidator(_checked)]
"""The text that names an object."""
