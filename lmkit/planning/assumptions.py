"""The assumptions of a plan, as sentences."""

from __future__ import annotations

from collections.abc import Iterator

from lmkit.experiment.experiment import Experiment
from lmkit.planning import sharding
from lmkit.planning.devices import Device
from lmkit.planning.timing import Speed
from lmkit.specs.signature import Signature
from lmkit.system.processor import describe_slowness


def list_assumptions(
    experiment: Experiment,
    signature: Signature,
    device: Device,
    *,
    speed: Speed | None,
    threads: int,
    knows_rows: bool,
    is_sharded: bool,
) -> Iterator[str]:
    """Yield the assumptions that the numbers of a plan rest on.

    Args:
        experiment: the experiment that is planned.
        signature: the inputs and outputs of its model.
        device: the device of the plan.
        speed: the measured speed of the machine, if it was measured.
        threads: threads of one operation; 0: chosen by the framework.
        knows_rows: whether the number of rows of the data is known.
        is_sharded: whether the plan holds a table over many devices.
    """
    shape = " × ".join(map(str, signature.shape))
    inputs = f"{shape} tokens of a vocabulary of {signature.vocabulary:,}" if signature.vocabulary else shape
    training = experiment.training
    yield (
        f"Steps of {experiment.data.batch_size} rows of {inputs}, {training.precision}, {training.optimizer.name}, in "
        f"{experiment.framework}."
    )
    yield (
        "An operation is a multiplication or an addition; a step takes three times the operations of the forward pass "
        "(Kaplan et al., 2020)."
    )
    if training.micro_batch:
        yield f"Activations are those of micro-batches of {training.micro_batch} rows, whose gradients are added up."
    if training.recompute == "blocks":
        yield "Blocks are recomputed in the backward pass: one more forward pass, about a third of a step."
    if device.kind == "cpu" and (slowness := describe_slowness(training.precision)):
        yield f"{slowness}."
    if device.kind == "cpu":
        yield (
            "The framework's own memory was measured on this machine."
            if speed
            else "The framework's own memory is a typical value; it was not measured on this machine."
        )
    if not knows_rows:
        yield "The number of rows is unknown before the data is read; no memory is counted for the data."
    if speed:
        yield (
            f"Times are extrapolated from small models trained here with {threads or 'all'} "
            f"thread{'s' * (threads != 1)}; expect them within a factor of two on an otherwise idle machine."
        )
    if is_sharded:
        yield (
            "Over devices: 16-bit mixed precision with Adam, 16 bytes per parameter; ZeRO 1–3 (Rajbhandari et al., "
            "2020); activations of one row on each device, with fused attention or recomputed blocks (Korthikanti et "
            f"al., 2022); a device is filled to {100 * sharding.USABLE:.0f} %. lmkit itself trains on one device, in "
            "32 or 64 bits."
        )
