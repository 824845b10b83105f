"""The trained model as it is: what everything else is compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.techniques import Subject, technique

MODEL, WEIGHTS = "model.json", "weights.safetensors"


@technique("baseline", "baseline")
def baseline(subject: Subject, folder: Path) -> Artefact:
    """The trained model in its own framework, untouched."""
    return own(subject, folder, {"technique": "baseline"})


def own(subject: Subject, folder: Path, recipe: dict[str, object], **options: Any) -> Artefact:
    """The model as its specification and its weights, which its framework builds anew."""
    from safetensors.numpy import save_file

    precision = subject.run.experiment.training.precision
    save_file(subject.weights, folder / WEIGHTS)
    told = {
        "model": subject.spec.model_dump(mode="json"),
        "signature": subject.signature._replace(graph=None)._asdict(),
        "precision": precision,
    }
    (folder / MODEL).write_text(json.dumps(told), encoding="utf-8")
    return Artefact(subject.framework, MODEL, *row(subject), recipe, precision, options=options)


def row(subject: Subject) -> tuple[tuple[int, ...], str]:
    """Shape and type of a row as a model is given it."""
    X = subject.data.test.X if len(subject.data.test.X) else subject.data.training.X
    return tuple(X.shape[1:]), str(X.dtype)
