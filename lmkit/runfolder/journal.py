"""The journal of an executed notebook: which runs it works on, so that another attempt continues them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.exceptions import ConfigError, DamagedFile
from lmkit.runfolder.folder import RunFolder
from lmkit.system.files import JsonLines

if TYPE_CHECKING:
    from lmkit.experiment.experiment import Experiment

JOURNAL = "LMKIT_JOURNAL"
"""The environment variable that names the journal of the notebook that is executed."""

EARLIER = "LMKIT_EARLIER"
"""The environment variable that names the journals of earlier attempts at the notebook."""

_recorded: set[Path] = set()
"""The runs that this process has recorded."""


def record_run(folder: RunFolder) -> None:
    """Record in the journal, if a notebook is executed, that it works on a run."""
    _recorded.add(folder.path)
    if journal := os.environ.get(JOURNAL):
        with contextlib.suppress(OSError):
            JsonLines(Path(journal)).append({"run": str(folder.path)})


def find_earlier_run(experiment: Experiment) -> RunFolder | None:
    """Return the run of this experiment that an earlier attempt at the notebook started; each is found once."""
    journals = [Path(p) for p in os.environ.get(EARLIER, "").split(os.pathsep) if p]
    records = [record for journal in journals for record in JsonLines(journal).read(quiet=True)[0]]
    for folder in (RunFolder(record["run"]) for record in reversed(records) if isinstance(record.get("run"), str)):
        with contextlib.suppress(ConfigError, DamagedFile):
            if folder.path not in _recorded and folder.experiment == experiment:
                return folder
    return None
