"""The public names, and what importing them costs: no framework, no table library, before they are needed."""

import ast
import importlib
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from narrowing import require_type

import lmkit

FRAMEWORKS = {"torch", "tensorflow", "keras"}
TABLES = {"numpy", "pandas", "pyarrow", "scipy", "sklearn"}
HEAVY = FRAMEWORKS | TABLES | {"ipywidgets", "matplotlib", "plotly", "psutil", "pydantic", "yaml"}


def loaded_by(code):
    """The top-level modules that a fresh process holds after ``code``."""
    code += "\nimport json, sys; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(told.stdout.splitlines()[-1]))


def imported_for_type_checkers():
    tree = ast.parse(Path(lmkit.__file__).read_text(encoding="utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {
        alias.asname or alias.name: None if node.module == "lmkit" else node.module
        for node in (require_type(statement, ast.ImportFrom) for statement in block.body)
        for alias in node.names
    }


def test_all_is_sorted_and_is_what_dir_and_a_star_give():
    assert lmkit.__all__ == sorted(set(lmkit.__all__))
    assert dir(lmkit) == sorted([*lmkit.__all__, "__version__"])
    namespace: dict[str, Any] = {}
    exec("from lmkit import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(lmkit.__all__)


def test_all_is_the_namespace():
    for name in lmkit.__all__:
        getattr(lmkit, name)
    own = {
        name
        for name, value in vars(lmkit).items()
        if not name.startswith("_")
        and (name in lmkit.__all__ or not isinstance(value, types.ModuleType))
        and getattr(value, "__module__", "lmkit") not in ("typing", "__future__")
    }
    hooks = {n for n in own if n.endswith(("_ipython_extension", "teach_ipython"))}  # for IPython
    assert own - hooks - {"TYPE_CHECKING", "annotations"} == set(lmkit.__all__)


@pytest.mark.parametrize("name", lmkit.__all__)
def test_a_public_name_is_found_at_its_home_and_explained(name):
    value = getattr(lmkit, name)
    home = imported_for_type_checkers()[name]
    if home is None:
        assert value is importlib.import_module(f"lmkit.{name}")
    else:
        assert value is getattr(importlib.import_module(home), name)
        assert value.__module__ == home
    assert value.__doc__


def test_type_checkers_see_the_same_names():
    assert set(imported_for_type_checkers()) == set(lmkit.__all__)


def test_a_name_that_is_none():
    with pytest.raises(AttributeError, match="module 'lmkit' has no attribute 'tarin'"):
        lmkit.tarin  # noqa: B018


def test_importing_it_loads_nothing_heavy():
    assert "lmkit" in (loaded := loaded_by("import lmkit"))
    assert loaded & HEAVY == set()


def test_an_experiment_loads_no_framework_and_no_table_library():
    loaded = loaded_by("import lmkit; lmkit.Experiment.from_yaml(lmkit.Experiment(data='digits').to_yaml())")
    assert loaded & (FRAMEWORKS | TABLES) == set()


def test_none_of_the_public_names_loads_a_framework():
    loaded = loaded_by("import lmkit\nfor name in lmkit.__all__: getattr(lmkit, name)")
    assert loaded & FRAMEWORKS == set()


def test_types_are_marked():
    assert (Path(lmkit.__file__).parent / "py.typed").is_file()
