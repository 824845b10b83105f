"""Files of a model in its own framework: its specification, its weights, and the code or graph that it needs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.deploy.artifact import Artifact

if TYPE_CHECKING:
    from lmkit.deploy.trained_model import TrainedModel

MODEL, WEIGHTS, GRAPH, BUILDER = "model.json", "weights.safetensors", "graph.safetensors", "builder.pkl"
"""Specification, weights, graph of a graph network, and pickled builder of a custom model."""


def save_model(trained: TrainedModel, folder: Path, recipe: dict[str, object], **options: Any) -> Artifact:
    """Write a model as its specification and its weights, from which its framework rebuilds it.

    The builder of a custom model is copied from the run; such a folder cannot be bundled, since a bundle holds no
    program.
    """
    from safetensors.numpy import save_file

    from lmkit.custom.objects import pickle_path
    from lmkit.specs.references import KEPT

    precision, graph = trained.run.experiment.training.weight_dtype, trained.signature.graph
    save_file(trained.weights, folder / WEIGHTS)
    if graph:
        save_file({"features": graph.features.astype(precision), "edges": graph.edges}, folder / GRAPH)
    builder = getattr(trained.spec, "builder", "")
    if builder.startswith(KEPT):
        shutil.copyfile(pickle_path(builder, trained.run.path.parent), folder / BUILDER)
    specification = {
        "model": trained.spec.model_dump(mode="json"),
        "signature": trained.signature._replace(graph=None)._asdict(),
        "precision": precision,
        "removed": list(trained.removed),
    }
    (folder / MODEL).write_text(json.dumps(specification), encoding="utf-8")
    return Artifact(trained.framework, MODEL, *input_spec(trained), recipe, precision, options=options)


def input_spec(trained: TrainedModel) -> tuple[tuple[int, ...], str]:
    """Return the shape and the type of an input row."""
    X = trained.data.test.X if len(trained.data.test.X) else trained.data.training.X
    return tuple(X.shape[1:]), str(X.dtype)


def load_model(framework: str, folder: Path, artifact: Artifact) -> Any:
    """Rebuild the model in its framework and set its weights."""
    from safetensors.numpy import load_file

    from lmkit.backends import get_backend

    model = build_model(framework, folder, artifact)
    get_backend(framework).set_weights(model, load_file(folder / WEIGHTS))
    return model


def build_model(framework: str, folder: Path, artifact: Artifact) -> Any:
    """Rebuild the model in its framework, with initial weights."""
    import numpy as np
    from pydantic import TypeAdapter
    from safetensors.numpy import load_file

    from lmkit.backends import get_backend
    from lmkit.custom import objects, trust
    from lmkit.runfolder.shards import array_shapes, check_shapes
    from lmkit.specs.models import Custom, Model
    from lmkit.specs.signature import Graph, Signature

    specification = json.loads((folder / artifact.entry).read_text(encoding="utf-8"))
    values = specification["signature"]
    signature = Signature(**{**values, "shape": tuple(values["shape"])})
    if (folder / GRAPH).is_file():
        signature = signature._replace(graph=Graph(**load_file(folder / GRAPH)))
    backend, spec = get_backend(framework), TypeAdapter(Model).validate_python(specification["model"])
    if isinstance(spec, Custom):
        trust.require_builder(spec, folder / BUILDER, folder)
        objects.load_pickle(spec.builder, folder / BUILDER)
    removed = specification.get("removed")
    shapes = None if removed else array_shapes(folder, WEIGHTS.partition(".")[0])
    if shapes is not None:
        check_shapes(spec.weight_shapes(signature), shapes, folder / WEIGHTS)
    model = backend.build(spec, signature, specification["precision"])
    if removed:
        backend.remove(model, np.zeros((2, *artifact.row), artifact.dtype), removed)
    return model
