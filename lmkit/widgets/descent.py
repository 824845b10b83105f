"""Gradient descent, seen: a player of optimizers on a surface.

    surface, settings ──> DescentView ──> descent.js, which computes the paths in the page
                    └───> paths: NumPy, or a framework's own optimizer ──> a picture for the saved notebook

The page needs no kernel: settings are changed, and paths computed, in the page alone.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit import charts
from lmkit.backends import require
from lmkit.charts.surfaces import PATH_COLOURS
from lmkit.display.figure import Chart
from lmkit.exceptions import ConfigError, nearest, shorten
from lmkit.specs.optimizers import AdamW
from lmkit.surfaces import path as rules
from lmkit.surfaces.base import Surface
from lmkit.surfaces.catalogue import CONDITIONS, SURFACES, find_surface
from lmkit.surfaces.path import MAX_STEPS, TITLES, DescentPath, DescentSettings, descend
from lmkit.system.environment import has_widgets
from lmkit.system.files import write_bytes, write_text
from lmkit.widgets.descent_page import player_page

if TYPE_CHECKING:
    from lmkit.surfaces.landscape import Landscape
    from lmkit.widgets.descent_view import DescentView

ENDINGS = (".html", ".png")
"""The files that a player can be saved to."""


class Descent:
    """Optimizers on a surface: paths, a chart, and a player in a notebook; the result of ``lk.descent(...)``.

    Attributes:
        surface: the surface.
        optimizers: the names of the optimizers.
        settings: learning rate, momentum, start, steps, noise, rows per step, seed.
        framework: whose optimizers take the steps of ``paths``; None for NumPy.
    """

    def __init__(
        self, surface: Surface, optimizers: Sequence[str], settings: DescentSettings, framework: str | None = None
    ) -> None:
        self.surface, self.optimizers = surface, tuple(optimizers)
        self.settings, self.framework = settings, framework

    @cached_property
    def paths(self) -> dict[str, DescentPath]:
        """Name of an optimizer → its path."""
        return {name: descend(self.surface, name, self.settings, framework=self.framework) for name in self.optimizers}

    @property
    def path(self) -> DescentPath:
        """The path of the first optimizer."""
        return self.paths[self.optimizers[0]]

    @cached_property
    def chart(self) -> Chart:
        """The map with the paths, and the losses."""
        return charts.descent(self.surface, self.paths)

    @cached_property
    def widget(self) -> DescentView:
        """The player."""
        from lmkit.widgets.descent_view import DescentView

        view = DescentView(settings=self.page_settings())
        view.view_id = view.model_id
        return view

    def page_settings(self) -> dict[str, Any]:
        """Return what the player begins with: all surfaces, the optimizers, and the constants of ``lmkit.surfaces``."""
        name = self.surface.info.name
        others = {other: make().to_page() for other, make in SURFACES.items() if other != name}
        names = list(SURFACES) if name in SURFACES else [name, *SURFACES]
        surfaces = others | {name: self.surface.to_page()}
        adamw = AdamW()
        return {
            "surfaces": [surfaces[other] for other in names],
            "optimizers": [{"name": n, "title": t, "colour": PATH_COLOURS[n]} for n, t in TITLES.items()],
            "constants": {
                "tolerance": rules.TOLERANCE,
                "tolerance_text": rules.TOLERANCE_TEXT,
                "modulus": rules.MODULUS,
                "multiplier": rules.MULTIPLIER,
                "uniforms": rules.UNIFORMS,
                "beta2": adamw.beta2,
                "epsilon": adamw.epsilon,
                "weight_decay": adamw.weight_decay,
                "conditions": list(CONDITIONS),
            },
            "state": {
                **asdict(self.settings),
                "surface": name,
                "optimizers": list(self.optimizers),
                "condition": getattr(self.surface, "condition", None),
            },
        }

    def html(self) -> str:
        """Return a page that plays without a kernel and without a network."""
        return player_page(self.page_settings(), self.chart.title)

    def save(self, path: str | Path) -> Path:
        """Write the player as an ``.html`` file, or its chart as a ``.png``; return the path.

        Raises:
            ConfigError: the file has another ending.
        """
        target = Path(path).expanduser()
        if target.suffix not in ENDINGS:
            raise ConfigError([f"output: given {str(path)!r}, expected a file that ends in {' or '.join(ENDINGS)}"])
        if target.suffix == ".html":
            write_text(target, self.html())
        else:
            write_bytes(target, self.chart.png())
        return target

    def _ipython_display_(self) -> None:
        """Display the player, and behind it the picture that a saved notebook shows."""
        from IPython.display import display

        mark = {}
        if has_widgets():
            bundle = self.widget._repr_mimebundle_()
            data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
            display({**(data or {}), "text/plain": repr(self)}, metadata=metadata, raw=True)
            mark = {"lmkit": self.widget.view_id}  # by which the page finds the picture
        picture = {"image/png": base64.b64encode(self.chart.png()).decode(), "text/plain": repr(self)}
        display(picture, metadata={"image/png": {"width": self.chart.size[0]}, **mark}, raw=True)

    def to_dict(self) -> dict[str, Any]:
        """Return how each path ended, as plain values."""
        return {
            name: {
                "steps": len(p.losses) - 1,
                "loss": float(p.losses[-1]),
                "state": p.state,
                "reason": p.reason,
                "weights": p.points[-1].tolist(),
            }
            for name, p in self.paths.items()
        }

    def __repr__(self) -> str:
        return self.chart.text


def descent(  # noqa: PLR0913 - a keyword for each option of the command line
    surface: str | Surface | Landscape = "ravine",
    *,
    lr: float | None = None,
    optimizers: str | Sequence[str] = ("sgd",),
    momentum: float = 0.9,
    start: Sequence[float] | None = None,
    steps: int | None = None,
    condition: float | None = None,
    noise: float = 0.0,
    batch: int | None = None,
    data: Any = None,
    seed: int = 0,
    framework: str | None = None,
) -> Descent:
    """Show gradient descent on a surface: a player in a notebook, a picture elsewhere.

    In the player, a click drops the start, sliders set α and momentum, and the paths of all optimizers are drawn anew
    at once. It runs in the page, without the kernel.

    Args:
        surface: bowl, ravine, saddle, rosenbrock, beale, plateau or regression; or the surface of a run, by
            ``lk.landscape``.
        lr: the learning rate α (default: one that suits the surface).
        optimizers: one or more of sgd, momentum, nesterov, adam, adamw.
        momentum: μ of SGD with momentum, β₁ of Adam.
        start: the two weights of step 0 (default: the surface's).
        steps: maximum number of steps (default: the surface's).
        condition: the condition number κ of the ravine.
        noise: standard deviation of noise on each component of the gradient.
        batch: rows per step of the regression (default: all).
        data: x and y of the regression (default: 40 patients with diabetes).
        seed: of the noise and of the order of the rows.
        framework: ``torch`` or ``tensorflow``, to compute ``paths`` by its optimizers as lmkit trains with them
            (default: the same rules in NumPy).

    Raises:
        ConfigError: an argument is invalid; the message says what is expected.
        DataError: the data cannot be used.
        MissingPackage: the framework is not installed.

    >>> descent("bowl", lr=1).path
    sgd: J 4.16 → 0, converged after 1 step: ‖∇J‖ ≤ 1e-6
    """
    selected = find_surface(surface, condition=condition, data=data)
    names = [optimizers] if isinstance(optimizers, str) else list(optimizers)
    for name in names:
        if name not in TITLES:
            raise ConfigError([f"optimizers: given {shorten(name)}, {nearest(str(name), TITLES)}"])
    if not names:
        raise ConfigError([f"optimizers: given none, expected one or more of {', '.join(TITLES)}"])
    if framework is not None:
        require(framework)
    if batch is not None and not selected.rows:
        raise ConfigError([f"batch: {selected.info.name} has no rows; use noise=0.1, or surface='regression'"])
    settings = DescentSettings(
        lr=selected.info.lr if lr is None else _number("lr", lr, "a number greater than 0", above=0),
        momentum=_number("momentum", momentum, "a number from 0 to below 1", low=0, below=1),
        start=selected.check_start(start),
        steps=selected.info.steps if steps is None else _integer("steps", steps, 1, MAX_STEPS),
        noise=_number("noise", noise, "a number of at least 0", low=0),
        batch=0 if batch is None else _integer("batch", batch, 1, selected.rows),
        seed=_integer("seed", seed, 0, 2**31 - 2),
    )
    return Descent(selected, list(dict.fromkeys(names)), settings, framework)


def _number(
    name: str,
    value: Any,
    expected: str,
    *,
    low: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """Return an argument as a finite number within its limits."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and low <= number < below and number > above:
            return number
    raise ConfigError([f"{name}: given {shorten(value)}, expected {expected}"])


def _integer(name: str, value: Any, low: int, high: int) -> int:
    """Return an argument as an integer within its limits."""
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise ConfigError([f"{name}: given {shorten(value)}, expected a whole number from {low} to {high}"])
