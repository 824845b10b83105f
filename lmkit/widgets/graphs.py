"""A small graph as a picture: nodes that are joined lie close, the more edges the larger."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

DRAWN = 250
"""Nodes at most: of more a small picture tells nothing."""

STEPS = 120


def layout(edges: np.ndarray, nodes: int) -> np.ndarray:
    """Places (nodes, 2) in 0 to 1, the same for the same graph.

    All nodes push each other apart, and edges pull (Fruchterman and Reingold, 1991), from places on a circle on.

    Args:
        edges: (2, edges), both directions.
        nodes: how many.
    """
    import numpy as np

    joined = np.zeros((nodes, nodes))
    joined[edges[0], edges[1]] = 1
    angle = 2 * math.pi * np.arange(nodes) / nodes
    places = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ideal = 2 / math.sqrt(nodes)
    for step in range(STEPS):
        between = places[:, None] - places[None]
        distance = np.maximum(np.linalg.norm(between, axis=2), 0.01)
        # towards the middle a little, so that parts which nothing joins stay in the picture
        force = ((ideal**2 / distance**2 - joined * distance / ideal)[..., None] * between).sum(1) - 0.5 * places
        length = np.maximum(np.linalg.norm(force, axis=1, keepdims=True), 1e-9)
        places = places + force / length * np.minimum(length, 0.2 * (1 - step / STEPS))
    places = places - places.min(0)
    return np.asarray(places / np.maximum(places.max(0), 1e-9))


def graph_svg(
    edges: np.ndarray, names: Sequence[str], colours: Sequence[str], size: tuple[int, int], label: str
) -> str:
    """The graph as an inline SVG; empty where it is too large for one.

    Args:
        edges: (2, edges), numbers of nodes, both directions.
        names: what a node is called where one points at it.
        colours: of each node.
        size: width and height.
        label: what it shows, in words.
    """
    import numpy as np

    nodes = len(names)
    if nodes > DRAWN:
        return ""
    width, height = size
    places = layout(edges, nodes) * (width - 24, height - 30) + 12
    degrees = np.bincount(edges[0], minlength=nodes)
    once = edges[:, edges[0] < edges[1]]
    lines = "".join(f"M{x:.0f} {y:.0f}L{u:.0f} {v:.0f}" for (x, y), (u, v) in zip(*places[once], strict=True))
    largest = 8 if nodes <= 60 else 5
    dots = "".join(
        f'<circle cx="{places[i, 0]:.0f}" cy="{places[i, 1]:.0f}" r="{2 + (largest - 2) * share:.1f}" '
        f'fill="{colours[i]}"><title>{html.escape(names[i])}</title></circle>'
        for i, share in sorted(enumerate(np.sqrt(degrees / max(1, degrees.max()))), key=lambda pair: -pair[1])
    )
    return (
        f'<svg class="lkc-scatter" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(label)}">'
        f'<path class="lkc-axes" d="{lines}"/>{dots}'
        f'<text x="{width / 2:.0f}" y="{height - 3}">the larger, the more edges</text></svg>'
    )
