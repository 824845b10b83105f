"""The import name belongs to this project's package: a foreign one beside it is named."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

import lmkit
from lmkit.commands import cli
from lmkit.system.identity import REPAIR, shadowing_problem


@pytest.fixture
def foreign_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the metadata of another project's ``lmkit`` on the path."""
    info = tmp_path / "lmkit-3.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lmkit\nVersion: 3.1\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


def test_this_package_alone_is_no_problem() -> None:
    assert shadowing_problem(lmkit) is None


def test_a_foreign_package_under_the_import_name_is_named() -> None:
    foreign = types.ModuleType("lmkit")
    foreign.__file__ = "/site-packages/lmkit/__init__.py"
    problem = shadowing_problem(foreign)
    assert problem is not None
    assert "another project's package, '/site-packages/lmkit/__init__.py'" in problem
    assert REPAIR in problem


@pytest.mark.usefixtures("foreign_distribution")
def test_the_command_line_warns_of_a_foreign_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["templates"]) == 0
    assert "lmkit: lmkit 3.1, another project's package, is installed" in capsys.readouterr().err


def test_the_command_line_refuses_to_run_another_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "lmkit", types.SimpleNamespace(__file__="/elsewhere/lmkit/__init__.py"))
    assert cli.main(["templates"]) == 2
    assert "'import lmkit' loads another project's package" in capsys.readouterr().err
