"""The results of the doctor's tests, which try a run out instead of reading about it: ``tests.json`` in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import MaxLen

from lmkit.system.records import MAX_ENTRIES, Count, Seconds, Statistic, Text, read_record

if TYPE_CHECKING:
    from lmkit.runfolder.folder import RunFolder

FILE = "tests.json"

Outcome = Literal["passed", "failed", "skipped"]

MARKS: Mapping[Outcome, str] = {"passed": "✓", "failed": "✗", "skipped": "–"}
"""The sign of an outcome in texts."""

MAX_POINTS = 200
"""Points of a curve that are drawn, at most."""

Points = Annotated[tuple[Statistic, ...], MaxLen(MAX_ENTRIES)]


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """The answer of one test.

    Attributes:
        name: of the test, one of ``TESTS``.
        outcome: passed, failed, or skipped where it does not apply.
        answer: in a sentence, with numbers.
        evidence: the numbers, by what they are.
    """

    __test__ = False  # it is no test of pytest

    name: Text
    outcome: Outcome
    answer: Text
    evidence: Annotated[dict[Text, float | Text], MaxLen(MAX_ENTRIES)] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """What was tried, as a question."""
        return TESTS.get(self.name, self.name)

    @property
    def text(self) -> str:
        """Outcome, question and answer in a line."""
        return f"{MARKS[self.outcome]} {self.question} {self.answer}"


TESTS = {
    "chance": "Is the loss at the start the chance level?",
    "one-batch": "Does the model fit one batch?",
    "rows": "Do rows depend on other rows?",
    "targets": "Does anything change when the targets are dealt to other rows?",
    "remedy": "Does the change of the strongest finding help?",
}
"""Name of a test → its question, in the order in which they run: quick ones first."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A metric of a short training, epoch by epoch.

    Attributes:
        label: whose it is.
        epochs, values: the points; None where a value was not finite.
    """

    label: Text
    epochs: Points = ()
    values: Points = ()


@dataclass(frozen=True, kw_only=True)
class TestRecord:
    """All results of one run's tests.

    Attributes:
        step: the step of the run at that time.
        seconds: that the tests took.
        results: one per test that was finished.
        check: of the finding whose change was tried; empty where none was.
        change: that change as text.
        metric: what the curves show.
        curves: of the run's experiment trained anew, without and with the change.
        remark: why tests are missing; empty where none is.
    """

    __test__ = False

    step: Count = 0
    seconds: Seconds = 0.0
    results: Annotated[tuple[TestResult, ...], MaxLen(MAX_ENTRIES)] = ()
    check: Text = ""
    change: Text = ""
    metric: Text = ""
    curves: Annotated[tuple[Curve, ...], MaxLen(MAX_ENTRIES)] = ()
    remark: Text = ""

    def result(self, name: str) -> TestResult | None:
        """Return the result of a test; None where it has none."""
        return next((result for result in self.results if result.name == name), None)

    @property
    def verdict(self) -> str:
        """Whether the change that was tried helps, in words; empty where none was tried."""
        remedy = self.result("remedy")
        if remedy is None or remedy.outcome == "skipped":
            return ""
        numbers = remedy.answer.partition(": ")[2].partition(", with ")[0]
        return f"{'helps' if remedy.outcome == 'passed' else 'does not help'}: {numbers}"

    def to_record(self) -> dict[str, Any]:
        """Return plain values, as ``read_tests`` reads them."""
        return asdict(self)


def read_tests(folder: RunFolder) -> TestRecord | None:
    """Return the results in a run's folder; None where it was not tested.

    Raises:
        DamagedFile: the file cannot be read.
    """
    return read_record(TestRecord, folder.path / FILE)
