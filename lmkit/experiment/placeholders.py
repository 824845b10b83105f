"""Placeholders for values of a notebook in a text: ``$name`` and ``{expression}``.

A placeholder is replaced by the value itself, not by its text: a list stays a list, None stays None, and data in memory
are possible. Within other text, or in quotes, it is replaced by the text of the value.

Braces are also mappings of YAML: ``{key: value}`` is YAML, anything else in braces is Python. ``$$`` is a dollar sign
and ``{{…}}`` is ``{…}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lmkit.exceptions import CommandError
from lmkit.specs.plain import parse_value

_OPENING = re.compile(r"\$\$|\{\{(?P<text>[^\n]*?)\}\}|\$(?P<name>[^\W\d]\w*)|\{")
_MAPPING = re.compile(r"""\s*(\}|[\w.$-]+\s*:(\s|$)|"[^"\n]*"\s*:|'[^'\n]*'\s*:)""")

# Replaces the n-th placeholder while shlex, argparse and YAML read the text: one word, in private-use characters.
_MARK = re.compile("\ue000(\\d+)\ue001")


class RawText(str):
    """An unparsed argument, such as ``1e-3``; the value of a placeholder needs no parsing."""

    __slots__ = ()

    @property
    def value(self) -> Any:
        """The parsed value."""
        return parse_value(self)


class _Placeholder(NamedTuple):
    """A placeholder.

    Attributes:
        text: the placeholder as written.
        expression: its expression.
        quoted: whether it is in quotes, in a cell.
        number, line: the number and the text of its line, in a cell.
    """

    text: str
    expression: str
    quoted: bool = False
    number: int | None = None
    line: str = ""


class Placeholders:
    """The placeholders of a text: replaced by marks before the text is parsed, and by values in the result.

    Args:
        namespace: name → value.

    >>> values = Placeholders({"rate": 0.1})
    >>> values.fill({"lr": values.hide("$rate"), "name": values.hide("at {rate * 2}")})
    {'lr': 0.1, 'name': 'at 0.2'}
    """

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = dict(namespace)
        self._placeholders: list[_Placeholder] = []

    def hide(self, text: str, first: int | None = None) -> str:
        """Return ``text`` with a mark for each placeholder, and the same number of lines.

        Args:
            text: the text.
            first: the number of its first line, if it is a cell; in a cell, a placeholder in quotes becomes text.
        """
        result, position = "", 0
        while match := _OPENING.search(text, position):
            result += text[position : match.start()]
            position = match.end()
            opening, name = match[0], match["name"]
            if opening == "$$":
                result += "$"
            elif match["text"] is not None:
                result += f"{{{match['text']}}}"
            elif name:
                result += self._mark(text, match.start(), position, name, first)
            elif _MAPPING.match(text, position):
                result += opening
            elif end := _find_end(text, position):
                result += self._mark(text, match.start(), end, text[position : end - 1].strip(), first)
                position = end
            else:
                result += opening  # not closed on its line: the parser of the text raises the error
        return result + text[position:]

    def _mark(self, text: str, start: int, end: int, expression: str, first: int | None) -> str:
        placeholder = _Placeholder(text[start:end], expression)
        if first is not None:
            above = text.count("\n", 0, start)
            quoted = text[start - 1 : start] + text[end : end + 1] in ("''", '""')
            placeholder = _Placeholder(
                text[start:end], expression, quoted, first + above, text.split("\n")[above].strip()
            )
        self._placeholders.append(placeholder)
        return f"\ue000{len(self._placeholders) - 1}\ue001"

    def fill(self, parsed: Any) -> Any:
        """Return a parsed text with the values of the placeholders for their marks.

        Raises:
            CommandError: an expression is invalid, or raised an error; placeholders in comments are not evaluated.
        """
        if isinstance(parsed, Mapping):
            return {self.fill(key): self.fill(value) for key, value in parsed.items()}
        if isinstance(parsed, list):
            return [self.fill(value) for value in parsed]
        if not isinstance(parsed, str) or not _MARK.search(parsed):
            return parsed
        mark = _MARK.fullmatch(parsed)
        if mark and not self._placeholders[int(mark[1])].quoted:
            return self._value(mark)
        if isinstance(parsed, RawText) and not isinstance(parsed.value, str):
            return self.fill(parsed.value)  # such as `[$a, $b]`
        return _MARK.sub(lambda match: str(self._value(match)), parsed)

    def _value(self, match: re.Match[str]) -> Any:
        placeholder = self._placeholders[int(match[1])]
        try:
            return eval(compile(placeholder.expression, "<placeholder>", "eval"), self._namespace)
        except Exception as error:
            problem = f"{type(error).__name__}: {getattr(error, 'msg', None) or error}"
            where, line = (
                (f"line {placeholder.number}: ", f"\n      {placeholder.line}") if placeholder.number else ("", "")
            )
            text = placeholder.text
            literal = f"${text}" if text.startswith("$") else f"{{{text}}}"
            raise CommandError(f"{where}{text}: {problem}; for the text itself write {literal}{line}") from error


def escape(text: str) -> str:
    """Return ``text`` without placeholders: escaped, so that ``hide`` returns it unchanged.

    >>> Placeholders({}).hide(escape("$5 or {five}"))
    '$5 or {five}'
    """
    return re.sub(r"\$|\{[^{}\n]*\}", lambda match: "$$" if match[0] == "$" else f"{{{match[0]}}}", text)


def _find_end(text: str, start: int) -> int:
    """Return the end of the expression that begins at ``start``, on its line; 0 if it is not closed.

    The first closing brace that makes it valid Python ends it, so that an expression may contain braces and strings.
    """
    line = text.find("\n", start)
    closing = [match.end() for match in re.compile(r"\}").finditer(text, start, len(text) if line < 0 else line)]
    for end in closing:
        try:
            compile(text[start : end - 1].strip(), "<placeholder>", "eval")
        except (SyntaxError, ValueError):
            continue
        return end
    return closing[0] if closing else 0
