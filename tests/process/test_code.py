"""The code holds to its own rules: style, types, and who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "lmkit", "tests"],
        ["ruff", "format", "--check", "lmkit", "tests"],
        ["mypy"],
        ["importlinter.cli"],
    ],
    ids=["style", "format", "types", "layers"],
)
def test_the_code_passes(command: list[str]) -> None:
    call = [sys.executable, "-m", *command]
    if command == ["importlinter.cli"]:
        call = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


FRAMEWORKS = {"torch", "tensorflow", "keras"}


def names_a_framework(node: ast.AST | None) -> bool:
    """Whether an operand is a framework's name, or a literal collection with one in it."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(names_a_framework(element) for element in node.elts)
    return isinstance(node, ast.Constant) and node.value in FRAMEWORKS


def asks_for_a_framework(node: ast.AST) -> bool:
    """Whether a node decides or tabulates by framework: a mapping's key, a comparison, a case of a match statement."""
    if isinstance(node, ast.Dict):
        return any(names_a_framework(key) for key in node.keys)
    if isinstance(node, ast.Compare):
        return any(names_a_framework(operand) for operand in (node.left, *node.comparators))
    if isinstance(node, ast.MatchValue):
        return names_a_framework(node.value)
    return isinstance(node, ast.MatchMapping) and any(names_a_framework(key) for key in node.keys)


@pytest.mark.parametrize(
    "source",
    [
        "if x == 'torch': pass",
        "y = 1 if 'tensorflow' != x else 2",
        "x in ('torch', 'tensorflow')",
        "{'torch': 1}",
        "match x:\n    case 'torch': pass",
        "match x:\n    case {'torch': y}: pass",
        "match x:\n    case 'torch' | 'jax': pass",
    ],
)
def test_the_search_for_frameworks_finds(source: str) -> None:
    assert any(asks_for_a_framework(node) for node in ast.walk(ast.parse(source)))


def test_only_the_backends_ask_or_tabulate_by_framework() -> None:
    places = [
        f"{path.relative_to(ROOT)}:{node.lineno}"  # type: ignore[attr-defined]
        for path in sorted((ROOT / "lmkit").rglob("*.py"))
        if "backends" not in path.parts and path != ROOT / "lmkit/specs/frameworks.py"  # the facts for the layers below
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if asks_for_a_framework(node)
    ]
    assert places == []


def test_the_top_of_the_repository_stays_as_it_is() -> None:
    allowed = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "lmkit", "notebooks", "templates", "tests"}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= allowed
