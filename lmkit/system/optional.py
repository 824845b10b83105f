"""Optional packages: whether they are installed, and the line that installs them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable

from lmkit.exceptions import MissingPackage

DISTRIBUTION = "jupyter-lmkit"
"""The name of this package on the package index; it is imported as ``lmkit``."""


def is_installed(module: str) -> bool:
    """Return whether a top-level module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # it is imported, by a loader that leaves no specification
        return True


def missing_modules(modules: Iterable[str]) -> list[str]:
    """Return those of ``modules`` that are not installed."""
    return [module for module in modules if not is_installed(module)]


def install_command(extra: str = "", *, version: str = "") -> str:
    """Return the command that installs this package with an extra.

    Args:
        extra: one of the extras of the distribution's metadata; empty for none.
        version: the exact version to install; empty for the newest.

    >>> install_command("torch")
    "python -m pip install 'jupyter-lmkit[torch]'"
    >>> install_command(version="0.2.0")
    "python -m pip install 'jupyter-lmkit==0.2.0'"
    """
    requirement = DISTRIBUTION + (f"[{extra}]" if extra else "") + (f"=={version}" if version else "")
    return f"python -m pip install '{requirement}'"


def describe_missing(modules: str | Iterable[str], extra: str, purpose: str = "") -> str:
    """Return the sentence for optional modules that are not installed.

    Args:
        modules: the name of a module, or several.
        extra: the extra of this distribution that installs them.
        purpose: what needs them, as the beginning of the sentence.

    >>> describe_missing("onnx", "deploy")
    "onnx is not installed; install it: python -m pip install 'jupyter-lmkit[deploy]'"
    >>> print(describe_missing(["onnx", "tf2onnx"], "deploy"))
    onnx and tf2onnx are not installed; install them: python -m pip install 'jupyter-lmkit[deploy]'
    """
    names = [modules] if isinstance(modules, str) else list(modules)
    listed = " and ".join([", ".join(names[:-1])] * bool(names[:-1]) + names[-1:])
    verb, pronoun = ("is", "it") if len(names) == 1 else ("are", "them")
    problem = f"{purpose} needs {listed}, which {verb} not installed" if purpose else f"{listed} {verb} not installed"
    return f"{problem}; install {pronoun}: {install_command(extra)}"


def require(
    *modules: str,
    extra: str,
    purpose: str = "",
    alternative: str = "",
    error: Callable[[str], Exception] = MissingPackage,
) -> None:
    """Check that optional modules are installed, without importing them.

    Args:
        modules: names of top-level modules.
        extra: the extra of this distribution that installs them.
        purpose: what needs them, as the beginning of the sentence.
        alternative: what to do instead, as the end of the sentence.
        error: makes the exception from its message.

    Raises:
        MissingPackage: (or what ``error`` makes) one is not installed; the message holds the command that installs it.
    """
    if missing := missing_modules(modules):
        raise error(describe_missing(missing, extra, purpose) + (f"; {alternative}" if alternative else ""))
