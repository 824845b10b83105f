"""The magics in a real IPython."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from magic_fixtures import Cell

import lmkit
from lmkit.exceptions import CommandError, ConfigError, DataError, RunNotFound, TemplateError


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[lmkit.Experiment, dict[str, Any]]]:
    """What ``lmkit.train`` is called with, instead of training."""
    calls: list[tuple[lmkit.Experiment, dict[str, Any]]] = []
    monkeypatch.setattr(lmkit, "train", lambda spec, **options: calls.append((spec, options)))
    return calls


# -- loading and help -----------------------------------------------------------------------------


def test_loading_twice_adds_one_completer_and_unloading_takes_all_away(shell: InteractiveShell) -> None:
    def counted() -> tuple[bool, bool, int]:
        magics = shell.magics_manager.magics
        return "lmkit" in magics["line"], "lmkit" in magics["cell"], len(shell.Completer.custom_matchers)

    assert counted() == (True, True, 1)
    shell.run_line_magic("reload_ext", "lmkit")
    assert counted() == (True, True, 1)
    shell.run_line_magic("unload_ext", "lmkit")
    assert counted() == (False, False, 0)


@pytest.mark.parametrize("line", ["%lmkit", "%lmkit help", "%lmkit --help", "%lmkit help help", "%%lmkit help\nx"])
def test_help_lists_every_verb_with_an_example(run_cell: Cell, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert run_cell(line) is None
    printed = capsys.readouterr().out
    for example in (
        "%lmkit new",
        "%lmkit train experiment.yaml -p",
        "%lmkit attach last",
        "%lmkit stop last",
        "%lmkit set-learning-rate last 0.001",
        "%lmkit report last",
        "%lmkit help train",
    ):
        assert f"\n{'':20} {example}" in printed
    assert "%%lmkit train\n" in printed
    assert max(map(len, printed.splitlines())) <= 120


def test_the_cell_in_the_help_is_an_experiment(
    run_cell: Cell, capsys: pytest.CaptureFixture[str], trained: list[Any]
) -> None:
    run_cell("%lmkit help train")
    printed = capsys.readouterr().out
    example = printed[printed.index("  %%lmkit train") : printed.index("\n\n%%lmkit new")]
    run_cell("rows, width, rate = 16, 20, 0.01")
    run_cell("\n".join(line[2:] for line in example.splitlines()))
    assert trained[0][0] == lmkit.Experiment(
        data={"source": "digits", "batch_size": 16},
        model={"family": "mlp", "hidden": [20, 40]},
        training={"epochs": 5, "optimizer": {"name": "adam", "lr": 0.01}},
    )


@pytest.mark.parametrize("line", ["%lmkit help pause", "%lmkit pause --help", "%lmkit pause last -h"])
def test_help_of_one_verb(run_cell: Cell, capsys: pytest.CaptureFixture[str], line: str) -> None:
    run_cell(line)
    printed = capsys.readouterr().out
    assert printed.startswith("usage: %lmkit pause [--runs DIR] RUN\n")
    assert "example: %lmkit pause last" in printed


# -- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["data: $frame\n", "data: {source: $frame}\n"])
def test_data_in_memory_is_trained_on(shell: InteractiveShell, run_cell: Cell, tmp_path: Path, cell: str) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"size": draw.normal(size=60), "price": draw.normal(size=60)})
    shell.push({"frame": (frame, "price")})
    run = run_cell(f"%%lmkit train --inline\n{cell}training: {{epochs: 1}}")
    assert run.experiment.data.target == "price"
    [kept] = (tmp_path / "runs" / ".data").glob("*.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(kept), frame)


def test_the_target_of_data_in_memory_stands_beside_them(
    shell: InteractiveShell, run_cell: Cell, trained: list[Any], tmp_path: Path
) -> None:
    frame = pd.DataFrame({"size": [1.0], "price": [2.0]})
    shell.push({"frame": frame})
    run_cell("%%lmkit train\ndata: {source: $frame, target: price, batch_size: 4}")
    spec, _ = trained[0]
    assert (spec.data.target, spec.data.batch_size) == ("price", 4)
    [kept] = (tmp_path / "runs" / ".data").glob("*.parquet")
    assert spec.data.source == f"stored:{kept.stem}"
    pd.testing.assert_frame_equal(pd.read_parquet(kept), frame)


def test_a_line_takes_a_file_and_values(
    shell: InteractiveShell, run_cell: Cell, trained: list[Any], tmp_path: Path
) -> None:
    file = tmp_path / "an experiment.yaml"
    file.write_text("data: digits\nmodel: {hidden: [5]}\n")
    shell.push({"file": file, "widths": [3, 4], "a": 6, "text": "1e5"})
    run_cell('%lmkit train "$file" -p model.hidden $widths -p lr {a / 100} -p epochs 2 -p name $text --runs elsewhere')
    run_cell("%lmkit train '" + str(file) + "' -p hidden '[$a, {a * 2}]' -p training.optimizer '{name: adam}'")
    (first, options), (second, _) = trained
    assert (first.data.source, first.model.hidden, first.training.epochs) == ("digits", (3, 4), 2)
    assert (first.training.optimizer.lr, first.name) == (0.06, "1e5")
    assert options == {"inline": False, "trust": False, "start": True, "runs": "elsewhere"}
    assert second.model.hidden == (6, 12)
    assert second.training.optimizer.name == "adam"


def test_names_of_a_function_come_before_those_of_the_notebook(run_cell: Cell, trained: list[Any]) -> None:
    run_cell("seed = 1\ndef start(seed):\n    %lmkit train $file -p seed $seed\n")
    run_cell("import pathlib\nfile = pathlib.Path('e.yaml')\nfile.write_text('data: wine')")
    run_cell("start(5)")
    assert trained[0][0].seed == 5


def test_data_in_memory_in_a_line(shell: InteractiveShell, run_cell: Cell, trained: list[Any], tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("data: {source: digits, batch_size: 4}")
    shell.push({"pair": (np.zeros((4, 2)), np.arange(4)), "file": str(tmp_path / "e.yaml")})
    run_cell("%lmkit train $file -p data $pair --runs elsewhere")
    spec, _ = trained[0]
    [kept] = (tmp_path / "elsewhere" / ".data").glob("*.parquet")
    assert (spec.data.source, spec.data.batch_size) == (f"stored:{kept.stem}", 4)
    assert pd.read_parquet(kept)[spec.data.target].tolist() == [0, 1, 2, 3]


# -- the other verbs ------------------------------------------------------------------------------


@pytest.fixture
def finished() -> lmkit.Run:
    return lmkit.train(data="wine", epochs=2, inline=True)


def test_a_semicolon_keeps_the_result_from_being_shown(run_cell: Cell, finished: lmkit.Run) -> None:
    assert run_cell("%lmkit attach last ;") is None
    assert run_cell("%lmkit attach last;") is None


def test_new_opens_the_form_on_what_is_given(run_cell: Cell, finished: lmkit.Run) -> None:
    assert run_cell("form = %lmkit new\nform").experiment == lmkit.Experiment()
    assert run_cell("form = %lmkit new last\nform").experiment == finished.experiment
    assert run_cell("%%lmkit new\ndata: digits\nseed: {1 + 2}").experiment == lmkit.Experiment(data="digits", seed=3)


def test_a_template_takes_parameters_from_line_and_cell(
    shell: InteractiveShell, run_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(lmkit, "run_template", lambda *given, **options: calls.append((given, options)))
    shell.push({"widths": [3, 4]})
    run_cell("%lmkit run train -p epochs 3 -p model.hidden $widths -o out.ipynb")
    run_cell("%%lmkit run train -p epochs 3\nframework: tensorflow\ntraining: {seconds: 5}")
    rest = {"runs": None, "time_limit": None, "kernel": "", "cwd": None, "prepare_only": False, "detach": False}
    assert calls == [
        (
            ("train", {"model.hidden": [3, 4]}),
            {"typed": {"epochs": "3"}, "output": "out.ipynb", **rest},
        ),
        (
            ("train", {"framework": "tensorflow", "training": {"seconds": 5}}),
            {"typed": {"epochs": "3"}, "output": None, **rest},
        ),
    ]


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        (
            "%lmkit pasue last",
            CommandError,
            "%lmkit pasue: unknown verb; did you mean 'pause'? Expected one of pause, ",
        ),
        ("%lmkit pause", CommandError, "%lmkit pause: the following arguments are required: RUN\nusage: %lmkit pause"),
        ("%lmkit pause a b", CommandError, "%lmkit pause: unrecognized arguments: b\nusage: %lmkit pause"),
        (
            "%lmkit train e.yaml -p lr",
            CommandError,
            "%lmkit train: argument -p: given 'lr', expected NAME VALUE or NAME=VALUE\nusage: ",
        ),
        ("%lmkit note last don't", CommandError, "%lmkit note last don't: No closing quotation; "),
        ("%lmkit attach $nothing", CommandError, "$nothing: NameError: name 'nothing' is not defined; "),
        ("%lmkit help nothing", CommandError, "%lmkit help nothing: unknown verb; "),
        ("%%lmkit\ndata: wine", CommandError, "%%lmkit: expected a verb, such as %%lmkit train; "),
        ("%%lmkit pause last\nx", CommandError, "%%lmkit pause takes no cell; write one line: %lmkit pause last"),
        ("%%lmkit train e.yaml\ndata: wine", CommandError, "%%lmkit train: unrecognized arguments: e.yaml"),
        ("%lmkit attach last", RunNotFound, "no run 'last': no runs under "),
        ("%lmkit train nothing.yaml", ConfigError, "no file 'nothing.yaml'"),
        ("%lmkit run nothing", TemplateError, "no notebook 'nothing'; did you mean 'train'? Templates: "),
        (
            "%%lmkit train\n# a remark\ndata: {source: wine\nseed: 1",
            ConfigError,
            "line 4: not YAML: expected ',' or '}', but got ':'\n      seed: 1",
        ),
        (
            "%%lmkit train\ndata: wine\ndata: digits",
            ConfigError,
            "line 3: not YAML: the key 'data' is written twice\n      data: digits",
        ),
        (
            "%%lmkit train\ntraining:\n  epochs: 1\n  optimzer: adam\n",
            ConfigError,
            "line 4: training.optimzer: unknown key; did you mean 'optimizer'?",
        ),
        (
            "%%lmkit train\ntraining:\n  optimizer:\n    lr: {0 - 1}\n",
            ConfigError,
            "line 4: training.optimizer.lr: given -1, expected a number greater than 0\n      lr: {0 - 1}",
        ),
        (
            "%%lmkit train\nmodel:\n  hidden:\n    - 3\n    - 0\n",
            ConfigError,
            "line 5: model.hidden.1: given 0, expected a number of at least 1\n      - 0",
        ),
        (
            "%%lmkit train\n- wine",
            ConfigError,
            "line 2: given ['wine'], expected a mapping such as data: digits\n      - wine",
        ),
        (
            "%%lmkit train -p lr -1\ntraining: {optimizer: {lr: 0.1}}",
            ConfigError,
            "training.optimizer.lr: given -1, expected a number greater than 0",
        ),
        (
            "%%lmkit train\nseed: 1\ndata: {(1, 2, 3)}",
            DataError,
            "line 3: data: given tuple, expected (X, y) as arrays, ",
        ),
        ("%%lmkit train\ndata: 3", ConfigError, "line 2: data: given 3, expected "),
        (
            "%%lmkit train\n\ndata: nothing.csv",
            DataError,
            "line 3: data.source: ",
        ),
        (
            "%%lmkit run train\nepochs: many",
            TemplateError,
            "line 2: epochs: given 'many', expected int | None (parameter of the template 'train', default None)\n"
            "      epochs: many",
        ),
    ],
)
def test_an_error_is_one_message_and_raises(
    shell: InteractiveShell,
    capsys: pytest.CaptureFixture[str],
    source: str,
    kind: type[Exception],
    message: str,
) -> None:
    error = shell.run_cell(source).error_in_exec
    assert type(error) is kind
    assert str(error).startswith(message)
    printed = "".join(capsys.readouterr())
    assert printed.strip() == f"{kind.__name__}: {error}"


def test_a_mistake_of_ours_keeps_its_traceback(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(lmkit, "runs", fail)
    assert isinstance(shell.run_cell("%lmkit runs").error_in_exec, ZeroDivisionError)
    assert "Traceback" in capsys.readouterr().out


def test_an_interrupt_is_told_in_a_line(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lmkit, "watch", interrupt)
    assert isinstance(shell.run_cell("%lmkit watch last").error_in_exec, KeyboardInterrupt)
    printed = "".join(capsys.readouterr())
    assert printed.startswith("KeyboardInterrupt: ")
    assert len(printed.splitlines()) == 1


# -- completion -----------------------------------------------------------------------------------


def completed(shell: InteractiveShell, text: str) -> list[str]:
    """The texts that there may be after completing at ``|``."""
    before, _, after = text.partition("|")
    with provisionalcompleter():
        return [text[: c.start] + c.text + after for c in shell.Completer.completions(before + after, len(before))]


def test_ipython_offers_what_completion_knows_and_nothing_else(shell: InteractiveShell, finished: lmkit.Run) -> None:
    assert completed(shell, "run = %lmkit pau|") == ["run = %lmkit pause"]
    assert completed(shell, "%lmkit attach wine-m|") == [f"%lmkit attach {finished.name}"]
    assert completed(shell, "%lmkit train e.yaml -p optimizer.mom|") == [
        "%lmkit train e.yaml -p training.optimizer.momentum"
    ]
    assert completed(shell, "%lmkit train e.yaml -p mom| 0.9") == [
        "%lmkit train e.yaml -p training.optimizer.momentum 0.9"
    ]
    assert completed(shell, "%%lmkit train\ntraining:\n  optimizer: {mom|}\nseed: 1") == [
        "%%lmkit train\ntraining:\n  optimizer: {momentum: }\nseed: 1"
    ]
    shell.push({"widths": [3]})
    assert "%lmkit train e.yaml -p hidden $widths" in completed(shell, "%lmkit train e.yaml -p hidden $wid|")
