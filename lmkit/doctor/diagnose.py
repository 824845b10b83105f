"""What is wrong with a run: its folder examined, and what simple models reach on its data."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from lmkit.custom import trust
from lmkit.data.profile import FILE, Profile, profile_data
from lmkit.data.references import with_references
from lmkit.display.progress_line import ProgressLine
from lmkit.doctor.diagnosis import Diagnosis
from lmkit.doctor.examine import examine
from lmkit.doctor.reader import EvidenceReader
from lmkit.doctor.results import TestRecord, read_tests
from lmkit.doctor.tester import SECONDS, Tester
from lmkit.exceptions import LmkitError, UntrustedCode
from lmkit.runfolder.status import describe_end
from lmkit.specs.losses import resolve_loss
from lmkit.system.records import read_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmkit.data.dataset import Dataset
    from lmkit.doctor.evidence import Evidence
    from lmkit.runfolder.folder import RunFolder

MAX_ROWS = 200_000
"""Rows of training up to which the data are read again for references."""


def diagnose(
    folder: RunFolder,
    prepare_data: Callable[[], Dataset] | None = None,
    *,
    autopsy: bool = False,
    test: bool = False,
    seconds: float = SECONDS,
) -> Diagnosis:
    """Return what is wrong with a run, while it trains or afterwards; see ``Run.doctor``.

    Args:
        folder: of the run, in any state.
        prepare_data: prepares its data again, to fit a linear model and a forest where its worker did not; none: these
            are left out.
        autopsy: repeat a run that diverged to the failing step, which imports its framework and runs its code; the
            result is written into the folder and shown from then on.
        test: try the run out in a process of its own, see ``lmkit.doctor.bench``; likewise.
        seconds: that the tests may take.

    Raises:
        ConfigError, DamagedFile: a file of the run cannot be read, or the seconds are no number.
        RunStateError: the run has no data yet that could be tested.
        UntrustedCode: an autopsy or tests would run code that this user has not run on this machine before.
    """
    tests = _test(folder, seconds) if test else read_tests(folder)
    profile = read_record(Profile, folder.path / FILE)
    remarks = [tests.remark] if tests is not None and tests.remark else []
    if prepare_data is not None and (profile is None or not profile.references):
        profile, remark = _compare(folder, prepare_data, profile)
        remarks += [remark] if remark else []
    evidence = EvidenceReader(folder).read(profile)
    trust.mark(evidence.experiment, folder.path)
    status = evidence.status
    if autopsy and evidence.autopsy is None:
        remark = _dissect(folder, evidence)
        remarks += [remark] if remark else []
    if status.state in ("failed", "lost") and not evidence.has_diverged:
        remarks.insert(0, f"the run {describe_end(status)}")
    if not evidence.readings and len(evidence.losses):
        remarks.append("no readings of its layers: it was trained with training.readings: off, or by an older version")
    return Diagnosis(folder.name, examine(evidence), remarks, evidence.experiment, folder.path, tests)


def _test(folder: RunFolder, seconds: float) -> TestRecord:
    """Run the tests of a run, with a line of progress."""
    with ExitStack() as cleanup:
        line = ProgressLine()
        cleanup.callback(line.clear)
        return Tester(folder, seconds, line.show).run()


def _dissect(folder: RunFolder, evidence: Evidence) -> str:
    """Add the autopsy to the evidence; return why there is none."""
    from lmkit.doctor.dissect import dissect

    if not evidence.has_diverged:
        return "no autopsy: the run has not diverged"
    with ExitStack() as cleanup:
        line = ProgressLine()
        cleanup.callback(line.clear)
        try:
            evidence.autopsy = dissect(folder, evidence, line.show)
        except UntrustedCode:
            raise
        except Exception as error:  # a model or a loader of a person's own may raise anything
            return f"no autopsy: {_first_line(error, 300)}"
    return ""


def _compare(
    folder: RunFolder, prepare_data: Callable[[], Dataset], profile: Profile | None
) -> tuple[Profile | None, str]:
    """Return the profile with references, from the data as they are read again, and why there are none."""
    if profile is not None and (not profile.has_rows or profile.rows.get("training", 0) > MAX_ROWS):
        return profile, ""
    try:
        data = prepare_data()
        if profile is None:
            loss = resolve_loss(folder.experiment.training.loss, data.preprocessing.task, custom_model=True)
            profile = profile_data(data, loss)
        profile = with_references(profile, data)
    except Exception as error:  # a loader of a person's own may raise anything
        return profile, f"its data were not compared with simple models: {_first_line(error, 200)}"
    if profile.references and not folder.status().live:
        with suppress(OSError):  # a folder that can only be read
            folder.write_json(FILE, asdict(profile))
    return profile, ""


def _first_line(error: Exception, length: int) -> str:
    """Return the first line of an error's message; with its class where it is not lmkit's own."""
    reason = str(error) if isinstance(error, LmkitError | OSError) else f"{type(error).__name__}: {error}"
    return reason.partition("\n")[0][:length]
