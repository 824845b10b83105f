"""What lmkit imports is declared, and every extra that a message may name exists."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name != "test"}

DISTRIBUTIONS = {
    "IPython": "ipython",
    "PIL": "pillow",
    "grpc": "grpcio",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}
"""Modules whose distribution has another name."""


def normalized(requirement: str) -> str:
    """Return the name of a requirement, as the package index compares names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


def imported_modules() -> dict[str, str]:
    """Return each top-level module that lmkit imports, with one file that does."""
    modules: dict[str, str] = {}
    for path in sorted((ROOT / "lmkit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                modules.setdefault(name.partition(".")[0], str(path.relative_to(ROOT)))
    return {m: path for m, path in modules.items() if m not in sys.stdlib_module_names and m != "lmkit"}


def test_what_is_imported_is_declared() -> None:
    declared = {normalized(line) for lines in (PROJECT["dependencies"], *EXTRAS.values()) for line in lines}
    undeclared = {
        module: path
        for module, path in imported_modules().items()
        if normalized(DISTRIBUTIONS.get(module, module)) not in declared
    }
    assert not undeclared


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_names_ranges_with_an_upper_bound_or_other_extras(extra: str) -> None:
    for line in EXTRAS[extra]:
        assert line.startswith(f"{PROJECT['name']}[") or "<" in line, line


def test_the_distribution_has_a_name_of_its_own() -> None:
    from lmkit.system.optional import DISTRIBUTION

    assert PROJECT["name"] == DISTRIBUTION == "jupyter-lmkit"
