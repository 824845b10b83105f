"""Damage to the files of a folder, as crashes, full disks, other programs and attackers cause it; seeded."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lmkit.exceptions import LmkitError

DEEP = 5_000
MAX_LETTERS = 4000
VALUES: tuple[Any, ...] = (
    None,
    True,
    "x",
    "",
    -1,
    3,
    0.5,
    10**30,
    -(2**63),
    1e308,
    float("nan"),
    float("inf"),
    [],
    [1],
    ["x", None],
    [[1], [2, 3]],
    {},
    {"a": 1},
    {"a": [{"b": None}]},
    "x" * 100_000,
    "\0",
)
WHOLE = (
    "",
    " ",
    "\n",
    "[1]",
    "3",
    '"x"',
    "null",
    "{}",
    "{",
    "[" * DEEP,
    "[" * DEEP + "]" * DEEP,
    '{"a":' * DEEP + "1" + "}" * DEEP,
    "9" * 5000,
    '{"step": ' + "9" * 5000 + "}",
    "a: &a [*a]\n",
    "a: &a [1]\nb: [*a, *a]\n",
    "- " * 400 + "1",
    "a: !!python/object/apply:os.getcwd []\n",
    "a: !!int x\n",
    "a: !!set {b, c}\n",
    "? [1]\n: 2\n",
    "{1: 2}",
    "\ufeff{}",
)


class Damage(NamedTuple):
    """One way to damage a file: ``apply`` replaces whatever is at a path."""

    name: str
    apply: Callable[[Path], object]


def damages(content: bytes, seed: int, count: int) -> list[Damage]:
    """``count`` of all ways to damage a file with ``content``, chosen by ``seed``."""
    draw = random.Random(seed)
    ways = [*_kinds(), *_whole(content, draw), *_values(content, draw)]
    return ways if count >= len(ways) else draw.sample(ways, count)


def _writer(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _kinds() -> Iterator[Damage]:
    yield Damage("absent", lambda path: None)
    yield Damage("folder", lambda path: path.mkdir())
    yield Damage("loop", lambda path: path.symlink_to(path.name))
    yield Damage("device", lambda path: path.symlink_to("/dev/zero"))
    yield Damage("terminal", lambda path: path.symlink_to("/dev/tty"))
    if hasattr(os, "mkfifo"):
        yield Damage("pipe", lambda path: os.mkfifo(path))
        yield Damage("socket", _listen)


def _listen(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:  # the path of a socket is short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _whole(content: bytes, draw: random.Random) -> Iterator[Damage]:
    for text in WHOLE:
        yield Damage(f"text {text[:30]!r}", _writer(text.encode()))
    for _ in range(4):
        end = draw.randrange(len(content) + 1)
        yield Damage(f"ends at {end}", _writer(content[:end]))
        data = bytearray(content)
        for _ in range(min(8, len(data))):
            data[draw.randrange(len(data))] = draw.randrange(256)
        yield Damage(f"bytes {bytes(data)[:20]!r}", _writer(bytes(data)))
    yield Damage("random", _writer(draw.randbytes(500)))
    yield Damage("zeros", _writer(b"\0" * len(content)))


def _values(content: bytes, draw: random.Random) -> Iterator[Damage]:
    """Every value in JSON, JSON lines or YAML becomes another one, or is missing."""
    with contextlib.suppress(ValueError, yaml.YAMLError):
        lines = content.decode().splitlines()
        write: Callable[[Any], str]
        try:
            value, write = json.loads(content), json.dumps
        except ValueError:
            try:
                value, write = [json.loads(line) for line in lines], _write_lines
            except ValueError:
                value, write = yaml.safe_load(content), lambda v: yaml.safe_dump(v)
        for path in [p for p in _paths(value, ()) if p]:
            for new in [*draw.sample(VALUES, 5), _Missing]:
                with contextlib.suppress(ValueError, yaml.YAMLError):
                    text = write(_changed(value, path, new))
                    yield Damage(f"{'.'.join(map(str, path))} = {repr(new)[:30]}", _writer(text.encode()))


class _Missing:
    """Stands for a key that is removed."""


def _write_lines(records: list[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def _paths(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else list(enumerate(value))[:6]
        for key, inner in items:
            yield from _paths(inner, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if new is _Missing and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _changed(value[path[0]], path[1:], new)
    return copy


@contextlib.contextmanager
def damaged(path: Path, damage: Damage) -> Iterator[None]:
    """Damage a file within a ``with`` block."""
    aside = path.with_name(f"{path.name}.aside")
    exists = path.exists()
    if exists:
        path.rename(aside)
    try:
        damage.apply(path)
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if exists:
            aside.rename(path)


def wrong_answers(verbs: Mapping[str, Callable[[Any], object]], subject: Any) -> list[str]:
    """Return the verbs that neither answer nor raise an ``LmkitError`` of a length that people read."""
    wrong = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, verb in verbs.items():
            try:
                verb(subject)
            except LmkitError as error:
                if len(str(error)) > MAX_LETTERS:
                    wrong.append(f"{name}: a message of {len(str(error))} letters")
            except Exception as error:
                wrong.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
    return wrong
