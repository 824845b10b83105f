"""Lines of a user's code as text, also of functions that came to the worker as a pickle, without their file."""

from __future__ import annotations

import linecache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmkit.backends.trace import Line

WIDTH = 100
"""Characters of a line of code, at most."""


def describe_line(line: Line | None, sources: str = "") -> str:
    """Return a line as ``file.py:12: code``, or ``function: code`` where it has no file; empty for none.

    Args:
        line: of code.
        sources: of functions and classes without a file, as ``lmkit.custom.arguments.source_code`` returns them.

    >>> from lmkit.backends.trace import Line
    >>> describe_line(Line("<dynamic-code>", 12, "loss", 1), "def loss(z):\\n    return z.log()")
    'loss: return z.log()'
    """
    if line is None:
        return ""
    if line.path.startswith("<"):
        code, name = _find_line(line, sources), line.function
    else:
        code, name = linecache.getline(line.path, line.number).strip(), f"{Path(line.path).name}:{line.number}"
        if "ipykernel" in line.path:
            name = f"a cell, line {line.number}"
    return f"{name}: {code[:WIDTH]}" if code else f"{name}, line {line.number}" if line.path.startswith("<") else name


def _find_line(line: Line, sources: str) -> str:
    """Return the code of a line by the function around it; empty where its source is not there."""
    *_, owner, function = ["", *line.function.split(".")]
    lines = sources.splitlines()
    begin = next((i for i, text in enumerate(lines) if text.strip().startswith(f"class {owner}")), 0) if owner else 0
    for i in range(begin, len(lines)):
        if lines[i].strip().startswith((f"def {function}(", f"async def {function}(")):
            while i and lines[i - 1].strip().startswith("@"):
                i -= 1  # a function begins with its decorators
            return lines[i + line.offset].strip() if i + line.offset < len(lines) else ""
    return ""
