"""A small graph as a picture: connected nodes are close, nodes with more edges are larger."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MAX_NODES = 250
"""Maximum number of nodes to draw."""

STEPS = 120


def layout(edges: np.ndarray, nodes: int) -> np.ndarray:
    """Return positions (nodes, 2) in 0 to 1, deterministic for a graph.

    Force-directed: nodes repel, edges attract (Fruchterman and Reingold, 1991), starting from a circle.

    Args:
        edges: (2, edges), both directions.
        nodes: number of nodes.
    """
    import numpy as np

    joined = np.zeros((nodes, nodes))
    joined[edges[0], edges[1]] = 1
    angle = 2 * math.pi * np.arange(nodes) / nodes
    positions = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ideal = 2 / math.sqrt(nodes)
    for step in range(STEPS):
        between = positions[:, None] - positions[None]
        distance = np.maximum(np.linalg.norm(between, axis=2), 0.01)
        # a small force to the centre keeps unconnected components in the picture
        force = ((ideal**2 / distance**2 - joined * distance / ideal)[..., None] * between).sum(1) - 0.5 * positions
        length = np.maximum(np.linalg.norm(force, axis=1, keepdims=True), 1e-9)
        positions = positions + force / length * np.minimum(length, 0.2 * (1 - step / STEPS))
    positions = positions - positions.min(0)
    return np.asarray(positions / np.maximum(positions.max(0), 1e-9))


def graph_svg(
    edges: np.ndarray, names: Sequence[str], colours: Sequence[str], size: tuple[int, int], label: str
) -> str:
    """Return the graph as an inline SVG; empty if it has more than ``MAX_NODES`` nodes.

    Args:
        edges: (2, edges), node indices, both directions.
        names: the tooltip of each node.
        colours: the colour of each node.
        size: width and height in pixels.
        label: the description for screen readers.
    """
    import numpy as np

    nodes = len(names)
    if nodes > MAX_NODES:
        return ""
    width, height = size
    positions = layout(edges, nodes) * (width - 24, height - 30) + 12
    degrees = np.bincount(edges[0], minlength=nodes)
    once = edges[:, edges[0] < edges[1]]
    lines = "".join(f"M{x:.0f} {y:.0f}L{u:.0f} {v:.0f}" for (x, y), (u, v) in zip(*positions[once], strict=True))
    largest = 8 if nodes <= 60 else 5
    dots = "".join(
        f'<circle cx="{positions[i, 0]:.0f}" cy="{positions[i, 1]:.0f}" r="{2 + (largest - 2) * share:.1f}" '
        f'fill="{colours[i]}"><title>{html.escape(names[i])}</title></circle>'
        for i, share in sorted(enumerate(np.sqrt(degrees / max(1, degrees.max()))), key=lambda pair: -pair[1])
    )
    return (
        f'<svg class="lkc-scatter" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(label)}">'
        f'<path class="lkc-axes" d="{lines}"/>{dots}'
        f'<text x="{width / 2:.0f}" y="{height - 3}">size: number of edges</text></svg>'
    )
