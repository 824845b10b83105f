"""References: how a configuration names custom functions, classes and data.

package.module:name      an object to import, in the syntax of entry points
kept:name-0123456789ab   an object of a notebook: a pickle in the folder of the runs (``lmkit.custom.objects``)
held:name-0123456789ab   an object in the memory of the process that trains inline
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from lmkit.exceptions import shorten

KEPT, HELD = "kept:", "held:"

OBJECT = "object:"
"""The prefix of the source of data from an object (a loader, a dataset, a function); its reference follows."""

_ASIDE = re.compile(r"(kept|held):[A-Za-z_]\w*-[0-9a-f]{12}")
_IMPORTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_reference(text: str) -> bool:
    """Return whether ``text`` has the form of a reference.

    >>> [is_reference(t) for t in ("shapes:build", "kept:build-0123456789ab", "mlp", "shapes.build")]
    [True, True, False, False]
    """
    return bool((_ASIDE if text.startswith((KEPT, HELD)) else _IMPORTED).fullmatch(text))


def label(reference: str) -> str:
    """Return the name of the object, for people.

    >>> label("package.shapes:Net.small"), label("kept:build-0123456789ab")
    ('small', 'build')
    """
    reference = reference.removeprefix(OBJECT)
    name = reference.rpartition(":")[2]
    return name.rpartition("-")[0] if reference.startswith((KEPT, HELD)) else name.rpartition(".")[2]


def _checked(text: str) -> str:
    if not is_reference(text):
        raise ValueError(
            f"given {shorten(text)}, expected 'package.module:name', such as 'shapes:build'; pass an object that is "
            "defined in a notebook directly: lk.train(model=build)"
        )
    return text


Reference = Annotated[str, AfterValidator(_checked)]
"""The reference of an object."""
