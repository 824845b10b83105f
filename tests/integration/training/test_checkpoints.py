"""A run whose checkpoints are several files, and one whose disk is full once, end like one that nothing interrupted."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest
from narrowing import require_value

import lmkit as lk
from lmkit.runfolder import shards
from lmkit.runfolder.folder import RunFolder
from lmkit.training import fit
from lmkit.training.train import train

SETTINGS: dict[str, Any] = {
    "data": "wine",
    "model": "mlp:tiny",
    "training": {"early_stopping": None, "epochs": 4, "optimizer": "adam", "checkpoint_seconds": 1e-6},
}


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_full_disk_and_several_files_leave_the_curve_as_it_is(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lk.train(SETTINGS, framework=framework, inline=True)
    monkeypatch.setattr(shards, "SHARD_BYTES", 600)
    write = RunFolder.save_checkpoint

    def full(folder: RunFolder, kind: str, *args: Any, **options: Any) -> None:
        if kind == "last" and (folder.checkpoints / kind).exists() and args[2]["step"] > 5:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder.path / "checkpoints"))
        write(folder, kind, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_checkpoint", full)
        patch.setattr(fit, "CHUNK_SECONDS", 0.0)
        run = lk.train(SETTINGS, framework=framework, inline=True)
    assert (run.state, run.status.cause) == ("failed", "unwritable")
    assert run.status.reason.endswith("No space left on device; make room or permit it, then `lmkit resume`")
    assert len(run.steps) == run.status.step > 5
    files = {path.name for path in (run.folder.checkpoints / "last").iterdir()}
    assert {"weights.index.json", "optimizer.index.json"} < files
    train(run.folder)
    assert run.state == "completed"
    assert run.steps["loss"].equals(whole.steps["loss"])
    ours, theirs = (require_value(r.folder.load_checkpoint("last")) for r in (run, whole))
    for saved, expected in zip(ours[:2], theirs[:2], strict=True):
        assert saved.keys() == expected.keys()
        assert all(np.array_equal(saved[name], expected[name]) for name in expected)
    model = run.load_model()
    assert {a.shape for a in ours[0].values()} == {
        tuple(p.shape)[::-1] if framework == "torch" else tuple(p.shape)
        for p in (model.parameters() if framework == "torch" else model.weights)
    }
