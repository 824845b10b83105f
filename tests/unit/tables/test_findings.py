"""A table of the strongest finding about each run."""

from __future__ import annotations

from pathlib import Path

from written_readings import CHANCE, TOO_LOW, USUAL, write_profile, write_reading, write_steps
from written_run import written_run

import lmkit as lk
from lmkit.doctor.results import FILE, Curve, TestRecord, TestResult
from lmkit.run.run import Run


def examined_run(root: Path, name: str, update: float, loss: float) -> Run:
    """A run with readings."""
    run = written_run(root, prepared=False, name=name, lr=1e-6)
    write_profile(run.folder)
    write_steps(run.folder, 1, [loss] * 128)
    for step in (0, 1, 2, 4, 8, 16, 32, 64, 128):
        write_reading(run.folder, step, loss, update)
    return run


def test_each_run_is_a_row_with_its_strongest_finding(tmp_path: Path) -> None:
    ill, healthy = examined_run(tmp_path, "ill", TOO_LOW, CHANCE), examined_run(tmp_path, "healthy", USUAL, 0.1)
    finding = ill.doctor().loud[0]
    record = TestRecord(
        results=(TestResult(name="remedy", outcome="passed", answer=f"Yes: loss 2 → 1, with {finding.change_text}."),),
        check=finding.check,
        change=finding.change_text,
        curves=(Curve(label="without", epochs=(1, 2), values=(2.0, 2.0)),),
    )
    ill.folder.write_json(FILE, record.to_record())
    damaged = written_run(tmp_path, name="damaged")
    (damaged.path / FILE).write_text('{"step": -1}')
    failed = written_run(tmp_path, state="failed", prepared=False, status={"reason": "no file"})
    first, second, third, fourth = lk.tables.findings([ill, healthy, damaged, failed]).rows
    assert first[1:] == ("sure", finding.what, f"{finding.change_text} (helps: loss 2 → 1)")
    assert "ill" in first[0]
    assert second[1:] == (None, "nothing wrong was recognized", None)
    assert third[1] is None
    assert FILE in third[2]
    assert "step" in third[2]
    assert fourth[2].startswith("nothing wrong was recognized; the run failed")
