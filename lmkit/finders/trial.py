"""Steps of an experiment in a process of their own, which can be cancelled: ``python -m lmkit.finders.trial ROOT``."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import numpy as np
import psutil

from lmkit.custom import objects, trust
from lmkit.display.progress_line import ProgressLine
from lmkit.exceptions import LmkitError
from lmkit.experiment.experiment import Experiment
from lmkit.runfolder.folder import RunFolder, runs_root
from lmkit.specs.references import HELD
from lmkit.system.rpc import MeasurementFailed, Process, describe_error, serve
from lmkit.training.setup import build_components

if TYPE_CHECKING:
    from lmkit.backends.devices import DeviceBackend

PATIENCE = 1800.0
"""Seconds until an answer times out: the first steps may be compiled."""

Progress = Callable[[str], None]
"""Shows progress."""


class Steps(Protocol):
    """Answers requests of a finder."""

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Call a method of the ``Server``; see ``Process.ask``."""


class Cancel:
    """Ends the process of a finder from another thread; what it has measured is returned."""

    def __init__(self) -> None:
        self.is_set = False
        self.process: Process | None = None

    def __call__(self) -> None:
        """End the process."""
        self.is_set = True
        if self.process is not None:
            self.process.kill()


CANCELLED = "cancelled"
"""The note of a finder's result that was cancelled."""


def run_trial(
    experiment: Experiment,
    take: Callable[[Steps], Iterator[str]],
    *,
    runs: str | Path | None,
    progress: Progress | None,
    cancel: Cancel | None,
    log: TextIO | None,
) -> str:
    """Take steps of an experiment until there are no more, or the finder is cancelled.

    Args:
        experiment: what to try.
        take: takes some steps at a time, and yields its progress in words.
        runs: the folder of the runs.
        progress: shows it; none: a line in ``log``, the notebook or the terminal, once it takes longer.
        cancel: ends it.
        log: where the line is written.

    Returns:
        ``CANCELLED`` where it was, else nothing; an interrupt from the keyboard cancels, too.
    """
    line, stop = ProgressLine(log), cancel or Cancel()
    try:
        with open_trial(experiment, runs_root(runs), stop) as trial:
            for text in take(trial):
                (progress or line.show)(text)
                if stop.is_set:
                    break
    except KeyboardInterrupt:
        return CANCELLED
    except Exception:
        if not stop.is_set:
            raise
    finally:
        line.clear()
    return CANCELLED if stop.is_set else ""


class Server:
    """Takes steps of an experiment, in memory: no run is created.

    Args:
        root: the folder of the runs, which holds data in memory and custom objects.
        cleanup: restores the number of threads when it is closed.
    """

    def __init__(self, root: Path, cleanup: ExitStack) -> None:
        self.root, self.cleanup = root, cleanup

    def load(self, experiment: dict[str, Any]) -> dict[str, Any]:
        """Prepare the data and build the model; return the rows of a batch and the device."""
        spec = Experiment.from_dict(experiment)
        self.components = build_components(RunFolder(self.root / ".finder"), spec, self.cleanup)
        self.batch_size = self.components.experiment.data.batch_size
        self.per_epoch = self.components.data.steps_per_epoch(self.batch_size)
        self.taken = 0
        return {"batch_size": self.batch_size, "device": self.components.trainer.device}

    def advance(self, rates: list[float]) -> dict[str, Any]:
        """Take a step at each learning rate; return the losses up to the first that is no number."""
        trainer, data, losses = self.components.trainer, self.components.data, list[float]()
        while len(losses) < len(rates):
            epoch, batch = divmod(self.taken, self.per_epoch)
            if batch == 0:
                trainer.epoch(data.order(self.components.experiment.seed, epoch), epoch)
            some = np.array(rates[len(losses) : len(losses) + self.per_epoch - batch])
            values = trainer.advance(batch, some).loss.tolist()
            self.taken += len(some)
            losses += values or [math.nan] * len(some)
            if not np.isfinite(losses).all():
                break
        first = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
        return {"losses": losses[:first]}

    def measure(self, rows: int, steps: int) -> dict[str, Any]:
        """Take steps at learning rate 0 in micro-batches of ``rows`` rows; return seconds per step and bytes.

        The first step, which may be traced or compiled, is not timed.
        """
        trainer = self.components.trainer
        trainer.set_micro_batch(rows)
        try:
            reset_peak()
            self.advance([0.0])
            begin = time.perf_counter()
            self.advance([0.0] * steps)
        except Exception as error:
            if not is_out_of_memory(error, self.components.backend):
                raise
            return {"rows": rows, "seconds": math.nan, "bytes": 0, "fits": False}
        seconds = (time.perf_counter() - begin) / steps
        usage = getattr(self.components.backend, "memory_usage", lambda: (0, 0))()
        fits = trainer.micro_batch >= rows
        return {"rows": rows, "seconds": seconds, "bytes": int(usage[1] or peak_bytes()), "fits": fits}


def is_out_of_memory(error: BaseException, backend: DeviceBackend) -> bool:
    """Return whether an error, or one that caused it, says that memory ran out."""
    chain = [e for e in (error, error.__cause__, error.__context__) if e is not None]
    return any(
        isinstance(e, MemoryError) or backend.is_out_of_memory(e) or "out of memory" in str(e).lower() for e in chain
    )


def reset_peak() -> None:
    """Let the peak of this process's memory begin anew, where Linux offers that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """Return the peak of this process's resident memory since the last ``reset_peak``."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024
    return int(psutil.Process().memory_info().rss)


@contextmanager
def open_trial(experiment: Experiment, root: Path, cancel: Cancel) -> Iterator[Steps]:
    """Open the process of a finder: this one where the experiment's code exists in it alone.

    Raises:
        UntrustedCode: the experiment is that of a file or a run which names code that is not this user's, and that
            they have not run on this machine before.
    """
    trust.adopt(experiment, root)
    trust.remember(experiment, root)
    if any(name.startswith(HELD) for name in objects.references(experiment).values()):
        with ExitStack() as cleanup:
            yield _ThisProcess(root, cleanup)
        return
    with Process("lmkit.finders.trial", root, who="the finder's", patience=PATIENCE) as process:
        cancel.process = process
        if cancel.is_set:  # before there was a process to end
            process.kill()
        try:
            yield process
        finally:
            cancel.process = None


class _ThisProcess:
    """Answers in this process."""

    def __init__(self, root: Path, cleanup: ExitStack) -> None:
        self.server = Server(root, cleanup)

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Call a method of the server."""
        try:
            answer: dict[str, Any] = getattr(self.server, do)(**order)
        except LmkitError:
            raise
        except Exception as error:
            raise MeasurementFailed(describe_error(error), type(error).__name__) from error
        return answer


def main(root: str) -> None:
    """Answer requests until the input ends."""
    with ExitStack() as cleanup:
        serve(Server(Path(root), cleanup))


if __name__ == "__main__":
    main(sys.argv[1])
