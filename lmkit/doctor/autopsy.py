"""The autopsy of a run that diverged, as it is written into its folder: where the first bad number arose, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import MaxLen

from lmkit.doctor.finding import Series
from lmkit.system.records import MAX_ENTRIES, Count, Text, read_record

if TYPE_CHECKING:
    from lmkit.runfolder.folder import RunFolder

FILE = "autopsy.json"

Place = Literal["input", "target", "layer", "loss", "gradient", "update", "state", "unknown"]
"""Where a number arose that is not finite; ``state``: a running statistic, or another number that is not learned."""


@dataclass(frozen=True, kw_only=True)
class Autopsy:
    """Why a run diverged.

    Attributes:
        reason: the reason of the status that it explains.
        step: the step that leaves the first bad number, counted from 1; the last step for a loss of another part.
        place: the kind of place.
        layer: the layer there; empty where it is none.
        line: the line of a user's code there; empty where it is none.
        what: all of it in a sentence.
        evidence: numbers, by what they are.
        is_sure: whether the repeated steps equal those of the run.
        advice: what to do.
        change: of the configuration, as ``Experiment.override`` takes it.
        steps, weights: the largest absolute weight after some steps.
    """

    reason: str
    step: Count
    place: Place
    what: Text
    layer: Text = ""
    line: Text = ""
    evidence: Annotated[dict[Text, float | Text], MaxLen(MAX_ENTRIES)] = field(default_factory=dict)
    is_sure: bool = False
    advice: Text = ""
    change: Annotated[dict[Text, float | Text], MaxLen(MAX_ENTRIES)] = field(default_factory=dict)
    steps: Annotated[tuple[Count, ...], MaxLen(MAX_ENTRIES)] = ()
    weights: Annotated[tuple[float, ...], MaxLen(MAX_ENTRIES)] = ()

    @property
    def chart(self) -> Series | None:
        """The largest weight over the steps; None where too few were repeated."""
        if len(self.steps) < 2:
            return None
        return Series(title="largest weight", steps=self.steps, values=self.weights)

    def to_record(self) -> dict[str, Any]:
        """Return plain values, as ``read_autopsy`` reads them."""
        return asdict(self)


def read_autopsy(folder: RunFolder) -> Autopsy | None:
    """Return the autopsy of a run's last failure; None where there is none, or it is of an earlier one.

    Raises:
        DamagedFile: the file cannot be read.
    """
    autopsy = read_record(Autopsy, folder.path / FILE)
    return autopsy if autopsy is not None and autopsy.reason == folder.status().reason else None
