"""The code holds to its own rules: style, types, and who may import whom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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


def test_only_the_backends_know_a_framework_by_name() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted((ROOT / "lmkit").rglob("*.py"))
        if "backends" not in path.parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if line.strip().startswith(("if ", "elif ")) and ('"torch"' in line or '"tensorflow"' in line)
    ]
    assert found == []


def test_the_top_of_the_repository_stays_as_it_is() -> None:
    allowed = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "lmkit", "notebooks", "templates", "tests"}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= allowed
