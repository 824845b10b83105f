"""Facts about the frameworks for the layers below the backends, without an import of a framework.

The others are in ``lmkit.backends.facts``. A further framework adds an entry wherever one applies to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

MODEL_BASES = frozenset({"torch.nn.modules.module.Module", "keras.src.layers.layer.Layer"})
"""The base classes of models and layers."""

UNPICKLABLE_LOADERS = {("tensorflow", "DatasetV2"): "tf.data.Dataset"}
"""Package and name of a class of loaders that cannot be pickled → the name by which users know it."""

GENERATORS = {"torch": "default_generator"}
"""Module → its global random generator, whose state can be saved and restored."""

SEED_FUNCTIONS = {"tensorflow": "random.set_seed"}
"""Module → its function that seeds a global random generator whose state cannot be restored."""


def class_names(value: Any) -> set[str]:
    """Return the qualified names of the classes of a value: its own and their bases."""
    return {f"{c.__module__}.{c.__name__}" for c in type(value).__mro__}


def unpicklable_loader(data: Any) -> str:
    """Return the name of the class of a loader that cannot be pickled; empty for any other value."""
    classes = [(c.__module__.partition(".")[0], c.__name__) for c in type(data).__mro__]
    return next((UNPICKLABLE_LOADERS[c] for c in classes if c in UNPICKLABLE_LOADERS), "")


def global_generators() -> dict[str, Any]:
    """Return the global random generators of the frameworks that are imported, by module."""
    return _of_imported(GENERATORS)


def seed_functions() -> list[Callable[[int], None]]:
    """Return the seed functions of the frameworks that are imported."""
    return list(_of_imported(SEED_FUNCTIONS).values())


def _of_imported(paths: Mapping[str, str]) -> dict[str, Any]:
    return {name: attrgetter(path)(module) for name, path in paths.items() if (module := sys.modules.get(name))}
