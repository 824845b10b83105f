"""Charts of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmkit.charts.values import round_values
from lmkit.display.figure import COLOURS, GREY, Chart, Plot, Series
from lmkit.exceptions import DataError

if TYPE_CHECKING:
    from lmkit.planning.plan import Plan


def over_devices(plan: Plan) -> Chart:
    """Plot the memory per device over the number of devices, by sharding strategy (ZeRO 1–3), with device memories.

    Args:
        plan: the plan of a transformer.

    Raises:
        DataError: the plan is of another model.
    """
    from lmkit.planning import sharding

    model = plan.experiment.model
    if model.family != "transformer":
        raise DataError(f"given the plan of a model of the family {model.family!r}, expected 'transformer'")
    powers = list(range(11))
    series = []
    for strategy, colour in zip(sharding.STRATEGIES, COLOURS, strict=False):
        counts = tuple(2**p for p in powers)
        layouts = sharding.list_layouts(model, plan.signature, plan.parameters, counts=counts, memories=(80,))
        gigabytes = {layout.devices: layout.bytes / sharding.GB for layout in layouts if layout.strategy == strategy}
        x = [float(p) for p in powers if 2**p in gigabytes]
        series.append(Series(strategy, x, round_values([gigabytes[int(2**p)] for p in x]), colour))
    series += [Series(f"{memory} GB", [0.0, 10.0], [float(memory)] * 2, GREY, "guide") for memory in sharding.MEMORIES]
    panel = Plot("devices (power of 2: 3 is 8, 6 is 64)", "GB per device", tuple(series), log=True)
    words = "; ".join(
        f"{s.name} {s.y[0]:.4g} to {s.y[-1]:.4g} GB on {2 ** s.x[0]:.0f} to {2 ** s.x[-1]:.0f} devices"
        for s in series
        if s.style == "line"
    )
    text = f"{plan.experiment.name}, {plan.parameters / 1e9:.1f} billion parameters over devices: {words}"
    return Chart(f"{plan.parameters / 1e9:.1f} billion parameters over devices", (panel,), text)
