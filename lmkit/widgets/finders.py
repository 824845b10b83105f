"""Buttons of the form that find a setting by trying the experiment, in a process with progress and Cancel."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.experiment.experiment import Experiment
from lmkit.widgets import elements as E
from lmkit.widgets.debounce import Loop, in_background

if TYPE_CHECKING:
    from lmkit.finders.learning_rate import LearningRateTest
    from lmkit.finders.micro_batch import MicroBatchTest
    from lmkit.finders.trial import Cancel

    Result = LearningRateTest | MicroBatchTest


class FinderButtons:
    """Find learning rate, Find micro-batch, Cancel, and a button that uses what was found.

    Args:
        read: returns the form's experiment; None while it is invalid.
        apply: called with the experiment that has the suggested value.
        runs: the folder of the runs.
    """

    def __init__(
        self, read: Callable[[], Experiment | None], apply: Callable[[Experiment], None], runs: str | Path | None
    ) -> None:
        self._read, self._apply, self._runs = read, apply, runs
        self._cancel: Cancel | None = None
        self._result: Result | None = None
        self.rate = E.Button(
            description="Find learning rate", tooltip="Raise the learning rate step by step, for about 120 steps"
        )
        self.micro = E.Button(
            description="Find micro-batch", tooltip="Try which part of a batch fits into memory, and how fast it is"
        )
        self.cancel = E.Button(description="Cancel", tooltip="End the trial with what it has measured", visible=False)
        self.use = E.Button(visible=False)
        self.output = E.HTML()
        self.rate.on_click(partial(self._start, _find_learning_rate))
        self.micro.on_click(partial(self._start, _find_micro_batch))
        self.cancel.on_click(self._cancelled)
        self.use.on_click(self._used)
        self.widget = E.Box([E.Row([self.rate, self.micro, self.cancel]), self.output, self.use])
        self.widget.add_class("lkc-finders")

    def _start(self, find: Callable[..., Result], _: Any) -> None:
        from lmkit.finders.trial import Cancel  # not before a click: its imports would delay the form

        experiment = self._read()
        if experiment is None:
            self._show_text("The form's experiment is invalid; see the messages above.")
            return
        cancel, loop = Cancel(), Loop()
        self._cancel = cancel
        self._set_busy(True)
        self._show_text("Preparing data and model…")

        def progress(text: str) -> None:
            loop.call(lambda: self._show_text(text))

        def work() -> Result | str:
            try:
                return find(experiment, runs=self._runs, progress=progress, cancel=cancel)
            except Exception as error:  # a framework may raise anything
                return str(error) or type(error).__name__

        in_background(work, self._finished)

    def _finished(self, result: Result | str) -> None:
        self._set_busy(False)
        if isinstance(result, str):
            self._show_text(result)
            return
        self._result = result
        picture = base64.b64encode(result.chart.png()).decode()
        text = html.escape(result.text)
        self.output.value = f'<img alt="{text}" src="data:image/png;base64,{picture}" style="max-width:100%">'
        is_rate = "training.optimizer.lr" in result.change
        self.use.description = f"Use α = {result.suggestion:.2g}" if is_rate else f"Use {result.suggestion} rows"
        self.use.visible = True
        self.use.tooltip = result.text.partition("\n")[0]

    def _set_busy(self, is_busy: bool) -> None:
        self.rate.disabled = self.micro.disabled = is_busy
        self.cancel.visible = is_busy
        self.use.visible = False

    def _show_text(self, text: str) -> None:
        self.output.value = f'<p class="lkc-soft" role="status">{html.escape(text)}</p>'

    def _cancelled(self, _: Any) -> None:
        if self._cancel is not None:
            self._cancel()

    def _used(self, _: Any) -> None:
        """Set the suggested value in the form as it is now."""
        experiment, result = self._read(), self._result
        if experiment is not None and result is not None:
            self._apply(experiment.override(result.change))
            self.use.visible = False


def _find_learning_rate(*args: Any, **options: Any) -> LearningRateTest:
    from lmkit.finders import learning_rate

    return learning_rate.find_learning_rate(*args, **options)


def _find_micro_batch(*args: Any, **options: Any) -> MicroBatchTest:
    from lmkit.finders import micro_batch

    return micro_batch.find_micro_batch(*args, **options)
