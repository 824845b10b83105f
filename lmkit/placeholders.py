"""Values of a notebook in a text: ``$name`` and ``{expression}``.

A value takes its place as it is, not as pasted text: a list stays a list, None stays None, a text may hold quotes, and
data may be data. In the midst of other text, or in quotes, it is written as text.

Braces also hold the mappings of YAML, and one look tells the two apart: ``{key: value}`` is YAML, anything else in
braces is Python. ``$$`` is a dollar sign and ``{{…}}`` is ``{…}``, untouched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lmkit.errors import CommandError
from lmkit.specs.plain import parse_value

_OPENING = re.compile(r"\$\$|\{\{(?P<text>[^\n]*?)\}\}|\$(?P<name>[^\W\d]\w*)|\{")
_MAPPING = re.compile(r"""\s*(\}|[\w.$-]+\s*:(\s|$)|"[^"\n]*"\s*:|'[^'\n]*'\s*:)""")

# Stands for the n-th value while shlex, argparse and YAML read the text: one word, of characters that nobody types.
_MARK = re.compile("\ue000(\\d+)\ue001")


class Typed(str):
    """A word that stands for a value, such as ``1e-3``. What a notebook puts in its place is a value already."""

    __slots__ = ()

    @property
    def value(self) -> Any:
        """The value that it stands for."""
        return parse_value(self)


class _Place(NamedTuple):
    """Where a value is wanted: what was written, its expression, and in a cell whether in quotes, and on which line."""

    written: str
    expression: str
    quoted: bool = False
    number: int | None = None
    line: str = ""


class Placeholders:
    """The values that a text asks for: first hidden from whoever reads the text, then filled into what was read.

    Args:
        namespace: name → value.

    >>> values = Placeholders({"rate": 0.1})
    >>> values.fill({"lr": values.hide("$rate"), "name": values.hide("at {rate * 2}")})
    {'lr': 0.1, 'name': 'at 0.2'}
    """

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = dict(namespace)
        self._places: list[_Place] = []

    def hide(self, text: str, first: int | None = None) -> str:
        """``text`` with a mark for each value; as many lines as before.

        Args:
            text: what was written.
            first: the number of its first line, where it is a cell; in a cell, quotes make a value a text.
        """
        done, at = "", 0
        while found := _OPENING.search(text, at):
            done += text[at : found.start()]
            at = found.end()
            opening, name = found[0], found["name"]
            if opening == "$$":
                done += "$"
            elif found["text"] is not None:
                done += f"{{{found['text']}}}"
            elif name:
                done += self._mark(text, found.start(), at, name, first)
            elif _MAPPING.match(text, at):
                done += opening
            elif end := _end(text, at):
                done += self._mark(text, found.start(), end, text[at : end - 1].strip(), first)
                at = end
            else:
                done += opening  # never closed on its line: whoever reads the text will say what is wrong
        return done + text[at:]

    def _mark(self, text: str, start: int, end: int, expression: str, first: int | None) -> str:
        place = _Place(text[start:end], expression)
        if first is not None:
            above = text.count("\n", 0, start)
            quoted = text[start - 1 : start] + text[end : end + 1] in ("''", '""')
            place = _Place(text[start:end], expression, quoted, first + above, text.split("\n")[above].strip())
        self._places.append(place)
        return f"\ue000{len(self._places) - 1}\ue001"

    def fill(self, read: Any) -> Any:
        """What was read of a text, with each value in its place.

        Raises:
            CommandError: an expression is none, or cannot be evaluated; what is in comments is not.
        """
        if isinstance(read, Mapping):
            return {self.fill(key): self.fill(value) for key, value in read.items()}
        if isinstance(read, list):
            return [self.fill(value) for value in read]
        if not isinstance(read, str) or not _MARK.search(read):
            return read
        whole = _MARK.fullmatch(read)
        if whole and not self._places[int(whole[1])].quoted:
            return self._value(whole)
        if isinstance(read, Typed) and not isinstance(read.value, str):
            return self.fill(read.value)  # such as `[$a, $b]`
        return _MARK.sub(lambda found: str(self._value(found)), read)

    def _value(self, found: re.Match[str]) -> Any:
        place = self._places[int(found[1])]
        try:
            return eval(compile(place.expression, "<placeholder>", "eval"), self._namespace)
        except Exception as error:
            why = f"{type(error).__name__}: {getattr(error, 'msg', None) or error}"
            where, below = (f"line {place.number}: ", f"\n      {place.line}") if place.number else ("", "")
            itself = f"${place.written}" if place.written.startswith("$") else f"{{{place.written}}}"
            raise CommandError(f"{where}{place.written}: {why}; for the text itself write {itself}{below}") from error


def escape(text: str) -> str:
    """``text`` written so that it stands for itself.

    >>> Placeholders({}).hide(escape("$5 or {five}"))
    '$5 or {five}'
    """
    return re.sub(r"\$|\{[^{}\n]*\}", lambda found: "$$" if found[0] == "$" else f"{{{found[0]}}}", text)


def _end(text: str, start: int) -> int:
    """Where the expression that begins at ``start`` is closed, on its line; 0 where it is not.

    The first brace that makes it Python closes it, so that an expression may hold braces and texts.
    """
    line = text.find("\n", start)
    closing = [found.end() for found in re.compile(r"\}").finditer(text, start, len(text) if line < 0 else line)]
    for end in closing:
        try:
            compile(text[start : end - 1].strip(), "<placeholder>", "eval")
        except (SyntaxError, ValueError):
            continue
        return end
    return closing[0] if closing else 0
