"""The encoding of a file of text, found by its beginning."""

from __future__ import annotations

import codecs
import re

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

EAST_ASIAN = {
    "cp932": ("Shift-JIS, Japanese", re.compile(r"[\u3040-\u30ff]"), 0),
    "euc_jp": ("EUC, Japanese", re.compile(r"[\u3040-\u30ff]"), 1.5),
    "euc_kr": ("EUC, Korean", re.compile(r"[\uac00-\ud7a3]"), 1.8),
    "gb18030": ("Chinese", re.compile(r"[\u4e00-\u9fff]"), 1.8),
    "big5": ("Big5, Chinese", re.compile(r"[\u4e00-\u9fff]"), 1.4),
}
"""Encodings of several bytes a letter, in the order in which they are tried: what they are, their own letters, and how
many bytes beyond ASCII follow each other at least, on average: in Western texts these are single ones."""

CENTRAL = (
    re.compile(r"(?<=[a-z])[¹³¿¶¼¾](?=[a-z])|(?<![\w\d])[£¯](?=[^\W\d])", re.IGNORECASE),  # ą, ł, ż in Polish words
    re.compile(r"ø.*[èìùò]|[èìùò].*ø", re.DOTALL),  # ř with č, ě, ů, ň: Czech
    re.compile(r"^(?!.*[äãç]).*õ(?!e)", re.DOTALL | re.IGNORECASE),  # ő: Hungarian
)
"""What cp1252 makes of words in cp1250, where no Western word has it."""

CYRILLIC = re.compile(r"[\u0410-\u044f\u0401\u0451]")


def find_encoding(content: bytes) -> tuple[str, str]:
    """Return the encoding that the beginning of a file has, and what it is; empty for UTF-8.

    A byte order mark decides; then zeros, of which UTF-16 has many; then whether the bytes are valid UTF-8. Others are
    found by the letters that they make: of several bytes a letter, Cyrillic, else Central or Western European.

    >>> find_encoding("Zürich".encode("cp1252")), find_encoding("Łódź, Kraków, żółw".encode("cp1250"))
    (('cp1252', 'Western European'), ('cp1250', 'Central European'))
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return encoding, "" if encoding == "utf-8-sig" else encoding
    zeros = [content[i::2].count(0) for i in (0, 1)]
    if max(zeros) > 0.2 * len(content):
        encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
        return encoding, encoding
    if _decode(content, "utf-8") is not None:
        return "utf-8", ""
    for encoding, (language, letters, shortest) in EAST_ASIAN.items():
        text = _decode(content, encoding)
        if text is not None and _run_length(content) > shortest and _is_of(letters, text, encoding):
            return encoding, language
    high = bytes(byte for byte in content if byte >= 0x80)
    if len(CYRILLIC.findall(high.decode("cp1251", "replace"))) > 0.9 * len(high) and _run_length(content) > 2.5:
        return "cp1251", "Cyrillic"
    western = content.decode("cp1252", "replace")
    if _decode(content, "cp1250") is not None and any(pattern.search(western) for pattern in CENTRAL):
        return "cp1250", "Central European"
    return "cp1252", "Western European"


def _decode(content: bytes, encoding: str) -> str | None:
    """Return the text of a beginning, which may end within a letter; None where it is not of the encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(content)
    except UnicodeDecodeError:
        return None


def _is_of(letters: re.Pattern[str], text: str, encoding: str) -> bool:
    """Whether most letters beyond ASCII are a language's own, and at least four of them."""
    foreign = [letter for letter in text if letter > "\x7f"]
    count = len(letters.findall("".join(foreign)))
    if "JP" in encoding.upper() or encoding == "cp932":  # half of a Japanese text is Chinese letters
        halfwidth = sum("\uff61" <= letter <= "\uff9f" for letter in foreign)  # what single bytes of others become
        return count >= 2 and halfwidth < 0.1 * len(foreign) and count > 0.1 * len(foreign)
    return count >= 4 and count > 0.8 * len(foreign)


def _run_length(content: bytes) -> float:
    """Return how many bytes beyond ASCII follow each other, on average."""
    runs = re.findall(rb"[\x80-\xff]+", content)
    return sum(map(len, runs)) / max(1, len(runs))
