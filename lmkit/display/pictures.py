"""Panels of pictures: an image as it is, numbers of its pixels as a heat map, and several images with captions."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.display.palette import BLUE, INK, VERMILLION

if TYPE_CHECKING:
    import numpy as np

SCALE = ((0.0, VERMILLION), (0.5, "#FFFFFF"), (1.0, BLUE))
"""The colours of signed numbers: those of ``SignedBars``."""

CHANNELS = (1, 3, 4)
"""Numbers of channels by which the axis of channels is recognized."""

COLUMNS = 6
"""Pictures in a row."""

GAP = 0.12
"""The space between two pictures, as a share of their width."""

MAX_SIDE = 64
"""Pixels of a picture's side, at most."""

CAPTION = 0.28
"""The space of a caption, as a share of the height of a picture."""


class Picture(NamedTuple):
    """An image, or a matrix of numbers.

    Attributes:
        title: the title below it.
        values: (height, width) numbers from the smallest (black) to the largest (white), or (height, width, 3) from 0
            to 255.
        is_signed: whether the numbers are drawn from negative (vermillion) over 0 (white) to positive (blue).
        x_title, y_title: the titles of the axes; of an image none.
    """

    title: str
    values: Any
    is_signed: bool = False
    x_title: str = ""
    y_title: str = ""

    @property
    def has_shades(self) -> bool:
        """Whether the picture has more colours than lines have."""
        return True

    @property
    def height_ratio(self) -> float | None:
        """The height of an image relative to its width; None where the axes have any length."""
        return None if self.x_title or self.y_title else len(self.values) / len(self.values[0])

    def draw_plotly(self, figure: Any, column: int) -> None:
        """Draw the panel into a column of a plotly figure."""
        import plotly.graph_objects as go

        height, width = len(self.values), len(self.values[0])
        if getattr(self.values, "ndim", 2) == 3:
            figure.add_trace(go.Image(z=self.values.round().astype(int).tolist()), row=1, col=column)
        else:
            limit = self._limit
            colours = [list(pair) for pair in SCALE] if self.is_signed else "Greys_r"
            figure.add_trace(
                go.Heatmap(
                    z=[[float(f"{v:.3g}") for v in row] for row in self.values],
                    colorscale=colours,
                    zmin=-limit if self.is_signed else None,
                    zmax=limit if self.is_signed else None,
                    showscale=False,
                    hovertemplate="%{y}, %{x}: %{z}<extra></extra>",
                ),
                row=1,
                col=column,
            )
        axis = f"x{column if column > 1 else ''}"
        is_image = not (self.x_title or self.y_title)
        figure.update_xaxes(title_text=self.x_title or self.title, showticklabels=not is_image, row=1, col=column)
        figure.update_yaxes(
            title_text=self.y_title,
            autorange="reversed",
            showticklabels=not is_image,
            scaleanchor=axis if is_image and 0.2 < width / height < 5 else None,
            constrain="domain",
            row=1,
            col=column,
        )

    def draw_matplotlib(self, ax: Any, entries: dict[str, Any]) -> None:  # noqa: ARG002 (part of the interface)
        """Draw the panel into axes of matplotlib."""
        from matplotlib.colors import LinearSegmentedColormap

        is_image = not (self.x_title or self.y_title)
        if getattr(self.values, "ndim", 2) == 3:
            ax.imshow(self.values.round().astype("uint8"))
        elif self.is_signed:
            colours = LinearSegmentedColormap.from_list("signed", list(SCALE), N=32)
            ax.imshow(
                self.values, cmap=colours, vmin=-self._limit, vmax=self._limit, aspect=None if is_image else "auto"
            )
        else:
            ax.imshow(self.values, cmap="gray", aspect=None if is_image else "auto")
        ax.set_xlabel(self.x_title or self.title)
        ax.set_ylabel(self.y_title)
        if is_image:
            ax.set_xticks([])
            ax.set_yticks([])

    @property
    def _limit(self) -> float:
        """The number with the deepest colour: a high quantile, so that a single pixel does not fade all others."""
        import numpy as np

        sizes = np.abs(np.asarray(self.values, dtype=np.float64))
        return float(np.quantile(sizes, 0.995)) or float(sizes.max()) or 1.0


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
    def has_shades(self) -> bool:
        """Whether the pictures have more colours than lines have."""
        return True

    @property
    def height_ratio(self) -> float:
        """The height of all pictures relative to their width."""
        tall, wide = self._cell
        return math.ceil(len(self.images) / COLUMNS) * tall / (COLUMNS * wide)

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


def channels_last(images: np.ndarray) -> np.ndarray:
    """Return images (…, height, width, channels) also where the channels come first, as in PyTorch.

    >>> import numpy as np
    >>> channels_last(np.zeros((5, 3, 16, 20))).shape, channels_last(np.zeros((5, 16, 20, 3))).shape
    ((5, 16, 20, 3), (5, 16, 20, 3))
    """
    import numpy as np

    is_first = images.shape[-3] in CHANNELS and images.shape[-1] not in CHANNELS
    return np.moveaxis(images, -3, -1) if is_first else images
