"""Notebooks written for tests."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def write_notebook(path: Path, *cells: str, parameters: str | None = None, heading: str = "") -> Path:
    """A notebook with these code cells, its parameters cell after the first one where there are any."""
    made = [new_markdown_cell(f"# {heading}")] if heading else []
    made += [new_code_cell(source) for source in cells]
    if parameters is not None:
        made.insert(len(made) - len(cells) + 1, new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=made), path)
    return path


def printed(notebook: Path) -> str:
    """What an executed notebook printed."""
    cells = nbformat.read(notebook, as_version=4).cells
    return "".join(o.text for c in cells for o in c.get("outputs", []) if o.output_type == "stream")
