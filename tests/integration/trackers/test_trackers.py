"""Runs told to trackers, and read back by the trackers' own libraries."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit as lk
from lmkit.commands import cli
from lmkit.commands.output import DONE, REFUSED
from lmkit.runfolder.folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lk.Run:
    folder = tmp_path_factory.mktemp("runs")
    return lk.train(data="wine", model={"hidden": [8]}, epochs=4, lr=0.05, inline=True, runs=folder)


@pytest.fixture(scope="module")
def mlflow(run: lk.Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database that was told of the run; making one takes seconds."""
    where = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'm.db'}"
    lk.mirror(run, to="mlflow", where=where)
    return where


@pytest.fixture
def resumed(tmp_path: Path) -> lk.Run:
    """Six steps, of which the last two were trained again."""
    folder = RunFolder.create(lk.Experiment(data="wine"), tmp_path / "runs")
    folder.events.append("started", device="cpu")
    folder.metrics.append({"step": 1, "time": 100.0, "loss": [6.0, 5.0, 4.0, 3.0], "lr": 0.1})
    folder.metrics.append({"resumed": 2})
    folder.events.append("resumed", step=2, epoch=0)
    folder.metrics.append({"step": 3, "time": 200.0, "loss": [14.0, None, 12.0, 11.0], "lr": [0.1, 0.1, 0.2, 0.2]})
    folder.events.append("sample", step=4, prompt="The ", text="end")
    folder.write_status(replace(folder.status(), state="completed", step=6, steps=6, metrics={"loss": 0.5}))
    return lk.attach(folder.path)


def scalars(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    return found


def tracked(run: lk.Run, where: str) -> tuple[Any, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=where)
    (experiment,) = (e for e in client.search_experiments() if e.name == "lmkit")
    (found,) = client.search_runs([experiment.experiment_id], f"tags.`lmkit.run` = '{run.name}'")
    return client, found


def test_tensorboard_reads_every_number_back(run: lk.Run, tmp_path: Path) -> None:
    done = lk.mirror(run, where=tmp_path)
    assert done.places == {run.name: str(tmp_path / run.name)}
    board = scalars(tmp_path / run.name)
    history, steps = run.history, run.steps
    told = {tag: [(e.step, e.value) for e in board.Scalars(tag)] for tag in board.Tags()["scalars"]}
    np.testing.assert_allclose(told["step/loss"], steps[["step", "loss"]], rtol=1e-6)
    np.testing.assert_allclose(told["epoch/val_loss"], history[["step", "val_loss"]], rtol=1e-6)
    assert told["test/accuracy"][0][1] == pytest.approx(run.metrics["accuracy"])
    times = [e.wall_time for e in board.Scalars("step/loss")]
    assert times == sorted(times)
    assert times[0] > run.events[0].time - 1
    assert times[-1] <= run.events[-1].time + 1


def test_tensorboard_knows_what_the_run_was_configured_with(run: lk.Run, tmp_path: Path) -> None:
    from tensorboard.plugins.hparams.metadata import parse_session_end_info_plugin_data as end
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data as start

    lk.mirror(run, where=tmp_path)
    kept = scalars(tmp_path / run.name).summary_metadata
    chosen = start(kept["_hparams_/session_start_info"].plugin_data.content).hparams
    assert chosen["training.optimizer.lr"].number_value == 0.05
    assert chosen["data.source"].string_value == "wine"
    assert end(kept["_hparams_/session_end_info"].plugin_data.content).status == 1


def test_told_twice_is_shown_once(run: lk.Run, mlflow: str, tmp_path: Path) -> None:
    for _ in range(2):
        lk.mirror(run, where=tmp_path)
    lk.mirror(run, "mlflow", where=mlflow)
    assert len(scalars(tmp_path / run.name).Scalars("step/loss")) == len(run.steps)
    client, found = tracked(run, mlflow)
    assert len(client.get_metric_history(found.info.run_id, "step/loss")) == len(run.steps)


def test_mlflow_reads_every_number_back(run: lk.Run, mlflow: str) -> None:
    client, found = tracked(run, mlflow)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == run.name
    assert found.data.params["training.optimizer.lr"] == "0.05"
    assert found.data.metrics["test/accuracy"] == pytest.approx(run.metrics["accuracy"])
    told = sorted((m.step, m.value) for m in client.get_metric_history(found.info.run_id, "step/loss"))
    np.testing.assert_allclose(told, run.steps[["step", "loss"]], rtol=1e-9)
    kept = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert {"experiment.yaml", "environment.json", "events"} <= kept


def test_tensorboard_forgets_what_was_trained_again(resumed: lk.Run, tmp_path: Path) -> None:
    lk.mirror(resumed, where=tmp_path)
    board = scalars(tmp_path / resumed.name)
    told = board.Scalars("step/loss")
    assert [e.step for e in told] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_equal([e.value for e in told], [6, 5, 14, np.nan, 12, 11])
    assert [e.wall_time for e in told][-4:] == [125.0, 150.0, 175.0, 200.0]
    assert board.Tensors("sample")[0].tensor_proto.string_val == [b"The end"]


def test_a_point_is_the_mean_of_consecutive_steps(resumed: lk.Run, tmp_path: Path) -> None:
    lk.mirror(resumed, where=tmp_path, every=4)
    board = scalars(tmp_path / resumed.name)
    told = [(e.step, e.value) for e in board.Scalars("step/loss")]
    assert told == [(4, 14.0), (6, 11.5)]  # of 3 and 4 the one that is a number; 5 and 6
    assert [e.value for e in board.Scalars("step/lr")] == pytest.approx([0.1, 0.2])


def test_a_run_is_told_while_it_trains(tmp_path: Path) -> None:
    live = lk.train(data="digits", model={"hidden": [8]}, epochs=400, early_stopping=None, runs=tmp_path / "runs")
    told = lk.mirror(live, where=tmp_path, every=1, wait=False)
    while live.status.step < 200:
        time.sleep(0.05)
    live.stop()
    told.wait()
    live.wait(30)
    assert len(scalars(tmp_path / live.name).Scalars("step/loss")) == len(live.steps) > 0
    assert "sent to TensorBoard" in repr(told)


def test_bad_input_is_refused_before_anything_is_told(run: lk.Run, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(lk.ConfigError, match=r"to: no tracker 'tensorbord'; .*tensorboard"):
        lk.mirror(run, to="tensorbord")
    with pytest.raises(lk.ConfigError, match="every: given 0, expected a number of steps"):
        lk.mirror(run, every=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(lk.LmkitError, match=r"cannot be written: .*; name another folder"):
        lk.mirror(run, where=tmp_path / "file")
    with pytest.raises(lk.LmkitError, match=r"MLflow at 'http://127.0.0.1:9' cannot be used: .*tracking server"):
        lk.mirror(run, to="mlflow", where="http://127.0.0.1:9")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(lk.MissingPackage, match=r"pip install 'jupyter-lmkit\[mlflow\]'"):
        lk.mirror(run, to="mlflow")


def test_a_tracker_that_is_away_for_a_moment_is_told_everything_anew(run: lk.Run, monkeypatch: Any) -> None:
    from lmkit import trackers
    from lmkit.trackers.base import Point

    class Flaky:
        where, opened = "here", 0

        def __init__(self) -> None:
            Flaky.opened += 1
            self.kept: list[Point] = []

        def log_points(self, points: Any) -> None:
            self.kept += points
            if Flaky.opened < 3:
                raise ConnectionError("away")

        def log_text(self, *_: Any) -> None: ...

        def rewind(self, *_: Any) -> None: ...

        def update_status(self, *_: Any) -> None:
            assert len([p for p in self.kept if p.name == "step/loss"]) == len(run.steps)

    monkeypatch.setattr(trackers, "POLL_SECONDS", 0.01)
    trackers.Export([run], "flaky", lambda *_: Flaky(), None).wait()
    assert Flaky.opened == 3
    Flaky.opened = -10
    with pytest.raises(lk.LmkitError, match=r"can no longer be sent to flaky: away; to send the rest:"):
        trackers.Export([run], "flaky", lambda *_: Flaky(), None).wait()


def test_it_is_asked_for_in_a_terminal(run: lk.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["mirror", str(run.path), "--where", str(tmp_path), "--every", "2"]) == DONE
    assert f"{run.name} sent to TensorBoard: {tmp_path}" in capsys.readouterr().out
    assert len(scalars(tmp_path / run.name).Scalars("step/loss")) == -(-len(run.steps) // 2)
    assert cli.main(["mirror", str(run.path), "--to", "wandb"]) == REFUSED
