"""The magics that train, and those in a notebook that is executed."""

from __future__ import annotations

import json
from pathlib import Path

import nbclient
import nbformat
import pytest
import yaml
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from magic_fixtures import Cell

import lmkit
from lmkit.exceptions import RunStateError

# -- training -------------------------------------------------------------------------------------


def test_a_cell_trains_what_it_describes(shell: InteractiveShell, run_cell: Cell, tmp_path: Path) -> None:
    shell.push({"width": 7, "rate": 0.25, "none": None})
    cell = """%%lmkit train --inline
        data: wine  # {not evaluated}
        model: {hidden: [$width, {width - 2}], activation: tanh}
        training:
          epochs: 1
          clip_norm: $none
          optimizer: {name: sgd, lr: {rate / 5}}
        """
    run = run_cell(cell)
    assert isinstance(run, lmkit.Run)
    [path] = (tmp_path / "runs").glob("*/experiment.yaml")
    assert path.parent == run.path
    written = yaml.safe_load(path.read_text())
    assert written["data"]["source"] == "wine"
    assert (written["model"]["hidden"], written["model"]["activation"]) == ([7, 5], "tanh")
    assert (written["training"]["epochs"], written["training"]["clip_norm"]) == (1, None)
    assert written["training"]["optimizer"] == {"name": "sgd", "lr": 0.05, "momentum": 0.0, "nesterov": False}
    assert json.loads((run.path / "status.json").read_text())["state"] == "completed"


# -- the other verbs ------------------------------------------------------------------------------


@pytest.fixture
def finished() -> lmkit.Run:
    return lmkit.train(data="wine", epochs=2, inline=True)


def test_verbs_return_what_the_functions_return(run_cell: Cell, finished: lmkit.Run, shell: InteractiveShell) -> None:
    run_cell("run = %lmkit attach last")
    assert shell.user_ns["run"].path == finished.path
    assert run_cell("found = %lmkit attach wine\nfound").path == finished.path
    several = run_cell("two = %lmkit attach last wine-mlp\ntwo")
    assert [run.path for run in several] == [finished.path] * 2
    table = run_cell("table = %lmkit runs\ntable")
    assert list(table["name"]) == [finished.name]
    assert set(run_cell("table = %lmkit templates\ntable")["template"]) >= {"train", "report"}
    assert run_cell("%lmkit watch last").path == finished.path
    run_cell("shown = %lmkit monitor last $run")
    assert [run.path for run in shell.user_ns["shown"].runs] == [finished.path] * 2


def test_a_run_is_steered_and_says_so_in_its_log(shell: InteractiveShell, run_cell: Cell) -> None:
    shell.push({"slower": 0.001, "why": 'it is "too" fast'})
    run = run_cell("%%lmkit train\ndata: wine\ntraining: {epochs: 1000000, early_stopping: null}")
    try:
        run.wait_for("running", timeout=60)
        assert run_cell("asked = %lmkit pause last\nasked").path == run.path
        run.wait_for("paused", timeout=60)
        for line in (
            "%lmkit set-learning-rate last $slower;",
            "%lmkit note $asked $why;",
            "%lmkit note last 'a \"b\"  c';",
            "%lmkit checkpoint last;",
            "%lmkit resume last;",
            "%lmkit stop last;",
        ):
            run_cell(line)
        run.wait(timeout=60)
    finally:
        if run.status.live:
            run.stop().wait()
    events = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    told = [(e["type"], e.get("value", e.get("text"))) for e in events if e["type"] in ("learning_rate", "note")]
    assert told == [("learning_rate", 0.001), ("note", 'it is "too" fast'), ("note", 'a "b"  c')]
    assert run.state == "stopped"


# -- errors ---------------------------------------------------------------------------------------


def test_a_run_that_cannot_do_it_says_why(shell: InteractiveShell, finished: lmkit.Run) -> None:
    error = shell.run_cell("%lmkit pause last").error_in_exec
    assert isinstance(error, RunStateError)
    assert str(error).startswith(f"{finished.name} is not running (completed)")


def test_in_an_executed_notebook_an_error_ends_it_and_no_framework_is_imported(tmp_path: Path) -> None:
    cells = [
        "%load_ext lmkit",
        "table = %lmkit runs\n%lmkit help",
        "import sys\nprint(sorted({'torch', 'tensorflow', 'keras'} & set(sys.modules)))",
        "%%lmkit train\ndata: wine\nseeed: 1",
        "print('never reached')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    client = nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}})
    with pytest.raises(nbclient.exceptions.CellExecutionError) as error:
        client.execute()
    assert error.value.ename == "ConfigError"
    assert notebook.cells[2].outputs[0].text == "[]\n"
    [output] = notebook.cells[3].outputs
    assert output.output_type == "error"
    assert output.traceback == [
        "ConfigError: line 3: seeed: unknown key; did you mean 'seed'? "
        "Expected one of name, framework, seed, data, model, training\n"
        "      seeed: 1"
    ]
    assert notebook.cells[4].outputs == []


# -- completion -----------------------------------------------------------------------------------


def completed(shell: InteractiveShell, text: str) -> list[str]:
    """The texts that there may be after completing at ``|``."""
    before, _, after = text.partition("|")
    with provisionalcompleter():
        return [text[: c.start] + c.text + after for c in shell.Completer.completions(before + after, len(before))]
