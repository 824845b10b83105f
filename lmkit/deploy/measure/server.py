"""The process that measures one variant: ``python -m lmkit.deploy.measure.server FOLDER THREADS ROWS.npy DEVICE``.

It imports only what the variant's runtime needs. It reads one request per line from its input, as JSON, and answers
each with one line; the requests are the methods of ``VariantServer``. It ends when its input ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.system.rpc import NotApplicable, serve

if TYPE_CHECKING:
    import numpy as np

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def main(folder: str, threads: str, rows: str, device: str = "cpu") -> None:
    """Serve requests until the input ends."""
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # no runtime takes a GPU by itself
    for name in THREADS:
        os.environ[name] = threads  # read when the libraries are imported
    serve(VariantServer(Path(folder), int(threads), Path(rows), device))


class VariantServer:
    """One variant, loaded and measured."""

    def __init__(self, folder: Path, threads: int, rows: Path, device: str = "cpu") -> None:
        self.folder, self.threads, self.rows, self.device = folder, threads, rows, device

    def load(self, runtimes: dict[str, str] | None = None) -> dict[str, Any]:
        """Load the variant; return the seconds of import, load and first call, and the size of a row's outputs.

        Args:
            runtimes: name → module of runtimes that another process registered.
        """
        import importlib

        import numpy as np

        from lmkit.deploy.artifact import Artifact
        from lmkit.deploy.runtimes import RUNTIMES, find, load

        artifact = Artifact.read(self.folder).on(self.device)
        if module := (runtimes or {}).get(artifact.runtime):
            RUNTIMES.add(artifact.runtime, importlib.import_module(module))
        check_device(artifact.runtime, self.device)
        clock = [time.perf_counter()]
        for library in find(artifact.runtime).LIBRARIES:
            importlib.import_module(library)
        clock.append(time.perf_counter())
        self.imported, self.artifact = reset_peak(), artifact
        with explained_failures(artifact.runtime):
            self.model = load(self.folder, artifact, self.threads)
            clock.append(time.perf_counter())
            first = np.asarray(self.model.predict(self._read(0, 1)))
        clock.append(time.perf_counter())
        names = ("import_seconds", "load_seconds", "first_seconds")
        return {n: b - a for n, a, b in zip(names, clock, clock[1:], strict=False)} | {"row_bytes": first.nbytes}

    def _read(self, start: int, stop: int | None) -> np.ndarray:
        """Return prepared rows (rows, …); the others stay on disk, so that memory is the variant's."""
        import numpy as np

        rows = np.load(self.rows, mmap_mode="r")[start:stop]
        return np.asarray(rows.astype(self.artifact.dtype).reshape(-1, *self.artifact.row))

    def _repeat(self, batch: int) -> np.ndarray:
        """Return ``batch`` rows, repeated if there are fewer."""
        import numpy as np

        rows = self._read(0, batch)
        return rows if len(rows) == batch else np.resize(rows, (batch, *rows.shape[1:]))

    def run(self, batch: int, seconds: float, max_calls: int = 10_000) -> dict[str, list[float]]:
        """Call the model with ``batch`` rows for about ``seconds``, at least once; return the seconds of each call."""
        rows = self._repeat(batch)
        predict, clock = self.model.predict, time.perf_counter
        durations: list[float] = []
        end = clock() + seconds
        while not durations or (len(durations) < max_calls and clock() < end):
            start = clock()
            predict(rows)
            durations.append(clock() - start)
        return {"seconds": durations}

    def energy(self, batch: int) -> dict[str, float | None]:
        """Return the joules of a call with ``batch`` rows, above rest; None if the machine does not measure them."""
        from lmkit.deploy.measure.energy import joules

        rows = self._repeat(batch)
        return {"joules": joules(lambda: self.model.predict(rows))}

    def predict(self, into: str, batch: int, rows: int | None = None, start: int = 0) -> dict[str, int]:
        """Write the logits of ``rows`` rows from ``start`` on, or of all, to a file, in batches of ``batch``."""
        import numpy as np

        X = self._read(start, None if rows is None else start + rows)
        outputs = [np.asarray(self.model.predict(X[i : i + batch])) for i in range(0, len(X), batch)]
        np.save(into, np.concatenate(outputs))
        return {"rows": len(X)}

    def tensors(self) -> dict[str, Any]:
        """Return name, shape and type of the input and the output as the file names them; None if it does not."""
        return {"tensors": self.model.tensors()}

    def executed(self) -> dict[str, list[list[Any]]]:
        """Return the operations that a call executes."""
        return {"operations": [list(operation) for operation in self.model.executed()]}

    def memory(self, batches: list[int]) -> dict[str, int]:
        """Return the peak memory above that after the import, in bytes, of loading and of calls with these rows."""
        for batch in batches:
            self.model.predict(self._repeat(batch))
        return {"peak_bytes": max(0, memory("VmHWM") - self.imported)}

    def stored(self) -> dict[str, dict[str, int] | None]:
        """Return {type: how many numbers of the weights are stored in it}; None if the runtime cannot tell."""
        return {"weights": self.model.stored()}


def check_device(runtime: str, device: str) -> None:
    """Raise NotApplicable for a runtime that computes on the processor only."""
    from lmkit.deploy.runtimes import find

    if device != "cpu" and not getattr(find(runtime), "USES_DEVICE", False):
        raise NotApplicable(f"{runtime} computes on the processor here; measure it there: device='cpu'")


@contextlib.contextmanager
def explained_failures(runtime: str) -> Iterator[None]:
    """Turn what one of lmkit's runtimes raises for a file into a sentence; the errors of other packages' stay."""
    from lmkit.deploy.runtimes import find
    from lmkit.exceptions import LmkitError

    try:
        yield
    except (LmkitError, OSError, MemoryError):
        raise
    except Exception as error:
        if not find(runtime).__name__.startswith("lmkit."):
            raise
        from lmkit.deploy.techniques.failures import ConversionFailed, explain

        reason, instead = explain(error).reason, "the baseline" if runtime == "onnxruntime" else "onnx"
        raise ConversionFailed(f"{runtime} cannot run the file: {reason}; use {instead} instead") from error


def reset_peak() -> int:
    """Let the peak memory count from now on, where the system allows it; return the memory in use, in bytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(kind: str) -> int:
    """Return a counter of /proc/self/status in bytes; 0 if it does not exist."""
    try:
        line = next(t for t in Path("/proc/self/status").read_text().splitlines() if t.startswith(kind))
        return 1024 * int(line.split()[1])
    except (OSError, StopIteration):
        return 0


if __name__ == "__main__":
    main(*sys.argv[1:])
