"""The process in which one variant is measured: ``python -m lmkit.deploy.bench FOLDER THREADS ROWS.npy``.

It imports only what the variant's runtime needs. Orders come one a line on its input, as JSON; each is answered by one
line: load; run (seconds of each call); predict (into a file); executed; memory. It ends with its input.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def main(folder: str, threads: str, rows: str) -> None:
    """Serves orders until the input ends."""
    for name in THREADS:
        os.environ[name] = threads  # read while libraries load
    serve(Bench(Path(folder), int(threads), Path(rows)))


def serve(servant: Any) -> None:
    """Calls a method of ``servant`` for each order on the input, and answers with what it returns, or its error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = getattr(servant, order.pop("do"))(**order)
        except Exception as error:
            answer = {"error": told(error), "kind": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def told(error: Exception) -> str:
    """An error in words."""
    if type(error).__module__.startswith("lmkit"):
        return str(error)
    if isinstance(error, MemoryError):
        return f"ran out of memory{': ' if str(error) else ''}{error}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror}{_at(error)}; make room, and compare again: what is finished is kept"
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{error.strerror}{_at(error)}; expected a folder that may be written"
    return f"{type(error).__name__}: {error}"


def _at(error: OSError) -> str:
    return f": {str(error.filename)!r}" if error.filename else ""


class Bench:
    """One variant, loaded and timed."""

    def __init__(self, folder: Path, threads: int, rows: Path) -> None:
        self.folder, self.threads, self.rows = folder, threads, rows

    def load(self, runtimes: dict[str, str] | None = None) -> dict[str, Any]:
        """Import, load and first call, seconds each; and memory after the import, bytes.

        Args:
            runtimes: name → module of those of somebody's own.
        """
        import importlib

        import numpy as np

        from lmkit.deploy.artefact import Artefact
        from lmkit.deploy.runtimes import RUNTIMES, find, load

        RUNTIMES.update(runtimes or {})
        artefact = Artefact.read(self.folder)
        clock = [time.perf_counter()]
        for library in find(artefact.runtime).LIBRARIES:
            importlib.import_module(library)
        clock.append(time.perf_counter())
        self.imported = memory("VmRSS")
        self.model = load(self.folder, artefact, self.threads)
        clock.append(time.perf_counter())
        self.X = np.load(self.rows).astype(artefact.dtype).reshape(-1, *artefact.row)
        self.model.predict(self.X[:1])
        clock.append(time.perf_counter())
        names = ("import_seconds", "load_seconds", "first_seconds")
        return {n: b - a for n, a, b in zip(names, clock, clock[1:], strict=False)} | {"imported_bytes": self.imported}

    def run(self, batch: int, seconds: float, most: int = 10_000) -> dict[str, list[float]]:
        """Seconds of each call with the first ``batch`` rows, for about ``seconds``, at least one call."""
        import numpy as np

        rows = np.resize(self.X, (batch, *self.X.shape[1:])) if batch > len(self.X) else self.X[:batch].copy()
        predict, clock = self.model.predict, time.perf_counter
        found: list[float] = []
        end = clock() + seconds
        while not found or (len(found) < most and clock() < end):
            began = clock()
            predict(rows)
            found.append(clock() - began)
        return {"seconds": found}

    def energy(self, batch: int) -> dict[str, float | None]:
        """Joules of a call with ``batch`` rows, above rest; None where the machine does not tell."""
        import numpy as np

        from lmkit.deploy.energy import joules

        rows = np.resize(self.X, (batch, *self.X.shape[1:]))
        return {"joules": joules(lambda: self.model.predict(rows))}

    def predict(self, into: str, batch: int, rows: int | None = None) -> dict[str, int]:
        """Logits of all rows, or of the first ``rows``, so many at a time, into a file."""
        import numpy as np

        X = self.X[:rows]
        found = [np.asarray(self.model.predict(X[i : i + batch])) for i in range(0, len(X), batch)]
        np.save(into, np.concatenate(found))
        return {"rows": len(X)}

    def executed(self) -> dict[str, list[list[Any]]]:
        """What a call executes."""
        return {"operations": [list(operation) for operation in self.model.executed()]}

    def memory(self) -> dict[str, int]:
        """The most memory that was held above what the import took, bytes."""
        return {"peak_bytes": max(0, memory("VmHWM") - self.imported)}

    def stored(self) -> dict[str, dict[str, int] | None]:
        """Type → how many numbers of the weights are kept in it; None where the runtime cannot tell."""
        tells = getattr(self.model, "stored", None)
        return {"weights": tells() if tells else None}


def memory(kind: str) -> int:
    """Bytes that the system counts for this process; 0 where it does not tell."""
    try:
        line = next(t for t in Path("/proc/self/status").read_text().splitlines() if t.startswith(kind))
        return 1024 * int(line.split()[1])
    except (OSError, StopIteration):
        return 0


if __name__ == "__main__":
    main(*sys.argv[1:])
