"""Registries: implementations of one interface, found by name in lmkit's own package and in other distributions.

    RUNTIMES: Registry[ModuleType] = Registry("runtime", "lmkit.runtimes", __name__, requires=("load",))

An implementation is an object that a decorator registers, or a whole module. Another distribution adds one with an
entry point in its metadata:

    [project.entry-points."lmkit.runtimes"]
    myruntime = "my_package.runtime"             # the module itself
    [project.entry-points."lmkit.techniques"]
    halve = "my_package.techniques"              # a module that registers 'halve' with a decorator
    thirds = "my_package.techniques:thirds"      # an object, registered under the name of its entry point

The groups, what an entry point of each provides, and the interface:

    lmkit.techniques   a function decorated with ``technique``     lmkit.deploy.techniques.base
    lmkit.runtimes     a module                                    lmkit.deploy.runtimes
    lmkit.models       a class decorated with ``MODELS.register``  lmkit.specs.models
    lmkit.optimizers   a class decorated with ``OPTIMIZERS.register``  lmkit.specs.optimizers
    lmkit.trackers     a module                                    lmkit.trackers.base
    lmkit.engines      a module                                    lmkit.sweeping.engines
    lmkit.explanations a module that adds to ``METHODS``           lmkit.explanations.methods.base
    lmkit.checks       a function decorated with ``check``         lmkit.doctor.checks

Models and optimizers are specifications: classes whose fields people set. An experiment accepts them because its
unions are built of what is registered (``lmkit.specs.registry``). The class names its implementation in each
framework, which is imported when that framework builds it:

    @OPTIMIZERS.register
    class Halve(Spec):
        implementations: ClassVar = {"torch": "my_package.torch_part:Halve"}
        name: Literal["halve"] = "halve"
        lr: float = 0.1

``tests/plugin_example`` has one of each. Processes that lmkit starts find what is installed or on PYTHONPATH.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from lmkit.exceptions import LmkitError, nearest, shorten

T = TypeVar("T")


class PluginWarning(UserWarning):
    """An entry point of another distribution cannot be used; the message names both."""


class Registry(Generic[T]):
    """Implementations by name; the package's modules and the entry points are imported when they are needed.

    Args:
        kind: what one implementation is called in messages, such as ``technique``.
        group: the entry-point group of other distributions' implementations; none if they cannot add any.
        package: the package whose modules are lmkit's own implementations; none if they are registered elsewhere.
        requires: attributes of every implementation. A module of the package that registers nothing and has them is
            itself the implementation, under its own name; a plugin without them is refused.
        check: raises if a plugin's implementation cannot be used.
        error: makes the exception of an unknown name from its message.

    >>> SHAPES: Registry[object] = Registry("shape", "lmkit.shapes")
    >>> _ = SHAPES.add("circle", object())
    >>> SHAPES.names(), "square" in SHAPES
    (['circle'], False)
    """

    def __init__(
        self,
        kind: str,
        group: str | None,
        package: str | None = None,
        *,
        requires: tuple[str, ...] = (),
        check: Callable[[str, T], object] | None = None,
        error: Callable[[str], Exception] = LmkitError,
    ) -> None:
        self.kind, self.group, self.package = kind, group, package
        self._requires, self._check, self._error = requires, check, error
        self._implementations: dict[str, T] = {}
        self._imported: set[str] = set()
        self._modules: dict[str, str] = {}  # name → the module of the package that registered it
        self._plugins_loaded = False
        self._lock = threading.RLock()

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers a function or class under ``name``."""
        return lambda implementation: self.add(name, implementation)

    def add(self, name: str, implementation: T) -> T:
        """Register an implementation; one of the same name is replaced, as when a cell is executed again."""
        self._implementations[name] = implementation
        return implementation

    def remove(self, name: str) -> None:
        """Forget an implementation that was registered with ``add`` or ``register``."""
        self._implementations.pop(name, None)

    def names(self) -> list[str]:
        """The names of all implementations: lmkit's own first, then those of other distributions."""
        return [name for name, _ in self.items()]

    def items(self) -> list[tuple[str, T]]:
        """Names and implementations, in the order of ``names``."""
        self._load_all()
        last = "\uffff"  # what no module of the package registered: the user's own, and plugins
        return sorted(self._implementations.items(), key=lambda item: self._modules.get(item[0], last))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def get(self, name: str) -> T:
        """Return the implementation called ``name``; for lmkit's own, modules of other names may stay unimported.

        Raises:
            LmkitError: (or the registry's own error) no implementation has that name; the message holds the nearest.
        """
        if not self._find(name):
            raise self._error(f"no {self.kind} {shorten(name)}; {nearest(name, self.names())}")
        return self._implementations[name]

    def _find(self, name: str) -> bool:
        """Import what is needed to know ``name``; return whether an implementation has it."""
        with self._lock:
            if name not in self._implementations and self.package and name.isidentifier():
                module = f"{self.package}.{name}"
                if module not in self._imported and importlib.util.find_spec(module) is not None:
                    self._import(name)
            if name not in self._implementations:
                self._load_all()
            return name in self._implementations

    def _load_all(self) -> None:
        with self._lock:
            if self.package:
                package = importlib.import_module(self.package)
                for module in pkgutil.iter_modules(package.__path__):
                    self._import(module.name)
            if not self._plugins_loaded:
                self._plugins_loaded = True
                if self.group:
                    plugins = _entry_points(tuple(sys.path)).select(group=self.group)
                    for entry_point in sorted(plugins, key=lambda entry: entry.name):
                        self._load_plugin(entry_point)

    def _import(self, module_name: str) -> None:
        """Import a module of lmkit's own package, once."""
        path = f"{self.package}.{module_name}"
        if path in self._imported:
            return
        self._imported.add(path)
        before = set(self._implementations)
        try:
            module = importlib.import_module(path)
        except BaseException:
            self._imported.discard(path)
            raise
        is_implementation = set(self._implementations) == before and bool(self._requires)
        if is_implementation and module_name not in before and not self._missing(module):
            self._implementations[module_name] = cast("T", module)
        self._modules |= dict.fromkeys(set(self._implementations) - before, module_name)

    def _load_plugin(self, entry_point: EntryPoint) -> None:
        """Load an entry point; warn, and leave lmkit's own implementations as they are, if it cannot be used."""
        if entry_point.module in sys.modules and entry_point.name in self._implementations:
            return  # the program imported the plugin itself, and its decorators did the rest
        before = dict(self._implementations)
        try:
            loaded = entry_point.load()
            added = {name: it for name, it in self._implementations.items() if before.get(name) is not it}
            added = added or {entry_point.name: loaded}
            if duplicates := [name for name in added if name in before]:
                raise LmkitError(f"the name {duplicates[0]!r} is taken")
            if missing := [attribute for it in added.values() for attribute in self._missing(it)]:
                raise LmkitError(f"it has no {missing[0]!r}")
            if self._check:
                for name, implementation in added.items():
                    self._check(name, implementation)
        except (Exception, SystemExit) as error:  # another distribution's code may raise anything
            self._implementations = before
            distribution = entry_point.dist.name if entry_point.dist else "an unnamed distribution"
            warnings.warn(
                f"the {self.kind} {entry_point.name!r} of {distribution} cannot be used: "
                f"{type(error).__name__}: {error} (entry point {entry_point.value!r} of {self.group})",
                PluginWarning,
                stacklevel=2,
            )
        else:
            self._implementations.update(added)

    def _missing(self, implementation: Any) -> list[str]:
        return [attribute for attribute in self._requires if not hasattr(implementation, attribute)]


@lru_cache(maxsize=1)
def _entry_points(_path: tuple[str, ...]) -> Any:
    """Return the entry points of all distributions on the path; reading them takes tens of milliseconds."""
    return entry_points()
