"""The trained model as it is: what everything else is compared with."""

from __future__ import annotations

import json
from pathlib import Path

from lmkit.deploy.artefact import Artefact
from lmkit.deploy.techniques import Subject, technique

MODEL, WEIGHTS = "model.json", "weights.safetensors"


@technique("baseline", "baseline")
def baseline(subject: Subject, folder: Path) -> Artefact:
    """The trained model in its own framework, untouched."""
    return own(subject, folder, {"technique": "baseline"})


def own(subject: Subject, folder: Path, recipe: dict[str, object], **options: object) -> Artefact:
    """The model as its specification and its weights, which its framework builds anew."""
    from safetensors.numpy import save_file

    spec, known = subject.run.experiment, subject.run.preprocessing
    save_file(subject.backend.weights(subject.model), folder / WEIGHTS)
    told = {
        "model": spec.model.model_dump(mode="json"),
        "signature": known.signature._replace(graph=None)._asdict(),
        "precision": spec.training.precision,
    }
    (folder / MODEL).write_text(json.dumps(told), encoding="utf-8")
    return Artefact(spec.framework, MODEL, *row(subject), recipe, spec.training.precision, options)


def row(subject: Subject) -> tuple[tuple[int, ...], str]:
    """Shape and type of a row as a model is given it."""
    X = subject.data.test.X if len(subject.data.test.X) else subject.data.training.X
    return tuple(X.shape[1:]), str(X.dtype)
