"""What records and reports tell of their maker: no secrets, the home folder as ``~``, and less on request."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

VARIABLE = "LMKIT_PRIVATE"
"""The environment variable that leaves commands and folders out of records and reports: ``on``."""

HIDDEN = "…"

SECRETS = {"token", "secret", "password", "passwd", "passphrase", "pwd", "apikey", "credential", "credentials", "auth"}
"""Words that name a secret, as a part of a name such as ``hub_token``."""

SECRET_PAIRS = {("api", "key"), ("access", "key"), ("private", "key"), ("secret", "key"), ("account", "key")}

_URL_USER = re.compile(r"(?<=://)[^\s/@'\"]+@")
_ASSIGNMENT = re.compile(r"([A-Za-z][\w.-]*)(['\"]?\s*[=:]\s*)(?!//)(\"[^\"]*\"|'[^']*'|[^\s,;&'\"}]+)")
_TOKEN = re.compile(
    r"\b(?:hf_\w{16,}|gh[pousr]_\w{16,}|glpat-[\w-]{16,}|sk-[\w-]{16,}|AKIA[0-9A-Z]{16}|eyJ[\w-]{16,}\.[\w.-]+)"
)

_PLAIN = re.compile(r"[\w@%+=:,./~…-]+")
"""A word that a shell takes as it is."""


def is_private() -> bool:
    """Return whether commands and folders are left out."""
    return os.environ.get(VARIABLE, "").lower() in ("on", "1", "true", "yes")


def names_secret(name: str) -> bool:
    """Return whether a value of this name is a secret.

    >>> [names_secret(name) for name in ("hub_token", "--api-key", "tokens", "tokenizer")]
    [True, True, False, False]
    """
    parts = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return bool(SECRETS & set(parts)) or any(pair in SECRET_PAIRS for pair in pairwise(parts))


def redact(text: str) -> str:
    """Return a text without credentials, and with the home folder as ``~``.

    >>> redact("postgres://me:pw@host/db?api_key=1234 epochs=3")
    'postgres://…@host/db?api_key=… epochs=3'
    """

    def hide(match: re.Match[str]) -> str:
        name, separator, value = match.groups()
        return f"{name}{separator}{HIDDEN if names_secret(name) else value}"

    text = _URL_USER.sub(f"{HIDDEN}@", text)
    text = _TOKEN.sub(HIDDEN, _ASSIGNMENT.sub(hide, text))
    return shorten_home(text)


def redact_command(command: str) -> str:
    """Return a command without the values of its secrets.

    >>> redact_command("lmkit run train -p hub_token abc -p epochs 3 --password=x")
    'lmkit run train -p hub_token … -p epochs 3 --password=…'
    """
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote
        return redact(command)
    return " ".join(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in _redact_words(words))


def _redact_words(words: Iterable[str]) -> Iterator[str]:
    is_secret = False
    for word in words:
        yield HIDDEN if is_secret else redact(word)
        is_secret = not is_secret and re.fullmatch(r"[\w.-]+", word) is not None and names_secret(word)


def shorten_home(text: str) -> str:
    """Return a text with the home folder as ``~``, where it begins a path.

    >>> shorten_home(f"{Path.home()}/runs") == "~/runs"
    True
    """
    home = str(Path.home())
    if len(home) < 2:
        return text
    return re.sub(rf"(?<![\w+/.~-]){re.escape(home)}(?![\w.-])", "~", text)


def expand_home(path: str) -> str:
    """Return a path with the home folder instead of ``~``, as ``shorten_home`` left it.

    >>> expand_home("~/runs") == f"{Path.home()}/runs"
    True
    """
    return str(Path.home()) + path[1:] if path == "~" or path.startswith("~/") else path


def hide_folders(text: str, folders: Iterable[Path]) -> str:
    """Return a text in which paths below ``folders`` are relative to them.

    >>> hide_folders("/data/runs/a/experiment.yaml", [Path("/data/runs")])
    'a/experiment.yaml'
    """
    for folder in sorted({str(folder) for folder in folders}, key=len, reverse=True):
        if len(folder) > 1:
            text = re.sub(rf"(?<![\w+/.~-]){re.escape(folder)}(?:/|(?![\w.-]))", "", text)
    return text
