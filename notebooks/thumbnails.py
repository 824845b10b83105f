"""Makes the thumbnails of the gallery: one figure of each notebook, from its own outputs, as a small palettised PNG.

python notebooks/thumbnails.py
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
PICTURES = {"02-in-the-notebook": "monitor.png", "08-deployment": "comparison.png"}
"""Notebooks whose thumbnail is a screen of theirs, or a picture kept beside them."""
CHOSEN = {
    "00-gradient-descent": 2,
    "04-images": -1,
    "06-own-model": -1,
    "11-explanation": 5,
    "12-weak-results": -1,
    "13-scaling": 2,
}
"""Which figure of a notebook, where it is not the first one."""
SIZE = (360, 220)


def figures(notebook: Path) -> list[bytes]:
    """The pictures among the outputs of a notebook, in their order."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    found = [
        output.get("data", {}).get("image/png")
        for cell in cells
        for output in cell.get("outputs", [])
    ]
    return [base64.b64decode("".join(png)) for png in found if png]


def thumbnail(picture: bytes) -> Image.Image:
    """The picture, small, on a white ground of ``SIZE`` pixels, in 64 colours."""
    shown = Image.open(io.BytesIO(picture)).convert("RGBA")
    shown.thumbnail(SIZE, Image.Resampling.LANCZOS)
    ground = Image.new("RGBA", SIZE, "white")
    ground.alpha_composite(shown, ((SIZE[0] - shown.width) // 2, (SIZE[1] - shown.height) // 2))
    return ground.convert("RGB").quantize(64)


if __name__ == "__main__":
    for notebook in sorted(HERE.glob("*.ipynb")):
        kept = PICTURES.get(notebook.stem)
        picture = (
            (HERE / "pictures" / kept).read_bytes()
            if kept
            else figures(notebook)[CHOSEN.get(notebook.stem, 0)]
        )
        thumbnail(picture).save(HERE / "pictures" / f"{notebook.stem}.png", optimize=True)
