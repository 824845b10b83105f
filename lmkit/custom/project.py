"""Which references name code of the caller's project: modules in the current folder, and what is defined in them."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import site
import sysconfig
from pathlib import Path
from typing import Any

from lmkit.custom import objects
from lmkit.specs.references import HELD, KEPT


def is_project_code(reference: str) -> bool:
    """Return whether a reference names code of the project in the current folder, whose module is imported then.

    A function that the module only imports, such as ``my_module:getoutput``, is code of another module. Packages that
    are installed in the folder, in a virtual environment, are not the project's.

    Raises:
        ConfigError: the project has no such object, or its module cannot be imported.
    """
    module = reference.partition(":")[0]
    if reference.startswith((KEPT, HELD)) or not _lies_in_project(module):
        return False
    objects.permit(reference)
    value: Any = objects.get_object(reference, "model.builder")
    while isinstance(value, functools.partial):
        value = value.func
    if not (inspect.isroutine(value) or isinstance(value, type)):
        return True  # an instance that the module made
    return _lies_in_project(str(getattr(value, "__module__", "")))


def _lies_in_project(module: str) -> bool:
    """Return whether a module lies in the current folder, without importing it."""
    objects.allow_current_folder()
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])  # of a submodule it would import the package
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    origins = [spec.origin] if spec.origin and spec.has_location else []
    locations = [*(spec.submodule_search_locations or origins)]
    project = Path.cwd().resolve()
    return bool(locations) and all(_is_inside(location, project) for location in locations)


def _is_inside(location: str, project: Path) -> bool:
    """Return whether a file or folder lies in the project, and not among what is installed."""
    path = Path(location).resolve()
    installed = [Path(folder).resolve() for folder in _installed()]
    return path.is_relative_to(project) and not any(path.is_relative_to(folder) for folder in installed)


@functools.cache
def _installed() -> tuple[str, ...]:
    """Return the folders of the standard library and of installed packages."""
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return (*(paths[name] for name in names), *site.getsitepackages(), site.getusersitepackages())
