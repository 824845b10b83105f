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
    from lmkit.analysis.errors import errors
    from lmkit.analysis.learning_curve import learning_curve
    from lmkit.batch.execute import run_template
    from lmkit.batch.record import record
    from lmkit.batch.templates import templates
    from lmkit.deploy.bundle.bundle import bundle
    from lmkit.deploy.bundle.load import load_bundle
    from lmkit.deploy.compare.comparison import compare, comparison
    from lmkit.exceptions import (
        ConfigError,
        DataError,
        LmkitError,
        MissingPackage,
        RunFailed,
        RunNotFound,
        RunStateError,
        SweepError,
        TemplateError,
        UntrustedCode,
    )
    from lmkit.experiment.experiment import Experiment
    from lmkit.explanations.explain import explain
    from lmkit.explanations.explanation import Explanation
    from lmkit.finders.learning_rate import find_learning_rate
    from lmkit.finders.micro_batch import find_micro_batch
    from lmkit.permissions import trust
    from lmkit.planning.plan import Plan, plan
    from lmkit.reports import report
    from lmkit.run.attach import attach, generate, pause, resume, runs, stop, watch
    from lmkit.run.convert import convert
    from lmkit.run.pack import pack
    from lmkit.run.run import Run
    from lmkit.run.runs import Runs
    from lmkit.run.start import train
    from lmkit.surfaces.landscape import landscape
    from lmkit.sweeping.start import sweep
    from lmkit.sweeping.sweep import Sweep, attach_sweep, stop_sweep, sweeps
    from lmkit.tables.dataset import describe
    from lmkit.trackers import mirror
    from lmkit.widgets.configurator import configure
    from lmkit.widgets.descent import descent
    from lmkit.widgets.display import explore, monitor

__version__ = "0.2.0"

_MODULES = {
    "Experiment": "lmkit.experiment.experiment",
    "Run": "lmkit.run.run",
    "Runs": "lmkit.run.runs",
    "train": "lmkit.run.start",
    "attach": "lmkit.run.attach",
    "runs": "lmkit.run.attach",
    "watch": "lmkit.run.attach",
    "pause": "lmkit.run.attach",
    "resume": "lmkit.run.attach",
    "stop": "lmkit.run.attach",
    "trust": "lmkit.permissions",
    "pack": "lmkit.run.pack",
    "generate": "lmkit.run.attach",
    "convert": "lmkit.run.convert",
    "load_bundle": "lmkit.deploy.bundle.load",
    "compare": "lmkit.deploy.compare.comparison",
    "comparison": "lmkit.deploy.compare.comparison",
    "explain": "lmkit.explanations.explain",
    "Explanation": "lmkit.explanations.explanation",
    "explore": "lmkit.widgets.display",
    "bundle": "lmkit.deploy.bundle.bundle",
    "describe": "lmkit.tables.dataset",
    "run_template": "lmkit.batch.execute",
    "templates": "lmkit.batch.templates",
    "record": "lmkit.batch.record",
    "mirror": "lmkit.trackers",
    "plan": "lmkit.planning.plan",
    "Plan": "lmkit.planning.plan",
    "Sweep": "lmkit.sweeping.sweep",
    "sweep": "lmkit.sweeping.start",
    "sweeps": "lmkit.sweeping.sweep",
    "attach_sweep": "lmkit.sweeping.sweep",
    "stop_sweep": "lmkit.sweeping.sweep",
    "report": "lmkit.reports",
    "learning_curve": "lmkit.analysis.learning_curve",
    "errors": "lmkit.analysis.errors",
    "configure": "lmkit.widgets.configurator",
    "monitor": "lmkit.widgets.display",
    "descent": "lmkit.widgets.descent",
    "landscape": "lmkit.surfaces.landscape",
    "find_learning_rate": "lmkit.finders.learning_rate",
    "find_micro_batch": "lmkit.finders.micro_batch",
    "charts": "",
    "tables": "",
    "LmkitError": "lmkit.exceptions",
    "ConfigError": "lmkit.exceptions",
    "DataError": "lmkit.exceptions",
    "TemplateError": "lmkit.exceptions",
    "SweepError": "lmkit.exceptions",
    "MissingPackage": "lmkit.exceptions",
    "RunNotFound": "lmkit.exceptions",
    "RunStateError": "lmkit.exceptions",
    "RunFailed": "lmkit.exceptions",
    "UntrustedCode": "lmkit.exceptions",
}
"""Public name → the module it is imported from at first use; empty where the name is a module itself."""

__all__ = [
    "ConfigError",
    "DataError",
    "Experiment",
    "Explanation",
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
    "UntrustedCode",
    "attach",
    "attach_sweep",
    "bundle",
    "charts",
    "compare",
    "comparison",
    "configure",
    "convert",
    "descent",
    "describe",
    "errors",
    "explain",
    "explore",
    "find_learning_rate",
    "find_micro_batch",
    "generate",
    "landscape",
    "learning_curve",
    "load_bundle",
    "mirror",
    "monitor",
    "pack",
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
    "trust",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lmkit' has no attribute {name!r}")
    module = _MODULES[name]
    value = getattr(importlib.import_module(module), name) if module else importlib.import_module(f"lmkit.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def _show(run: Any) -> None:
    """Display runs in a notebook."""
    from lmkit.widgets.display import show

    show(run)


def _show_comparison(comparison: Any) -> None:
    """Display a comparison in a notebook."""
    from lmkit.widgets.display import show_comparison

    show_comparison(comparison)


def _show_sweep(sweep: Any) -> None:
    """Display a sweep in a notebook."""
    from lmkit.widgets.display import show_sweep

    show_sweep(sweep)


def _show_explanation(explanation: Any) -> None:
    """Display an explanation in a notebook."""
    from lmkit.widgets.display import show_explanation

    show_explanation(explanation)


def _show_diagnosis(diagnosis: Any) -> None:
    """Display a diagnosis in a notebook."""
    from lmkit.widgets.display import show_diagnosis

    show_diagnosis(diagnosis)


def _show_learning_curve(curve: Any) -> None:
    """Display a learning curve in a notebook."""
    from lmkit.widgets.display import show_learning_curve

    show_learning_curve(curve)


def _show_errors(result: Any) -> None:
    """Display the errors of a run in a notebook."""
    from lmkit.widgets.display import show_errors

    show_errors(result)


def teach_ipython() -> None:
    """Register the displays of what a notebook shows with IPython, if it is running; import nothing."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        formatter = shell.display_formatter.ipython_display_formatter
        formatter.for_type_by_name("lmkit.run.run", "Run", _show)
        formatter.for_type_by_name("lmkit.run.runs", "Runs", _show)
        formatter.for_type_by_name("lmkit.deploy.compare.comparison", "Comparison", _show_comparison)
        formatter.for_type_by_name("lmkit.sweeping.sweep", "Sweep", _show_sweep)
        formatter.for_type_by_name("lmkit.explanations.explanation", "Explanation", _show_explanation)
        formatter.for_type_by_name("lmkit.doctor.diagnosis", "Diagnosis", _show_diagnosis)
        formatter.for_type_by_name("lmkit.analysis.curve", "LearningCurve", _show_learning_curve)
        formatter.for_type_by_name("lmkit.analysis.errors", "Errors", _show_errors)


teach_ipython()


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext lmkit``: add the magics ``%lmkit`` and ``%%lmkit``."""
    importlib.import_module("lmkit.commands.magics").load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext lmkit``: remove them."""
    importlib.import_module("lmkit.commands.magics").unload(shell)
