"""The command line: every verb, what it prints, what it exits with."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from narrowing import require_type
from waiting import PATIENCE, until

import lmkit as lk
from lmkit.commands import cli
from lmkit.commands.cli import main
from lmkit.commands.output import NOT_COMPLETED
from lmkit.specs.models import MLP

SHORT = "data: wine\nmodel: mlp:tiny\ntraining: {epochs: 2}\n"
ENDLESS = (
    "name: endless\ndata: digits\ntraining: {epochs: 1000000, early_stopping: null, checkpoint_seconds: 1000000}\n"
)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    """Writes a file and returns its path."""

    def write(text: str, name: str = "experiment.yaml") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


@pytest.fixture
def endless() -> Iterator[lk.Run]:
    """A run in a worker that does not end by itself."""
    run = lk.train(lk.Experiment.from_yaml(ENDLESS)).wait_for("running")
    yield run
    if run.status.live:
        psutil.Process(run.status.pid).kill()


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Calls the command line: exit status, standard output, standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        status = main(words)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def last(output: str) -> Any:
    """The object in the last line."""
    return json.loads(output.splitlines()[-1])


# -- train ----------------------------------------------------------------------------------------


def test_train_prints_lines_and_where_the_run_is(told: Any, file: Any) -> None:
    status, out, err = told("train", file(SHORT))
    run = lk.attach()
    assert status == 0
    assert out == f"run       {run.path}\n"
    assert [line.split()[:2] for line in err.splitlines() if line.startswith("epoch")] == [
        ["epoch", "1/2"],
        ["epoch", "2/2"],
    ]
    assert "completed after 8 steps" in err


def test_train_with_json_ends_in_one_object(told: Any, file: Any) -> None:
    status, out, _ = told("train", file(SHORT), "--json")
    run = lk.attach()
    assert status == 0
    assert last(out) == {"run": str(run.path), "name": run.name, "state": "completed", "metrics": run.metrics}


def test_train_takes_parameters_by_path_and_by_name(told: Any, file: Any, tmp_path: Path) -> None:
    words = ["-p", "training.optimizer", "{name: adam, lr: 1e-2}", "-p", "hidden", "[4, 3]", "-p", "data", "diabetes"]
    status, out, _ = told("train", file(SHORT), *words, "-p", "epochs", "1", "--json", "--runs", str(tmp_path / "else"))
    run = lk.attach(last(out)["run"])
    assert status == 0
    assert run.path.parent == tmp_path / "else"
    assert run.experiment.training.optimizer.name == "adam"
    assert run.experiment.training.optimizer.lr == 0.01
    assert (require_type(run.experiment.model, MLP).hidden, run.experiment.data.source) == ((4, 3), "diabetes")
    assert run.experiment.training.epochs == 1
    assert set(last(out)["metrics"]) == {"loss", "mae", "r2"}


def test_train_takes_a_json_file(told: Any, file: Any) -> None:
    text = json.dumps({"data": "wine", "training": {"epochs": 1}, "framework": "torch"})
    assert told("train", file(text, "experiment.json"))[0] == 0
    assert lk.attach().status.step == 4


@pytest.mark.parametrize("word", ["inline", "wait", "runs", "experiment"])
def test_a_parameter_is_a_path_of_the_experiment_and_nothing_else(told: Any, file: Any, word: str) -> None:
    status, _, err = told("train", file(SHORT), "-p", word, "true")
    assert status == 2
    assert f"{word}: no such path" in err


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        (SHORT, ["-p", "epochs", "many"], "training.epochs: given 'many', expected a whole number"),
        (SHORT, ["-p", "training.optimizer.lr", "-1"], "training.optimizer.lr: given -1"),
        (SHORT, ["-p", "lr", ".nan"], "training.optimizer.lr: given nan"),
        ("framework: abacus", [], "framework: given 'abacus'"),
        ("data: {source: nowhere.csv, target: y}", [], "no file 'nowhere.csv'"),
        ("a: [", [], "not YAML"),
        ("- a\n- b", [], "expected a mapping"),
        ("training: {loss: BCELoss}", [], "no loss 'BCELoss' here"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_words(
    told: Any, file: Any, text: str, words: list[str], said: str, tmp_path: Path
) -> None:
    status, out, err = told("train", file(text), *words, "--json")
    assert status == 2
    assert said in err
    assert "Traceback" not in err
    assert (last(out)["run"], last(out)["state"], last(out)["metrics"]) == (None, "refused", {})
    assert said in last(out)["error"]
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_not_there(told: Any) -> None:
    status, _, err = told("train", "nowhere.yaml")
    assert status == 2
    assert "no file 'nowhere.yaml'" in err


def test_a_run_that_fails_exits_with_1_and_its_reason(told: Any, file: Any) -> None:
    text = "data: {source: diabetes, scale_target: false}\ntraining: {epochs: 30, optimizer: {name: sgd, lr: 10000}}"
    status, out, err = told("train", file(text), "--json")
    assert status == 1
    assert last(out)["state"] == "failed"
    assert "training diverged" in last(out)["error"]
    assert "training diverged" in err


def test_ctrl_c_stops_the_run_of_train(file: Any) -> None:
    command = [sys.executable, "-m", "lmkit.commands.cli", "train", file(ENDLESS), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run = until(lambda: lk.attach("endless") if len(lk.runs()) else None)
    until(lambda: len(run.history))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert last(out)["state"] == run.state == "stopped"
    assert f"stopped; continue: lmkit resume {run.name}" in err
    assert "Traceback" not in err
    assert run.folder.load_checkpoint("last")[2]["step"] == run.status.step


# -- steering -------------------------------------------------------------------------------------


def test_pause_resume_and_stop(told: Any, endless: lk.Run) -> None:
    for verb, state in (("pause", "paused"), ("resume", "running"), ("stop", "stopped")):
        status, out, _ = told(verb, "endless")
        assert status == 0
        assert out.startswith(f"<Run {endless.name}: {state}")
        assert endless.state == state
    status, _, err = told("stop", "last")
    assert status == 2
    assert "is not running (stopped on request)" in err
    assert told("resume", endless.name)[0] == 0
    status, _, err = told("resume", "last")
    assert status == 2
    assert f"is already running; watch it: lmkit watch {endless.name}" in err


def test_checkpoint_note_and_learning_rate(told: Any, endless: lk.Run) -> None:
    assert told("checkpoint", "last")[0] == 0
    assert told("note", "last", "as it is")[0] == 0
    assert told("set-learning-rate", "last", "5e-3")[0] == 0
    until(lambda: {"checkpoint", "note", "learning_rate"} <= {e.type for e in endless.events})
    found = {e.type: e.data for e in endless.events}
    assert found["note"]["text"] == "as it is"
    assert found["learning_rate"]["value"] == 0.005
    status, _, err = told("set-learning-rate", "last", "-1")
    assert status == 2
    assert "learning rate: given -1, expected a number greater than 0" in err


def test_a_pause_that_comes_too_late_exits_with_1(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lk.train(lk.Experiment.from_yaml(SHORT), wait=True)
    monkeypatch.setattr(lk.Run, "pause", lambda self: self)  # it was running when it was asked
    status, out, _ = told("pause", "last")
    assert status == 1
    assert out.startswith(f"<Run {run.name}: completed")


def test_watch_prints_what_happened_and_follows_to_the_end(told: Any) -> None:
    run = lk.train(lk.Experiment.from_yaml(SHORT))
    status, out, err = told("watch", "last", "--json")
    assert status == 0
    assert last(out)["metrics"] == run.metrics
    assert err.splitlines()[0].startswith("training on cpu: mlp 13-10-3 (173 parameters), adam at 0.001")
    assert [line.split()[1] for line in err.splitlines()[1:-1]] == ["1/2", "2/2"]
    assert err.splitlines()[-1].startswith("completed after 8 steps")


def test_ctrl_c_ends_the_watching_and_not_the_run(endless: lk.Run) -> None:
    command = [sys.executable, "-m", "lmkit.commands.cli", "watch", "last"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("training on cpu: mlp")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert endless.state == "running"


# -- looking --------------------------------------------------------------------------------------


def test_runs_as_a_table_and_as_json(told: Any) -> None:
    status, out, err = told("runs")
    assert (status, out) == (0, "")
    assert "no runs yet; start one: lmkit run train" in err
    assert last(told("runs", "--json")[1]) == []
    runs = [lk.train(lk.Experiment.from_yaml(SHORT), inline=True, name=n) for n in ("one", "two")]
    status, out, _ = told("runs")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["name", "state", "framework", "data"]
    assert {line.split()[0] for line in lines[1:]} == {r.name for r in runs}
    listed = last(told("runs", "--json")[1])
    assert {r["run"]: r["metrics"] for r in listed} == {str(r.path): r.metrics for r in runs}


def test_templates(told: Any) -> None:
    status, out, _ = told("templates")
    assert status == 0
    assert "train: " in out
    assert "  epochs: int | None = None  # " in out
    assert {"template", "parameter", "type", "default", "documentation"} <= set(last(told("templates", "--json")[1])[0])


@pytest.mark.parametrize("verb", ["watch", "pause", "resume", "stop", "checkpoint", "report"])
@pytest.mark.parametrize(
    ("name", "said"), [("nothing", "no runs under"), ("../up", "expected a run's name, not a path with '..'")]
)
def test_names_that_mean_nothing_are_refused(told: Any, verb: str, name: str, said: str) -> None:
    status, _, err = told(verb, name)
    assert status == 2
    assert said in err


def test_a_name_of_several_runs_lists_them(told: Any) -> None:
    runs = [lk.train(lk.Experiment.from_yaml(SHORT), inline=True, epochs=1) for _ in range(2)]
    status, _, err = told("stop", "wine")
    assert status == 2
    assert all(r.name in err for r in runs)


# -- run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "nothing"], "nothing"),
        (["run", "train", "-p", "epoch", "3"], "epochs"),
        (["run", "train", "-p", "epochs", "soon"], "soon"),
        (["run", "train", "-f", "nowhere.yaml"], "'nowhere.yaml' cannot be read"),
    ],
)
def test_run_refuses_what_it_does_not_know(told: Any, words: list[str], said: str, tmp_path: Path) -> None:
    status, out, err = told(*words, "--json")
    assert status == 2
    assert said in err
    assert last(out)["state"] == "refused"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [1, 2\nb: }", "params.yaml: line 2: not YAML: expected ',' or ']', but got ':'"),
        (b"epochs: 2\nepochs: 3", "params.yaml: line 2: not YAML: the key 'epochs' is written twice"),
        (b"\xff\xfe\x00", "params.yaml' cannot be read as text: 'utf-8' codec can't decode byte 0xff in position 0"),
        (b"- 1\n- 2", "params.yaml: given [1, 2], expected a mapping of parameters, such as {epochs: 3}"),
        (b"", "params.yaml: given None, expected a mapping of parameters, such as {epochs: 3}"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_a_file_of_parameters_that_is_none_is_refused_in_one_line(
    told: Any, tmp_path: Path, verb: str, content: bytes, said: str
) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    status, _, err = told(verb, "train", "-f", str(path))
    assert status == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


# -- the program ----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["dance"], ["train"], ["train", "x.yaml", "-p", "lr"], ["runs", "--jsn"]])
def test_words_that_are_no_command_exit_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "usage: lmkit" in capsys.readouterr().err


def test_an_option_that_a_verb_does_not_have_is_answered_with_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sweep", "train", "--objektive", "f1"])
    message = "lmkit sweep: unrecognized arguments: --objektive f1; did you mean --objective?\nusage: lmkit sweep [-h]"
    assert message in capsys.readouterr().err


def test_the_installed_program_tells_its_version() -> None:
    program = Path(sys.executable).with_name("lmkit")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, f"lmkit {lk.__version__}\n")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "lmkit.commands.cli", "templates"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_disk_that_is_full_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))

    monkeypatch.setitem(cli.COMMANDS, "runs", full)
    assert cli.main(["runs", "--json"]) == NOT_COMPLETED
    out, err = capsys.readouterr()
    assert err == f"lmkit: No space left on device: {str(tmp_path / 'x')!r}\n"
    assert json.loads(out)["error"] in err
