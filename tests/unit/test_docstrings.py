"""The examples in docstrings are run."""

import doctest
import importlib
from pathlib import Path

import pytest

import lmkit

ROOT = Path(lmkit.__file__).parent
FILES = sorted(p for p in ROOT.rglob("*.py") if ">>>" in p.read_text(encoding="utf-8"))


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_there_are_examples():
    assert len(FILES) > 8


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_examples(path):
    found = doctest.testmod(importlib.import_module(module_name(path)))
    assert found.failed == 0
