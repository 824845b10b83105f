"""Read the evidence in a run's folder, of a run that trains again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmkit.data.profile import FILE, Profile
from lmkit.doctor.autopsy import read_autopsy
from lmkit.doctor.evidence import Evidence
from lmkit.runfolder.readings import MAX_BYTES, Reading, valid_readings
from lmkit.runfolder.tail import LogTail, Rewind, StepBlock, valid_epochs
from lmkit.system.files import JsonLines
from lmkit.system.reading import read_object
from lmkit.system.records import read_record

if TYPE_CHECKING:
    import numpy as np

    from lmkit.runfolder.events import Event
    from lmkit.runfolder.folder import RunFolder

COLUMNS = ("loss", "lr", "gradient_norm")
"""The columns of the steps that checks look at."""


class EvidenceReader:
    """Reads the evidence in a run's folder; each ``read`` parses only what was written since the one before.

    Args:
        folder: of the run.
        limit: bytes of metrics that one ``read`` parses at most; none: all of them.
    """

    def __init__(self, folder: RunFolder, limit: int | None = None) -> None:
        import numpy as np

        self.folder = folder
        self._tail = LogTail(folder, limit)
        self._steps = np.empty((1 + len(COLUMNS), 0))  # a row of step numbers, then one per column
        self._epochs: list[Event] = []
        self._readings: list[Reading] = []
        self._lines, self._offset = JsonLines(folder.path / "readings.jsonl"), 0

    @property
    def is_behind(self) -> bool:
        """Whether the last ``read`` met the limit, so that there may be more to read at once."""
        return self._tail.is_behind

    def read(self, profile: Profile | None = None) -> Evidence:
        """Return the evidence so far.

        Args:
            profile: of the data, if it is already there.

        Raises:
            ConfigError, DamagedFile: a file cannot be read.
        """
        self._read_steps()
        events = self._tail.read_events()
        self._epochs = valid_epochs([*self._epochs, *events]) if events else self._epochs
        records, self._offset = self._lines.read(self._offset, quiet=True, limit=MAX_BYTES)
        self._readings = valid_readings(records, self._lines.path, self._readings)
        preprocessing = read_object(self.folder.path / "preprocessing.json") or {}
        _, losses, rates, norms = self._steps
        return Evidence(
            self.folder.experiment,
            self.folder.status(),
            [dict(event.data) for event in self._epochs],
            losses,
            rates,
            norms,
            self._readings,
            profile or read_record(Profile, self.folder.path / FILE) or Profile(),
            str(preprocessing.get("output_kind", "logits")),
            read_autopsy(self.folder),
        )

    def _read_steps(self) -> None:
        import numpy as np

        pieces = [self._steps]
        for block in self._tail.read_steps():
            if isinstance(block, Rewind):
                steps = np.concatenate(pieces, axis=1)
                pieces = [steps[:, steps[0] <= block.step]]
            else:
                pieces.append(_to_array(block))
        if len(pieces) > 1 or pieces[0] is not self._steps:
            self._steps = np.concatenate(pieces, axis=1)


def _to_array(block: StepBlock) -> np.ndarray:
    """Return the steps of a block (1 + columns, steps); NaN where a value was not finite or is missing."""
    import numpy as np

    rows: list[Any] = [np.arange(block.first, block.first + block.size), *map(block.columns.get, COLUMNS)]
    return np.stack([np.broadcast_to(np.asarray(row, dtype=np.float64), (block.size,)) for row in rows])
