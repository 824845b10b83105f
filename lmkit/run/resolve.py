"""Resolve the argument of a verb: an experiment, a mapping, a file, a run or its name, data, a source, a model.

Every verb resolves its argument here, so that the same argument means the same everywhere:

    Experiment, mapping, .yaml/.yml/.json file        an experiment
    Run, its name, its folder, "last"                 that run; to a verb that takes an experiment, the one of the run
    (X, y), a DataFrame, a loader, a dataset          data in memory, stored with the runs
    "digits", "table.csv", "hf:…", {"source": …}      the source of data
    "mlp", "mlp:wide"                                 a model, on its example data
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmkit.custom import arguments
from lmkit.exceptions import ConfigError, RunNotFound, shorten
from lmkit.experiment.experiment import Experiment
from lmkit.run.packed_files import restore
from lmkit.run.run import Run
from lmkit.runfolder.find import find_run, find_runs, run_folders
from lmkit.runfolder.folder import RunFolder
from lmkit.specs.data import BUNDLED, HUB, PYTHON_DOCS, STORED
from lmkit.specs.file_names import FILES, TEXTS
from lmkit.specs.models import DATA as MODELS
from lmkit.specs.models import PRESETS
from lmkit.specs.references import OBJECT

EXPERIMENT_FILES = (".yaml", ".yml", ".json")


def resolve_experiment(
    source: Any = None,
    changes: Mapping[str, Any] | None = None,
    *,
    data: Any = None,
    runs: str | Path | None = None,
    inline: bool = False,
) -> Experiment:
    """Return the experiment that ``source`` means, with ``changes``.

    Args:
        source: one of the above; none: the defaults.
        changes: path → value, as ``Experiment.override`` takes them; values may be functions, classes or data.
        data: data in memory, a source, or a mapping with ``source``, to train on instead.
        runs: the folder of the runs, in which data and pickled functions are stored.
        inline: whether functions and loaders stay in this process, where the experiment will be trained.

    Raises:
        ConfigError: the source means nothing, or the experiment is invalid.
        DataError: the data cannot be stored.
        RunNotFound: no run, or more than one, has that name.
    """
    paths = dict(arguments.replace_with_references(changes or {}, runs, inline=inline))
    if _is_in_memory(paths.get("data")):
        paths["data.source"] = paths.pop("data")  # the other fields of the source's data stay
    paths = {**_data_paths(data, runs, inline), **_store_data(paths, runs, inline)}
    meaning = _interpret(source, runs, inline)
    if isinstance(meaning, Run):
        meaning = meaning.experiment
    if isinstance(meaning, Experiment):
        return meaning.override(paths)
    return Experiment.of({**meaning, **paths})  # defaults depend on the other parts


def resolve_run_or_experiment(source: Any = None, *, runs: str | Path | None = None) -> Run | Experiment:
    """Return the run that ``source`` means, else the experiment."""
    meaning = _interpret(source, runs, inline=False)
    return meaning if isinstance(meaning, Run | Experiment) else Experiment.of(meaning)


def resolve_run(source: Any = "last", *, runs: str | Path | None = None) -> Run:
    """Return the run that ``source`` means: a Run, its name, a prefix or short id of it, its folder, or ``last``.

    Raises:
        RunNotFound: no run, or more than one, has that name, or ``source`` is no name.
    """
    if isinstance(source, Run):
        return source
    if isinstance(source, str | Path):
        return _restore_run(find_run(source, runs))
    raise RunNotFound(f"given {describe_value(source)}, expected a run: its name, its folder, 'last' or a Run")


def resolve_runs(sources: Any = "last", *, runs: str | Path | None = None) -> list[Run]:
    """Return the runs that a run, or a list of runs, means."""
    if isinstance(sources, Sequence) and not isinstance(sources, str | bytes) and not isinstance(sources, Run):
        if not sources:
            raise RunNotFound("given an empty list, expected at least one run")
        if all(isinstance(source, Run | str | Path) for source in sources):
            return resolve_each(sources, runs=runs)
    return [resolve_run(sources, runs=runs)]


def resolve_each(sources: Sequence[Any], *, runs: str | Path | None = None) -> list[Run]:
    """Return the run that each of ``sources`` means, as ``resolve_run`` does; the folder is listed once at most."""
    folders = iter(find_runs((source for source in sources if isinstance(source, str | Path)), runs))
    return [
        _restore_run(next(folders)) if isinstance(source, str | Path) else resolve_run(source, runs=runs)
        for source in sources
    ]


def _restore_run(folder: RunFolder) -> Run:
    """Return the run of a folder, with the custom objects that lie beside it."""
    run = Run(folder)
    restore(run)
    return run


def describe_value(value: Any) -> str:
    """Return what a value is in a few words, without its content.

    >>> describe_value((1, 2)), describe_value(None)
    ('a tuple of 2', 'None')
    """
    if value is None:
        return "None"
    if isinstance(value, str | Path):
        return repr(str(value))
    article = "an" if type(value).__name__[0] in "AEIOaeio" else "a"
    shape = getattr(value, "shape", None)
    size = f" of shape {tuple(shape)}" if shape is not None else ""
    if isinstance(value, tuple | list):
        size = f" of {len(value)}"
    return f"{article} {type(value).__name__}{size}"


# -- one value ------------------------------------------------------------------------------------


def _interpret(source: Any, runs: str | Path | None, inline: bool) -> Run | Experiment | dict[str, Any]:
    """Return a run, an experiment, or the paths that override the defaults of an experiment."""
    if source is None:
        return {}
    if isinstance(source, Run | Experiment):
        return source
    if isinstance(source, str | Path):
        return _interpret_name(source, runs)
    if isinstance(source, Mapping):
        if "source" in source or _is_loaders(source):
            return _data_paths(source, runs, inline)
        values = arguments.replace_with_references(source, runs, inline=inline)
        return Experiment.from_dict(_store_data(values, runs, inline))
    if _is_in_memory(source):
        return _data_paths(source, runs, inline)
    raise ConfigError([f"given {describe_value(source)}, expected {EXPECTED}"])


EXPECTED = "an experiment, a mapping, a .yaml or .json file, a run or its name, data, a data source, or a model"


def _interpret_name(source: str | Path, runs: str | Path | None) -> Run | Experiment | dict[str, Any]:
    text, path = str(source), Path(source).expanduser()
    lowered = text.lower()
    if lowered.endswith(EXPERIMENT_FILES):
        return Experiment.load(path)
    if (run := _find_exactly(text, path, runs)) is not None:
        return run
    if text in BUNDLED or text == PYTHON_DOCS or text.startswith((STORED, OBJECT, HUB)):
        return {"data.source": text}
    if lowered.endswith((*FILES, *TEXTS)) or path.is_dir():
        return {"data.source": text}
    if path.is_file():
        return Experiment.load(path)
    if text in MODELS or text in PRESETS or text.partition(":")[0] in MODELS:
        return {"model": text}
    folders = run_folders(runs)
    if any(f.name.startswith(text) or _bare_name(f.name).startswith(text) for f in folders):
        return Run(find_run(source, runs))
    names = [*BUNDLED, PYTHON_DOCS, *PRESETS, *MODELS, *(_bare_name(f.name) for f in folders[-100:])]
    close = difflib.get_close_matches(text, names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise RunNotFound(
        f"no file, run, data source or model {shorten(text)}; {hint}"
        f"sources: {', '.join([*BUNDLED, PYTHON_DOCS])}; models: {', '.join(MODELS)}; `lmkit runs` lists the runs"
    )


def _find_exactly(text: str, path: Path, runs: str | Path | None) -> Run | None:
    """Return the run with this folder, full name or short id; ``last`` too. A prefix comes after all else."""
    if text == "last":
        return Run(find_run(text, runs))
    if (path / "experiment.yaml").is_file():
        return Run(find_run(path.absolute()))
    names = [f.name for f in run_folders(runs)]
    is_exact = text in names or text in [name.rsplit("-", 1)[-1] for name in names]
    return Run(find_run(text, runs)) if is_exact else None


def _bare_name(folder: str) -> str:
    """Return the experiment's name in the name of a run's folder."""
    return folder.split("-", 2)[-1].rsplit("-", 1)[0]


# -- data in memory -------------------------------------------------------------------------------


def _store_data(paths: Mapping[str, Any], runs: str | Path | None, inline: bool) -> dict[str, Any]:
    """Return parts or paths of an experiment in which data in memory is replaced by the name it is stored under."""
    values = dict(paths)
    part = values.get("data")
    if isinstance(part, Mapping) and "source" in part and _is_in_memory(part["source"]):
        values["data"] = {**_store(part["source"], runs, inline), **{k: v for k, v in part.items() if k != "source"}}
    elif _is_in_memory(part):
        values["data"] = _store(part, runs, inline)
    if _is_in_memory(values.get("data.source")):
        stored = {f"data.{k}": v for k, v in _store(values.pop("data.source"), runs, inline).items()}
        values = {**stored, **values}
    return values


def _data_paths(data: Any, runs: str | Path | None, inline: bool) -> dict[str, Any]:
    """Return the paths of an experiment that name data: in memory, a source, or a mapping with ``source``."""
    if data is None:
        return {}
    if isinstance(data, str | Path):
        return {"data.source": str(data)}
    if isinstance(data, Mapping) and "source" in data:
        return _store_data({"data": dict(data)}, runs, inline)
    return {f"data.{name}": value for name, value in _store(data, runs, inline).items()}


def _store(data: Any, runs: str | Path | None, inline: bool) -> dict[str, Any]:
    from lmkit.data.memory import store_data

    return store_data(data, runs, inline=inline)


def _is_in_memory(value: Any) -> bool:
    """Return whether a value is data itself: arrays, a table, a loader or a dataset."""
    from lmkit.data.loaders.loaders import is_loader

    if value is None or isinstance(value, str | Path | int | float):
        return False
    if isinstance(value, Mapping):
        return _is_loaders(value)
    return isinstance(value, tuple | list) or hasattr(value, "dtype") or hasattr(value, "columns") or is_loader(value)


def _is_loaders(value: Mapping[str, Any]) -> bool:
    """Return whether a mapping holds the data of each part: an experiment's ``training`` is a mapping."""
    return "training" in value and not isinstance(value["training"], Mapping)
