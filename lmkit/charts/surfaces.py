"""Charts of surfaces and of the paths on them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lmkit.charts.values import round_values
from lmkit.display.contours import ContourMap
from lmkit.display.figure import BLUE, GREEN, ORANGE, PURPLE, VERMILLION, Chart, Plot, Series
from lmkit.surfaces.base import Surface
from lmkit.surfaces.path import TITLES, DescentPath

PATH_COLOURS = {"sgd": VERMILLION, "momentum": BLUE, "nesterov": GREEN, "adam": PURPLE, "adamw": ORANGE}
"""The colours of the optimizers."""

POINTS = 121
"""Points per side at which the loss is computed."""

PATH_POINTS = 300
"""Maximum number of points of a path."""

FLOOR, CEILING = 1e-15, 1e4
"""Losses are drawn between these: the lowest value, and the multiple of the loss at the start."""


def descent(surface: Surface, paths: Mapping[str, DescentPath]) -> Chart:
    """Plot the paths of optimizers on the map of a surface, and their losses on a logarithmic axis.

    Args:
        surface: the surface.
        paths: name of an optimizer → its path.
    """
    lines, curves, sentences = [], [], []
    for name, path in paths.items():
        every = -(-len(path.points) // PATH_POINTS)
        indices = np.unique([*range(0, len(path.points), every), len(path.points) - 1])
        xs, ys = path.points[indices].T.tolist()
        lines.append(Series(TITLES[name], round_values(xs), round_values(ys), PATH_COLOURS[name]))
        top = CEILING * max(float(path.losses[0]), FLOOR)
        losses = np.clip(np.nan_to_num(path.losses[indices], nan=top, posinf=top), FLOOR, top)
        steps = [float(i) for i in indices]
        curves.append(Series(TITLES[name], steps, round_values(losses.tolist()), PATH_COLOURS[name]))
        sentences.append(f"{TITLES[name]}: J {path.losses[0]:.4g} → {path.losses[-1]:.4g}, {path.reason}")
    minimum = surface.minimum
    x, y, z = surface.grid(POINTS)
    contours = ContourMap(
        surface.info.axes, x, y, z, tuple(lines), ((*minimum, "minimum"),) if minimum is not None else ()
    )
    title = f"Gradient descent: {surface.info.title}"
    return Chart(title, (contours, Plot("step", "loss J", tuple(curves), log=True)), "\n".join([title, *sentences]))
