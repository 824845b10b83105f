"""What is wrong with a run: its folder examined, and what simple models reach on its data."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from lmkit.custom import trust
from lmkit.data.profile import FILE, Profile, profile_data
from lmkit.data.references import with_references
from lmkit.doctor.diagnosis import Diagnosis
from lmkit.doctor.examine import examine
from lmkit.doctor.reader import EvidenceReader
from lmkit.exceptions import LmkitError
from lmkit.runfolder.status import describe_end
from lmkit.specs.losses import resolve_loss
from lmkit.system.records import read_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmkit.data.dataset import Dataset
    from lmkit.runfolder.folder import RunFolder

MAX_ROWS = 200_000
"""Rows of training up to which the data are read again for references."""


def diagnose(folder: RunFolder, prepare_data: Callable[[], Dataset] | None = None) -> Diagnosis:
    """Return what is wrong with a run, while it trains or afterwards; see ``Run.doctor``.

    Args:
        folder: of the run, in any state.
        prepare_data: prepares its data again, to fit a linear model and a forest where its worker did not; none: these
            are left out.

    Raises:
        ConfigError, DamagedFile: a file of the run cannot be read.
    """
    profile = read_record(Profile, folder.path / FILE)
    remarks = []
    if prepare_data is not None and (profile is None or not profile.references):
        profile, remark = _compare(folder, prepare_data, profile)
        remarks += [remark] if remark else []
    evidence = EvidenceReader(folder).read(profile)
    trust.mark(evidence.experiment, folder.path)
    status = evidence.status
    if status.state in ("failed", "lost") and not evidence.has_diverged:
        remarks.insert(0, f"the run {describe_end(status)}")
    if not evidence.readings and len(evidence.losses):
        remarks.append("no readings of its layers: it was trained with training.readings: off, or by an older version")
    return Diagnosis(folder.name, examine(evidence), remarks, evidence.experiment, folder.path)


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
        reason = str(error) if isinstance(error, LmkitError | OSError) else f"{type(error).__name__}: {error}"
        first_line, _, _ = reason.partition("\n")
        return profile, f"its data were not compared with simple models: {first_line[:200]}"
    if profile.references and not folder.status().live:
        with suppress(OSError):  # a folder that can only be read
            folder.write_json(FILE, asdict(profile))
    return profile, ""
