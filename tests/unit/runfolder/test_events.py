"""Append-only logs: torn lines, several writers at once, and what is read out of them."""

import json
import math
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmkit import Experiment
from lmkit.runfolder.events import Epoch, Event, EventLog, Finished, Resumed, Started
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.history import StepHistory, history, steps
from lmkit.runfolder.tail import parse_block
from lmkit.system.files import JsonLines, TornLine

LOGS = ["metrics.jsonl", "events.jsonl", "control.jsonl"]


@pytest.fixture(params=LOGS)
def log(request, tmp_path):
    """Each append-only file of a run."""
    folder = RunFolder.create(Experiment(), tmp_path)
    lines = {"metrics.jsonl": folder.metrics, "events.jsonl": folder.events.lines, "control.jsonl": folder.control}
    assert [i.path.name for i in lines.values()] == LOGS
    return lines[request.param]


def record(i):
    return {"time": float(i), "type": "epoch", "step": i, "text": f"é{i}"}


# -- torn lines -----------------------------------------------------------------------------------


def test_whole_lines_are_read_without_a_word(log):
    for i in range(3):
        log.append(record(i))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert log.read()[0] == [record(i) for i in range(3)]


def test_a_log_that_is_not_there_is_empty(log):
    assert log.read() == ([], 0)


def test_a_torn_last_line_is_skipped_and_said_wherever_it_was_torn(log):
    for i in range(3):
        log.append(record(i))
    whole = log.path.read_bytes()
    begin = whole[:-1].rindex(b"\n") + 1
    for end in range(begin + 1, len(whole)):
        log.path.write_bytes(whole[:end])
        with pytest.warns(TornLine, match=f"{log.path.name}: a torn line is skipped"):
            found, offset = log.read()
        assert found == [record(0), record(1)]
        assert offset == begin


def test_what_is_appended_after_a_torn_line_is_read(log):
    for i in range(2):
        log.append(record(i))
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-9])
    for i in (2, 3):
        log.append(record(i))
    with pytest.warns(TornLine):
        found, offset = log.read()
    assert found == [record(0), record(2), record(3)]
    assert offset == log.path.stat().st_size


@pytest.mark.parametrize("rest", [b"\x00" * 64, b"\xff\xfe{", b'{"time":1.0,"type":"epo', b"[1, 2", b"nonsense"])
def test_whatever_a_crash_leaves_costs_only_its_line(log, rest):
    log.append(record(0))
    with log.path.open("ab") as file:
        file.write(rest)
    log.append(record(1))
    with pytest.warns(TornLine):
        assert log.read()[0] == [record(0), record(1)]


def test_a_line_that_is_still_being_written_is_left_for_the_next_look(log):
    log.append(record(0))
    line = json.dumps(record(1)).encode() + b"\n"
    _, offset = log.read()
    with log.path.open("ab") as file:
        file.write(line[:10])
    assert log.read(offset, quiet=True) == ([], offset)
    with log.path.open("ab") as file:
        file.write(line[10:])
    found, after = log.read(offset)
    assert found == [record(1)]
    assert after == log.path.stat().st_size


def test_reading_on_tells_only_what_is_new(log):
    told, offset = [], 0
    for i in range(5):
        log.append(record(i))
        new, offset = log.read(offset)
        told += new
    assert told == [record(i) for i in range(5)]
    assert log.read(offset) == ([], offset)


def test_a_limit_ends_with_a_whole_line(log):
    for i in range(5):
        log.append(record(i))
    told: list[Any] = []
    offset = 0
    while new := log.read(offset, limit=10)[0]:
        assert len(new) == 1  # a line is longer than the limit
        told, offset = told + new, log.read(offset, limit=10)[1]
    assert told == [record(i) for i in range(5)]


def test_events_say_a_torn_line_too(tmp_path):
    events = EventLog(tmp_path / "events.jsonl")
    events.append("started", pid=1)
    with events.lines.path.open("ab") as file:
        file.write(b'{"time": 3, "ty')
    with pytest.warns(TornLine):
        assert [e.type for e in events] == ["started"]


# -- events and history ---------------------------------------------------------------------------


def test_what_json_has_no_word_for_is_null(tmp_path):
    log = JsonLines(tmp_path / "a.jsonl")
    log.append({"a": math.nan, "b": [1.0, math.inf], "c": {"d": -math.inf}, "e": (True, None, "x")})
    assert json.loads(log.path.read_text()) == {"a": None, "b": [1.0, None], "c": {"d": None}, "e": [True, None, "x"]}


def test_an_event_has_a_time_a_type_and_its_particulars(tmp_path):
    events = EventLog(tmp_path / "events.jsonl")
    events.append("note", text="hello", step=3)
    events.lines.append({"text": "no event"})
    (event,) = events
    assert (event.type, event.data) == ("note", {"text": "hello", "step": 3})
    assert event.time > 1.7e9


RECORDED = [
    (Started(pid=1, host="h", device="cpu"), {"type": "started", "pid": 1, "host": "h", "device": "cpu"}),
    (Resumed(step=5, epoch=1, pid=2), {"type": "resumed", "step": 5, "epoch": 1, "pid": 2}),
    (
        Epoch(epoch=1, step=4, seconds=0.5, lr=0.1, metrics={"loss": 2.0, "val_loss": 3.0}),
        {
            "type": "epoch",
            "epoch": 1,
            "step": 4,
            "seconds": 0.5,
            "lr": 0.1,
            "gradient_norm": None,
            "loss": 2.0,
            "val_loss": 3.0,
        },
    ),
    (
        Finished(state="completed", step=4, epoch=1, metrics={"loss": 2.0}),
        {"type": "finished", "state": "completed", "reason": "", "step": 4, "epoch": 1, "metrics": {"loss": 2.0}},
    ),
]


@pytest.mark.parametrize(("details", "line"), RECORDED)
def test_an_event_of_a_known_type_is_written_as_ever_and_read_back(tmp_path, details, line):
    events = EventLog(tmp_path / "events.jsonl")
    events.record(details)
    written = json.loads((tmp_path / "events.jsonl").read_text())
    del written["time"]
    assert list(written.items()) == list(line.items())
    (event,) = events
    assert event.details == details


def epoch(number, **data):
    return Event(0.0, "epoch", {"epoch": number, "step": 10 * number, **data})


def test_the_history_has_a_row_an_epoch():
    found = history([Event(0.0, "started", {}), epoch(1, loss=0.5), epoch(2, loss=0.25, gradient_norm=None)])
    assert found["epoch"].tolist() == [1, 2]
    assert found["loss"].tolist() == [0.5, 0.25]
    assert found["gradient_norm"].isna().all()
    assert set(found.dtypes.astype(str)) == {"float64"}


def test_an_epoch_that_was_trained_again_counts_as_last_trained():
    events = [
        epoch(1, loss=1.0),
        epoch(2, loss=2.0),
        epoch(3, loss=3.0),
        Event(0.0, "resumed", {"step": 10}),
        epoch(2, loss=20.0),
    ]
    found = history(events)
    assert found["epoch"].tolist() == [1, 2]
    assert found["loss"].tolist() == [1.0, 20.0]


def test_no_epoch_no_row():
    assert len(history([])) == 0
    assert len(history([epoch(1, loss=1.0), Event(0.0, "resumed", {"step": 0})])) == 0


# -- steps ----------------------------------------------------------------------------------------


def test_blocks_become_a_row_a_step():
    found = steps(
        [
            {"step": 1, "loss": [3.0, 2.0], "lr": 0.1, "gradient_norm": None},
            {"step": 3, "loss": [1.0, None], "lr": [0.2, 0.3], "gradient_norm": [5.0, 6.0]},
        ]
    )
    expected = pd.DataFrame(
        {
            "step": [1, 2, 3, 4],
            "loss": [3.0, 2.0, 1.0, np.nan],
            "lr": [0.1, 0.1, 0.2, 0.3],
            "gradient_norm": [np.nan, np.nan, 5.0, 6.0],
        }
    )
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("resumed", "kept"),
    [(0, []), (1, [10.0]), (3, [10.0, 20.0, 30.0]), (4, [10.0, 20.0, 30.0, 40.0]), (9, [10.0, 20.0, 30.0, 40.0, 50.0])],
)
def test_a_resume_takes_back_what_was_trained_again(resumed, kept):
    found = steps(
        [
            {"step": 1, "loss": [10.0, 20.0, 30.0], "lr": 0.1},
            {"step": 4, "loss": [40.0, 50.0], "lr": [0.1, 0.2]},
            {"resumed": resumed},
            {"step": resumed + 1, "loss": [-1.0, -2.0], "lr": 0.3},
        ]
    )
    assert found["loss"].tolist() == [*kept, -1.0, -2.0]
    assert found["step"].tolist() == [*range(1, len(kept) + 1), resumed + 1, resumed + 2]
    assert found["lr"].tolist() == [*[0.1, 0.1, 0.1, 0.1, 0.2][: len(kept)], 0.3, 0.3]


def test_resumed_twice():
    found = steps(
        [
            {"step": 1, "loss": [1.0, 2.0, 3.0, 4.0]},
            {"resumed": 3},
            {"step": 4, "loss": [40.0, 50.0]},
            {"resumed": 2},
            {"step": 3, "loss": [300.0]},
        ]
    )
    assert found["step"].tolist() == [1, 2, 3]
    assert found["loss"].tolist() == [1.0, 2.0, 300.0]


def test_no_steps_have_their_columns():
    assert list(steps([]).columns) == ["step", "loss", "lr"]
    assert len(steps([{"other": 1}])) == 0


def test_steps_are_parsed_once_and_continued(tmp_path, monkeypatch):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    reader = StepHistory(lines)
    parsed: list[int] = []
    read = JsonLines.read

    def count_reads(self, offset=0, **options):
        parsed.append(offset)
        return read(self, offset)

    monkeypatch.setattr(JsonLines, "read", count_reads)
    pd.testing.assert_frame_equal(reader.read(), steps([]))
    records = [
        {"step": 1, "loss": [3.0, 2.0], "lr": 0.1},
        {"step": 3, "loss": [1.0, None], "lr": [0.1, 0.2], "gradient_norm": 1.0},
        {"resumed": 3},
        {"step": 4, "loss": [0.5], "lr": 0.1},
        {"step": 5, "loss": [0.4, 0.3], "lr": 0.1, "gradient_norm": [1.0, 2.0]},
        {"resumed": 1},
        {"step": 2, "loss": [9.0], "lr": 0.1},
    ]
    for i, line in enumerate(records, start=1):
        lines.append(line)
        pd.testing.assert_frame_equal(reader.read(), steps(records[:i]), check_like=True)
        changed = reader.read()
        changed["loss"] = 0.0  # a copy
    assert parsed[-1] == lines.path.stat().st_size
    lines.path.unlink()
    lines.append(records[0])
    pd.testing.assert_frame_equal(reader.read(), steps(records[:1]))


def test_a_cell_and_the_monitor_read_the_steps_at_once(tmp_path, monkeypatch):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.append({"step": 1, "loss": [3.0, 2.0], "lr": 0.1})
    reader = StepHistory(lines)
    parsing, other_has_read = threading.Event(), threading.Event()

    def parse_slowly(record):
        parsing.set()
        other_has_read.wait(0.2)
        return parse_block(record)

    monkeypatch.setattr("lmkit.runfolder.history.parse_block", parse_slowly)
    with ThreadPoolExecutor(1) as monitor:
        drawn = monitor.submit(reader.read)
        assert parsing.wait(10)
        assert reader.read()["loss"].tolist() == [3.0, 2.0]
        other_has_read.set()
        assert drawn.result()["loss"].tolist() == [3.0, 2.0]


def test_a_reader_of_steps_can_be_pickled(tmp_path):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.append({"step": 1, "loss": [3.0]})
    reader = StepHistory(lines)
    reader.read()
    assert pickle.loads(pickle.dumps(reader)).read()["step"].tolist() == [1]
