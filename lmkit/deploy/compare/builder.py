"""The process that builds the variants of one run: ``python -m lmkit.deploy.compare.builder RUN``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.deploy.artifact import RECORD, remember_variant
from lmkit.deploy.compare.quality import Quality
from lmkit.deploy.compare.records import conditions
from lmkit.deploy.techniques.base import find
from lmkit.deploy.techniques.custom import origin, register
from lmkit.deploy.trained_model import TrainedModel
from lmkit.run.attach import attach
from lmkit.system.files import replace_directory
from lmkit.system.rpc import serve
from lmkit.training.metrics import scored_rows


def multiplications(trained: TrainedModel, technique: str) -> int:
    """Return the multiplications per row of the model after a technique; 0 where its layers are unknown."""
    for name in technique.split("+"):
        if (step := find(name)).transform is not None:
            trained = trained.then(step)
    return trained.spec.multiplications(trained.signature)


class Builder:
    """Build variants of one run, and score their outputs."""

    _quality: Quality | None = None

    def __init__(self, run: str) -> None:
        self.trained = TrainedModel(attach(run))

    def make(self, technique: str, into: str, custom: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Write the artifact of a technique to a folder, which appears once it is complete.

        Args:
            technique: its name.
            into: the folder.
            custom: the user's techniques in it, as ``techniques.custom.references`` returns them.
        """
        register(custom or [], self.trained.run.path.parent)
        folder = Path(into)
        with replace_directory(folder) as new:
            provenance: dict[str, Any] = {"conditions": conditions(), "origin": origin(custom or [])}
            artifact = find(technique).make(self.trained, new)
            provenance["multiplications"] = multiplications(self.trained, technique)
            artifact = replace(artifact, provenance=provenance).write(new)
        remember_variant(folder)
        return {"size_bytes": artifact.size(folder), "record": RECORD}

    def rows(self, into: str) -> dict[str, int]:
        """Write the prepared rows of the test part that metrics are of, or of the training part where it is empty."""
        data = self.trained.data
        X = data.test.X[: scored_rows(data, "test")] if len(data.test.X) else data.training.X[:1024]
        np.save(into, np.asarray(X[:]))
        return {"rows": len(X)}

    def score(self, logits: str, baseline: str, *, last: bool = True) -> dict[str, Any]:
        """Add a piece of a variant's outputs of the rows, and of the baseline's; see ``Quality``.

        Args:
            logits: file of the variant's outputs of the next rows.
            baseline: file of the baseline's.
            last: whether no piece follows.

        Returns:
            The result after the last piece, before it nothing.
        """
        quality = self._quality = self._quality or Quality(self.trained)
        try:
            quality.add(np.load(logits, mmap_mode="r"), np.load(baseline, mmap_mode="r"))
            return quality.result() if last else {}
        except BaseException:
            last = True
            raise
        finally:
            if last:
                self._quality = None


if __name__ == "__main__":
    serve(Builder(sys.argv[1]))
