"""The plan beside the form: its numbers as tiles, its verdict, and what would take less where it does not fit."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as W

from lmkit.errors import LmkitError
from lmkit.planning import calibration
from lmkit.planning.devices import Device, amount_text, find
from lmkit.planning.memory import KINDS, MEANINGS
from lmkit.planning.plan import Plan, planned, threads
from lmkit.planning.words import operations_text, seconds_text
from lmkit.progress import time_text
from lmkit.specs.signature import Signature
from lmkit.widgets.drawing import count
from lmkit.widgets.later import in_background


class Planned:
    """The plan of the experiment that the form holds.

    It rests on what was measured of this machine before; a button measures it, in the background.

    Args:
        again: is called once it was measured.
    """

    def __init__(self, again: Callable[[], None]) -> None:
        self.again = again
        self.device: Device | None = None
        self.wanted: tuple[str, str, int] | None = None
        self.numbers = W.HTML()
        self.button = W.Button(
            description="How long?", tooltip="Measure once how fast this machine trains; that takes some seconds"
        )
        self.button.layout.display = "none"
        self.button.on_click(self._measure)
        self.widget = W.VBox([self.numbers, self.button])

    def show(self, experiment: Any, signature: Signature, rows: int | None) -> None:
        """Plans anew, in milliseconds.

        Raises:
            ConfigError: the model does not fit the data.
        """
        self.device = self.device or find()
        self.wanted = (experiment.framework, experiment.training.precision, threads(experiment, signature))
        speed = calibration.cached(*self.wanted)
        self.numbers.value = plan_html(planned(experiment, signature, rows, self.device, speed))
        self.button.layout.display = "none" if speed else ""

    def clear(self) -> None:
        """Shows nothing."""
        self.numbers.value = ""
        self.button.layout.display = "none"

    def _measure(self, _: Any) -> None:
        wanted = self.wanted
        if wanted is None:
            return
        self.button.disabled, self.button.description = True, "Measuring …"

        def work() -> str:
            try:
                calibration.calibrated(*wanted)
            except LmkitError as error:
                return str(error)
            return ""

        in_background(work, self._measured)

    def _measured(self, problem: str) -> None:
        self.button.disabled, self.button.description = False, "How long?"
        self.again()
        if problem:
            self.numbers.value += f'<p class="lkc-problem" role="status">{html.escape(problem)}</p>'


def plan_html(plan: Plan) -> str:
    """The plan as a line of tiles, each with its meaning, and the verdict below."""
    kinds = plan.memory_bytes
    parts = "; ".join(f"{kind} {amount_text(kinds[kind])}: {MEANINGS[kind]}" for kind in KINDS if kinds[kind])
    model = kinds["weights"] + kinds["gradients"] + kinds["optimizer"]
    tiles = [
        ("parameters", count(plan.parameters), "numbers that are learned"),
        ("weights, gradients, optimizer", amount_text(model), "what there is of each parameter"),
        ("activations", amount_text(kinds["activations"]), MEANINGS["activations"]),
        ("memory in all", amount_text(kinds["total"]), parts),
        ("a step", operations_text(plan.flops_per_step), "floating-point operations, forward and back"),
        ("a checkpoint", amount_text(plan.checkpoint_bytes), "on disk; a run keeps two, the last and the best"),
    ]
    if plan.seconds_per_step:
        tiles.append(("time a step", seconds_text(plan.seconds_per_step), "estimated for this machine"))
    if plan.seconds_total:
        tiles.append(("time in all", f"≈ {time_text(plan.seconds_total)}", f"{plan.steps:,} steps, on this machine"))
    shown = "".join(
        f'<div title="{html.escape(title)}"><dt class="lkc-tile">{name}</dt><dd class="lkc-tile">{value}</dd></div>'
        for name, value, title in tiles
    )
    kind = "lkc-soft" if plan.fits else "lkc-problem"
    return f'<dl class="lkc-tiles">{shown}</dl><p class="{kind}">{html.escape(plan.sentence)}</p>'
