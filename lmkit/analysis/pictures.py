"""A panel of pictures with a caption each."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.display.palette import INK

if TYPE_CHECKING:
    import numpy as np

COLUMNS = 6
"""Pictures in a row."""

GAP = 0.12
"""The space between two pictures, as a share of their width."""

MAX_SIDE = 64
"""Pixels of a picture's side, at most."""

CAPTION = 0.28
"""The space of a caption, as a share of the height of a picture."""


class Pictures(NamedTuple):
    """Pictures in rows.

    Attributes:
        title: what the captions say.
        images: (pictures, height, width, channels), in any range of numbers; one channel is gray.
        captions: a text for each.
    """

    title: str
    images: np.ndarray
    captions: tuple[str, ...]

    @property
    def mosaic(self) -> np.ndarray:
        """All pictures as one, (height, width, 3), uint8, on white."""
        import numpy as np

        images = self._reduced
        count, height, width, channels = images.shape
        low, high = float(images.min()), float(images.max())
        shades = (255 * (images - low) / ((high - low) or 1)).astype(np.uint8)
        rgb = shades[..., :3] if channels >= 3 else np.repeat(shades[..., :1], 3, axis=-1)
        tall, wide = self._cell
        rows = math.ceil(count / COLUMNS)
        canvas = np.full((rows * tall, COLUMNS * wide, 3), 255, dtype=np.uint8)
        for i, picture in enumerate(rgb):
            top, left = (i // COLUMNS) * tall, (i % COLUMNS) * wide
            canvas[top : top + height, left : left + width] = picture
        return canvas

    @property
    def _reduced(self) -> np.ndarray:
        """The images with at most ``MAX_SIDE`` pixels a side: every n-th of larger ones."""
        step = -(-max(self.images.shape[1:3]) // MAX_SIDE)
        return self.images[:, ::step, ::step]

    @property
    def _cell(self) -> tuple[int, int]:
        """Height and width of a picture with its caption and gap."""
        height, width = self._reduced.shape[1:3]
        return height + max(2, round(CAPTION * height)), width + max(1, round(GAP * width))

    def _anchors(self) -> list[tuple[float, float, str]]:
        """The center of the upper edge of each caption, and its text."""
        height, width = self._reduced.shape[1:3]
        tall, wide = self._cell
        return [
            ((i % COLUMNS) * wide + width / 2 - 0.5, (i // COLUMNS) * tall + height - 0.5, caption)
            for i, caption in enumerate(self.captions)
        ]

    def draw_plotly(self, figure: Any, column: int) -> None:
        """Draw the panel into a column of a plotly figure."""
        import plotly.graph_objects as go
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(self.mosaic).save(file, "png", optimize=True)
        source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        figure.add_trace(go.Image(source=source, hoverinfo="skip"), row=1, col=column)
        for x, y, text in self._anchors():
            figure.add_annotation(x=x, y=y, text=text, showarrow=False, yanchor="top", row=1, col=column)
        figure.update_xaxes(visible=False, constrain="domain", row=1, col=column)
        figure.update_yaxes(visible=False, row=1, col=column)
        figure.add_annotation(
            text=self.title, x=0, y=-0.04, xref="paper", yref="paper", xanchor="left", yanchor="top", showarrow=False
        )

    def draw_matplotlib(self, ax: Any, entries: dict[str, Any]) -> None:  # noqa: ARG002 (part of the interface)
        """Draw the panel into axes of matplotlib."""
        ax.imshow(self.mosaic, interpolation="nearest")
        for x, y, text in self._anchors():
            ax.annotate(text, (x, y), (0, -2), textcoords="offset points", ha="center", va="top", color=INK)
        ax.set_title(self.title, color=INK, fontsize=8.5, loc="left")
        ax.axis("off")
