"""Functions, classes and data of somebody's own: named in a configuration, found again by whoever needs them.

What can be imported is named by where it is imported from, and each process imports it. What a notebook holds itself is
kept beside the runs, ``runs/.data/<name>-<hash>.pkl``, by cloudpickle, with its text in a ``.py`` beside it.

A pickle is a program: to load one is to run what its maker wrote. So only three unpickle, and only what an experiment
names: the worker that trains, ``Run.load_model`` (with ``run.model`` and ``run.predict``), and what makes and measures
a run's variants, which are told of techniques too. Lists of runs, charts, tables, reports and bundles never do. Trust a
folder of runs that is not yours as you would trust a script.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data import sending
from lmkit.errors import ConfigError, nearest
from lmkit.runfolder import runs_root
from lmkit.specs.models.own import PROVIDED, Own
from lmkit.specs.references import HELD, KEPT, OBJECT, label

if TYPE_CHECKING:
    from lmkit.experiment import Experiment

FOLDER = ".data"

CAPTURED = 64 * 2**20
"""Bytes of one array, and of all that is sent with a function, at most: what is larger is data."""

DATA = 2**30
"""Bytes of data that is handed over as an object, at most."""

_here: dict[str, Any] = {}
"""Reference → object, of what this process holds or has unpickled."""

_signatures: dict[str, inspect.Signature | None] = {}
"""Reference → how it is called, of what this process has kept; so that it need not be unpickled to be checked."""


# -- naming ---------------------------------------------------------------------------------------


def refer(value: Any, path: str, root: str | Path | None = None, *, inline: bool = False, most: int = CAPTURED) -> str:
    """The reference of ``value``, which is kept beside the runs where it cannot be imported.

    Args:
        value: a function, a class, an object.
        path: where it was given, for messages.
        root: where the runs are.
        inline: hold it in this process alone, as it is.
        most: bytes that it may take along.

    Raises:
        ConfigError: it cannot be sent; the message says why and what to do.
    """
    reference = sending.imported(value)
    if reference:
        return reference
    if inline:
        reference = f"{HELD}{_name(value)}-{secrets.token_hex(6)}"
        _here[reference] = value
        return reference
    return _keep(value, path, root, most)


def _name(value: Any) -> str:
    """What ``value`` is called, as a reference may call it."""
    value = value.get("training") if isinstance(value, Mapping) else value
    while isinstance(value, functools.partial):
        value = value.func
    name = getattr(value, "__name__", None) or type(value).__name__
    return "".join(c for c in name if c.isascii() and (c.isalnum() or c == "_")).lstrip("0123456789") or "object"


def _keep(value: Any, path: str, root: str | Path | None, most: int) -> str:
    import cloudpickle

    name = _name(value)
    for inner, part in sending.taken_along(value, name):
        held = sending.size(part) or 0
        if held > most:
            raise _refuse(
                path,
                f"{name} takes along {inner!r}, {sending.size_text(held)}, which is not copied silently; hand it over "
                f"as data (data=…), or read it inside {name}",
                name,
            )
    folder = runs_root(root) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{name}.{os.getpid()}.{secrets.token_hex(2)}"
    digest = hashlib.sha256()
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    by_value = module is not None and module.__name__ != "__main__" and not sending._on_path(module.__name__)
    try:
        if by_value:
            cloudpickle.register_pickle_by_value(module)
        with aside.open("wb") as file:
            cloudpickle.dump(value, sending.Capped(file, digest, most), protocol=pickle.HIGHEST_PROTOCOL)
        reference = f"{KEPT}{name}-{digest.hexdigest()[:12]}"
        aside.replace(kept_path(reference, root))
    except sending.TooMuch:
        raise _refuse(
            path, f"{name} takes along more than {sending.size_text(most)}, which is not copied silently", name
        ) from None
    except Exception as error:  # what pickle raises depends on what it meets
        raise _refuse(path, f"{name} cannot be sent to the worker: {_culprit(value, name, error)}", name) from None
    finally:
        aside.unlink(missing_ok=True)
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)
    _signatures[reference] = signature_of(value)
    text = sending.source(value) or f"# {value!r}"
    kept_path(reference, root).with_suffix(".py").write_text(text + "\n", encoding="utf-8")
    return reference


def _culprit(value: Any, name: str, error: Exception) -> str:
    """The innermost thing that keeps ``value`` from being pickled, by the name that it has in the code."""
    import cloudpickle

    found = f"{type(error).__name__}: {error}"
    for inner, part in sending.taken_along(value, name):
        try:
            cloudpickle.dumps(part)
        except Exception as reason:
            found = f"{inner!r} in it is a {type(part).__name__} ({reason}); make it inside {name}"
    return found


def _refuse(path: str, sentence: str, name: str) -> ConfigError:
    return ConfigError(
        [f"{path}: {sentence}, or put {name} into a module and import it from there"
         + ("" if path.startswith("techniques") else ", or train in this process: inline=True")]
    )  # fmt: skip


def kept_path(reference: str, root: str | Path | None = None) -> Path:
    """The pickle behind a ``kept:`` reference."""
    return runs_root(root) / FOLDER / f"{reference.removeprefix(KEPT)}.pkl"


# -- what is handed over --------------------------------------------------------------------------


def referred(values: Mapping[str, Any], root: str | Path | None = None, *, inline: bool = False) -> dict[str, Any]:
    """Parts of an experiment, or paths and values, in which own things have become references.

    ``model`` may be a function, a class or a ``functools.partial``; ``builder`` and ``loss`` too; ``metrics`` a list of
    functions. Everything else is left as it is.

    Raises:
        ConfigError: one cannot be sent, or a builder cannot be called with its arguments.
    """
    return {key: _referred(str(key), value, root, inline) for key, value in values.items()}


def _referred(path: str, value: Any, root: str | Path | None, inline: bool) -> Any:
    key = path.rpartition(".")[2]
    if key == "model" and callable(value):
        value = {"family": "own", "builder": value}
    if isinstance(value, Mapping):
        value = dict(value)
        if key == "model" and callable(value.get("builder")):
            value["builder"], given = _unwound(value["builder"])
            value["arguments"] = {**given, **(value.get("arguments") or {})}
        return {k: _referred(f"{path}.{k}", v, root, inline) for k, v in value.items()}
    if key == "builder" and callable(value):
        _check_builder(value)
        return refer(value, path, root, inline=inline)
    if key == "loss" and callable(value):
        return refer(value, path, root, inline=inline)
    if key == "metrics" and not isinstance(value, str):
        several = value if isinstance(value, list | tuple) else [value]
        return [refer(v, path, root, inline=inline) if callable(v) else v for v in several]
    return value


def _unwound(builder: Any) -> tuple[Any, dict[str, Any]]:
    """A builder without the partials around it, and the arguments that they hold."""
    arguments: dict[str, Any] = {}
    while isinstance(builder, functools.partial):
        signature = signature_of(builder.func)
        names = list(signature.parameters) if signature else []
        arguments = {**dict(zip(names, builder.args, strict=False)), **builder.keywords, **arguments}
        builder = builder.func
    return builder, arguments


def _check_builder(builder: Any) -> None:
    """Refuses a model that is built already."""
    bases = {f"{c.__module__}.{c.__name__}" for c in type(builder).__mro__}
    if {"torch.nn.modules.module.Module", "keras.src.layers.layer.Layer"} & bases:
        name = type(builder).__name__
        raise ConfigError(
            [f"model: given a {name} that is built already, expected what builds it, so that a run can begin anew: "
             f"model={name}, or def build(): return {name}(…) and model=build"]
        )  # fmt: skip


# -- finding --------------------------------------------------------------------------------------


def fetch(experiment: Experiment, root: str | Path | None = None) -> None:
    """Brings what is kept beside the runs and named by ``experiment`` into this process: unpickles it.

    Raises:
        ConfigError: it is not there, or cannot be loaded.
    """
    for path, reference in references(experiment).items():
        if path != "data.source":  # that is obtained where the data is prepared
            _unpickle(reference, path, root)


def obtain(reference: str, path: str, root: str | Path | None = None) -> Any:
    """The object that a reference names, unpickled where it is kept beside the runs.

    Raises:
        ConfigError: it is not there, or cannot be loaded.
    """
    _unpickle(reference, path, root)
    return find(reference, path)


def _unpickle(reference: str, path: str, root: str | Path | None) -> None:
    if not reference.startswith(KEPT) or reference in _here:
        return
    try:
        bring(reference, kept_path(reference, root), path)
    except FileNotFoundError:
        raise ConfigError([f"{path}: {reference} is not kept beside these runs; hand it over again"]) from None


def bring(reference: str, file: Path, path: str = "model.builder") -> None:
    """Brings what a ``kept:`` reference names into this process from its pickle, if it is not there yet.

    Raises:
        FileNotFoundError: there is no such pickle.
        ConfigError: it cannot be loaded.
    """
    if not reference.startswith(KEPT) or reference in _here:
        return
    _allow_current_folder()
    try:
        with file.open("rb") as opened:
            _here[reference] = pickle.load(opened)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ConfigError([f"{path}: {reference} cannot be loaded here: {type(error).__name__}: {error}"]) from None


def references(experiment: Experiment) -> dict[str, str]:
    """Path → reference of everything own in an experiment."""
    training, source = experiment.training, experiment.data.source
    found = {"model.builder": experiment.model.builder} if isinstance(experiment.model, Own) else {}
    if ":" in training.loss:
        found["training.loss"] = training.loss
    found |= {f"training.metrics.{i}": metric for i, metric in enumerate(training.metrics)}
    if source.startswith(OBJECT):
        found["data.source"] = source.removeprefix(OBJECT)
    return found


def find(reference: str, path: str) -> Any:
    """The object that a reference names: imported, or fetched before.

    Raises:
        ConfigError: there is none.
    """
    if reference in _here:
        return _here[reference]
    if reference.startswith(HELD):
        raise ConfigError(
            [f"{path}: {label(reference)} was held by the process that trained inline, and is gone with it; hand it "
             "over again"]
        )  # fmt: skip
    if reference.startswith(KEPT):
        raise ConfigError([f"{path}: {reference} has not been fetched from beside the runs"])
    module, _, name = reference.partition(":")
    _allow_current_folder()
    try:
        at = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            raise ConfigError(
                [f"{path}: there is no module {error.name!r}; the current folder is {str(Path.cwd())!r}"]
            ) from None
        raise ConfigError([f"{path}: {module} cannot be imported: {error}"]) from None
    except Exception as error:
        raise ConfigError([f"{path}: {module} cannot be imported: {told(error)}"]) from None
    for part in name.split("."):
        if not hasattr(at, part):
            names = [n for n in vars(at) if not n.startswith("_")]
            raise ConfigError([f"{path}: {module} has no {name!r}; {nearest(name, names[:20])}"])
        at = getattr(at, part)
    if not callable(at) and not path.startswith("data"):
        raise ConfigError([f"{path}: {reference} is a {type(at).__name__}, expected a function or a class"])
    return at


def _allow_current_folder() -> None:
    """Modules of the current folder can be imported, whatever program we are."""
    here = str(Path.cwd())
    if "" not in sys.path and here not in sys.path:
        sys.path.append(here)


def told(error: BaseException) -> str:
    """An error of somebody's own code in a sentence: what, and at which line.

    >>> told(KeyError("a"))
    "KeyError: 'a'"
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = ""
    if frames:
        last = frames[-1]
        where = f" (line {last.lineno} of {last.name}: {last.line or '…'})"
    return f"{type(error).__name__}: {error}{where}"


# -- calling --------------------------------------------------------------------------------------


def check(experiment: Experiment) -> None:
    """Refuses own things that are not there, or cannot be called as configured, as far as it can be told unloaded.

    Raises:
        ConfigError: for each problem what to write.
    """
    for path, reference in references(experiment).items():
        if not reference.startswith((KEPT, HELD)):
            find(reference, path)
    model = experiment.model
    if isinstance(model, Own):
        aside = model.builder.startswith((KEPT, HELD)) and model.builder not in _here
        known = _signatures.get(model.builder) if aside else signature_of(find(model.builder, "model.builder"))
        arguments_of(known, model, dict.fromkeys(PROVIDED))


def signature_of(builder: Any) -> inspect.Signature | None:
    """How a function or class is called; None where it cannot be told, as of some that are written in C."""
    try:
        return inspect.signature(builder)
    except (TypeError, ValueError):
        return None


def arguments_of(signature: inspect.Signature | None, spec: Own, provided: Mapping[str, Any]) -> dict[str, Any]:
    """What the builder is called with: the arguments, and what it asks for of what is provided.

    Raises:
        ConfigError: one is missing, or it takes none of that name.
    """
    name = label(spec.builder)
    if signature is None:
        return dict(spec.arguments)
    parameters = signature.parameters
    kinds = {k: p.kind for k, p in parameters.items()}
    named = [k for k, kind in kinds.items() if kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD,
                                                         inspect.Parameter.KEYWORD_ONLY)]  # fmt: skip
    if inspect.Parameter.VAR_KEYWORD not in kinds.values():
        for argument in spec.arguments:
            if argument not in named:
                raise ConfigError([f"model.arguments: {name} takes no {argument!r}; {nearest(argument, named)}"])
    given = dict(spec.arguments)
    for argument in named:
        if argument in given or parameters[argument].default is not inspect.Parameter.empty:
            continue
        if argument not in provided:
            raise ConfigError(
                [f"model.arguments: {name} needs {argument!r}; write model: {{arguments: {{{argument}: …}}}}, or in "
                 f"Python model=functools.partial({name}, {argument}=…)"]
            )  # fmt: skip
        given[argument] = provided[argument]
    return given


def metrics(experiment: Experiment) -> dict[str, Callable[..., Any]]:
    """Name → function of the experiment's own metrics.

    Raises:
        ConfigError: one is not there, or the data is text, of which there is no prediction a row.
    """
    training = experiment.training
    if training.metrics and experiment.data.kind == "text":
        raise ConfigError(
            ["training.metrics: given, but the data is text, which has no prediction a row; leave it out"]
        )
    return {label(ref): find(ref, "training.metrics") for ref in training.metrics}


def sources(experiment: Experiment, root: str | Path | None = None) -> str:
    """The text of everything own in an experiment, each under its path, as far as it can be got."""
    texts = []
    for path, reference in references(experiment).items():
        if reference.startswith(KEPT):
            file = kept_path(reference, root).with_suffix(".py")
            text = file.read_text(encoding="utf-8") if file.is_file() else ""
        else:
            text = sending.source(find(reference, path))
        texts.append(f"# {path}: {reference}\n{text or '# its text cannot be got'}".rstrip())
    return "\n\n\n".join(texts) + "\n" if texts else ""
