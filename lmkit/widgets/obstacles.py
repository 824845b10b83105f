"""What prevents the valid experiment of a form from being trained: a missing framework, data that do not fit."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lmkit.backends import require
from lmkit.backends.placement import check_placement
from lmkit.data.kinds import get_kind
from lmkit.data.tables.sources import check_sizes
from lmkit.exceptions import ConfigError, DataError, LmkitError, MissingPackage
from lmkit.experiment.experiment import Experiment
from lmkit.specs.losses import resolve_loss


def find_obstacles(
    experiment: Experiment, info: Any, data_error: LmkitError | None, invalid: Collection[str]
) -> list[str]:
    """Return the obstacles, a sentence each.

    Args:
        experiment: of the form.
        info: rows and signature of its data; None until they are available.
        data_error: why its data cannot be read, if that was tried.
        invalid: names of the invalid parts; nothing is checked against their previous values.
    """
    spec = experiment.data
    obstacles = []
    try:
        require(experiment.framework)
    except MissingPackage as error:
        obstacles.append(f"framework: {error}")
    if "training" not in invalid:
        try:
            check_placement(experiment)
        except ConfigError as error:
            obstacles += error.problems
    if "data" in invalid:
        return obstacles
    try:
        if info:
            if get_kind(spec).has_row_split:  # splits of a text are checked when it is read
                check_sizes(spec, info.rows)
            if "training" not in invalid:
                resolve_loss(experiment.training.loss, info.signature.task, custom_model=experiment.model.is_custom)
            if "model" not in invalid:
                experiment.model.check(spec.signature or info.signature)
        elif data_error:
            obstacles.append(str(data_error))
    except ConfigError as error:
        obstacles += error.problems
    except DataError as error:
        obstacles.append(str(error))
    return obstacles
