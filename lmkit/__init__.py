"""lmkit: train and deploy models from a notebook, in PyTorch or TensorFlow alike.

>>> import lmkit as lk
>>> run = lk.train(lk.Experiment(data="digits", model={"family": "mlp", "hidden": [64]}))  # doctest: +SKIP
>>> run.watch()  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmkit import charts, tables
    from lmkit.batch.execution import run_template
    from lmkit.batch.recording import record
    from lmkit.batch.templates import templates
    from lmkit.conversion import convert
    from lmkit.deploy.bundle import bundle
    from lmkit.deploy.comparison import compare, comparison
    from lmkit.deploy.loading import load_bundle
    from lmkit.description import describe
    from lmkit.errors import (
        ConfigError,
        DataError,
        LmkitError,
        MissingPackage,
        RunFailed,
        RunNotFound,
        RunStateError,
        SweepError,
        TemplateError,
    )
    from lmkit.experiment import Experiment
    from lmkit.mirrors import mirror
    from lmkit.planning.plan import Plan, plan
    from lmkit.reports import report
    from lmkit.run import Run, Runs, attach, generate, pause, resume, runs, stop, watch
    from lmkit.sweeping.beginning import sweep
    from lmkit.sweeping.sweep import Sweep, attach_sweep, stop_sweep, sweeps
    from lmkit.training import train
    from lmkit.widgets.configurator import configure
    from lmkit.widgets.display import explore, monitor

__version__ = "0.1.0"

_HOMES = {
    "Experiment": "lmkit.experiment",
    "Run": "lmkit.run",
    "Runs": "lmkit.run",
    "train": "lmkit.training",
    "attach": "lmkit.run",
    "runs": "lmkit.run",
    "watch": "lmkit.run",
    "pause": "lmkit.run",
    "resume": "lmkit.run",
    "stop": "lmkit.run",
    "generate": "lmkit.run",
    "convert": "lmkit.conversion",
    "load_bundle": "lmkit.deploy.loading",
    "compare": "lmkit.deploy.comparison",
    "comparison": "lmkit.deploy.comparison",
    "explore": "lmkit.widgets.display",
    "bundle": "lmkit.deploy.bundle",
    "describe": "lmkit.description",
    "run_template": "lmkit.batch.execution",
    "templates": "lmkit.batch.templates",
    "record": "lmkit.batch.recording",
    "mirror": "lmkit.mirrors",
    "plan": "lmkit.planning.plan",
    "Plan": "lmkit.planning.plan",
    "Sweep": "lmkit.sweeping.sweep",
    "sweep": "lmkit.sweeping.beginning",
    "sweeps": "lmkit.sweeping.sweep",
    "attach_sweep": "lmkit.sweeping.sweep",
    "stop_sweep": "lmkit.sweeping.sweep",
    "report": "lmkit.reports",
    "configure": "lmkit.widgets.configurator",
    "monitor": "lmkit.widgets.display",
    "charts": "",
    "tables": "",
    "LmkitError": "lmkit.errors",
    "ConfigError": "lmkit.errors",
    "DataError": "lmkit.errors",
    "TemplateError": "lmkit.errors",
    "SweepError": "lmkit.errors",
    "MissingPackage": "lmkit.errors",
    "RunNotFound": "lmkit.errors",
    "RunStateError": "lmkit.errors",
    "RunFailed": "lmkit.errors",
}
"""Public name → the module it is fetched from when it is first used; an empty one is a module itself."""

__all__ = [
    "ConfigError",
    "DataError",
    "Experiment",
    "LmkitError",
    "MissingPackage",
    "Plan",
    "Run",
    "RunFailed",
    "RunNotFound",
    "RunStateError",
    "Runs",
    "Sweep",
    "SweepError",
    "TemplateError",
    "attach",
    "attach_sweep",
    "bundle",
    "charts",
    "compare",
    "comparison",
    "configure",
    "convert",
    "describe",
    "explore",
    "generate",
    "load_bundle",
    "mirror",
    "monitor",
    "pause",
    "plan",
    "record",
    "report",
    "resume",
    "run_template",
    "runs",
    "stop",
    "stop_sweep",
    "sweep",
    "sweeps",
    "tables",
    "templates",
    "train",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lmkit' has no attribute {name!r}")
    home = _HOMES[name]
    value = getattr(importlib.import_module(home), name) if home else importlib.import_module(f"lmkit.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def _show(shown: Any) -> None:
    """Shows runs in a notebook."""
    from lmkit.widgets.display import show

    show(shown)


def _show_comparison(shown: Any) -> None:
    """Shows a comparison in a notebook."""
    from lmkit.widgets.display import show_comparison

    show_comparison(shown)


def _show_sweep(shown: Any) -> None:
    """Shows a sweep in a notebook."""
    from lmkit.widgets.display import show_sweep

    show_sweep(shown)


def teach_ipython() -> None:
    """Tells IPython, where we are imported in one, how what lives shows itself; nothing is imported for it."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        known = shell.display_formatter.ipython_display_formatter
        for name in ("Run", "Runs"):
            known.for_type_by_name("lmkit.run", name, _show)
        known.for_type_by_name("lmkit.deploy.comparison", "Comparison", _show_comparison)
        known.for_type_by_name("lmkit.sweeping.sweep", "Sweep", _show_sweep)


teach_ipython()


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext lmkit``: adds the magics ``%lmkit`` and ``%%lmkit``."""
    importlib.import_module("lmkit.magics").load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext lmkit``: takes them away."""
    importlib.import_module("lmkit.magics").unload(shell)
