"""A model built anew by its framework from its specification and its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmkit.deploy.artefact import Artefact


def build(framework: str, folder: Path, artefact: Artefact) -> Any:
    """The framework's own model, with its weights."""
    from pydantic import TypeAdapter
    from safetensors.numpy import load_file

    from lmkit.backends import get_backend
    from lmkit.specs.models import Model
    from lmkit.specs.signature import Signature

    told = json.loads((folder / artefact.entry).read_text(encoding="utf-8"))
    given = told["signature"]
    signature = Signature(**{**given, "shape": tuple(given["shape"])})
    backend = get_backend(framework)
    model = backend.build(TypeAdapter(Model).validate_python(told["model"]), signature, told["precision"])
    backend.set_weights(model, load_file(folder / "weights.safetensors"))
    return model
