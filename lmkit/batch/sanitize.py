"""Removes from the HTML of a page everything that would be executed or fetched when the page is opened."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import bleach  # type: ignore[import-untyped]  # nbconvert brings it
import tinycss2  # type: ignore[import-untyped]  # bleach brings it
from bleach.css_sanitizer import CSSSanitizer  # type: ignore[import-untyped]

TAGS = frozenset(
    [
        "a",
        "b",
        "blockquote",
        "br",
        "caption",
        "code",
        "dd",
        "del",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "figcaption",
        "figure",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "kbd",
        "li",
        "ol",
        "p",
        "pre",
        "s",
        "small",
        "span",
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "u",
        "ul",
    ]
)

ATTRIBUTES = frozenset(
    ["alt", "align", "class", "colspan", "id", "open", "rowspan", "scope", "style", "title", "width"]
)

CSS_PROPERTIES = frozenset(
    [
        "background",
        "background-color",
        "border",
        "border-bottom",
        "border-collapse",
        "border-color",
        "border-left",
        "border-radius",
        "border-right",
        "border-style",
        "border-top",
        "border-width",
        "color",
        "font-size",
        "font-style",
        "font-weight",
        "padding",
        "text-align",
        "text-decoration",
        "vertical-align",
        "width",
    ]
)
"""The properties of a style that change how text and cells look, but not where they are."""

CSS_FUNCTIONS = frozenset(["rgb", "rgba", "hsl", "hsla", "linear-gradient", "calc"])
"""The functions in the value of a property, none of which loads anything."""


def sanitize(body: str) -> str:
    """Return HTML without scripts, styles of whole pages, forms, frames and references to other files; links remain."""

    def allowed(tag: str, name: str, value: str) -> bool:
        if name == "src":
            return tag == "img" and value.startswith("data:image/")
        if name == "href":
            return tag == "a" and not value.startswith("data:")
        return name in ATTRIBUTES

    cleaned: str = bleach.clean(
        replace_elements(body, ("script", "style"), lambda *_: ""),
        tags=TAGS,
        attributes=allowed,
        protocols=["http", "https", "mailto", "data"],
        css_sanitizer=_StrictCSS(allowed_css_properties=CSS_PROPERTIES),
        strip=True,
    )
    return cleaned


def replace_elements(text: str, tags: Iterable[str], replacement: Callable[[str, str, str], str]) -> str:
    """Replace elements by what ``replacement`` returns for their tag, attributes and content.

    An element that is not closed ends with its opening tag. The time is linear in the length of the text.
    """
    opening = re.compile(rf"<({'|'.join(tags)})\b([^>]*)>", re.IGNORECASE)
    result, position = [], 0
    unclosed: set[str] = set()
    while match := opening.search(text, position):
        tag, end = match[1].lower(), match.end()
        result.append(text[position : match.start()])
        content = ""
        if tag not in unclosed and not match[2].endswith("/"):
            closing = re.compile(rf"</{tag}\s*>", re.IGNORECASE).search(text, end)
            if closing:
                content, end = text[end : closing.start()], closing.end()
            else:
                unclosed.add(tag)
        result.append(replacement(tag, match[2], content))
        position = end
    return "".join([*result, text[position:]])


@cache
def attribute_pattern(name: str) -> re.Pattern[str]:
    """Return the pattern of an attribute in the attributes of a tag, whose value is one of its groups."""
    return re.compile(rf"""(?:^|\s){name}\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)


def read_attribute(attributes: str, name: str) -> str:
    """Return the value of an attribute in the attributes of a tag; empty without it.

    >>> read_attribute(' src="a&amp;b.png" alt=x', "src")
    'a&b.png'
    """
    match = attribute_pattern(name).search(attributes)
    return html.unescape(next(filter(None, match.groups()), "")) if match else ""


class _StrictCSS(CSSSanitizer):  # type: ignore[misc]
    """Allows some properties, and of these only values that load nothing."""

    def sanitize_css(self, style: str) -> str:
        """Return the declarations of a style attribute that are allowed."""
        declarations = tinycss2.parse_declaration_list(style, skip_comments=True, skip_whitespace=True)
        harmless = [d for d in declarations if d.type == "declaration" and _is_harmless(d.value)]
        cleaned: str = super().sanitize_css(tinycss2.serialize(harmless))
        return cleaned


def _is_harmless(tokens: Iterable[Any]) -> bool:
    for token in tokens:
        if token.type in ("url", "error"):
            return False
        if token.type == "function" and not (token.lower_name in CSS_FUNCTIONS and _is_harmless(token.arguments)):
            return False
        if token.type.endswith("block") and not _is_harmless(token.content):
            return False
    return True
