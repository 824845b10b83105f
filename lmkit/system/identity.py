"""The identity of the imported package: the distribution is ``jupyter-lmkit``, the import name ``lmkit``.

The distribution called ``lmkit`` on the package index belongs to another project. Installed beside this one, it writes
into the same folder, so that either may overwrite files of the other.
"""

from __future__ import annotations

import importlib.metadata
from types import ModuleType

from lmkit.system.optional import DISTRIBUTION

FOREIGN = "lmkit"
"""The other project's distribution, which has the same import name."""

REPAIR = f"python -m pip uninstall -y {FOREIGN} && python -m pip install --force-reinstall --no-deps {DISTRIBUTION}"
"""The command that leaves this project's package alone under the import name."""


def shadowing_problem(package: ModuleType) -> str | None:
    """Return a sentence that names the conflict of import names, or None where there is none.

    Args:
        package: the module that ``import lmkit`` returned.
    """
    if "Experiment" not in getattr(package, "__all__", ()):
        return f"'import lmkit' loads another project's package, {package.__file__!r}; repair it: {REPAIR}"
    try:
        version = importlib.metadata.version(FOREIGN)
    except importlib.metadata.PackageNotFoundError:
        return None
    return f"lmkit {version}, another project's package, is installed under the same import name; repair it: {REPAIR}"
