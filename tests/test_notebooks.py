"""Each notebook of the documentation runs from top to bottom under papermill, and shows itself without a kernel.

nbval holds them to their outputs; but it lets a cell with an unknown magic pass, and all that come after it.
"""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import papermill
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.timeout(900)  # the one on language trains two models for a minute or two each
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    papermill.execute_notebook(
        str(path), str(tmp_path / path.name), progress_bar=False, store_widget_state=False, kernel_name="python3"
    )
    done = nbformat.read(tmp_path / path.name, 4)
    assert not [o for c in done.cells for o in c.get("outputs", []) if o.output_type == "error"]
    printed = "".join(o.text for c in done.cells for o in c.get("outputs", []) if o.output_type == "stream")
    assert "not found" not in printed and "UsageError" not in printed


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_is_kept_executed_small_and_visible_anywhere(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert all(c.execution_count for c in code), "it is not executed"
    assert path.stat().st_size < 300_000
    figures = [o.data for c in code for o in c.outputs if "data" in o and "application/vnd.plotly.v1+json" in o.data]
    assert figures
    for figure in figures:
        assert {"image/png", "text/plain"} <= set(figure) and "text/html" not in figure
        assert len(json.dumps(figure)) <= 60_000


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 2
