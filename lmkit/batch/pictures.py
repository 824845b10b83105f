"""Pictures on a page: embedded, whatever they are; nothing is fetched, and nothing outside a folder is read."""

from __future__ import annotations

import base64
import html
import re
import stat
import urllib.parse
import xml.etree.ElementTree as ET
from pathlib import Path

from lmkit.batch.sanitize import read_attribute

MAX_PICTURE = 5_000_000
"""Bytes of a picture in a file."""

MAX_PICTURES = 20_000_000
"""Bytes of all pictures in files of a page."""

SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)
"""How a picture's file begins → its type."""

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"

_FORBIDDEN = frozenset(
    ["script", "foreignObject", "iframe", "audio", "video", "object", "embed", "handler", "listener"]
)
"""Elements of SVG that are not drawings."""


class OmittedPicture(Exception):
    """Why a picture is not on the page."""


def data_url(kind: str, data: bytes | str) -> str:
    """Return a picture as the address of its own content; ``data`` is bytes, or a text in base64."""
    text = data if isinstance(data, str) else base64.b64encode(data).decode()
    return f"data:{kind};base64,{''.join(text.split())}"


def svg_url(text: str) -> str:
    """Return a drawing in SVG as an address, without scripts, handlers and references to other files.

    Raises:
        OmittedPicture: it is not XML, or defines entities.
    """
    from defusedxml import DefusedXmlException  # type: ignore[import-untyped]  # nbconvert brings it
    from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

    try:
        root = fromstring(text.strip())
    except (ET.ParseError, DefusedXmlException, ValueError, RecursionError):
        raise OmittedPicture("it is not valid SVG") from None
    for parent in [root, *root.iter()]:
        for child in list(parent):
            if not isinstance(child.tag, str) or child.tag.rpartition("}")[2] in _FORBIDDEN:
                parent.remove(child)
    for element in root.iter():
        if "}" not in element.tag:
            element.tag = f"{{{SVG}}}{element.tag}"  # inline in HTML it needs no namespace
        for name, value in list(element.attrib.items()):
            local = name.rpartition("}")[2].lower()
            is_reference = local == "href" and not value.strip().startswith(("#", "data:image/"))
            if local.startswith("on") or is_reference:
                del element.attrib[name]
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    return data_url("image/svg+xml", ET.tostring(root))


def embed_pictures(body: str, folder: Path | None) -> str:
    """Replace each picture in a file by its content, and any other that is not on the page by a note.

    Args:
        body: HTML.
        folder: the folder that paths are relative to, of which only regular files are read; None: no file is read.
    """
    room = MAX_PICTURES

    def replace(match: re.Match[str]) -> str:
        nonlocal room
        attributes = match[1]
        source = read_attribute(attributes, "src")
        if source.startswith("data:image/"):
            return match[0]
        description = read_attribute(attributes, "alt")
        try:
            kind, data = _read(source, folder, min(room, MAX_PICTURE))
            url = svg_url(data.decode("utf-8")) if kind == "image/svg+xml" else data_url(kind, data)
        except (OmittedPicture, UnicodeDecodeError) as reason:
            reason_text = reason if isinstance(reason, OmittedPicture) else "it is not valid SVG"
            words = f"picture {source[:200]!r}" if source else "a picture"
            return f"<em>[{html.escape(f'{words} omitted: {reason_text}')}]</em>"
        room -= len(data)
        width = read_attribute(attributes, "width")
        sized = f' width="{html.escape(width)}"' if width else ""
        return f'<img src="{url}" alt="{html.escape(description)}"{sized}>'

    return re.sub(r"<img\b([^>]*)>", replace, body, flags=re.IGNORECASE)


def _read(source: str, folder: Path | None, limit: int) -> tuple[str, bytes]:
    """Return the type and the content of a picture in a file."""
    address = urllib.parse.urlsplit(source)
    if address.scheme or address.netloc or not source:
        raise OmittedPicture("a page loads nothing")
    if folder is None:
        raise OmittedPicture("it is not on the page")
    root = folder.resolve()
    try:
        path = root / urllib.parse.unquote(address.path)
        # as written: a link anywhere in the path, or a way out of the folder, changes it
        if path.resolve() != Path(*path.parts) or not path.is_relative_to(root) or ".." in path.parts:
            raise OmittedPicture(f"it is not a file in {str(folder)!r}")
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise OmittedPicture("it is not a regular file")
        if status.st_size > limit:
            raise OmittedPicture("it is too large")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise OmittedPicture(getattr(error, "strerror", None) or "it cannot be read") from None
    kind = next((kind for start, kind in SIGNATURES if data.startswith(start)), "")
    if not kind and path.suffix.lower() == ".svg":
        kind = "image/svg+xml"
    if not kind or len(data) > limit:
        raise OmittedPicture("it is not a PNG, JPEG, GIF, WebP or SVG picture")
    return kind, data
