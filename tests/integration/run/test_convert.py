"""A model that was trained in one framework answers alike in the other."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lmkit as lk
from lmkit.commands import cli

OTHER = {"torch": "tensorflow", "tensorflow": "torch"}
draw = np.random.default_rng(6)
IMAGES, SEQUENCES, TABLE = (draw.normal(size=(60, *shape)) for shape in ((6, 5, 2), (10, 2), (4,)))
Y = np.arange(60) % 3
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "mlp": (TABLE, {"family": "mlp", "hidden": [6, 6], "residual": True, "normalization": "layer", "dropout": 0.2}),
    "cnn": (IMAGES, {"family": "cnn", "channels": [4, 8], "residual": True, "normalization": "group", "dense": [5]}),
    "cnn, sequence": (SEQUENCES, {"family": "cnn", "channels": [4], "normalization": "layer", "activation": "gelu"}),
    "transformer": (
        IMAGES[:, :, :4].copy(),
        {"family": "transformer", "depth": 1, "width": 12, "heads": 3, "patch": 2, "dropout": 0.2},
    ),
    "language": (
        "the model reads the text",
        {
            "family": "transformer",
            "depth": 1,
            "width": 8,
            "heads": 2,
            "kv_heads": 1,
            "activation": "swiglu",
            "normalization": "rms",
            "positions": "rotary",
            "bias": False,
        },
    ),
    "graph": (np.arange(34), {"family": "gcn", "hidden": [6], "normalization": "layer", "dropout": 0.2}),
    "graph, attention": (np.arange(34), {"family": "gcn", "hidden": [6], "weighting": "attention", "heads": 2}),
}


def trained(framework: str, case: str = "mlp", **changes: Any) -> lk.Run:
    X, model = CASES[case]
    data: Any = "karate_club" if case.startswith("graph") else (X, Y)
    if case == "language":
        place = Path(os.environ["LMKIT_RUNS"]) / "text.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{X}, and the text reads the model. " * 80)
        data, changes = str(place), {**changes, "data.text.length": 10}
    run = lk.train(data=data, model=model, framework=framework, epochs=3, batch_size=12, inline=True, **changes)
    assert run.state == "completed", run.status.reason
    return run


@pytest.mark.parametrize(
    ("framework", "case", "precision", "tolerance"),
    [
        *(("torch", case, "float64", 1e-10) for case in CASES),
        *(("tensorflow", case, "float32", 1e-5) for case in ("mlp", "cnn", "language", "graph, attention")),
    ],
)
def test_outputs_agree_in_both_directions(framework: str, case: str, precision: str, tolerance: float) -> None:
    run = trained(framework, case, precision=precision)
    moved = lk.convert(run, to=OTHER[framework])
    X = CASES[case][0]
    ours, theirs = run._outputs(X), moved._outputs(X)
    assert ours.dtype == theirs.dtype == precision
    assert np.ptp(ours) > 0.1
    np.testing.assert_allclose(theirs, ours, rtol=tolerance, atol=tolerance * np.abs(ours).max())
    assert moved.metrics.keys() == run.metrics.keys()
    assert moved.metrics["loss"] == pytest.approx(run.metrics["loss"], rel=10 * tolerance)
    assert moved.metrics["loss"] != 0
    pd.testing.assert_frame_equal(moved.predictions, run.predictions)
    back = lk.convert(moved, to=framework)
    np.testing.assert_array_equal(back._outputs(X), ours)


def test_it_is_a_run_of_its_own_that_says_where_it_came_from() -> None:
    run = trained("torch", early_stopping={"patience": 2})
    moved = lk.convert(run.name, "tensorflow")
    assert moved.path.parent == run.path.parent
    assert moved.path != run.path
    assert moved.state == "completed"
    assert moved.experiment == run.experiment.override({"framework": "tensorflow"})
    assert moved.preprocessing == run.preprocessing
    pd.testing.assert_frame_equal(moved.history, run.history)
    pd.testing.assert_frame_equal(moved.steps, run.steps)
    assert (moved.status.step, moved.status.epoch) == (run.status.step, run.status.epoch)
    (told,) = [e.data for e in moved.events if e.type == "converted"]
    assert told == {"step": run.status.step, "run": run.name, "framework": "torch", "to": "tensorflow"}
    assert [e.data["metrics"] for e in moved.events if e.type == "finished"] == [moved.metrics]
    assert f"converted from torch: {run.name}" in repr(moved)
    assert any(run.name in str(row) for row in lk.tables.events(moved).rows)
    assert "tensorflow" in moved.environment["backend"]
    for kind in ("last", "best"):
        one, other = (r.folder.load_checkpoint(kind) for r in (run, moved))
        assert one is not None
        assert other is not None
        assert all(np.array_equal(one[0][k], other[0][k]) for k in one[0])
        assert other[1] == {}
    with pytest.raises(lk.RunStateError, match="has completed"):
        moved.resume()


def test_without_a_test_part_nothing_is_measured() -> None:
    moved = lk.convert(trained("torch", **{"data.test": 0}), "tensorflow")
    assert moved.metrics == {}
    assert len(moved.predictions) == 0


def test_what_is_refused_leaves_no_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=TABLE, y=Y)
    run = lk.train(data=str(tmp_path / "a.npz"), epochs=1, batch_size=8, inline=True)
    with pytest.raises(lk.ConfigError, match=r"to: given 'torch', which .* already uses; expected 'tensorflow'"):
        lk.convert(run, "torch")
    with pytest.raises(lk.ConfigError, match="framework: given 'tensorflw', did you mean 'tensorflow'"):
        lk.convert(run, "tensorflw")
    np.savez(tmp_path / "a.npz", X=TABLE + 1, y=Y)
    with pytest.raises(lk.DataError, match=r"is not what .* was trained on"):
        lk.convert(run, "tensorflow")
    (tmp_path / "a.npz").unlink()
    with pytest.raises(lk.DataError, match="it is no longer there"):
        lk.convert(run, "tensorflow")
    failed = lk.train(data=(TABLE, Y), batch_size=8, epochs=1, lr=1e300, inline=True)
    assert failed.state == "failed"
    with pytest.raises(
        lk.RunStateError, match=r"cannot be converted: it is failed, expected completed; .*lmkit resume"
    ):
        lk.convert(failed, "tensorflow")
    assert len(lk.runs()) == 2


def test_a_run_that_trains_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    run = lk.train(data=(TABLE, Y), batch_size=8, epochs=1, inline=True)
    completed = run.status
    run.folder.write_status(replace(completed, state="running", host="elsewhere", heartbeat=time.time()))
    assert run.state == "running"

    def finish(run: lk.Run, purpose: str) -> None:
        assert purpose == "converted"
        run.folder.write_status(completed)

    monkeypatch.setattr("lmkit.run.convert.wait_until_completed", finish)
    assert lk.convert(run, "tensorflow").state == "completed"


def test_an_interrupted_wait_says_that_the_run_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    run = lk.train(data=(TABLE, Y), batch_size=8, epochs=1, inline=True)
    run.folder.write_status(replace(run.status, state="running", host="elsewhere", heartbeat=time.time()))

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lmkit.run.run.time.sleep", interrupt)
    for wait in (run.wait, run.watch):
        with pytest.raises(KeyboardInterrupt, match="continues in its own process"):
            wait()


def test_it_is_typed_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    run = trained("torch")
    assert cli.main(["convert", run.name, "tensorflow"]) == 0
    moved = lk.attach("last")
    assert moved.experiment.framework == "tensorflow"
    assert capsys.readouterr().out == f"run       {moved.path}\n"
    assert cli.main(["convert", run.name, "torch"]) == 2
    assert "already uses" in capsys.readouterr().err
