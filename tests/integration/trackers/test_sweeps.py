"""Sweeps told to trackers, and read back by the trackers' own libraries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from written_run import written_run
from written_sweep import driven, written_sweep, written_trial

import lmkit as lk
from lmkit import trackers
from lmkit.commands import cli
from lmkit.commands.output import DONE, REFUSED
from lmkit.sweeping.folder import TrialFolder
from lmkit.sweeping.records import TrialOutcome

GRID = {"training.optimizer.lr": [0.1, 0.01], "model.hidden": [[32], [64, 32]]}
EPOCHS = [{"val_loss": 0.9}, {"val_loss": 0.7}]


@pytest.fixture
def sweep(tmp_path: Path) -> lk.Sweep:
    """A trial with a run, one that was given up, and one that failed before it had a run."""
    made = written_sweep(tmp_path, grid=GRID, trials=3)
    run = written_run(tmp_path / "runs", losses=[3.0, 2.0, 1.0, 0.5], epochs=EPOCHS, data="wine")
    written_trial(made, made.space.combination(0), {"val_loss": 0.7, "step": 4}, run=run.path)
    written_trial(made, made.space.combination(1), {"val_loss": 0.9, "step": 2}, state="pruned")
    written_trial(made, made.space.combination(2), state="failed", error="DataError: no rows")
    return made


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database that runs are told to; making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'm.db'}"


@pytest.fixture
def server(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """It, with an experiment for each test."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    return database


def nested(where: str, name: str) -> tuple[Any, Any, list[Any]]:
    """What MLflow has: a client, the parent, and the runs that are nested beneath it."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=where)
    number = client.get_experiment_by_name(name).experiment_id
    runs = client.search_runs([number], order_by=["attributes.run_name"])
    (parent,) = (r for r in runs if "mlflow.parentRunId" not in r.data.tags)
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(runs) - 1
    return client, parent, children


def table(folder: Path) -> tuple[Any, list[Any]]:
    """What the HParams tab of TensorBoard has to show: its columns, and its rows."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2 as api
    from tensorboard.plugins.hparams.backend_context import Context
    from tensorboard.plugins.hparams.list_session_groups import Handler

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(folder))))
    ctx = RequestContext()
    known, given = context.hparams_metadata(ctx, ""), context.hparams_from_data_provider(ctx, "", 100)
    columns = context.experiment_from_metadata(ctx, "", True, known, given)
    params = [api.ColParams(hparam=info.name) for info in columns.hparam_infos]
    for info, param in zip(columns.hparam_infos, params, strict=True):  # as the page asks, with every box ticked
        if info.HasField("domain_discrete"):
            param.filter_discrete.CopyFrom(info.domain_discrete)
    params += [api.ColParams(metric=info.name) for info in columns.metric_infos]
    statuses = [api.STATUS_SUCCESS, api.STATUS_FAILURE, api.STATUS_RUNNING, api.STATUS_UNKNOWN]
    request = api.ListSessionGroupsRequest(allowed_statuses=statuses, col_params=params, slice_size=100)
    return columns, list(Handler(ctx, context, "", request).run().session_groups)


def test_mlflow_has_the_trials_nested_beneath_the_sweep(sweep: lk.Sweep, server: str, tmp_path: Path) -> None:
    done = lk.mirror(sweep, to="mlflow", where=server)
    client, parent, children = nested(server, tmp_path.name)
    assert done.places == {"night-1": f"{server} (run {parent.info.run_id})"}
    assert (parent.info.run_name, parent.info.status) == ("night-1", "FINISHED")
    assert parent.data.params["grid.training.optimizer.lr"] == "0.1,0.01"
    assert parent.data.params["objectives"] == "minimize val_loss"
    assert parent.data.metrics == {"best/val_loss": 0.7}
    assert [c.info.run_name for c in children] == ["night-1/0001", "night-1/0002", "night-1/0003"]
    assert [c.info.status for c in children] == ["FINISHED", "KILLED", "FAILED"]
    assert [c.data.tags["lmkit.state"] for c in children] == ["completed", "pruned", "failed"]
    first, second, third = children
    assert first.data.params["data.source"] == "wine"
    assert first.data.params["training.optimizer.lr"] == "0.1"
    assert first.data.metrics["trial/val_loss"] == first.data.metrics["epoch/val_loss"] == 0.7
    told = client.get_metric_history(first.info.run_id, "step/loss")
    assert [(m.step, m.value) for m in told] == [(1, 3.0), (2, 2.0), (3, 1.0), (4, 0.5)]
    assert second.data.params == {"training.optimizer.lr": "0.1", "model.hidden": "[64, 32]"}
    (file,) = (tmp_path / "runs" / "mlflow" / third.info.run_id).rglob("error/*.txt")
    assert file.read_text() == "DataError: no rows"


def test_tensorboard_has_a_table_of_the_trials(sweep: lk.Sweep, tmp_path: Path) -> None:
    done = lk.mirror(sweep)
    folder = tmp_path / "runs" / "tensorboard" / "night-1"
    assert done.places == {"night-1": str(folder)}
    columns, rows = table(folder)
    assert {info.name for info in columns.hparam_infos} == set(GRID)
    assert [info.name.tag for info in columns.metric_infos] == ["trial/val_loss"]
    assert [r.name for r in rows] == ["night-1/0001", "night-1/0002", "night-1/0003"]
    assert [r.hparams["training.optimizer.lr"].number_value for r in rows] == [0.1, 0.1, 0.01]
    assert [r.hparams["model.hidden"].string_value for r in rows] == ["[32]", "[64, 32]", "[32]"]
    values = [[(m.value, m.training_step) for m in r.metric_values] for r in rows]
    assert values == [[(pytest.approx(0.7), 4)], [(pytest.approx(0.9), 2)], []]
    assert [r.sessions[0].status for r in rows] == [1, 1, 2], "success twice, and a failure"


def test_what_is_a_number_in_one_trial_and_a_word_in_another_is_a_column_of_words(tmp_path: Path) -> None:
    made = written_sweep(tmp_path, grid={"a": [None, 0.5, True]}, search={"b": "1e-4..1e-1:log"})
    for a in (None, 0.5, True):
        written_trial(made, {"a": a, "b": 0.01}, {"val_loss": 1.0})
    lk.mirror(made)
    columns, rows = table(tmp_path / "runs" / "tensorboard" / "night-1")
    among, between = columns.hparam_infos
    assert [v.string_value for v in among.domain_discrete.values] == ["None", "0.5", "True"]
    assert (between.domain_interval.min_value, between.domain_interval.max_value) == (1e-4, 0.1)
    assert [r.hparams["a"].string_value for r in rows] == ["None", "0.5", "True"], "the filters keep every row"


def test_told_twice_is_shown_once_and_a_run_told_before_is_taken_in(
    sweep: lk.Sweep, server: str, tmp_path: Path
) -> None:
    (run,) = sweep.runs
    lk.mirror(run, to="mlflow", where=server)
    for _ in range(2):
        lk.mirror(sweep, to="mlflow", where=server)
        lk.mirror(sweep, where=tmp_path)
    client, parent, children = nested(server, tmp_path.name)
    assert len(children) == len(table(tmp_path / "night-1")[1]) == 3
    (taken,) = (c for c in children if c.data.tags.get("lmkit.run") == run.name)
    assert len(client.get_metric_history(taken.info.run_id, "step/loss")) == 4
    assert len(client.get_metric_history(parent.info.run_id, "best/val_loss")) == 1


def test_a_sweep_that_is_gone_on_with_is_gone_on_with_there(sweep: lk.Sweep, server: str, tmp_path: Path) -> None:
    places: list[dict[str, Any]] = [{"where": tmp_path}, {"to": "mlflow", "where": server}]
    for place in places:
        lk.mirror(sweep, **place)
    failed = TrialFolder(sweep.trials[2].path)  # tried again, as retry_failed does; and one trial more
    failed.done.rename(failed.path / "failed-1.json")
    run = written_run(tmp_path / "runs", losses=[1.0, 0.4], epochs=[{"val_loss": 0.4}], data="wine")
    finish(failed, {"val_loss": 0.4, "step": 2}, run)
    written_trial(sweep, sweep.space.combination(3), {"val_loss": 0.8}, state="completed")
    for place in places:
        lk.mirror(sweep, **place)
    client, parent, children = nested(server, tmp_path.name)
    assert [c.info.status for c in children] == ["FINISHED", "KILLED", "FINISHED", "FINISHED"]
    assert parent.info.status == "FINISHED"
    assert children[2].data.tags["lmkit.run"] == run.name
    assert children[2].data.metrics["step/loss"] == 0.4
    best = client.get_metric_history(parent.info.run_id, "best/val_loss")
    assert [m.value for m in best] == [0.7, 0.4]
    rows = table(tmp_path / "night-1")[1]
    assert [r.sessions[0].status for r in rows] == [1, 1, 1, 1]
    assert rows[2].metric_values[0].value == pytest.approx(0.4)


def finish(folder: TrialFolder, values: Mapping[str, Any], run: lk.Run) -> None:
    folder.finish(TrialOutcome("completed", run=str(run.path), values=dict(values), attempt="attempt-1", seconds=1.0))


def test_a_sweep_is_told_while_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "POLL_SECONDS", 0.01)
    made = written_sweep(tmp_path, grid=GRID, trials=2)
    lock = driven(made)
    run = written_run(tmp_path / "runs", state="running", losses=[2.0, 1.0], epochs=EPOCHS[:1], data="wine")
    first = written_trial(made, made.space.combination(0), state="running", run=run.path)
    told = lk.mirror(made, wait=False)
    folder = tmp_path / "runs" / "tensorboard" / "night-1"
    while not list(folder.glob("0001/events*")):
        told._thread.join(0.01)
    assert "night-1 is being sent to TensorBoard" in repr(told)
    run.folder.metrics.append({"step": 3, "loss": [0.5], "lr": 0.01})
    status = run.status
    run.folder.write_status(type(status)(**{**vars(status), "state": "completed", "step": 3}))
    finish(first, {"val_loss": 0.6, "step": 3}, run)
    written_trial(made, made.space.combination(1), {"val_loss": 0.9})
    lock.unlink()
    told.wait()
    rows = table(folder)[1]
    assert [(r.name, r.sessions[0].status) for r in rows] == [("night-1/0001", 1), ("night-1/0002", 1)]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / "0001"), size_guidance={"scalars": 0}).Reload()
    assert [(e.step, e.value) for e in board.Scalars("step/loss")] == [(1, 2.0), (2, 1.0), (3, 0.5)]
    assert [e.value for e in board.Scalars("trial/val_loss")] == [pytest.approx(0.6)]


def test_a_trial_whose_run_was_deleted_is_told_by_what_it_was_given(sweep: lk.Sweep, tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(sweep.runs[0].path)
    lk.mirror(sweep)
    rows = table(tmp_path / "runs" / "tensorboard" / "night-1")[1]
    assert rows[0].metric_values[0].value == pytest.approx(0.7)


def test_it_is_asked_for_by_name(sweep: lk.Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = str(tmp_path / "runs")
    for words in (["night-1"], [str(sweep.path)], ["--sweep", "last"]):
        assert cli.main(["mirror", *words, "--runs", runs]) == DONE
        assert f"night-1 sent to TensorBoard: {runs}/tensorboard/night-1" in capsys.readouterr().out
    assert cli.main(["mirror", "night-2", "--runs", runs]) == REFUSED
    assert "night-2" in capsys.readouterr().err
