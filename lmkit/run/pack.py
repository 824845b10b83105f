"""``pack``: copy what a run names into its own folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.display.table import Table
from lmkit.display.units import format_bytes
from lmkit.exceptions import RunStateError
from lmkit.run.packed_files import FOLDER, list_files
from lmkit.run.resolve import resolve_run
from lmkit.system.files import copy_file, make_directory

if TYPE_CHECKING:
    from lmkit.run.run import Run


def pack(run: Run | str | Path = "last", *, runs: str | Path | None = None) -> Table:
    """Make the folder of a run whole, so that it can be copied alone; return the files that were copied into it.

    They are the functions, classes and data in memory with which the run was started, as far as they cannot be
    imported. A module that is imported, and a file of data, is not copied.

    Args:
        run: a run, its name or its folder.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).

    Raises:
        RunNotFound: no run, or more than one, has the name.
        RunStateError: a file is missing, or an object existed only in the process that trained.

    >>> import lmkit as lk
    >>> lk.pack("last")  # doctest: +SKIP
    """
    run = resolve_run(run, runs=runs)
    rows = []
    for path, file in list_files(run):
        if not file.is_file():
            raise RunStateError(f"{run.name} cannot be packed: {path}: there is no file {str(file)!r}")
        for source in (file, file.with_suffix(".py")) if file.suffix == ".pkl" else (file,):
            if source.is_file():
                copy = copy_file(source, make_directory(run.path, FOLDER) / source.name)
                rows.append((path, f"{FOLDER}/{copy.name}", format_bytes(copy.stat().st_size)))
    result = "packed; its folder can be copied alone" if rows else "whole: it names nothing that lies beside it"
    return Table(f"{run.name}: {result}", ("path", "file", "size"), tuple(rows))
