"""Charts as plain data, drawn by ``lmkit.display.figure``."""

from lmkit.charts.plans import over_devices
from lmkit.charts.runs import confusion_matrix, decimate, learning_curves, predictions, residuals, step_curves
from lmkit.charts.surfaces import descent
from lmkit.charts.sweeps import parallel_coordinates, pareto_front, sweep_history
from lmkit.charts.variance import importance
from lmkit.charts.variants import comparison

__all__ = [
    "comparison",
    "confusion_matrix",
    "decimate",
    "descent",
    "importance",
    "learning_curves",
    "over_devices",
    "parallel_coordinates",
    "pareto_front",
    "predictions",
    "residuals",
    "step_curves",
    "sweep_history",
]
