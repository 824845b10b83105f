"""The doctor's tests behind a button: started in the background, shown while they run, cancelled by a second click."""

from __future__ import annotations

from collections.abc import Callable

from lmkit.doctor.results import TestRecord
from lmkit.doctor.tester import SECONDS, Tester
from lmkit.exceptions import LmkitError
from lmkit.runfolder.folder import RunFolder
from lmkit.widgets.debounce import in_background

TEST, CANCEL = f"Test for {SECONDS:g} seconds", "Cancel the tests"
"""The labels of the button."""


class TestButton:
    """Starts and cancels the tests of a run.

    Args:
        folder: of the run.
        show: called with a sentence about the tests, and whether they are running; also from another thread.
        finish: called with the results.
    """

    __test__ = False  # it is no test of pytest

    def __init__(
        self, folder: RunFolder, show: Callable[[str, bool], None], finish: Callable[[TestRecord], None]
    ) -> None:
        self.folder, self.show, self.finish = folder, show, finish
        self._tester: Tester | None = None

    def click(self) -> None:
        """Start the tests, or cancel those that run."""
        if self._tester is not None:
            self._tester.cancel()
            return
        try:
            self._tester = Tester(self.folder, SECONDS, lambda text: self.show(text, True))
        except (LmkitError, OSError) as error:
            self.show(str(error), False)
            return
        self.show("tests: starting", True)
        in_background(self._run, self._end)

    def _run(self) -> TestRecord:
        """Return the results; what prevents them is the remark."""
        try:
            return self._tester.run() if self._tester else TestRecord()
        except (LmkitError, OSError) as error:
            return TestRecord(remark=str(error))

    def _end(self, record: TestRecord) -> None:
        self._tester = None
        self.show(record.remark, False)
        if record.results:  # those of an earlier time stay where the tests were cancelled before the first
            self.finish(record)
