"""The history of a run as tables: one row per epoch, one row per step."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lmkit.runfolder.events import Event
from lmkit.runfolder.tail import Rewind, StepBlock, parse_block, valid_blocks, valid_epochs
from lmkit.system.files import JsonLines

if TYPE_CHECKING:
    import pandas as pd


BASE_COLUMNS = ("step", "loss", "lr")
"""The columns of a table of steps that it has even without a step."""


def history(events: Iterable[Event]) -> pd.DataFrame:
    """Return one row per epoch, and one per validation within an epoch, whose number is then a fraction.

    Epochs that were trained again after a resume count once, as last trained.

    ``loss``, ``accuracy``, … are means over the rows of the steps since the last validation, before each update and
    in training mode (see ``lmkit.training.epoch_metrics``); ``val_loss``, … are of the validation part, afterwards.
    """
    import pandas as pd

    return pd.DataFrame([event.data for event in valid_epochs(events)]).astype(float, errors="ignore")


def steps(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per step, from the lines of ``metrics.jsonl``.

    A line is ``{"step": first, "loss": [...], "lr": 0.1, …}``, where one number stands for all steps. Steps that were
    trained again after a resume count once, as last trained.
    """
    return _to_frame(valid_blocks(records))


class StepHistory:
    """The steps of a run as a table; each ``read`` parses only what was written since the one before.

    Any number of threads may read: a cell of a notebook does while the monitor redraws the same run.
    """

    def __init__(self, lines: JsonLines) -> None:
        self.lines = lines
        self._lock = threading.Lock()
        self._offset, self._file = 0, 0
        self._frames: list[pd.DataFrame] = []
        self._first_steps: dict[str, int] = {}  # column → the first step that has it

    def __reduce__(self) -> tuple[type[StepHistory], tuple[JsonLines]]:
        """Pickle the log's path: the copy reads the log anew."""
        return StepHistory, (self.lines,)

    def read(self) -> pd.DataFrame:
        """Return one row per step, as ``steps`` does of the whole log.

        Raises:
            DamagedFile: the log is no regular file.
        """
        with self._lock:
            return self._read()

    def _read(self) -> pd.DataFrame:
        import pandas as pd

        self._restart_if_replaced()
        records, self._offset = self.lines.read(self._offset)
        blocks: list[StepBlock] = []
        for record in records:
            block = parse_block(record)
            if isinstance(block, Rewind):
                self._append(blocks)
                self._truncate(block.step)
                blocks = []
            elif block is not None:
                blocks.append(block)
        self._append(blocks)
        if len(self._frames) > 1:
            columns = dict.fromkeys(name for frame in self._frames for name in frame)
            same = [frame.reindex(columns=list(columns)) for frame in self._frames]
            self._frames = [pd.concat(same, ignore_index=True)]
        return self._frames[0].copy() if self._frames else _to_frame([])

    def _append(self, blocks: list[StepBlock]) -> None:
        if blocks:
            self._frames.append(_to_frame(blocks))
            for block in blocks:
                for name in block.columns:
                    self._first_steps.setdefault(name, block.first)

    def _truncate(self, step: int) -> None:
        """Remove the steps after ``step``, and the columns that only they have."""
        self._first_steps = {name: first for name, first in self._first_steps.items() if first <= step}
        names = {*BASE_COLUMNS, *self._first_steps}
        frames = [frame.loc[frame["step"] <= step, [c for c in frame if c in names]] for frame in self._frames]
        self._frames = [frame for frame in frames if len(frame)]

    def _restart_if_replaced(self) -> None:
        """Forget what was read if the log is another file now, or shorter."""
        try:
            status = self.lines.path.stat()
        except OSError:
            return
        if status.st_ino != self._file or status.st_size < self._offset:
            self._file, self._offset, self._frames, self._first_steps = status.st_ino, 0, [], {}


def _to_frame(blocks: list[StepBlock]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    columns: dict[str, Any] = {name: [] for name in BASE_COLUMNS}
    for name in dict.fromkeys([*columns, *(column for block in blocks for column in block.columns)]):
        parts = []
        for block in blocks:
            is_step = name == "step"
            values = np.arange(block.first, block.first + block.size) if is_step else block.columns.get(name)
            values = np.asarray(values, dtype=np.int64 if is_step else np.float64)
            parts.append(np.broadcast_to(values, (block.size,)))
        columns[name] = np.concatenate(parts) if parts else np.array([], dtype=np.float64)
    return pd.DataFrame(columns)
