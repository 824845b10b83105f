"""Registries: lmkit's own modules, the entry points of other distributions, and what cannot be used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lmkit.exceptions import ConfigError, LmkitError
from lmkit.system.registry import PluginWarning, Registry

Install = Callable[..., None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package ``shapes`` on the path: a base, two modules that are implementations, one that registers two."""
    folder = tmp_path / "site" / "shapes"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "from lmkit.system.registry import Registry\n"
        "SHAPES = Registry('shape', 'lmkit.shapes', __name__, requires=('area',))\n"
    )
    (folder / "base.py").write_text("")
    (folder / "circle.py").write_text("def area(): return 3\n")
    (folder / "square.py").write_text("def area(): return 1\n")
    (folder / "rest.py").write_text(
        "from shapes import SHAPES\n"
        "@SHAPES.register('half-circle')\n"
        "class Half:\n    area = 2\n"
        "SHAPES.add('line', type('Line', (), {'area': 0}))\n"
    )
    monkeypatch.syspath_prepend(folder.parent)
    before = set(sys.modules)
    yield folder.parent
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def install(package: Path) -> Install:
    """Writes a distribution with a module and entry points."""

    def write(entry_points: str, code: str = "", name: str = "strange_shapes") -> None:
        (package / f"{name}.py").write_text(code)
        metadata = package / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[lmkit.shapes]\n{entry_points}\n")
        importlib.invalidate_caches()

    return write


def _shapes() -> Registry[Any]:
    registry: Registry[Any] = importlib.import_module("shapes").SHAPES
    return registry


def test_own_modules_are_implementations_or_register_them(package: Path) -> None:
    shapes = _shapes()
    assert shapes.names() == ["circle", "half-circle", "line", "square"]
    assert isinstance(shapes.get("circle"), ModuleType)
    assert shapes.get("half-circle").area == 2
    assert "line" in shapes
    assert "base" not in shapes
    assert 3 not in shapes
    assert len(shapes) == 4
    assert list(shapes) == [name for name, _ in shapes.items()]


def test_a_name_imports_its_own_module_alone(package: Path) -> None:
    assert _shapes().get("square").area() == 1
    assert "shapes.square" in sys.modules
    assert "shapes.circle" not in sys.modules


def test_an_unknown_name_names_the_nearest(package: Path) -> None:
    with pytest.raises(LmkitError, match=r"^no shape 'cirle'; .*'circle'"):
        _shapes().get("cirle")


def test_the_error_of_an_unknown_name_is_the_registrys_own() -> None:
    registry: Registry[object] = Registry("shape", "lmkit.shapes", error=lambda text: ConfigError([f"shape: {text}"]))
    with pytest.raises(ConfigError, match="shape: no shape 'x'"):
        registry.get("x")


def test_a_second_registration_replaces_the_first_and_can_be_removed() -> None:
    registry: Registry[object] = Registry("shape", "lmkit.shapes")
    registry.add("circle", 1)
    registry.add("circle", 2)
    assert registry.get("circle") == 2
    registry.remove("circle")
    assert registry.names() == []


def test_a_module_that_fails_to_import_fails_each_time(package: Path) -> None:
    (package / "shapes" / "broken.py").write_text("raise OSError('no shape')\n")
    for _ in range(2):
        with pytest.raises(OSError, match="no shape"):
            _shapes().names()


def test_entry_points_are_modules_objects_or_modules_that_register(package: Path, install: Install) -> None:
    install("star = star_module", "def area(): return 5\n", "star_module")
    install("oval = oval_module:Oval", "class Oval: area = 4\n", "oval_module")
    install(
        "pair = pair_module",
        "from shapes import SHAPES\n"
        "SHAPES.register('first')(type('First', (), {'area': 1}))\n"
        "SHAPES.register('second')(type('Second', (), {'area': 1}))\n",
        "pair_module",
    )
    shapes = _shapes()
    assert shapes.names() == ["circle", "half-circle", "line", "square", "oval", "first", "second", "star"]
    assert shapes.get("star").area() == 5
    assert shapes.get("oval").area == 4


def test_a_plugin_that_was_imported_before_is_as_good(package: Path, install: Install) -> None:
    install(
        "star = star_module", "from shapes import SHAPES\nSHAPES.add('star', type('S', (), {'area': 5}))", "star_module"
    )
    importlib.import_module("star_module")
    assert "star" in _shapes().names()


@pytest.mark.parametrize(
    ("entry_points", "code", "reason"),
    [
        ("star = strange_shapes", "raise ValueError('no sky')", "ValueError: no sky"),
        ("star = strange_shapes:Star", "", "AttributeError"),
        ("star = nowhere_shapes", "", "ModuleNotFoundError"),
        ("star = strange_shapes", "points = 5", "it has no 'area'"),
        ("circle = strange_shapes", "def area(): return 4", "the name 'circle' is taken"),
        (
            "star = strange_shapes",
            "from shapes import SHAPES\nSHAPES.add('circle', type('C', (), {'area': 4}))",
            "the name 'circle' is taken",
        ),
        ("star = strange_shapes", "import sys\nsys.exit(3)", "SystemExit: 3"),
    ],
)
def test_a_broken_plugin_is_a_warning_that_names_it(
    package: Path, install: Install, entry_points: str, code: str, reason: str
) -> None:
    install(entry_points, code)
    shapes = _shapes()
    name = entry_points.partition(" ")[0]
    with pytest.warns(PluginWarning, match=f"the shape '{name}' of strange_shapes cannot be used: .*{reason}"):
        assert shapes.names() == ["circle", "half-circle", "line", "square"]
    assert shapes.get("circle").area() == 3
