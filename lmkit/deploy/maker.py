"""The process in which variants of one run are made: ``python -m lmkit.deploy.maker RUN``; orders come as to bench."""

from __future__ import annotations

import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lmkit.deploy.artefact import RECORD
from lmkit.deploy.bench import serve
from lmkit.deploy.keeping import conditions
from lmkit.deploy.registering import origin, register
from lmkit.deploy.scoring import scored
from lmkit.deploy.techniques import Subject, find
from lmkit.run import attach


def multiplications(subject: Subject, technique: str) -> int:
    """Those that a row takes in the model that a technique has made; 0 where its layers are not known."""
    for name in technique.split("+"):
        if (step := find(name)).become is not None:
            subject = subject.after(step)
    return subject.spec.multiplications(subject.signature)


class Maker:
    """Makes variants of one run."""

    def __init__(self, run: str) -> None:
        self.subject = Subject(attach(run))

    def make(self, technique: str, into: str, own: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Leaves the artefact of a technique in a folder, which appears once it is whole.

        Args:
            technique: its name.
            into: the folder.
            own: what of it is somebody's own; see ``registering``.
        """
        register(own or [], self.subject.run.path.parent)
        place = Path(into)
        aside = place.with_name(f".{place.name}.making")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            made: dict[str, Any] = {"conditions": conditions(), "origin": origin(own or [])}
            artefact = find(technique).make(self.subject, aside)
            made["multiplications"] = multiplications(self.subject, technique)
            artefact = replace(artefact, made=made).write(aside)
            shutil.rmtree(place, ignore_errors=True)
            aside.rename(place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return {"size_bytes": artefact.size(place), "record": RECORD}

    def rows(self, into: str) -> dict[str, int]:
        """Writes the prepared rows of the test part, or of the training part where there is none."""
        data = self.subject.data
        X = data.test.X if len(data.test.X) else data.training.X[:1024]
        np.save(into, np.asarray(X[:]))
        return {"rows": len(X)}

    def score(self, logits: str, baseline: str) -> dict[str, Any]:
        """What logits of the test part score, and how far they are from the baseline's."""
        data, known = self.subject.data, self.subject.run.preprocessing
        found, base = np.load(logits).astype(np.float64), np.load(baseline).astype(np.float64)
        if not np.isfinite(found).all():  # that is told by the proof; metrics would fail, or mean nothing
            return {"metrics": {}, "divergence": math.inf, "agreement": None}
        size = float(np.sqrt(np.mean(base**2))) or 1.0
        agree = float(np.mean(known.decode(found) == known.decode(base))) if known.task != "regression" else None
        return {
            "metrics": scored(self.subject.run, found, data) if len(data.test.X) else {},
            "divergence": float(np.sqrt(np.mean((found - base) ** 2))) / size,
            "agreement": agree,
        }


if __name__ == "__main__":
    serve(Maker(sys.argv[1]))
