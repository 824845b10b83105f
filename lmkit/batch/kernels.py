"""The kernels that execute notebooks: by default the current Python, reached through private sockets."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.exceptions import TemplateError, nearest
from lmkit.system.temporary import temporary_folder

PYTHON = "python"

CURRENT = ("", "python", "python2", "python3")
"""The names of kernels that stand for no particular environment."""


class KernelSettings(NamedTuple):
    """How the kernel of a notebook is started.

    Attributes:
        name: the name of a registered kernel; empty for the current Python.
        folder: its working folder; empty for that of this process.
    """

    name: str = ""
    folder: str = ""


@contextmanager
def kernel_manager(environment: Mapping[str, str], pids: list[int] | None = None, name: str = "") -> Iterator[type]:
    """Yield a class of kernel managers that start the current Python, whatever kernels are registered.

    On systems with Unix sockets the kernel listens on those, in a private folder that is deleted at the end: kernels
    that start at the same time cannot take each other's port, and no other user of the machine can connect.

    Args:
        environment: variables of the kernel, in addition to those of this process.
        pids: the process id of each kernel is appended to it.
        name: the name of a registered kernel that is started instead.
    """
    from lmkit.batch.kernel_manager import CurrentPythonManager, RegisteredManager

    manager = RegisteredManager if name else CurrentPythonManager
    with temporary_folder(ignore_cleanup_errors=True) as folder:
        attributes = {"folder": Path(folder), "environment": environment, "pids": [] if pids is None else pids}
        yield type("KernelManager", (manager,), attributes)


def check_kernel(notebook: Mapping[str, Any], title: str, name: str = "") -> list[str]:
    """Check, before anything starts, that a notebook can be executed by a kernel.

    Args:
        notebook: its content.
        title: its name in messages.
        name: the registered kernel that is to execute it; empty: the current Python.

    Returns:
        Sentences about what differs from the notebook's own kernel.

    Raises:
        TemplateError: the notebook or the kernel is of another language, or there is no such kernel.
    """
    kernelspec, language_info = (_mapping(notebook.get("metadata"), key) for key in ("kernelspec", "language_info"))
    recorded = str(kernelspec.get("name") or "")
    language = str(kernelspec.get("language") or language_info.get("name") or "").lower() or _language_of(recorded)
    if not re.fullmatch(r"i?python[ \d.]*", language):
        kernel = f" (kernel {recorded!r})" if recorded else ""
        raise TemplateError(
            f"{title}: a notebook in {language}{kernel}, expected one in Python; execute it with papermill"
        )
    if name:
        spec = _registered(name)
        if spec is None:
            raise TemplateError(f"kernel: no kernel {name!r} is registered; {nearest(name, _names(), 'kernels:')}")
        if spec.language.lower() != PYTHON:
            raise TemplateError(f"kernel: given {name!r}, a kernel for {spec.language}, expected one for Python")
        return []
    if recorded in CURRENT:
        return []
    spec = _registered(recorded)
    if spec and spec.argv and Path(spec.argv[0]).absolute() == Path(sys.executable).absolute():
        return []
    here = f"runs in this Python ({sys.executable}) instead of its kernel {recorded!r}"
    if spec is None:
        return [f"{here}, which is not registered here"]
    return [f"{here} ({spec.argv[0]}); use that: -k {recorded}"]


def _mapping(metadata: Any, key: str) -> Mapping[str, Any]:
    """Return a mapping in the metadata of a notebook; empty if it has another type."""
    value = metadata.get(key) if isinstance(metadata, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _language_of(kernel: str) -> str:
    """Return the language of a kernel that a notebook names without a language."""
    from papermill.translators import papermill_translators

    if kernel and (spec := _registered(kernel)):
        return str(spec.language).lower()
    stem = re.split(r"[-\d.]", kernel.lower())[0]
    translators = papermill_translators._translators
    if stem in translators and translators[stem] is not translators[PYTHON]:
        return "r" if stem == "ir" else stem
    return PYTHON


def _registered(name: str) -> Any:
    """Return the specification of a registered kernel; None if there is none."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        return KernelSpecManager().get_kernel_spec(name)
    except (NoSuchKernel, ValueError):
        return None


def _names() -> list[str]:
    from jupyter_client.kernelspec import KernelSpecManager

    return sorted(KernelSpecManager().find_kernel_specs())
