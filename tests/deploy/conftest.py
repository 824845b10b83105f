"""What the tests of deployment share: a run of each family, what was made of it, and passes that start no process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import lmkit as lk
from lmkit.deploy import techniques
from lmkit.deploy.artefact import Artefact
from lmkit.deploy.bench import Bench, told
from lmkit.deploy.maker import Maker
from lmkit.deploy.process import MeasurementFailed, NotApplicable
from lmkit.deploy.techniques import Subject, find

FAMILIES: dict[str, dict[str, Any]] = {
    "mlp": {
        "model": {"hidden": [24, 24], "dropout": 0.2, "normalization": "layer", "residual": True}, "epochs": 6,
    },
    "cnn": {"model": {"family": "cnn", "channels": [8]}, "epochs": 3},
    "decoder": {
        "data": "saying.txt", "model": {"family": "transformer", "depth": 1, "width": 16, "heads": 2},
        "data.text.length": 16, "epochs": 2,
    },
}  # fmt: skip
"""Of digits, but for the last."""


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Subject]:
    """(framework, family) → a run of it, trained for a moment, once. Whoever writes into its folder takes a copy."""
    root = tmp_path_factory.mktemp("shared")
    (root / "saying.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)

    @cache
    def subject(framework: str, family: str) -> Subject:
        told = {"data": "digits", **FAMILIES[family]}
        data = str(root / told["data"]) if family == "decoder" else told["data"]
        name = f"{framework}-{family}"
        run = lk.train(**{**told, "data": data}, framework=framework, inline=True, runs=root / "runs", name=name)
        assert run.state == "completed", run.status.reason
        return Subject(run)

    return subject


@pytest.fixture(scope="session")
def made(
    subjects: Callable[[str, str], Subject], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, str, str], tuple[Path, Artefact]]]:
    """(framework, family, technique) → the folder in which it was made, and its record; made once."""
    import torch._inductor.config

    root, patch = tmp_path_factory.mktemp("made"), pytest.MonkeyPatch()
    patch.setattr(torch._inductor.config, "compile_threads", 1)  # or its workers outlive the test

    @cache
    def make(framework: str, family: str, name: str) -> tuple[Path, Artefact]:
        folder = root / f"{framework}-{family}-{name}"
        folder.mkdir()
        return folder, find(name).make(subjects(framework, family), folder).write(folder)

    yield make
    patch.undo()


class Here:
    """Takes the orders of a ``Process``, as one would, in this one."""

    over = False

    def __init__(self, module: str, *arguments: object, who: str = "its", patience: float = 0) -> None:
        given = [str(argument) for argument in arguments]
        if module.endswith("maker"):
            self.servant: Any = Maker(*given)
        else:
            self.servant = Bench(Path(given[0]), int(given[1]), Path(given[2]))

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Gives an order; it and its answer are what JSON leaves of them."""
        if do == "run":
            order["seconds"] = 0.0  # one call
        ours = dict(techniques._TECHNIQUES)
        try:
            found: dict[str, Any] = json.loads(json.dumps(getattr(self.servant, do)(**json.loads(json.dumps(order)))))
        except NotApplicable:
            raise
        except Exception as error:
            raise MeasurementFailed(told(error), type(error).__name__) from None
        finally:  # what a process learns of one's own techniques, another one does not
            techniques._TECHNIQUES.clear()
            techniques._TECHNIQUES.update(ours)
        return found

    def kill(self) -> None:
        """Has nothing to end."""

    close = kill

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> type[Here]:
    """Makes, measures and bundles in this process."""
    monkeypatch.setattr("lmkit.deploy.session.Process", Here)
    monkeypatch.setattr("lmkit.deploy.bundle.Process", Here)
    return Here
