"""The README's gallery: every notebook, in the order of the files, each with a small picture of its own."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_gallery_has_every_notebook_in_order_with_a_thumbnail() -> None:
    rows = re.findall(
        r"^\| \[!\[[^\]]+\]\(notebooks/pictures/([^)]+)\.png\)\]\(notebooks/([^)]+)\.ipynb\) \|",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    names = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert rows == [(name, name) for name in names]
    for name in names:
        assert (ROOT / "notebooks" / "pictures" / f"{name}.png").stat().st_size <= 30_000
