"""Run the tests of a run in a process of their own, which can be cancelled: ``python -m lmkit.doctor.tester PATH``."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.custom import objects, trust
from lmkit.doctor.results import FILE, TESTS, TestRecord, TestResult
from lmkit.exceptions import ConfigError, RunStateError, shorten
from lmkit.specs.references import HELD
from lmkit.system.records import parse_record
from lmkit.system.rpc import MeasurementFailed, Process, describe_error, serve

if TYPE_CHECKING:
    from lmkit.runfolder.folder import RunFolder

SECONDS, MIN_SECONDS, MAX_SECONDS = 60.0, 5.0, 3600.0
"""Seconds that all tests may take: by default, at least, and at most."""

SHARES = {"chance": 0.05, "one-batch": 0.2, "rows": 0.05, "targets": 0.4, "remedy": 0.9}
"""The share of the remaining time that each test may take; the rest is for what cannot be interrupted."""

Tell = Callable[[str], None]
"""Shows progress."""


class Tester:
    """The tests of a run.

    Args:
        folder: of a run that has prepared its data.
        seconds: that they may take together, the import of the framework included.
        tell: shows progress.

    Raises:
        ConfigError: the seconds are no number, or too few.
        RunStateError: the run has prepared no data yet.
        UntrustedCode: they would run code that this user has not run on this machine before.
    """

    __test__ = False  # it is no test of pytest

    def __init__(self, folder: RunFolder, seconds: float = SECONDS, tell: Tell = lambda _: None) -> None:
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_number or not MIN_SECONDS <= seconds <= MAX_SECONDS:
            raise ConfigError(
                [f"seconds: given {shorten(seconds)}, expected a number from {MIN_SECONDS:g} to {MAX_SECONDS:g}"]
            )
        if folder.read_json("preprocessing.json") is None:
            raise RunStateError(f"{folder.name} has not prepared its data yet, so that nothing can be tested")
        trust.require(trust.list_code(folder.experiment), folder.path.parent, folder.path)
        self.is_inline = any(name.startswith(HELD) for name in objects.references(folder.experiment).values())
        self.folder, self.seconds, self.tell = folder, float(seconds), tell
        self.record = TestRecord()
        self._process: Process | None = None
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End the tests; ``run`` returns with what was finished."""
        self._cancelled.set()
        if self._process is not None:
            self._process.kill()

    def run(self) -> TestRecord:
        """Run the tests, write their results into ``tests.json``, and return them.

        An interrupt (Ctrl-C, or Stop in a notebook) ends them, and what was finished is returned.
        """
        begin = time.monotonic()
        results: list[TestResult] = []
        more: dict[str, Any] = {}
        remark = ""
        try:
            with self._open() as process:
                self._run(process, begin, results, more)
        except KeyboardInterrupt:
            remark = self._missing("cancelled", results)
        except MeasurementFailed as error:
            is_late = time.monotonic() - begin >= self.seconds
            reason = (
                "cancelled" if self._cancelled.is_set() else f"{self.seconds:g} seconds are over" if is_late else ""
            )
            remark = self._missing(reason or str(error).partition("\n")[0][:300], results)
        values = {
            "step": self.folder.status().step,
            "seconds": round(time.monotonic() - begin, 1),
            "results": [vars(result) for result in results],
            "remark": remark,
        }
        self.record = parse_record(TestRecord, values | more, self.folder.path / FILE)
        if results:
            with suppress(OSError):  # a folder that can only be read
                self.folder.write_json(FILE, self.record.to_record())
        return self.record

    @contextmanager
    def _open(self) -> Iterator[_Tests]:
        """Open the process of the tests: this one where the run's code exists in it alone."""
        if self.is_inline:
            with ExitStack() as cleanup:
                yield _ThisProcess(self.folder, cleanup)
            return
        with Process("lmkit.doctor.tester", self.folder.path, who="the tests'", patience=self.seconds) as process:
            self._process = process
            if self._cancelled.is_set():  # before there was a process to end
                process.kill()
            try:
                yield process
            finally:
                self._process = None

    def _run(self, process: _Tests, begin: float, results: list[TestResult], more: dict[str, Any]) -> None:
        self.tell("tests: preparing data and model")
        process.ask("load")
        for i, name in enumerate(TESTS):
            if self._cancelled.is_set():
                raise MeasurementFailed("cancelled")
            remaining = self.seconds - (time.monotonic() - begin)
            if remaining <= 0:
                raise MeasurementFailed("late")
            process.timeout = remaining
            self.tell(f"test {i + 1} of {len(TESTS)}: {TESTS[name]}")
            answer = process.ask("run", name=name, seconds=SHARES[name] * remaining)
            results.append(parse_record(TestResult, answer.pop("result"), self.folder.path / FILE))
            more |= answer

    def _missing(self, reason: str, results: list[TestResult]) -> str:
        return f"{len(results)} of {len(TESTS)} tests were finished: {reason}"


class _ThisProcess:
    """Answers the requests in this process, where it was trained inline with what cannot be sent to another one."""

    def __init__(self, folder: RunFolder, cleanup: ExitStack) -> None:
        from lmkit.doctor.bench import Server

        self.server, self.timeout = Server(folder, cleanup), SECONDS

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Call a method of the server; see ``Process.ask``."""
        try:
            answer: dict[str, Any] = getattr(self.server, do)(**order)
        except Exception as error:
            raise MeasurementFailed(describe_error(error), type(error).__name__) from error
        return answer


_Tests = Process | _ThisProcess
"""Where the tests run."""


def main(path: str) -> None:
    """Serve the tests of the run in a folder until the input ends."""
    from lmkit.doctor.bench import Server
    from lmkit.runfolder.folder import RunFolder

    with ExitStack() as cleanup:
        serve(Server(RunFolder(Path(path)), cleanup))


if __name__ == "__main__":
    main(*sys.argv[1:])
