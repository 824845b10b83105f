"""Panels of pictures: an image as it is, and numbers of its pixels as a heat map."""

from __future__ import annotations

from typing import Any, NamedTuple

from lmkit.display.palette import BLUE, VERMILLION

SCALE = ((0.0, VERMILLION), (0.5, "#FFFFFF"), (1.0, BLUE))
"""The colours of signed numbers: those of ``SignedBars``."""


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
