"""Tables show themselves as aligned text and as HTML without script, and hold what the run's folder holds."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from sklearn.datasets import load_breast_cancer
from written_run import BEGAN, written_run

import lmkit as lk
from lmkit.tables import Table

SMALL = Table("Three <rows>", ("name", "value", "count"), (("a", 1 / 3, 12), ("<b>&", None, 3), ("c", float("nan"), 4)))


def rows(table: Table) -> dict[str, tuple[object, ...]]:
    return {str(row[0]): row[1:] for row in table.rows}


# -- how they show themselves ---------------------------------------------------------------------


def test_text_is_aligned_numbers_to_the_right() -> None:
    assert SMALL.text.split("\n") == [
        "Three <rows>",
        "name   value  count",
        "-------------------",
        "a     0.3333     12",
        "<b>&       –      3",
        "c          –      4",
    ]
    assert repr(SMALL) == SMALL.text


def test_html_is_escaped_and_only_aligned() -> None:
    assert "<caption>Three &lt;rows&gt;</caption>" in SMALL.html
    assert '<td style="text-align: left">&lt;b&gt;&amp;</td><td style="text-align: right">–</td>' in SMALL.html
    assert set(re.findall(r"<(\w+)", SMALL.html)) == {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert SMALL._repr_mimebundle_() == {"text/html": SMALL.html, "text/plain": SMALL.text}


def test_a_text_of_several_lines_stays_in_its_row() -> None:
    table = Table("t", ("a", "b"), (("one\ntwo", "x"),))
    assert table.text.split("\n")[-1] == "one two  x"


def test_a_table_without_rows_says_so() -> None:
    table = Table("Nothing", ("a", "b"), ())
    assert table.text == "Nothing\nnothing to show"
    assert "nothing to show" in table.html
    assert "<th" not in table.html


def test_truth_values_are_no_numbers() -> None:
    assert 'style="text-align: left">True' in Table("t", ("a",), ((True,),)).html


# -- of a run -------------------------------------------------------------------------------------

EPOCH = {"loss": 0.25, "accuracy": 0.9, "auc": 0.95, "val_loss": 0.5, "val_accuracy": 0.8, "val_auc": 0.85}
TEST = {"loss": 0.75, "accuracy": 0.7, "auc": 0.65}


def test_metrics_are_those_of_the_last_epoch_and_of_the_end(tmp_path: Path) -> None:
    earlier = {k: v / 2 for k, v in EPOCH.items()}
    run = written_run(tmp_path, losses=[1.0] * 4, epochs=[earlier, EPOCH], status={"metrics": TEST})
    table = lk.tables.metrics(run)
    assert table.title == f"Metrics of {run.name}, after epoch 2"
    assert table.columns == ("metric", "training", "validation", "test", "meaning")
    assert {k: v[:3] for k, v in rows(table).items()} == {
        "loss": (0.25, 0.5, 0.75), "accuracy": (0.9, 0.8, 0.7), "auc": (0.95, 0.85, 0.65),
    }  # fmt: skip
    assert rows(table)["loss"][3] == "binary crossentropy, mean over the rows; what was minimized"


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_metrics_of_a_run_that_did_not_get_far(tmp_path: Path, state: str) -> None:
    run = written_run(tmp_path, state=state, losses=[1.0] * 2, epochs=[{"loss": 0.25}])
    assert rows(lk.tables.metrics(run))["loss"][:3] == (0.25, None, None)
    unprepared = written_run(tmp_path, state=state, prepared=False)
    assert lk.tables.metrics(unprepared) == Table(f"Metrics of {unprepared.name}", lk.tables.metrics(run).columns, ())


def test_metrics_of_a_living_run_need_not_wait(tmp_path: Path) -> None:
    run = written_run(tmp_path, state="running", losses=[1.0] * 2, epochs=[EPOCH])
    assert rows(lk.tables.metrics(run, wait=False))["loss"][:3] == (0.25, 0.5, None)
    run.folder.write_status(run.status.__class__(state="stopped", metrics=TEST))
    assert rows(lk.tables.metrics(run))["loss"][:3] == (0.25, 0.5, 0.75)


def test_the_summary_says_where_a_run_stands(tmp_path: Path) -> None:
    status = {"reason": "the disk\nis full", "metrics": TEST, "device": "cpu"}
    losses = [1.0] * 30
    run = written_run(tmp_path, state="failed", losses=losses, epochs=[EPOCH] * 3, name="mine", status=status)
    table = lk.tables.summary(run)
    assert table.title == run.name
    told = {k: v[0] for k, v in rows(table).items()}
    assert told == {
        "state": "failed: the disk\nis full",
        "began": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(BEGAN)),
        "trained for": "30 steps, 3 of 50 epochs, in 2.5 s",
        "on the test part": "loss 0.75, accuracy 0.7, auc 0.65",
        "data": "breast_cancer",
        "model": "mlp, hidden [10], activation relu, dropout 0.0, residual False, normalization none",
        "framework": "torch on cpu",
        "folder": str(run.path),
    }
    early = {k: v[0] for k, v in rows(lk.tables.summary(written_run(tmp_path, state="failed", prepared=False))).items()}
    assert early["trained for"] == "no step"
    assert "on the test part" not in early
    assert "began" not in early


def test_events_are_told_with_their_time_since_the_start(tmp_path: Path) -> None:
    run = written_run(tmp_path, state="stopped", losses=[1.0] * 4, epochs=[EPOCH], status={"reason": "on request"})
    run.folder.events.lines.append({"time": BEGAN + 70, "type": "note", "step": 3, "text": "look <here>"})
    run.folder.events.lines.append({"time": BEGAN + 80, "type": "checkpoint", "step": 3, "epoch": 1})
    assert lk.tables.events(run).rows == (
        ("0.0 s", 0, "training on cpu"),
        ("1 min 10 s", 3, "note at step 3: look <here>"),
        ("1 min 40 s", 4, "stopped: on request"),
    )


def test_the_environment_is_what_the_run_wrote_down(tmp_path: Path) -> None:
    run = written_run(tmp_path)
    assert lk.tables.environment(run).rows == ()
    run.folder.write_json(
        "environment.json",
        {
            "python": "3.12.1",
            "packages": {"numpy": "2.0", "torch": "2.6"},
            "cpu": {"name": "Some CPU", "abilities": ["avx2"]},
            "cores": 4,
            "memory_bytes": 8 * 2**30,
            "backend": {"device": "cuda:0", "device_name": "Some GPU"},
            "git_commit": None,
            "command": "lmkit train x.yaml",
        },
    )
    assert lk.tables.environment(run).rows == (
        ("Python", "3.12.1"),
        ("packages", "numpy 2.0, torch 2.6"),
        ("processor", "Some CPU, 4 cores (avx2)"),
        ("memory", "8.0 GiB"),
        ("device trained on", "cuda:0 Some GPU"),
        ("command", "lmkit train x.yaml"),
    )


def test_tables_of_a_real_run() -> None:
    run = lk.train(data="breast_cancer", epochs=2, inline=True)
    table = rows(lk.tables.metrics(run))
    last = run.history.iloc[-1]
    for name in ("loss", "accuracy", "auc"):
        assert table[name][:3] == (last[name], last[f"val_{name}"], run.metrics[name])
    assert rows(lk.tables.environment(run))["device trained on"][0] == run.environment["backend"]["device"]
    assert rows(lk.tables.summary(run))["state"] == ("completed",)
    assert len(run.predictions) == round(0.2 * len(load_breast_cancer().target))
