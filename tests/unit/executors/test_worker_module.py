"""``python -m lmkit.worker``: its command line, and folders that are created for it alone."""

from __future__ import annotations

from pathlib import Path

import pytest

import lmkit as lk
from lmkit import worker
from lmkit.commands import cli


def test_a_run_may_be_created_without_a_start(capsys: pytest.CaptureFixture[str]) -> None:
    run = lk.train(data="wine", model="mlp:small", start=False)
    assert (run.state, run.status.cause) == ("stopped", "requested")
    assert (run.path / "experiment.yaml").exists()
    assert cli.main(["train", "wine", "--no-start"]) == 0
    assert "train it: python -m lmkit.worker " in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--help"]], ids=["none", "two", "help"])
def test_the_worker_takes_one_folder(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert worker.main(arguments) == 2
    assert capsys.readouterr().err == "usage: python -m lmkit.worker FOLDER\n"


def test_a_folder_that_is_no_run_and_a_wrong_variable_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worker.main([str(tmp_path)]) == 1
    assert "expected the experiment of the run" in capsys.readouterr().err
    monkeypatch.setenv("TF_CONFIG", "{")
    assert worker.main([str(tmp_path)]) == 1
    assert "TF_CONFIG: given '{', expected" in capsys.readouterr().err
