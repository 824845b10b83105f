"""Which sweep a request means: its name, whether an existing sweep is the same, and what differs, as the user wrote it.

The name of a sweep without one follows from what is asked for, so that the same command finds and continues it. The
values of the grid are no part of it: a grid to which values are added continues the sweep, and its finished trials
stay.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lmkit.exceptions import MAX_LETTERS
from lmkit.experiment.experiment import Experiment
from lmkit.sweeping.pruners import pruner_to_dict
from lmkit.sweeping.records import SweepSpec
from lmkit.sweeping.search_space import Choice, Space
from lmkit.system.numbers import to_json

DIGEST_CHARACTERS = 8


def default_name(spec: SweepSpec, label: str) -> str:
    """Return the name of a sweep without one: a label, and a digest of what it does.

    Args:
        spec: what it varies and how, with the digest of its notebook.
        label: name of the experiment or the template.
    """
    content = spec.to_dict()
    content["grid"] = sorted(content["grid"])
    digest = hashlib.sha256(to_json(content, default=str).encode()).hexdigest()
    return f"{label}-{digest[:DIGEST_CHARACTERS]}"


def numbered_names(name: str) -> Iterator[str]:
    """Yield a name, then the same name with 2, 3, … at its end.

    >>> list(itertools.islice(numbered_names("digits-mlp"), 3))
    ['digits-mlp', 'digits-mlp-2', 'digits-mlp-3']
    """
    yield name
    yield from (f"{name}-{number}" for number in itertools.count(2))


def is_widened(stored: Space, requested: Space) -> bool:
    """Whether a grid has the parameters of a stored one, all of their values, and more.

    >>> before, after = Space({"lr": Choice((0.1, 0.01))}), Space({"lr": Choice((0.1, 0.03, 0.01))})
    >>> is_widened(before, after), is_widened(after, before)
    (True, False)
    """
    return (
        stored.search == requested.search
        and stored.grid.keys() == requested.grid.keys()
        and stored.grid != requested.grid
        and all(set(_keys(stored.grid[name])) <= set(_keys(requested.grid[name])) for name in stored.grid)
    )


def widened(stored: SweepSpec, requested: SweepSpec) -> SweepSpec | None:
    """Return the stored specification with the wider grid of a request; None where the request is another.

    Optuna's samplers keep the values of a choice for ever, so that only the other methods can be widened.
    """
    if stored.method == "tpe" or not is_widened(stored.space, requested.space):
        return None
    spec = replace(stored, space=requested.space)
    return spec if not differences(spec, requested) else None


def differences(stored: SweepSpec, requested: SweepSpec) -> list[str]:
    """Return what differs between two sweeps, each as ``name: before, now after`` in the notation of the command."""
    before, now = _described(stored), _described(requested)
    return [
        f"{name}: {_shorten(before.get(name))}, now {_shorten(now.get(name))}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def parameters_key(parameters: Mapping[str, Any]) -> str:
    """Return a text that is equal for equal parameters: of a trial, and of the same trial read from its file."""
    return to_json(dict(sorted(parameters.items())), default=str)


def _keys(choice: Choice) -> list[str]:
    return [to_json(value, default=str) for value in choice.values]


def _described(spec: SweepSpec) -> dict[str, str]:
    """Return what makes a sweep the same: name → text, as on the command line."""
    pruner = pruner_to_dict(spec.pruner)
    return {
        "notebook": spec.template,
        **{f"-p {name}": str(value) for name, value in spec.fixed.parameters.items()},
        **{f"grid {name}": str(domain) for name, domain in spec.space.grid.items()},
        **{f"search {name}": str(domain) for name, domain in spec.space.search.items()},
        "method": spec.method,
        "objective": _joined([str(o) for o in spec.objectives]),
        "prune": _joined([f"{k} {v}" for k, v in pruner.items()]) if pruner else "none",
        "seed": str(spec.seed),
        **_settings(spec.fixed.experiment),
    }


def _settings(experiment: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the paths and values of an experiment, with the defaults of fields that an older version did not have."""
    if experiment is None:
        return {}
    return {path: str(value) for path, value in Experiment.from_dict(experiment).settings().items()}


def _shorten(text: str | None) -> str:
    return "none" if text is None else text if len(text) <= MAX_LETTERS else f"{text[: MAX_LETTERS - 1]}…"


def _joined(texts: Sequence[str]) -> str:
    return ", ".join(texts) or "none"
