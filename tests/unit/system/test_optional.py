"""Optional packages: one sentence for what is not installed, with the line that installs it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import lmkit
from lmkit.exceptions import LmkitError, MissingPackage
from lmkit.system.optional import is_installed, missing_modules, require


def test_what_is_installed_is_known_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "made_by_hand", ModuleType("made_by_hand"))
    assert is_installed("this")
    assert is_installed("made_by_hand")
    assert not is_installed("nowhere_lmkit")
    assert "this" not in sys.modules
    assert missing_modules(["json", "nowhere_lmkit"]) == ["nowhere_lmkit"]


def test_what_is_missing_is_named_with_the_line_that_installs_it() -> None:
    require("json", "this", extra="batch")
    line = r"python -m pip install 'jupyter-lmkit\[sweep\]'"
    with pytest.raises(MissingPackage, match=f"^nowhere_lmkit is not installed; install it: {line}$"):
        require("json", "nowhere_lmkit", extra="sweep")
    sentence = f"^sampler 'tpe' needs nowhere_lmkit, which is not installed; install it: {line}; or use 'random'$"
    with pytest.raises(LmkitError, match=sentence):
        require(
            "nowhere_lmkit", extra="sweep", purpose="sampler 'tpe'", alternative="or use 'random'", error=LmkitError
        )


def test_each_printed_install_line_names_the_distribution_and_one_of_its_extras() -> None:
    package = Path(lmkit.__file__).parent
    extras = set(tomllib.loads((package.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = set()
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"pip install [^\n]*'(jupyter-)?lmkit\[", text) or path.name == "optional.py", path
        named |= set(re.findall(r'\bextra="([\w-]+)"', text)) | set(re.findall(r'install_command\("([\w-]+)"', text))
    named.discard("forbid")  # an option of pydantic's models
    assert named <= extras, named - extras
    assert len(named) > 8
