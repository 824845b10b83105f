"""Functions, classes and data of the user: named by references in a configuration, and resolved in another process.

An object that can be imported is named by its import path, and each process imports it. Any other object, such as one
that a notebook defines, is pickled by cloudpickle into the runs folder, ``runs/.data/<name>-<hash>.pkl``; a ``.py``
file next to it contains its source.

Importing and unpickling run code. So both are refused here unless the object was passed in this process, or
``lmkit.custom.trust`` has permitted its reference: code of a run that this user made on this machine, or trusts. Lists
of runs, charts, tables, reports and bundles never load an object.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import os
import pickle
import secrets
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.custom import pickling
from lmkit.display.units import format_bytes
from lmkit.exceptions import ConfigError, UntrustedCode, nearest
from lmkit.runfolder.folder import runs_root
from lmkit.specs.models.custom import Custom
from lmkit.specs.references import HELD, KEPT, OBJECT, label

if TYPE_CHECKING:
    from lmkit.experiment.experiment import Experiment

FOLDER = ".data"

MAX_CAPTURED_BYTES = 64 * 2**20
"""Bytes of one array, and of a whole pickle, at most; anything larger is data."""

MAX_DATA_BYTES = 2**30
"""Bytes of a pickle of data at most."""

ARGUMENTS = {"model.builder": "model", "training.loss": "loss", "training.metrics": "metrics"}
"""Path in an experiment → the argument of ``lk.attach`` by which its object is passed again."""

DIGITS = 12
"""Hexadecimal digits of a pickle's SHA-256 in its reference."""

_objects: dict[str, Any] = {}
"""Reference → object, of the objects that this process holds or has unpickled."""

_signatures: dict[str, inspect.Signature | None] = {}
"""Reference → call signature, of the objects that this process has pickled; so that a check need not unpickle."""

_passed: set[str] = set()
"""References of the objects that were passed in this process."""

_provided: set[str] = set()
"""References whose objects were passed again for a run that was trained before."""

_permitted: set[str] = set()
"""References that ``lmkit.custom.trust`` has permitted in this process."""


# -- storing --------------------------------------------------------------------------------------


def to_reference(
    value: Any, path: str, root: str | Path | None = None, *, inline: bool = False, max_bytes: int = MAX_CAPTURED_BYTES
) -> str:
    """Return the reference of ``value``, which is pickled into the runs folder where it cannot be imported.

    Args:
        value: a function, a class, an object.
        path: its path in the experiment, for messages.
        root: the folder of the runs.
        inline: hold the object in this process, without pickling it.
        max_bytes: size of the pickle at most.

    Raises:
        ConfigError: it cannot be pickled; the message says why and what to do.
    """
    reference = pickling.import_path(value)
    if not reference and inline:
        reference = f"{HELD}{_name(value)}-{secrets.token_hex(6)}"
        _objects[reference] = value
    reference = reference or _store(value, path, root, max_bytes)
    _passed.add(reference)
    return reference


def provide(reference: str, value: Any) -> None:
    """Use ``value`` as the object of a reference in this process; whatever the reference names is not loaded."""
    _objects[reference] = value
    _passed.add(reference)
    _provided.add(reference)


def is_provided(reference: str) -> bool:
    """Return whether the object of a reference was provided in this process."""
    return reference in _provided


def permit(reference: str) -> None:
    """Allow this process to import or unpickle the object of a reference."""
    _permitted.add(reference)


def is_passed(reference: str) -> bool:
    """Return whether the object of a reference was passed in this process."""
    return reference in _passed


def _check_permitted(reference: str, path: str) -> None:
    """Raise UntrustedCode for a reference that nothing in this process has permitted."""
    if reference not in _passed and reference not in _permitted:
        raise UntrustedCode(f"{path}: {reference} is code that nothing in this process has permitted to run")


def _name(value: Any) -> str:
    """Return the name of ``value`` in a reference."""
    value = value.get("training") if isinstance(value, Mapping) else value
    while isinstance(value, functools.partial):
        value = value.func
    name = getattr(value, "__name__", None) or type(value).__name__
    return "".join(c for c in name if c.isascii() and (c.isalnum() or c == "_")).lstrip("0123456789") or "object"


def _store(value: Any, path: str, root: str | Path | None, max_bytes: int) -> str:
    import cloudpickle

    name = _name(value)
    for inner, part in pickling.iter_captured(value, name):
        size = pickling.size(part) or 0
        if size > max_bytes:
            raise _cannot_store(
                path,
                f"{name} captures {inner!r}, {format_bytes(size)}, which is not copied silently; pass it as data "
                f"(data=…), or read it inside {name}",
                name,
            )
    folder = runs_root(root) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    temporary_path = folder / f".{name}.{os.getpid()}.{secrets.token_hex(2)}"
    digest = hashlib.sha256()
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    by_value = module is not None and module.__name__ != "__main__" and not pickling.is_on_path(module.__name__)
    try:
        if by_value:
            cloudpickle.register_pickle_by_value(module)
        with temporary_path.open("wb") as file:
            cloudpickle.dump(value, pickling.LimitedFile(file, digest, max_bytes), protocol=pickle.HIGHEST_PROTOCOL)
        reference = f"{KEPT}{name}-{digest.hexdigest()[:DIGITS]}"
        temporary_path.replace(pickle_path(reference, root))
    except pickling.TooLarge:
        raise _cannot_store(
            path, f"{name} captures more than {format_bytes(max_bytes)}, which is not copied silently", name
        ) from None
    except Exception as error:  # pickle raises any kind of error
        raise _cannot_store(
            path, f"{name} cannot be sent to the worker: {_culprit(value, name, error)}", name
        ) from None
    finally:
        temporary_path.unlink(missing_ok=True)
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)
    _signatures[reference] = signature_of(value)
    text = pickling.source(value) or f"# {value!r}"
    pickle_path(reference, root).with_suffix(".py").write_text(text + "\n", encoding="utf-8")
    return reference


def _culprit(value: Any, name: str, error: Exception) -> str:
    """Describe the innermost object in ``value`` that cannot be pickled, by its name in the code."""
    import cloudpickle

    description = f"{type(error).__name__}: {error}"
    for inner, part in pickling.iter_captured(value, name):
        try:
            cloudpickle.dumps(part)
        except Exception as reason:
            description = f"{inner!r} in it is a {type(part).__name__} ({reason}); create it inside {name}"
    return description


def _cannot_store(path: str, problem: str, name: str) -> ConfigError:
    return ConfigError(
        [
            f"{path}: {problem}, or put {name} into a module and import it from there"
            + ("" if path.startswith("techniques") else ", or train in this process: inline=True")
        ]
    )


def pickle_path(reference: str, root: str | Path | None = None) -> Path:
    """Return the pickle of a ``kept:`` reference."""
    return runs_root(root) / FOLDER / f"{reference.removeprefix(KEPT)}.pkl"


# -- resolving ------------------------------------------------------------------------------------


def references(experiment: Experiment) -> dict[str, str]:
    """Return path → reference of every object that an experiment names."""
    training, source = experiment.training, experiment.data.source
    paths = {"model.builder": experiment.model.builder} if isinstance(experiment.model, Custom) else {}
    if ":" in training.loss:
        paths["training.loss"] = training.loss
    paths |= {f"training.metrics.{i}": metric for i, metric in enumerate(training.metrics)}
    if source.startswith(OBJECT):
        paths["data.source"] = source.removeprefix(OBJECT)
    return paths


def resolve(reference: str, path: str, root: str | Path | None = None) -> Any:
    """Return the object of a reference; unpickle it where it is in the runs folder.

    Raises:
        ConfigError: it is missing, or cannot be loaded.
    """
    unpickle(reference, path, root)
    return get_object(reference, path)


def is_loaded(reference: str) -> bool:
    """Whether the object of a reference can be had without unpickling: it can be imported, or this process holds it."""
    return not reference.startswith((KEPT, HELD)) or reference in _objects


def unpickle(reference: str, path: str, root: str | Path | None) -> None:
    """Unpickle the object of a ``kept:`` reference in the runs folder into this process, unless it is loaded.

    Raises:
        ConfigError: it is missing, or cannot be loaded.
        UntrustedCode: nothing has permitted it.
    """
    if is_loaded(reference) or reference.startswith(HELD):
        return
    try:
        load_pickle(reference, pickle_path(reference, root), path)
    except FileNotFoundError:
        argument = next((name for start, name in ARGUMENTS.items() if path.startswith(start)), None)
        example = f": lk.attach(run, {argument}=…)" if argument else ""
        advice = f"pass the object again{example}, or copy the run after `lmkit pack`"
        raise ConfigError([f"{path}: {reference} is not in this folder of runs; {advice}"]) from None


def load_pickle(reference: str, file: Path, path: str = "model.builder") -> None:
    """Unpickle the object of a ``kept:`` reference into this process, unless it is loaded.

    Raises:
        FileNotFoundError: there is no such pickle.
        ConfigError: it cannot be loaded.
        UntrustedCode: nothing has permitted it.
    """
    if not reference.startswith(KEPT) or reference in _objects:
        return
    allow_current_folder()
    try:
        with file.open("rb") as content:
            if not reference.endswith(hashlib.file_digest(content, "sha256").hexdigest()[:DIGITS]):
                raise pickle.UnpicklingError("the file is not the one that the reference names")
            _check_permitted(reference, path)
            content.seek(0)
            _objects[reference] = pickle.load(content)
    except (FileNotFoundError, UntrustedCode):
        raise
    except Exception as error:
        raise ConfigError([f"{path}: {reference} cannot be loaded here: {type(error).__name__}: {error}"]) from None


def get_object(reference: str, path: str) -> Any:
    """Return the object of a reference: import it, or look it up among the objects that this process has loaded.

    Raises:
        ConfigError: there is no such object.
        UntrustedCode: nothing has permitted its import.
    """
    if reference in _objects:
        return _objects[reference]
    if reference.startswith(HELD):
        raise ConfigError(
            [
                f"{path}: {label(reference)} existed only in the process that trained inline, which has ended; pass it "
                "again"
            ]
        )
    if reference.startswith(KEPT):
        raise ConfigError([f"{path}: {reference} has not been loaded from the folder of runs"])
    _check_permitted(reference, path)
    module, _, name = reference.partition(":")
    allow_current_folder()
    try:
        value = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            raise ConfigError(
                [f"{path}: no module {error.name!r}; the current folder is {str(Path.cwd())!r}"]
            ) from None
        raise ConfigError([f"{path}: {module} cannot be imported: {error}"]) from None
    except Exception as error:
        raise ConfigError([f"{path}: {module} cannot be imported: {describe_error(error)}"]) from None
    for part in name.split("."):
        if not hasattr(value, part):
            names = [n for n in vars(value) if not n.startswith("_")]
            raise ConfigError([f"{path}: {module} has no {name!r}; {nearest(name, names[:20])}"])
        value = getattr(value, part)
    if not callable(value) and not path.startswith("data"):
        raise ConfigError([f"{path}: {reference} is a {type(value).__name__}, expected a function or a class"])
    return value


def allow_current_folder() -> None:
    """Make modules of the current folder importable, whatever the program."""
    folder = str(Path.cwd())
    if "" not in sys.path and folder not in sys.path:
        sys.path.append(folder)


def signature_of(builder: Any) -> inspect.Signature | None:
    """Return the signature of a function or class; None where it has none, as some that are written in C."""
    try:
        return inspect.signature(builder)
    except (TypeError, ValueError):
        return None


def signature_of_reference(reference: str, path: str) -> inspect.Signature | None:
    """Return the signature of the object of a reference, without unpickling it; None where it is unknown.

    Raises:
        ConfigError: there is no such object.
    """
    return signature_of(get_object(reference, path)) if is_loaded(reference) else _signatures.get(reference)


def describe_error(error: BaseException) -> str:
    """Describe an error of the user's code in a sentence, with the line that raised it.

    >>> describe_error(KeyError("a"))
    "KeyError: 'a'"
    """
    frames = traceback.extract_tb(error.__traceback__)
    line = f" (line {frames[-1].lineno} of {frames[-1].name}: {frames[-1].line or '…'})" if frames else ""
    return f"{type(error).__name__}: {error}{line}"
