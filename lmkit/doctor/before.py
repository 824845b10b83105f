"""What is wrong with an experiment before it is trained: the checks that need its settings and its data alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmkit.data.profile import Profile
from lmkit.doctor.evidence import Evidence
from lmkit.doctor.examine import examine
from lmkit.doctor.finding import Finding
from lmkit.runfolder.status import Status

if TYPE_CHECKING:
    from lmkit.experiment.experiment import Experiment


def examine_experiment(experiment: Experiment, profile: Profile | None = None) -> list[Finding]:
    """Return the findings about an experiment, the strongest first; takes less than a millisecond.

    Args:
        experiment: to be trained.
        profile: what its data are like, as they are prepared; none: only its settings are examined.
    """
    import numpy as np

    nothing = np.empty(0)
    return examine(Evidence(experiment, Status(), [], nothing, nothing, nothing, [], profile or Profile()))
