"""The baseline's processes in a pass: a chain, each the control of one variant and the baseline of the next.

A new one starts while the next variant is made, which mostly keeps one core busy, so that it costs no time of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lmkit.deploy.process import Process
from lmkit.deploy.timing import Spread


class Baselines:
    """The two of them that there are at a time.

    Args:
        start: starts one.

    Attributes:
        spreads: number of rows a call → by how much they differ.
    """

    def __init__(self, start: Callable[[], Process]) -> None:
        self.start = start
        self.spreads: defaultdict[int, Spread] = defaultdict(Spread)
        self._loader = ThreadPoolExecutor(2, "lmkit baselines")
        self._chain: list[tuple[Process, Future[dict[str, Any]]]] = []

    def prepare(self) -> None:
        """Starts what is missing, and returns at once."""
        for gone in [one for one in self._chain if one[0].over]:
            self._chain.remove(gone)
            gone[0].close()
        while len(self._chain) < 2:
            process = self.start()
            self._chain.append((process, self._loader.submit(process.ask, "load")))

    def pair(self) -> tuple[Process, Process]:
        """The baseline and its control, once both are loaded.

        Raises:
            MeasurementFailed: one cannot be loaded.
        """
        self.prepare()
        for _, loaded in self._chain:
            loaded.result()
        (baseline, _), (control, _) = self._chain
        return baseline, control

    def turn(self) -> None:
        """Lets the older one end: a variant has been measured beside both."""
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
