"""A model built anew by its framework from its specification and its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmkit.deploy.artefact import Artefact


def build(framework: str, folder: Path, artefact: Artefact) -> Any:
    """The framework's own model, with its weights."""
    from safetensors.numpy import load_file

    from lmkit.backends import get_backend

    model = bare(framework, folder, artefact)
    get_backend(framework).set_weights(model, load_file(folder / "weights.safetensors"))
    return model


def bare(framework: str, folder: Path, artefact: Artefact) -> Any:
    """The same, its weights not yet set."""
    import numpy as np
    from pydantic import TypeAdapter
    from safetensors.numpy import load_file

    from lmkit.backends import get_backend
    from lmkit.data import objects
    from lmkit.specs.models import Model, Own
    from lmkit.specs.signature import Graph, Signature

    told = json.loads((folder / artefact.entry).read_text(encoding="utf-8"))
    given = told["signature"]
    signature = Signature(**{**given, "shape": tuple(given["shape"])})
    if (folder / "graph.safetensors").is_file():
        signature = signature._replace(graph=Graph(**load_file(folder / "graph.safetensors")))
    backend, spec = get_backend(framework), TypeAdapter(Model).validate_python(told["model"])
    if isinstance(spec, Own):
        objects.bring(spec.builder, folder / "builder.pkl")
    model = backend.build(spec, signature, told["precision"])
    if told.get("removed"):
        backend.remove(model, np.zeros((2, *artefact.row), artefact.dtype), told["removed"])
    return model
