"""A run whose device has too little memory, or is no longer there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from written_run import written_run

import lmkit as lk
from lmkit.backends.torch import trainer as torch_trainer
from lmkit.backends.torch.step import Step
from lmkit.exceptions import ConfigError
from lmkit.training.train import train

SETTINGS: dict[str, Any] = {
    "data": {"source": "wine", "batch_size": 32},
    "model": {"family": "mlp", "hidden": [8], "dropout": 0.2},
    "training": {"epochs": 4, "precision": "float64", "readings": "off", "early_stopping": None},
}


class Memory:
    """Lets the batches of more than so many rows at a time fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
        self.rows, self.batches, accumulate = rows, 0, Step.accumulate

        def limited(step: Step, x: torch.Tensor, y: torch.Tensor) -> Any:
            self.batches += 1
            if self.batches > 5 and step.micro_batch > self.rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return accumulate(step, x, y)

        monkeypatch.setattr(Step, "accumulate", limited)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The metrics of the run with enough memory."""
    run = lk.train(SETTINGS, inline=True, runs=tmp_path_factory.mktemp("runs"))
    assert run.status.metrics is not None
    return run.status.metrics


def warnings_of(run: lk.Run) -> list[str]:
    return [event.data["text"] for event in run.events if event.type == "warning"]


def test_a_run_goes_on_in_smaller_micro_batches(
    reference: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_trainer, "has_own_memory", lambda _: True)
    Memory(monkeypatch, 10)
    run = lk.train(SETTINGS, inline=True, runs=tmp_path)
    assert run.state == "completed"
    notes = [text for text in warnings_of(run) if "ran out" in text]
    assert [text.rpartition("micro-batches of ")[2].split()[0] for text in notes] == ["16", "8"]
    assert run.status.metrics == pytest.approx(reference, rel=1e-9)


def test_a_run_that_cannot_go_on_says_what_helps_and_resumes(
    reference: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Memory(patch, 0)
        run = lk.train(SETTINGS, inline=True, runs=tmp_path)
    assert run.state == "failed"
    assert run.status.reason.startswith("out of memory on cpu in training; end what else uses that memory")
    assert "`lmkit resume`" in run.status.reason
    log = run.path / "events.jsonl"
    log.write_text(log.read_text().replace('"device":"cpu"', '"device":"cuda:0"'))
    train(run.folder)  # what a worker does on resume
    assert run.state == "completed"
    assert run.status.metrics == pytest.approx(reference, rel=1e-12)
    assert any(text.startswith("resumed on cpu, begun on cuda:0") for text in warnings_of(run))


def test_resuming_checks_that_the_device_is_still_there(tmp_path: Path) -> None:
    run = written_run(tmp_path, state="failed", prepared=False, device="cuda:7")
    with pytest.raises(ConfigError, match=r"training.device: given cuda:7, this machine has cpu"):
        run.resume()
    assert run.state == "failed"
