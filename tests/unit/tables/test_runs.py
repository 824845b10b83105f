"""Tables show themselves as aligned text and as HTML without script, and hold what the run's folder holds."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from written_run import BEGAN, written_run

import lmkit as lk
from lmkit.display.listing import Listing
from lmkit.display.table import MAX_LAST_TEXT, MAX_TEXT, Table

SMALL = Table("Three <rows>", ("name", "value", "count"), (("a", 1 / 3, 12), ("<b>&", None, 3), ("c", float("nan"), 4)))


def rows(table: Table) -> dict[str, tuple[Any, ...]]:
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
    assert '<caption style="text-align: left">Three &lt;rows&gt;</caption>' in SMALL.html
    assert '<td style="text-align: left">&lt;b&gt;&amp;</td><td style="text-align: right">–</td>' in SMALL.html
    assert set(re.findall(r"<(\w+)", SMALL.html)) == {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert SMALL._repr_mimebundle_() == {"text/html": SMALL.html, "text/plain": SMALL.text}


def test_a_text_of_several_lines_stays_in_its_row() -> None:
    table = Table("t", ("a", "b"), (("one\ntwo", "x"),))
    assert table.text.split("\n")[-1] == "one two  x"


def test_a_short_text_stays_on_one_line_and_a_too_long_one_is_in_its_tooltip() -> None:
    name, story = "20261129-101500-shapes-3f2a1c", "a story " * 100
    shown = Table("t", ("run", "story", "end"), ((name, story, story),))
    assert f'<td nowrap style="text-align: left">{name}</td>' in shown.html
    cells = re.findall(r'<td class="long" style="text-align: left" title="([^"]*)">([^<]*…)</td>', shown.html)
    assert [title for title, _ in cells] == [story, story]
    assert [len(text) for _, text in cells] == [MAX_TEXT, MAX_LAST_TEXT]
    line = shown.text.split("\n")[-1]
    assert line.endswith(story.rstrip())
    assert line.count("…") == 1


def test_a_listing_is_a_data_frame_that_is_shown_as_a_table() -> None:
    listing = Listing({"name": [f"run-{i}" for i in range(99)], "test_loss": [0.123456789, *[None] * 98], "path": "/x"})
    shown = listing._repr_html_()
    assert "60 of 99 rows" in shown
    assert '<td nowrap style="text-align: left">run-0</td><td style="text-align: right">0.1235' in shown
    assert "NaN" not in shown
    assert "/x" not in shown
    assert type(listing.head()) is pd.DataFrame


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


@pytest.mark.parametrize(
    ("training", "restored"),
    [({}, True), ({"early_stopping": {"restore_best": False}}, False), ({"early_stopping": None}, False)],
)
def test_metrics_are_those_of_the_epoch_whose_weights_the_run_ends_with(
    tmp_path: Path, training: dict[str, Any], restored: bool
) -> None:
    other = {k: v / 2 for k, v in EPOCH.items()} | {"val_loss": 0.75}
    epochs = [other, EPOCH, other] if restored else [other, EPOCH]
    run = written_run(tmp_path, losses=[1.0] * 6, epochs=epochs, training=training, status={"metrics": TEST})
    table = lk.tables.metrics(run)
    assert table.title == f"Metrics of {run.name}, after epoch 2 (training: mean over its steps)"
    assert table.columns == ("metric", "training", "validation", "test", "meaning")
    assert {k: v[:3] for k, v in rows(table).items()} == {
        "loss": (0.25, 0.5, 0.75),
        "accuracy": (0.9, 0.8, 0.7),
        "auc": (0.95, 0.85, 0.65),
    }
    assert rows(table)["loss"][3] == "binary crossentropy, mean over the rows; minimized by training"


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
    assert list(told)[:3] == ["result", "data", "model"], "the answer comes first"
    assert told == {
        "result": "test accuracy 0.7",
        "state": "failed: the disk\nis full",
        "started": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(BEGAN)),
        "training": "30 steps, 3 of 100 epochs, 2.5 s",
        "test metrics": "loss 0.75, accuracy 0.7, auc 0.65",
        "data": "breast_cancer",
        "model": "mlp, hidden [128, 128], activation relu, dropout 0.0, residual False, normalization none, "
        "initializer pytorch",
        "framework": "torch on cpu",
        "folder": str(run.path),
    }
    early = {k: v[0] for k, v in rows(lk.tables.summary(written_run(tmp_path, state="failed", prepared=False))).items()}
    assert early["training"] == "no steps"
    assert "test metrics" not in early
    assert "started" not in early


def test_the_summary_has_the_rows_of_each_part(tmp_path: Path) -> None:
    run = written_run(tmp_path, prepared=False)
    parts = {"training": 1234, "test": 56}
    run.folder.events.lines.append({"time": BEGAN, "type": "started", "rows": parts})
    data = {k: v[0] for k, v in rows(lk.tables.summary(run)).items()}["data"]
    assert data == "breast_cancer: 1,234 training rows, 56 test rows"


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
        ("device", "cuda:0 Some GPU"),
        ("command", "lmkit train x.yaml"),
    )


def test_an_earlier_record_is_shown_without_secrets_and_on_request_without_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = written_run(tmp_path)
    run.folder.write_json("environment.json", {"command": "lmkit train -p hub_token s3cr3t", "folder": "/home/ada"})
    assert lk.tables.environment(run).rows == (("command", "lmkit train -p hub_token …"),)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert rows(lk.tables.summary(run))["folder"][0].startswith(f"~/{tmp_path.name}/")
    monkeypatch.setenv("LMKIT_PRIVATE", "on")
    assert "command" not in rows(lk.tables.environment(run))
    assert "folder" not in rows(lk.tables.summary(run))
