"""The trained model as it is: what everything else is compared with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lmkit.data.objects import kept_path
from lmkit.deploy.artefact import Artefact
from lmkit.deploy.techniques import Subject, technique
from lmkit.specs.references import KEPT

MODEL, WEIGHTS, GRAPH, BUILDER = "model.json", "weights.safetensors", "graph.safetensors", "builder.pkl"
"""What a model is, its weights; the graph that it holds; and what builds it, where that is somebody's own."""


@technique("baseline", "baseline")
def baseline(subject: Subject, folder: Path) -> Artefact:
    """The trained model in its own framework, untouched."""
    return own(subject, folder, {"technique": "baseline"})


def own(subject: Subject, folder: Path, recipe: dict[str, object], **options: Any) -> Artefact:
    """The model as its specification and its weights, which its framework builds anew.

    What builds a model of somebody's own goes along as the run keeps it, and is for the run's own folder only: a bundle
    carries no program.
    """
    from safetensors.numpy import save_file

    precision, graph = subject.run.experiment.training.precision, subject.signature.graph
    save_file(subject.weights, folder / WEIGHTS)
    if graph:
        save_file({"features": graph.features.astype(precision), "edges": graph.edges}, folder / GRAPH)
    builder = getattr(subject.spec, "builder", "")
    if builder.startswith(KEPT):
        shutil.copyfile(kept_path(builder, subject.run.path.parent), folder / BUILDER)
    told = {
        "model": subject.spec.model_dump(mode="json"),
        "signature": subject.signature._replace(graph=None)._asdict(),
        "precision": precision,
        "removed": list(subject.removed),
    }
    (folder / MODEL).write_text(json.dumps(told), encoding="utf-8")
    return Artefact(subject.framework, MODEL, *row(subject), recipe, precision, options=options)


def row(subject: Subject) -> tuple[tuple[int, ...], str]:
    """Shape and type of a row as a model is given it."""
    X = subject.data.test.X if len(subject.data.test.X) else subject.data.training.X
    return tuple(X.shape[1:]), str(X.dtype)
