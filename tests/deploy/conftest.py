"""What the tests of deployment share: a run of each family, what was made of it, and passes that start no process."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import lmkit as lk
from lmkit.deploy.artifact import RECORD, Artifact
from lmkit.deploy.compare.builder import Builder
from lmkit.deploy.measure.server import VariantServer
from lmkit.deploy.techniques.base import TECHNIQUES, find
from lmkit.deploy.trained_model import TrainedModel
from lmkit.system.rpc import MeasurementFailed, NotApplicable, describe_error

FAMILIES: dict[str, dict[str, Any]] = {
    "mlp": {
        "model": {"hidden": [24, 24], "dropout": 0.2},
        "epochs": 6,
    },
    "cnn": {"model": {"family": "cnn", "channels": [8]}, "epochs": 3},
    "decoder": {
        "data": "saying.txt",
        "model": {"family": "transformer", "depth": 1, "width": 16, "heads": 2},
        "data.text.length": 16,
        "epochs": 2,
    },
}
"""Of digits, but for the last."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this session, the same one in every process of pytest-xdist: what one has made, another takes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "deploy"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lets one process at a time make what ``path`` will be."""
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def subjects(shared: Path) -> Callable[[str, str], TrainedModel]:
    """(framework, family) → a run of it, trained for a moment, once. Whoever writes into its folder takes a copy."""
    runs, text = shared / "runs", shared / "saying.txt"
    with locked(text):
        if not text.exists():
            text.write_text("the quick brown fox jumps over the lazy dog. " * 60)

    @cache
    def subject(framework: str, family: str) -> TrainedModel:
        settings = {"data": "digits", **FAMILIES[family]}
        if family == "decoder":
            settings["data"] = str(text)
        name = f"{framework}-{family}"
        with locked(shared / name):
            trained = list(runs.glob(f"*-{name}-*/status.json"))
            run = (
                lk.attach(trained[0].parent)
                if trained
                else lk.train(**settings, framework=framework, inline=True, runs=runs, name=name)
            )
        assert run.state == "completed", run.status.reason
        return TrainedModel(run)

    return subject


@pytest.fixture(scope="session")
def made(
    subjects: Callable[[str, str], TrainedModel], shared: Path
) -> Iterator[Callable[[str, str, str], tuple[Path, Artifact]]]:
    """(framework, family, technique) → the folder in which it was made, and its record; made once."""
    import torch._inductor.config

    patch = pytest.MonkeyPatch()
    patch.setattr(torch._inductor.config, "compile_threads", 1)  # or its workers outlive the test
    patch.setattr(torch._inductor.config.cpp, "vec_isa_ok", True)  # a process with PyTorch would try it

    def make(framework: str, family: str, name: str) -> tuple[Path, Artifact]:
        folder = shared / f"{framework}-{family}-{name}"
        with locked(folder):
            if not (folder / RECORD).exists():
                shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
                folder.mkdir()
                find(name).make(subjects(framework, family), folder).write(folder)
        return folder, Artifact.read(folder)

    yield make
    patch.undo()


class Here:
    """Takes the orders of a ``Process``, as one would, in this one."""

    over = False

    def __init__(self, module: str, *arguments: object, who: str = "its", patience: float = 0) -> None:
        given = [str(argument) for argument in arguments]
        if module.endswith("builder"):
            self.servant: Any = Builder(*given)
        else:
            self.servant = VariantServer(Path(given[0]), int(given[1]), Path(given[2]), *given[3:])

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Gives an order; it and its answer are what JSON leaves of them."""
        if do == "run":
            order["seconds"] = 0.0  # one call
        ours = dict(TECHNIQUES.items())
        try:
            found: dict[str, Any] = json.loads(json.dumps(getattr(self.servant, do)(**json.loads(json.dumps(order)))))
        except NotApplicable:
            raise
        except Exception as error:
            raise MeasurementFailed(describe_error(error), type(error).__name__) from None
        finally:  # what a process learns of one's own techniques, another one does not
            for name in TECHNIQUES.names():
                TECHNIQUES.remove(name)
            for name, technique in ours.items():
                TECHNIQUES.add(name, technique)
        return found

    def kill(self) -> None:
        """Has nothing to end."""

    close = kill

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _start_none(patch: pytest.MonkeyPatch) -> type[Here]:
    patch.setattr("lmkit.deploy.compare.benchmark.Process", Here)
    patch.setattr("lmkit.deploy.bundle.bundle.Process", Here)
    return Here


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> type[Here]:
    """Makes, measures and bundles in this process."""
    return _start_none(monkeypatch)


@pytest.fixture(scope="module")
def here_in_module() -> Iterator[type[Here]]:
    """The same for all tests of a module, and for what they share."""
    with pytest.MonkeyPatch.context() as patch:
        yield _start_none(patch)
