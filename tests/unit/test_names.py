"""Names say what they hold, files stay readable, and no framework's name decides anything outside its backend."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "lmkit").rglob("*.py"))

EMPTY = {
    *("found", "known", "given", "told", "chosen", "place", "made", "own", "kept", "shown", "aside", "asked", "wanted"),
    *("said", "taken", "several", "held", "whole", "beside", "each", "few", "doing"),
}
"""Names that do not say what they hold."""

PER_THOUSAND = 2.0
"""So many of 1,000 names and arguments may be among them."""

LINES = 400
"""A file that is longer is more than one thing."""


def test_names_are_nouns_of_what_they_hold() -> None:
    names = [
        name.strip("_")
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (name := node.id if isinstance(node, ast.Name) else node.arg if isinstance(node, ast.arg) else None)
    ]
    empty = [name for name in names if name in EMPTY]
    assert 1000 * len(empty) / len(names) < PER_THOUSAND, sorted(set(empty))


def test_no_file_is_longer_than_one_subject() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > LINES} == {}


def test_formatting_is_left_to_the_formatter() -> None:
    assert [p.name for p in FILES if "# fmt:" in p.read_text(encoding="utf-8")] == []
