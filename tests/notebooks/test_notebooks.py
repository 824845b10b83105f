"""Each notebook of the documentation shows itself without a kernel; that it runs from top to bottom, nbval says."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_is_kept_executed_small_and_visible_anywhere(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert all(c.execution_count for c in code), "it is not executed"
    assert path.stat().st_size < 300_000
    figures = [o.data for c in code for o in c.outputs if "data" in o and "application/vnd.plotly.v1+json" in o.data]
    assert figures
    for figure in figures:
        assert {"image/png", "text/plain"} <= set(figure)
        assert "text/html" not in figure
        assert len(json.dumps(figure)) <= 60_000


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 2
