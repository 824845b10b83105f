"""What a run names and the folder of the runs holds, and its copy in a run's own folder.

A function, a class or a table in memory is stored once for all runs, beside them. ``lk.pack`` copies what one run names
into its folder, which may then be copied alone: the first use of the copy puts the files beside it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.custom import objects
from lmkit.data.tables.memory import stored_path
from lmkit.exceptions import LmkitError, RunStateError
from lmkit.specs.data import STORED
from lmkit.specs.references import HELD, KEPT
from lmkit.system.files import copy_file, make_directory

if TYPE_CHECKING:
    from lmkit.run.run import Run

FOLDER = "objects"
"""The folder in a run's folder."""


def restore(run: Run) -> None:
    """Put what was packed into a run's folder beside it, where it is missing; nothing is run."""
    if not (run.path / FOLDER).is_dir():
        return
    with contextlib.suppress(LmkitError, OSError):  # what is missing is reported where it is needed
        for _, file in list_files(run):
            for name in (file.name, file.with_suffix(".py").name):
                packed, target = run.path / FOLDER / name, file.with_name(name)
                if packed.is_file() and not packed.is_symlink() and not target.exists():
                    make_directory(run.path.parent, target.parent.name)
                    copy_file(packed, target)


def list_files(run: Run) -> list[tuple[str, Path]]:
    """Return path in the experiment → file of what it names in the folder of the runs."""
    root, source = run.path.parent, run.experiment.data.source
    files = []
    for path, reference in objects.references(run.experiment).items():
        if reference.startswith(HELD):
            raise RunStateError(f"{run.name} cannot be packed: {path} existed only in the process that trained it")
        if reference.startswith(KEPT):
            files.append((path, objects.pickle_path(reference, root)))
    if source.startswith(STORED):
        files.append(("data.source", stored_path(source, root)))
    return files
