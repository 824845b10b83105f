"""Checkpoints are written while training continues: one at a time, as they were when they were due."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from narrowing import require_value

from lmkit import Experiment
from lmkit.runfolder.folder import RunFolder
from lmkit.training.checkpoints import BackgroundWriter, Checkpoints
from lmkit.training.fit import StopTraining
from lmkit.training.progress import Progress
from lmkit.training.ranks import ALONE

FULL = OSError(errno.ENOSPC, "No space left on device")


class SlowFolder(RunFolder):
    """Its checkpoints wait for ``release`` before they are written."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.release, self.error = threading.Event(), None

    def save_checkpoint(self, *args: Any, **options: Any) -> None:
        """Wait, then write or fail."""
        assert self.release.wait(60)
        if self.error is not None:
            raise self.error
        super().save_checkpoint(*args, **options)


class Training:
    """Training whose only weight is the number of its steps, with a clock that is set by hand."""

    def __init__(self, folder: SlowFolder) -> None:
        self.folder, self.time, self.weight = folder, 0.0, np.zeros(2)
        self.fit: Any = SimpleNamespace(progress=Progress(), callbacks=[])
        self.best: Any = SimpleNamespace(weights=None, saved=True)
        components: Any = SimpleNamespace(
            model=None,
            experiment=Experiment(),
            backend=SimpleNamespace(weights=lambda _: {"w": self.weight.copy()}),
            trainer=SimpleNamespace(state=lambda: {"m": self.weight.copy()}),
            ranks=ALONE,
        )
        recorder: Any = SimpleNamespace(folder=folder, flush=lambda: None)
        epoch_metrics: Any = SimpleNamespace(arrays=dict)
        self.checkpoints = Checkpoints(components, recorder, self.best, epoch_metrics, clock=lambda: self.time)

    def step(self, seconds: float = 0.0) -> None:
        """Take one step that lasts so many seconds."""
        self.time += seconds
        self.weight += 1
        self.fit.progress.step += 1
        self.checkpoints.on_steps_end(self.fit, SimpleNamespace())  # type: ignore[arg-type]

    def saved(self, kind: str = "last") -> tuple[float, int]:
        """Return weight and step of a checkpoint."""
        weights, _, state = require_value(RunFolder(self.folder.path).load_checkpoint(kind))
        return float(weights["w"][0]), state.get("step", 0)

    @property
    def events(self) -> list[int]:
        """The steps of the checkpoints that were logged."""
        return [event.data["step"] for event in self.folder.events]


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    training = Training(SlowFolder(RunFolder.create(Experiment(), tmp_path).path))
    yield training
    training.folder.release.set()
    training.checkpoints.close()


def test_steps_continue_while_a_checkpoint_is_written_of_the_step_at_which_it_was_due(training: Training) -> None:
    training.step(11.0)
    for _ in range(3):
        training.step()
    assert training.folder.load_checkpoint("last") is None
    assert not training.events
    training.folder.release.set()
    training.checkpoints.close()
    assert training.saved() == (1.0, 1)
    assert training.events == [1]


def test_one_that_is_due_while_another_is_written_waits_for_it(training: Training) -> None:
    training.step(11.0)
    training.step(11.0)  # due, but the first is being written
    training.folder.release.set()
    training.checkpoints.writer.join()
    training.step()
    training.checkpoints.close()
    assert training.saved() == (3.0, 3)
    assert training.events == [1, 3]


def test_the_end_waits_for_the_last_one(training: Training) -> None:
    training.step(11.0)
    training.step()
    threading.Timer(0.05, training.folder.release.set).start()
    training.checkpoints.on_train_end(training.fit, StopTraining("completed"))
    assert training.saved() == (2.0, 2)
    assert training.events == [1, 2]


def test_the_best_weights_are_written_once_with_the_checkpoint_that_follows(training: Training) -> None:
    training.folder.release.set()
    training.best.weights, training.best.saved = {"w": np.full(2, 7.0)}, False
    training.checkpoints.save(training.fit, wait=True)
    assert training.saved("best")[0] == 7.0
    written = (training.folder.checkpoints / "best" / "state.json").stat().st_mtime_ns
    training.checkpoints.save(training.fit, wait=True)
    assert (training.folder.checkpoints / "best" / "state.json").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "act",
    [
        lambda training: training.step(),
        lambda training: training.checkpoints.save(training.fit),
        lambda training: training.checkpoints.on_train_end(training.fit, StopTraining("completed")),
    ],
    ids=["the next step", "the next checkpoint", "the end"],
)
def test_a_full_disk_is_raised_once_and_leaves_the_former_checkpoint(
    training: Training, act: Callable[[Training], None]
) -> None:
    training.folder.release.set()
    training.checkpoints.save(training.fit, wait=True)
    training.folder.error = FULL  # type: ignore[assignment]
    training.step(11.0)
    training.checkpoints.writer.join()
    with pytest.raises(OSError, match="No space left"):
        act(training)
    training.checkpoints.close()
    training.checkpoints.writer.wait()
    assert training.saved() == (0.0, 0)
    assert training.events == [0]


def test_a_writer_reports_each_error_once() -> None:
    writer, written = BackgroundWriter(), []

    def fail() -> None:
        raise FULL

    writer.start(fail)
    with pytest.raises(OSError, match="No space left"):
        writer.start(lambda: written.append(1))
    assert not written
    writer.start(lambda: written.append(2))
    writer.wait()
    assert written == [2]
    assert not writer.is_busy
