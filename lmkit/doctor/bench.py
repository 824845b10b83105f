"""The tests of a run: each trains or computes for some seconds in memory, and answers one question."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.backends.probes import mixing_of
from lmkit.backends.reading import EXACT_ROWS
from lmkit.data.batches import Part
from lmkit.data.loaders.streams import IsolatedGenerators
from lmkit.doctor.checks.exact import MIXED
from lmkit.doctor.checks.layers import EXPLODING
from lmkit.doctor.examine import examine
from lmkit.doctor.finding import Finding
from lmkit.doctor.reader import EvidenceReader
from lmkit.doctor.results import MAX_POINTS, TESTS, Curve, TestResult
from lmkit.doctor.twins import Twin, fit_twin, judge, train_twin
from lmkit.exceptions import ConfigError
from lmkit.training.replay import load_batch
from lmkit.training.setup import Components, build_components

if TYPE_CHECKING:
    from lmkit.data.dataset import Dataset
    from lmkit.experiment.experiment import Experiment
    from lmkit.runfolder.folder import RunFolder

START_LIMIT = 6.0
"""The first loss ÷ chance above which a start is unusual (healthy runs: up to 5.2)."""

FITTED = 0.1
"""The share of the smaller of start and chance below which the loss of one batch counts as fitted."""

CHANGED = 0.02
"""The share by which the loss has to differ with the targets of other rows."""

COPIES = 50
"""Times that the rows of the batch are repeated, so that so many steps are one call."""

MAX_STEPS = 2000
"""Steps on one batch, at most."""

CALM: dict[str, Any] = {"training.optimizer": {"name": "adam", "lr": 0.003}, "training.clip_norm": None}
"""The optimizer that is tried where the run's own does not fit one batch."""

UNTRIED = ("data.drop", "data.validation", "data.test")
"""Changes that change what the score means, so that it cannot tell whether they help."""


class TestBench:
    """Builds the components of a run anew, as its first step found them, and tries them out.

    Args:
        folder: of the run; only read.
        cleanup: restores the number of threads, and the global generators, when it is closed.
    """

    __test__ = False  # it is no test of pytest

    def __init__(self, folder: RunFolder, cleanup: ExitStack) -> None:
        self.folder = folder
        cleanup.enter_context(np.errstate(all="ignore"))
        cleanup.enter_context(IsolatedGenerators(folder.experiment.seed))  # those of a notebook go on as they were
        self.components = build_components(folder, folder.experiment, cleanup)
        self.first_weights = self.components.backend.weights(self.components.model)
        self.evidence = EvidenceReader(folder).read()
        self.curves: tuple[Curve, ...] = ()
        self.metric = ""
        self.finding: Finding | None = None

    def run(self, name: str, seconds: float) -> TestResult:
        """Run a test for at most some seconds.

        Args:
            name: one of ``TESTS``.
            seconds: that it may take.
        """
        tests: dict[str, Callable[[float], TestResult]] = {
            "chance": self.chance,
            "one-batch": self.one_batch,
            "rows": self.rows,
            "targets": self.targets,
            "remedy": self.remedy,
        }
        return tests[name](seconds)

    # -- at the start -----------------------------------------------------------------------------

    def chance(self, seconds: float) -> TestResult:
        """Compare the loss of the first weights with that of a constant prediction."""
        del seconds
        chance, loss = self.evidence.chance, self._loss(self.components)
        if not chance:
            answer = f"It is {loss:.3g}; the loss has no known chance level."
            return TestResult(name="chance", outcome="skipped", answer=answer, evidence={"loss": loss})
        ratio = loss / chance
        is_near = ratio <= START_LIMIT
        answer = (
            f"{'Yes' if is_near else 'No'}: {loss:.3g}, {ratio:.2g} times that of a constant prediction, {chance:.3g}."
        )
        if not is_near:
            limit = "the outputs are far too large" if ratio > EXPLODING else "the outputs are large"
            answer = f"{answer[:-1]}: {limit} for the first weights, the inputs or the target."
        return _result("chance", is_near, answer, {"loss": loss, "chance": chance, "loss ÷ chance": ratio})

    def _loss(self, components: Components, rows: int = 1024) -> float:
        return float(components.trainer.losses("training", rows).total.mean)

    # -- one batch --------------------------------------------------------------------------------

    def one_batch(self, seconds: float) -> TestResult:
        """Train on one batch alone, with the run's optimizer; where that does not fit it, with Adam."""
        begin = time.monotonic()
        batch, _ = load_batch(self.components, 0, 0)
        numbers = self._fit_batch(self.components.experiment, batch, 0.5 * seconds)
        rows = f"{len(batch.X)} rows"
        text = f"loss {numbers['start']:.3g} → {numbers['end']:.3g} in {numbers['steps']:g} steps on {rows}"
        if numbers["end"] < 0:
            return _result("one-batch", False, f"Its loss has no lowest value: {text}.", numbers)
        if numbers["fitted"]:
            return _result("one-batch", True, f"Yes: {text}.", numbers)
        calm = self.components.experiment.override(CALM)
        other = self._fit_batch(calm, batch, max(1.0, seconds - (time.monotonic() - begin)))
        numbers["end, with adam"] = other["end"]
        if other["fitted"]:
            cause = f"with adam at 0.003 it does ({other['end']:.3g}): its optimizer, rate or clip prevents it"
        else:
            cause = f"nor with adam at 0.003 ({other['end']:.3g}): look at model, loss and inputs, not at the rate"
        return _result("one-batch", False, f"No: {text}; {cause}.", numbers)

    def _fit_batch(self, experiment: Experiment, batch: Part, seconds: float) -> dict[str, float]:
        """Return the loss before and after steps on one batch, their number, and whether it is fitted."""
        c = self.components
        c.backend.set_weights(c.model, self.first_weights)
        part = Part(*(np.concatenate([np.asarray(a)] * COPIES) for a in batch))
        data = c.data._replace(training=part, batches=None, left_out=0)
        spec = experiment.data.model_copy(update={"batch_size": len(batch.X)})
        experiment = experiment.model_copy(update={"data": spec})
        trainer = c.backend.trainer(c.model, experiment, data, c.loss)
        count = len(batch.X)
        start = float(trainer.losses("training", count).total.mean)
        until, end, steps, epoch = time.monotonic() + seconds, start, 0, 0
        base = min(start, self.evidence.chance) if self.evidence.chance else start
        rates = np.full(COPIES, experiment.training.optimizer.lr)
        while steps < MAX_STEPS and time.monotonic() < until and math.isfinite(end) and not 0 <= end <= FITTED * base:
            trainer.epoch(np.arange(count * COPIES), epoch)
            steps += len(trainer.advance(0, rates).loss)
            epoch += 1
            end = float(trainer.losses("training", count).total.mean)
        c.backend.set_weights(c.model, self.first_weights)
        return {"start": start, "end": end, "steps": float(steps), "fitted": float(0 <= end <= FITTED * base)}

    # -- rows and targets -------------------------------------------------------------------------

    def rows(self, seconds: float) -> TestResult:
        """Compute the same rows beside others, with the trained weights where there are some."""
        del seconds
        c = self.components
        X = np.asarray(c.data.training.X[: 3 * EXACT_ROWS])
        if c.data.preprocessing.signature.graph is not None:
            return TestResult(name="rows", outcome="skipped", answer="They do, as nodes of one graph.")
        if len(X) < 3:
            return TestResult(name="rows", outcome="skipped", answer="There are too few rows.")
        saved = self.folder.load_checkpoint("last")
        c.backend.set_weights(c.model, saved[0] if saved else self.first_weights)
        n = len(X) // 3
        change = mixing_of(lambda rows: c.backend.predict(c.model, rows), X[:n], X[n : 2 * n], X[2 * n : 3 * n], _join)
        c.backend.set_weights(c.model, self.first_weights)
        if change is None:
            return TestResult(name="rows", outcome="skipped", answer="All rows have the same outputs.")
        if change <= MIXED:
            return _result(
                "rows", True, f"No: other rows change a row's outputs by {change:.2g} of them.", {"change": change}
            )
        answer = f"Yes: other rows change a row's outputs by {change:.2g} of them; look for an operation over axis 0."
        return _result("rows", False, answer, {"change": change})

    def targets(self, seconds: float) -> TestResult:
        """Train on the targets and on those of other rows, and compare both on rows with their own targets."""
        c = self.components
        y = np.asarray(c.data.training.y[:])
        order = np.random.default_rng(c.experiment.seed).permutation(len(y))
        if len(y) < 2 or np.array_equal(y, y[order]):
            return TestResult(name="targets", outcome="skipped", answer="All targets are the same.")
        rows = Part(c.data.training.X, c.data.training.y)
        share = self._share(0.45 * seconds)
        own = self._train(c.data._replace(training=rows, batches=None, left_out=0), share, 0.45 * seconds)
        dealt = self._train(
            c.data._replace(training=Part(rows.X, y[order]), batches=None, left_out=0), share, 0.45 * seconds
        )
        difference = dealt.row_losses - own.row_losses
        mean, error = float(difference.mean()), float(difference.std() / math.sqrt(max(1, len(difference))))
        numbers: dict[str, float | str] = {"loss, own targets": own.loss, "loss, dealt targets": dealt.loss}
        if own.score_name:
            numbers |= {f"{own.score_name}, own": own.score, f"{own.score_name}, dealt": dealt.score}
        text = f"loss {own.loss:.3g} with a row's own target, {dealt.loss:.3g} with another row's"
        if own.has_diverged:
            return _result("targets", False, "Both cannot be compared: the training diverges.", numbers)
        if dealt.has_diverged or mean > max(2 * error, CHANGED * abs(own.loss)):
            return _result("targets", True, f"Yes: {text}.", numbers)
        answer = f"No: {text}: what it learns has nothing to do with whose target is whose."
        return _result("targets", False, answer, numbers)

    def _share(self, seconds: float) -> float:
        """Return the share of the run's epochs that fits into some seconds, by what the run took."""
        status = self.evidence.status
        needed = status.seconds * self.components.steps / max(1, status.step)
        return min(1.0, seconds / needed) if needed > 0 else 1.0

    def _train(self, data: Dataset, share: float, seconds: float) -> Twin:
        c = self.components
        epochs = max(1, round(share * c.experiment.training.epochs))
        training = c.experiment.training.model_copy(update={"epochs": epochs, "early_stopping": None})
        experiment = c.experiment.model_copy(update={"training": training})
        c.backend.set_weights(c.model, self.first_weights)
        trainer = c.backend.trainer(c.model, experiment, data, c.loss)
        twin = fit_twin(replace(c, experiment=experiment, data=data, trainer=trainer), data, seconds)
        c.backend.set_weights(c.model, self.first_weights)
        return twin

    # -- the remedy -------------------------------------------------------------------------------

    def remedy(self, seconds: float) -> TestResult:
        """Train the run's experiment anew, without and with the change of the strongest finding that has one."""
        every = examine(self.evidence)
        loud = [f for f in every if f.confidence != "hint"]
        findings = [f for f in loud or every if f.change]
        if not findings:
            return TestResult(name="remedy", outcome="skipped", answer="No finding has a change of the configuration.")
        finding = self.finding = findings[0]
        if any(name in UNTRIED for name in finding.change):
            answer = f"{finding.change_text} changes what the score means: it cannot tell."
            return TestResult(name="remedy", outcome="skipped", answer=answer)
        experiment = self.folder.experiment
        try:
            changed = finding.apply(experiment)
        except ConfigError as error:
            return TestResult(name="remedy", outcome="skipped", answer=f"The change does not fit: {error}"[:300])
        same_loss = not any(name in ("data.scale_target", "training.loss") for name in finding.change)
        longer = changed.training.epochs / experiment.training.epochs
        share = min(self._share(0.4 * seconds), self._share(0.4 * seconds) / max(1.0, longer))
        begin, backend = time.monotonic(), self.components.backend
        without = train_twin(self.folder, experiment, 0.45 * seconds, share, backend)
        remaining = max(1.0, seconds - (time.monotonic() - begin))
        twin = train_twin(self.folder, changed, 0.9 * remaining, share, backend)
        helps, numbers = judge(without, twin, same_loss=same_loss)
        self.metric = "loss" if same_loss else without.score_name
        labels = ("without", f"with {finding.change_text}")
        self.curves = tuple(_curve(*pair, self.metric) for pair in zip(labels, (without, twin), strict=True))
        answer = f"{'Yes' if helps else 'No'}: {numbers}, with {finding.change_text}."
        return _result("remedy", helps, answer, {"steps without": without.steps, "steps with": twin.steps})


class Server:
    """Answers the requests of ``lmkit.doctor.tester``: ``load`` once, then ``run`` for each test."""

    def __init__(self, folder: RunFolder, cleanup: ExitStack) -> None:
        self.folder, self.cleanup = folder, cleanup
        self.bench: TestBench | None = None

    def load(self) -> dict[str, Any]:
        """Build the components of the run; return the names of the tests."""
        self.bench = TestBench(self.folder, self.cleanup)
        return {"tests": list(TESTS)}

    def run(self, name: str, seconds: float) -> dict[str, Any]:
        """Run a test; return its result, and what was tried."""
        assert self.bench is not None
        result = self.bench.run(name, seconds)
        finding = self.bench.finding
        return {
            "result": asdict(result),
            "check": finding.check if finding else "",
            "change": finding.change_text if finding else "",
            "metric": self.bench.metric,
            "curves": [asdict(curve) for curve in self.bench.curves],
        }


def _result(name: str, is_passed: bool, answer: str, numbers: dict[str, Any]) -> TestResult:
    evidence = {key: _finite(value) for key, value in numbers.items() if key != "fitted"}
    return TestResult(name=name, outcome="passed" if is_passed else "failed", answer=answer, evidence=evidence)


def _finite(value: Any) -> float | str:
    if isinstance(value, str):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else "not finite"


def _curve(label: str, twin: Twin, metric: str) -> Curve:
    values = twin.losses if metric == "loss" else twin.scores
    points = [(e, float(f"{v:.5g}") if math.isfinite(v) else None) for e, v in zip(twin.epochs, values, strict=True)]
    points = points[:: max(1, len(points) // MAX_POINTS)]
    return Curve(label=label, epochs=tuple(e for e, _ in points), values=tuple(v for _, v in points))


def _join(groups: list[Any]) -> np.ndarray:
    return np.concatenate(groups)
