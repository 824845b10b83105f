"""Find runs by name, prefix, short id or path."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from lmkit.exceptions import RunNotFound, nearest, shorten
from lmkit.runfolder.folder import RunFolder, runs_root


def run_folders(root: str | Path | None = None) -> list[RunFolder]:
    """Return the runs in ``root``, the oldest first."""
    paths = sorted(p.parent for p in runs_root(root).glob("*/experiment.yaml"))
    return [RunFolder(p) for p in paths]


def find_runs(names: Iterable[str | Path], root: str | Path | None = None) -> list[RunFolder]:
    """Return the run that each name means, as ``find_run`` does; the folder is listed once for all of them."""
    list_once = cache(lambda: run_folders(root))
    return [find_run(name, root, list_once) for name in names]


def find_run(
    name: str | Path, root: str | Path | None = None, list_runs: Callable[[], list[RunFolder]] | None = None
) -> RunFolder:
    """Return the run with a name, a prefix of it, a short id or a folder, or the ``last`` one.

    Args:
        name: of the run.
        root: the folder of the runs.
        list_runs: returns the runs in ``root``, where a name needs a look at all of them.

    Raises:
        RunNotFound: no run, or more than one, matches.
    """
    text = str(name)
    if ".." in Path(text).parts:
        raise RunNotFound(
            f"given {shorten(text)}: expected a run's name, not a path with '..' in it; `lmkit runs` lists them"
        )
    if os.sep in text:
        if (Path(text) / "experiment.yaml").is_file():
            return RunFolder(text)
        raise RunNotFound(
            f"{shorten(text)} is no run's folder: it holds no experiment.yaml; `lmkit runs` lists the runs"
        )
    named = runs_root(root) / text
    if text not in ("", ".", "last") and os.path.isfile(named / "experiment.yaml"):  # noqa: PTH113 - never raises
        return RunFolder(named)  # without a look at the others
    folders = list_runs() if list_runs else run_folders(root)
    where = f"under {str(runs_root(root))!r}"
    if not folders:
        raise RunNotFound(f"no run {shorten(text)}: no runs {where}; start one: `lmkit run train`, or --runs DIR")
    if text == "last":
        return max(folders, key=lambda f: (f.path / "experiment.yaml").stat().st_mtime_ns)
    if not text:
        raise RunNotFound("given an empty name, expected a run's name; `lmkit runs` lists them")
    for matches in (
        [f for f in folders if text == f.name],
        [f for f in folders if text == f.name.rsplit("-", 1)[-1]],
        [f for f in folders if text == _bare(f.name)],
        [f for f in folders if f.name.startswith(text) or _bare(f.name).startswith(text)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            listed = "\n  ".join(f.name for f in matches[-10:])
            raise RunNotFound(f"{shorten(text)} is {len(matches)} runs {where}; write more of the name:\n  {listed}")
    names = [f.name for f in folders[-10:]]
    raise RunNotFound(f"no run {shorten(text)} {where}; {nearest(text, dict.fromkeys([*map(_bare, names), *names]))}")


def distinct_labels(folders: Sequence[str], frameworks: Sequence[str]) -> list[str]:
    """Return distinct labels of runs: their frameworks or experiments' names if these are distinct, else short ids.

    >>> distinct_labels(["20260101-000000-a-b-1a2b3c", "20260101-000001-a-b-4d5e6f"], ["torch", "torch"])
    ['1a2b3c', '4d5e6f']
    """
    ids = [folder.rsplit("-", 1)[-1] for folder in folders]
    ways = (list(frameworks), [_bare(folder) for folder in folders], ids)
    return next((way for way in ways if len(set(way)) == len(way)), ids)


def _bare(folder: str) -> str:
    """Return the experiment's name in a folder's name, without the time and the short id."""
    return folder.split("-", 2)[-1].rsplit("-", 1)[0]
