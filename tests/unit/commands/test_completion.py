"""What completion offers at the end of a text; ``|`` is the cursor where it is not the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmkit.commands.completion import complete
from lmkit.experiment.experiment import Experiment
from lmkit.runfolder.folder import RunFolder

SGD = ["name", "lr", "momentum", "nesterov"]
ADAM = ["name", "lr", "beta1", "beta2", "epsilon"]


def offered(text: str) -> list[str]:
    before, _, after = text.partition("|")
    fragment, found = complete(before, after.partition("\n")[0])
    assert before.endswith(fragment)
    return found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("%lmkit pau", ["pause"]),
        ("  %lmkit r", ["run", "runs", "resume", "report"]),
        ("run = %lmkit att", ["attach"]),
        ("x = 1\nrun = %lmkit att", ["attach"]),
        ("%%lmkit tr", ["train", "trust"]),
        ("%lmkit help set", ["set-learning-rate"]),
        ("%lmkit nothing ", []),
        ("%lmkit run tr", ["train"]),
        ("%lmkit templates -", []),
        ("%lmkit report last -", ["-o", "--compared", "--sweep", "--interactive", "--private", "--explain", "--runs"]),
        ("%lmkit pause last ", ["--runs"]),
        ("%lmkit train e.yaml -p batch", ["data.batch_size"]),
        ("%lmkit train e.yaml -p training.optimizer.w", ["training.optimizer.weight_decay"]),
        ("%lmkit train e.yaml -p seed 3 -p training.early_stopping.pa", ["training.early_stopping.patience"]),
        ("%lmkit train e.yaml -p training.optimizer.name ", ["adam", "sgd", "adamw"]),
        ("%lmkit train e.yaml -p precision ", ["float32", "float64", "bfloat16", "float16"]),
        ("%lmkit train e.yaml -p nesterov t", ["true"]),
        ("%lmkit train e.yaml -p seed ", []),
        ("%lmkit run train -p epo", ["epochs", "training.epochs"]),
        ("print('%lmkit pau", []),
        ("lmkit pau", []),
        ("", []),
    ],
)
def test_a_line(text: str, found: list[str]) -> None:
    assert offered(text) == found


def test_the_name_of_a_run_from_its_beginning_its_own_name_or_its_id(tmp_path: Path) -> None:
    names = [RunFolder.create(Experiment(name=name)).name for name in ("first", "second")]
    first, second = names
    assert offered("%lmkit attach ") == ["last", second, first]
    assert offered("%lmkit stop la") == ["last"]
    assert offered("%lmkit stop fi") == [first]
    assert offered(f"%lmkit stop {second[:-2]}") == [second]
    assert offered(f"%lmkit stop {second.rpartition('-')[2][:4]}") == [second]
    assert offered("%lmkit monitor last sec") == [second]
    assert offered("%lmkit note last fi") == []  # a text, not a second run
    elsewhere = RunFolder.create(Experiment(name="third"), tmp_path / "other").name
    assert offered(f"%lmkit pause --runs {tmp_path / 'other'} ") == ["last", elsewhere]


def test_files_where_a_file_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    for name in ("a.yaml", "b.json", "c.ipynb", "d.csv", "more/e.yml", ".hidden.yaml"):
        (tmp_path / name).touch()
    assert offered("%lmkit train ") == ["a.yaml", "b.json", "more/"]
    assert offered("%lmkit train more/") == ["more/e.yml"]
    assert offered("%lmkit run c") == ["compare", "c.ipynb"]


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("", ["name: ", "framework: ", "seed: ", "data: ", "model: ", "training: "]),
        ("da", ["data: "]),
        ("seed: 1\nse", []),
        ("seed: 1\nname: x\nmodel: mlp\n", ["framework: ", "data: ", "training: "]),
        ("data: {so", ["source: "]),
        ("data: {source: wine, s", ["size: ", "sheet: ", "separator: ", "scale: ", "scale_target: ", "streaming: "]),
        ("data: {source: wi", ["wine"]),
        ("data: di", ["digits", "diabetes"]),
        ("model: mlp:t", ["mlp:tiny", "mlp:textbook"]),
        ("framework: ", ["torch", "tensorflow"]),
        ("training:\n  pre", ["precision: "]),
        ("training:\n  pre|: float32", ["precision"]),
        ("training:\n  precision: ", ["float32", "float64", "bfloat16", "float16"]),
        ("training:\n  optimizer: ", ["adam", "sgd", "adamw"]),
        ("training:\n  optimizer:\n    name: adam\n    ", [f"{f}: " for f in ADAM[1:]]),
        ("training:\n  optimizer:\n    name: sgd\n    ne", ["nesterov: "]),
        ("training:\n  optimizer: {name: sgd, ", [f"{f}: " for f in SGD[1:]]),
        ("training:\n  optimizer: {name: adam, lr: {2 * rate}, b", ["beta1: ", "beta2: "]),
        ("training: {epochs: 3, schedule: {name: co", ["constant", "cosine"]),
        ("training: {optimizer: {name: adam},\n           sch", ["schedule: "]),
        ("# a remark {\ntraining:\n  epochs: $n\n\n  loss: m", ["mean_squared_error"]),
        ("data:\n  source: wine\nmodel:\n  act", ["activation: "]),
        ("data:\n  missing: mo", ["most_frequent"]),
        ("data: digits  # sou", []),
        ("data: {drop: [so", []),
        ("data: }{so", []),
        ("training:\n  epochs: ", []),
    ],
)
def test_a_cell(cell: str, found: list[str]) -> None:
    assert offered(f"%%lmkit train\n{cell}") == found


def test_only_the_cell_of_an_experiment_is_completed() -> None:
    assert offered("%%lmkit new --runs x\nda") == ["data: "]
    assert offered("%%lmkit run train\nda") == []
    assert offered("%%writefile x.yaml\nda") == []
