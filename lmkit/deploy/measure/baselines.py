"""The baseline's processes in a pass: a chain, each the control of one variant and the baseline of the next.

A new process starts while the next variant is built, which mostly keeps one core busy, so that it costs no extra time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lmkit.deploy.measure.timing import Spread
from lmkit.system.rpc import Process


class Baselines:
    """The two baseline processes that run at a time.

    Args:
        start: starts a process.

    Attributes:
        spreads: batch size → by how much processes of the baseline differ.
    """

    def __init__(self, start: Callable[[], Process]) -> None:
        self.start = start
        self.spreads: defaultdict[int, Spread] = defaultdict(Spread)
        self._loader = ThreadPoolExecutor(2, "lmkit baselines")
        self._chain: list[tuple[Process, Future[dict[str, Any]]]] = []

    def prepare(self) -> None:
        """Start the missing processes; return at once."""
        for ended in [entry for entry in self._chain if entry[0].over]:
            self._chain.remove(ended)
            ended[0].close()
        while len(self._chain) < 2:
            process = self.start()
            self._chain.append((process, self._loader.submit(process.ask, "load")))

    def pair(self) -> tuple[Process, Process]:
        """Return the baseline and its control, once both are loaded.

        Raises:
            MeasurementFailed: the baseline cannot be loaded.
        """
        self.prepare()
        for _, loaded in self._chain:
            loaded.result()
        (baseline, _), (control, _) = self._chain
        return baseline, control

    def turn(self) -> None:
        """End the older process, after a variant was measured with both."""
        process, _ = self._chain.pop(0)
        process.close()

    def __enter__(self) -> Baselines:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        for process, loaded in self._chain:
            if error is not None or not loaded.done():
                process.kill()
            loaded.exception()
            process.close()
        self._loader.shutdown()
