"""The trials of a sweep work in the folder of the notebook, wherever the sweep's own folder is."""

from __future__ import annotations

from pathlib import Path

from written_notebook import write_notebook

import lmkit as lk


def test_a_trial_reads_files_beside_the_notebook(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    cells = ["import os, lmkit", "lmkit.record(folder=os.getcwd(), score=x * float(open('factor.txt').read()))"]
    notebook = write_notebook(folder / "mine.ipynb", *cells, parameters="x: int = 1")
    (folder / "factor.txt").write_text("3")
    sweep = lk.sweep(
        notebook, grid={"x": [2]}, objective="maximize score", runs=tmp_path / "runs", name="first", inline=True
    )
    (trial,) = sweep.trials
    assert (trial.state, trial.error) == ("completed", "")
    assert (trial.values["folder"], trial.values["score"]) == (str(folder), 6.0)
