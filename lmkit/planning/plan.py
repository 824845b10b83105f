"""The plan of an experiment, and how it shows itself."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmkit.data.sources import check_sizes, part_sizes
from lmkit.errors import ConfigError
from lmkit.experiment import Experiment
from lmkit.planning import calibration, sharding
from lmkit.planning.counting import Cost, by_kind, checkpoint_bytes, costs
from lmkit.planning.devices import Device, amount_text, find
from lmkit.planning.memory import CONTEXT, KINDS, MEANINGS, TYPICAL, memory
from lmkit.planning.remedies import Remedy, remedies, verdict
from lmkit.planning.timing import Speed, seconds_per_epoch, seconds_per_step, seconds_until_start
from lmkit.planning.words import count_text, operations_text, seconds_text, sharded_table
from lmkit.run import Run, attach
from lmkit.specs.signature import Signature
from lmkit.table import Table

LARGE = 10**9
"""Parameters from which a model is tabled over many devices unasked."""


@dataclass(frozen=True)
class Plan:
    """What an experiment takes, and whether it fits.

    Attributes:
        experiment: as it was planned.
        signature: what its model takes and gives.
        device: what it was planned for.
        layers: what each layer costs in a step, the loss last.
        parameters: how many numbers are learned.
        memory_bytes: at the peak, by kind, and their ``total``.
        flops_per_step: floating-point operations in products of matrices, forward and back.
        checkpoint_bytes: of the files of one checkpoint; a run keeps two, the last and the best.
        steps: of the whole run, where that is known.
        seconds_per_step, seconds_total: estimates for this machine; None where it was not measured.
        remedies: what would take less memory.
        sharded: the model over many devices, where that was asked for or it is large.
        verdict: ``fits``, ``fits with …`` or ``does not fit``.
        assumed: what the numbers rest on, a sentence each.
    """

    experiment: Experiment
    signature: Signature
    device: Device
    layers: tuple[Cost, ...]
    parameters: int
    memory_bytes: dict[str, int]
    flops_per_step: int
    checkpoint_bytes: int
    steps: int | None
    seconds_per_step: float | None
    seconds_total: float | None
    remedies: tuple[Remedy, ...]
    sharded: tuple[sharding.Sharded, ...]
    verdict: str
    assumed: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether it fits as it is."""
        return self.verdict == "fits"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "name": self.experiment.name,
            "framework": self.experiment.framework,
            "parameters": self.parameters,
            "memory_bytes": dict(self.memory_bytes),
            "flops_per_step": self.flops_per_step,
            "checkpoint_bytes": self.checkpoint_bytes,
            "steps": self.steps,
            "seconds_per_step": self.seconds_per_step,
            "seconds_total": self.seconds_total,
            "device": self.device._asdict(),
            "verdict": self.verdict,
            "remedies": [way._asdict() for way in self.remedies],
            "layers": [cost._asdict() | {"shape": list(cost.shape)} for cost in self.layers],
            "sharded": [way._asdict() for way in self.sharded],
            "assumed": list(self.assumed),
        }

    # -- how it shows itself ----------------------------------------------------------------------

    @property
    def sentence(self) -> str:
        """The verdict with its numbers."""
        total, free = (amount_text(n) for n in (self.memory_bytes["total"], self.device.memory))
        taken = f"it takes {total}" if self.fits else f"as it is it takes {total}"
        return f"{self.verdict[0].upper()}{self.verdict[1:]}: {taken}, and {self.device.name} has {free} free."

    @property
    def numbers(self) -> Table:
        """The plan in numbers."""
        from lmkit.progress import time_text

        kinds = self.memory_bytes
        rows: list[tuple[str, Any, str]] = [
            ("parameters", count_text(self.parameters), "numbers that are learned"),
            *((f"memory: {kind}", amount_text(kinds[kind]), MEANINGS[kind]) for kind in KINDS if kinds[kind]),
            ("memory in all", amount_text(kinds["total"]), "at the peak"),
            ("operations a step", operations_text(self.flops_per_step), "of products of matrices, forward and back"),
            ("a checkpoint", amount_text(self.checkpoint_bytes), "on disk; a run keeps two, the last and the best"),
        ]
        if self.steps:
            rows.append(("steps", f"{self.steps:,}", "of the whole run"))
        if self.seconds_per_step:
            rows.append(("time a step", seconds_text(self.seconds_per_step), "estimated for this machine"))
        if self.seconds_total:
            rows.append(("time in all", time_text(self.seconds_total), "estimated for this machine"))
        return Table(f"Plan of {self.experiment.name}", ("what", "how much", "meaning"), tuple(rows))

    @property
    def by_kind(self) -> Table:
        """The layers, those of a kind together."""
        rows = [
            (
                kind,
                n,
                count_text(sum(c.parameters for c in several)),
                operations_text(sum(c.flops for c in several)),
                amount_text(sum(c.kept for c in several)),
            )
            for kind, n, several in by_kind(self.layers)
        ]
        return Table(
            "Layers", ("kind", "layers", "parameters", "operations a step", "kept for the way back"), tuple(rows)
        )

    @property
    def ways(self) -> Table:
        """What would take less memory."""
        rows = [
            (
                way.name,
                amount_text(way.total),
                f"{way.time:.2g} ×",
                "yes" if way.fits else "no",
                f"{way.sentence}. {f'Write {way.does}' if way.does else 'lmkit does not do it'}.",
            )
            for way in self.remedies
        ]
        return Table("What takes less", ("way", "memory", "time a step", "fits", "what it does"), tuple(rows))

    @property
    def over_devices(self) -> Table:
        """The model over many devices: the memory of each, by strategy."""
        return sharded_table(self.sharded)

    @property
    def tables(self) -> list[Table]:
        """What is shown."""
        shown = [self.numbers]
        if not self.fits:
            shown += [self.by_kind, self.ways]
        return [*shown, *([self.over_devices] if self.sharded else [])]

    @property
    def text(self) -> str:
        """The plan as text."""
        assumed = "\n".join(f"* {said}" for said in self.assumed)
        return "\n\n".join([self.sentence, *(table.text for table in self.tables), assumed])

    @property
    def html(self) -> str:
        """The plan as HTML without script."""
        import html

        tables = "\n".join(table.html for table in self.tables)
        assumed = "".join(f"<li>{html.escape(said)}</li>" for said in self.assumed)
        return f"<p><b>{html.escape(self.sentence)}</b></p>\n{tables}\n<ul>{assumed}</ul>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text


def plan(
    experiment: Experiment | Run | Mapping[str, Any] | str | Path | None = None,
    *,
    device: str | None = None,
    memory: str | float | None = None,
    devices: int | tuple[int, ...] | None = None,
    calibrate: bool | Literal["cached"] = True,
    vocabulary: int | None = None,
    length: int | None = None,
    runs: str | Path | None = None,
    **changes: Any,
) -> Plan:
    """What an experiment takes in memory, arithmetic, storage and time, before it is begun. Nothing is allocated.

    Args:
        experiment: an Experiment, a mapping, a run, the path of a .yaml file, a run's name, or a model such as
            ``transformer:gpt2``.
        device: ``cpu`` or ``cuda``; none: the first GPU, else the processor.
        memory: how much the device has, such as ``24 GB``; none: what is free on this machine.
        devices: counts of devices for the table of large models, and for sharding; none: 1, 8 and 64 for models of
            10⁹ parameters and more.
        calibrate: measure how fast this machine is, unless that was done before; ``cached``: only if it was done
            before; False: no times.
        vocabulary, length: of the texts, instead of those of the data.
        runs: where runs are kept.
        **changes: parts of the experiment to change, such as ``epochs=3`` or ``model="mlp:wide"``.

    Raises:
        ConfigError: it is no experiment, does not fit its data, or the device is none.
        DataError: the data cannot be trained on.
        RunNotFound: there is no such file, model or run.

    >>> import lmkit as lk
    >>> lk.plan(model="mlp:small", data="digits", calibrate=False).parameters
    8970
    """
    spec = _experiment(experiment, runs)
    spec = spec.override(changes) if spec else Experiment.of(changes)  # what is not given suits what is
    counts = _counts(devices)
    found = find(device, memory)
    signature, rows = _known(spec, vocabulary, length, runs)
    if rows and spec.data.kind != "text":
        check_sizes(spec.data, rows)
    speed = None
    if calibrate:
        how = calibration.cached if calibrate == "cached" else calibration.calibrated
        speed = how(spec.framework, spec.training.precision, threads(spec, signature))
    return planned(spec, signature, rows, found, speed, counts)


def planned(
    spec: Experiment,
    signature: Signature,
    rows: int | None,
    device: Device,
    speed: Speed | None = None,
    devices: tuple[int, ...] | None = None,
) -> Plan:
    """The plan of what is known already: nothing is read, and nothing measured.

    Args:
        spec: the experiment.
        signature: what its model takes and gives.
        rows: of the data; none: not known.
        device: what it is planned for.
        speed: of the machine, where it was measured.
        devices: counts of devices.

    Raises:
        ConfigError: the model does not fit the data.
    """
    spec.model.check(signature)
    layers = spec.model.layers(signature)
    if not layers:
        raise ConfigError(
            [
                f"model.family: what {spec.model.family!r} is made of is not known before it is built, so it cannot be "
                "planned; train it for a few steps, training: {steps: 20}, and look at lk.tables.planned(run)"
            ]
        )
    precision, batch = spec.training.precision, spec.data.batch_size
    found = costs(layers, signature, batch, spec.framework, precision, getattr(spec.model, "heads", 0))
    sizes = part_sizes(spec.data, rows) if rows else {}
    on_host = device.kind == "cpu"
    base = (speed.memory if speed else TYPICAL[spec.framework]) if on_host else CONTEXT
    kinds = memory(found, signature, spec, sizes, on_host, base)
    per_epoch = math.ceil(sizes["training"] / batch) if sizes else None
    steps = spec.training.epochs * per_epoch if per_epoch else None
    steps = min(filter(None, (steps, spec.training.steps)), default=None)
    each = total = None
    if speed:
        each = seconds_per_step(found, speed)
        if steps:
            epochs = math.ceil(steps / per_epoch) if per_epoch else 1
            total = seconds_until_start(found, speed) + steps * each
            total += epochs * seconds_per_epoch(found, speed, batch, sizes)
            total = min(filter(None, (total, spec.training.seconds)))
    parameters = sum(cost.parameters for cost in found)
    ways = remedies(kinds, found, spec, device.memory, devices or sharding.COUNTS)
    wanted = devices or (sharding.COUNTS if parameters >= LARGE else ())
    over = (
        sharding.ways(spec.model, signature, parameters, counts=wanted)
        if wanted and spec.model.family == "transformer"
        else []
    )
    return Plan(
        experiment=spec,
        signature=signature,
        device=device,
        layers=tuple(found),
        parameters=parameters,
        memory_bytes=kinds,
        flops_per_step=sum(cost.flops for cost in found),
        checkpoint_bytes=checkpoint_bytes(layers, spec.training.optimizer, spec.framework, precision),
        steps=steps,
        seconds_per_step=each,
        seconds_total=total,
        remedies=tuple(ways),
        sharded=tuple(over),
        verdict=verdict(ways, kinds["total"], device.memory),
        assumed=tuple(_assumed(spec, signature, device, speed, sizes, over)),
    )


def threads(spec: Experiment, signature: Signature) -> int:
    """Threads for one operation that the run would use; 0: as many as the framework takes by itself."""
    from lmkit.loop import SMALL_STEP

    small = spec.data.batch_size * spec.model.multiplications(signature) < SMALL_STEP
    return spec.training.threads or (1 if small else 0)


def _assumed(
    spec: Experiment, signature: Signature, device: Device, speed: Speed | None, sizes: dict[str, int], over: Any
) -> Iterator[str]:
    """What the numbers rest on."""
    shape = " × ".join(map(str, signature.shape))
    what = f"{shape} tokens of a vocabulary of {signature.vocabulary:,}" if signature.vocabulary else shape
    yield (
        f"Steps of {spec.data.batch_size} rows of {what}, {spec.training.precision}, {spec.training.optimizer.name}, "
        f"in {spec.framework}."
    )
    yield "An operation is a multiplication or an addition; a step is thrice the way forward (Kaplan et al., 2020)."
    if device.kind == "cpu":
        yield (
            "The framework's own memory was measured on this machine."
            if speed
            else "The framework's own memory is a typical one; it was not measured on this machine."
        )
    if not sizes:
        yield "How many rows there are is not known before the data is read: nothing is counted for keeping them."
    if speed:
        used = threads(spec, signature)
        yield (
            f"Times rest on small models trained here with {used or 'all'} thread{'s' * (used != 1)}; expect them "
            "within a factor of two, where nothing else works on this machine."
        )
    if over:
        yield (
            "Over devices: 16 bits with Adam, 16 bytes a parameter; ZeRO 1–3 (Rajbhandari et al., 2020); activations "
            "of one row on each device, attention by a fused kernel or whole blocks computed again (Korthikanti et "
            f"al., 2022); a device is filled to {100 * sharding.USABLE:.0f} %. lmkit itself trains on one device, in "
            "32 or 64 bits."
        )


# -- what is given --------------------------------------------------------------------------------


def _experiment(given: Any, runs: str | Path | None) -> Experiment | None:
    """The experiment that was meant."""
    if given is None or isinstance(given, Experiment):
        return given
    if isinstance(given, Run):
        return given.experiment
    if isinstance(given, str | Path):
        text = str(given)
        if text.lower().endswith((".yaml", ".yml", ".json")) or Path(text).expanduser().is_file():
            return Experiment.load(Path(text).expanduser())
        if _is_model(text):
            return Experiment(model=text)
        return attach(text, runs=runs).experiment
    return Experiment.from_dict(given)


def _is_model(text: str) -> bool:
    from lmkit.specs.models import DATA

    return text.partition(":")[0] in DATA


def _counts(devices: Any) -> tuple[int, ...] | None:
    if devices is None:
        return None
    counts = (devices,) if isinstance(devices, int) else tuple(devices)
    wrong = [n for n in counts if isinstance(n, bool) or not isinstance(n, int) or n < 1]
    if wrong or not counts:
        raise ConfigError([f"devices: given {devices!r}, expected counts of devices such as 8 or (1, 8, 64)"])
    return counts


def _known(
    spec: Experiment, vocabulary: int | None, length: int | None, runs: str | Path | None
) -> tuple[Signature, int | None]:
    """What the model takes, and how many rows there are; the data is read only where nothing else tells."""
    for name, value in (("vocabulary", vocabulary), ("length", length)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError([f"{name}: given {value!r}, expected a number of at least 1"])
    known, rows = spec.data.signature, spec.data.bundled.rows if spec.data.bundled else None
    if vocabulary or length:
        words = vocabulary or (known.vocabulary if known else 0)
        places = length or (known.shape[0] if known and known.vocabulary else getattr(spec.model, "context", None))
        if not words or not places:
            raise ConfigError(["vocabulary and length are of texts: give both, or data: python_docs"])
        return Signature((places,), words, "language", words), None
    if spec.data.kind == "text":
        from lmkit.data import corpus, text

        known = known or text.check(spec.data, runs)
        if known is None:
            raise ConfigError(
                [
                    "vocabulary: how many tokens byte-pair encoding finds in so large a text is not known "
                    "before training; give vocabulary, such as that of data.text"
                ]
            )
        if spec.data.tokens.tokenizer == "bytes":
            rows = (
                corpus.size(spec.data) // spec.data.tokens.length
            )  # a byte is a token, those of a .jsonl file's marks too
        return known, rows
    if known is None:
        read = importlib.import_module("lmkit.data.preparation").read(spec.data, runs)
        known, rows = read.signature, len(read.y)
    return known, rows
