"""The plan next to the form: its numbers as tiles, and whether the experiment fits into memory."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from lmkit.display.units import format_bytes, format_duration, format_flops, format_latency
from lmkit.planning import calibration
from lmkit.planning.devices import Device, find_device
from lmkit.planning.memory import KINDS, MEANINGS
from lmkit.planning.plan import Plan, estimate, threads
from lmkit.specs.signature import Signature
from lmkit.widgets import elements as E
from lmkit.widgets.debounce import in_background
from lmkit.widgets.drawing import count


class PlanView:
    """The plan of the form's experiment.

    Times need a benchmark of this machine; a button runs it in the background.

    Args:
        redraw: called after the benchmark.
    """

    def __init__(self, redraw: Callable[[], None]) -> None:
        self.redraw = redraw
        self.devices: dict[str, Device] = {}
        self.calibration_key: tuple[str, str, int] | None = None
        self.numbers = E.HTML()
        self.button = E.Button(
            description="Estimate training time",
            tooltip="Benchmark this machine once; takes some seconds",
            visible=False,
        )
        self.button.on_click(self._benchmark)
        self.widget = E.Box([self.numbers, self.button])

    def show(self, experiment: Any, signature: Signature, rows: int | None) -> None:
        """Show the plan of an experiment; takes milliseconds.

        Raises:
            ConfigError: the model does not fit the data, or the machine does not have the device.
        """
        name = experiment.training.device
        if name not in self.devices:
            self.devices[name] = find_device(name)
        self.calibration_key = (experiment.framework, experiment.training.weight_dtype, threads(experiment, signature))
        speed = calibration.read_cache(*self.calibration_key)
        self.numbers.value = plan_html(estimate(experiment, signature, rows, self.devices[name], speed))
        self.button.visible = not speed

    def clear(self) -> None:
        """Remove the plan."""
        self.numbers.value = ""
        self.button.visible = False

    def _benchmark(self, _: Any) -> None:
        calibration_key = self.calibration_key
        if calibration_key is None:
            return
        self.button.disabled, self.button.description = True, "Benchmarking…"

        def work() -> str:
            try:
                calibration.calibrate(*calibration_key)
            except Exception as error:  # a framework may raise anything
                return str(error) or type(error).__name__
            return ""

        in_background(work, self._benchmarked)

    def _benchmarked(self, problem: str) -> None:
        self.button.disabled, self.button.description = False, "Estimate training time"
        self.redraw()
        if problem:
            self.numbers.value += f'<p class="lkc-problem" role="status">{html.escape(problem)}</p>'


def plan_html(plan: Plan) -> str:
    """Return the plan as a row of tiles with tooltips, and below it whether it fits."""
    memory = plan.memory_bytes
    breakdown = "; ".join(f"{kind} {format_bytes(memory[kind])}: {MEANINGS[kind]}" for kind in KINDS if memory[kind])
    model_bytes = memory["weights"] + memory["gradients"] + memory["optimizer"]
    tiles = [
        ("parameters", count(plan.parameters), "trainable parameters"),
        ("weights, gradients, optimizer", format_bytes(model_bytes), "weights, gradients and optimizer state"),
        ("activations", format_bytes(memory["activations"]), MEANINGS["activations"]),
        ("total memory", format_bytes(memory["total"]), breakdown),
        ("operations per step", format_flops(plan.flops_per_step), "floating-point operations, forward and backward"),
        ("checkpoint size", format_bytes(plan.checkpoint_bytes), "on disk; a run stores two, the last and the best"),
    ]
    if plan.seconds_per_step:
        tiles.append(("time per step", format_latency(plan.seconds_per_step), "estimated for this machine"))
    if plan.seconds_total:
        tiles.append(
            ("total time", f"≈ {format_duration(plan.seconds_total)}", f"{plan.steps:,} steps, on this machine")
        )
    tiles_html = "".join(
        f'<div title="{html.escape(title)}"><dt class="lkc-tile">{name}</dt><dd class="lkc-tile">{value}</dd></div>'
        for name, value, title in tiles
    )
    css_class = "lkc-soft" if plan.fits else "lkc-problem"
    return f'<dl class="lkc-tiles">{tiles_html}</dl><p class="{css_class}">{html.escape(plan.sentence)}</p>'
