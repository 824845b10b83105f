"""A process of its own that takes orders, one a line, and is ended when it does not answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import Any

from lmkit.errors import LmkitError

PATIENCE = 1800.0
"""Seconds that one answer may take: making a variant may be to compile it, or to train it on."""

GRACE = 10.0
"""Seconds in which a process whose input has ended is gone, else it is ended."""


class MeasurementFailed(LmkitError):
    """A variant could not be made, loaded or run.

    Attributes:
        kind: the name of the error in the process itself; empty where that ended.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        self.kind = kind
        super().__init__(message)


class NotApplicable(LmkitError):
    """A technique cannot be used here; the message says why, and what would make it possible."""


class Process:
    """A process of its own that takes orders: ``python -m MODULE ARGUMENT…``; it imports from where this one does.

    Args:
        module: what it runs.
        arguments: that it is given.
        who: whose it is, for messages.
        patience: seconds that one answer may take.
    """

    def __init__(self, module: str, *arguments: object, who: str = "its", patience: float = PATIENCE) -> None:
        self.who, self.patience, self.late = who, patience, ""
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # an interrupt of the notebook's kernel, or in the terminal, is not meant for it
        )

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Gives an order and waits for its answer.

        Raises:
            NotApplicable: the technique cannot be used here.
            MeasurementFailed: the variant cannot do it, or its process ended; the message is the runtime's own, or
                tells how it ended.
        """
        assert self.process.stdin and self.process.stdout
        watch = threading.Timer(self.patience, self._expire, [do])
        watch.daemon = True
        watch.start()
        try:
            self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except (BrokenPipeError, ValueError):  # it has ended, or was closed
            line = ""
        finally:
            watch.cancel()
        answer = json.loads(line) if line.endswith("\n") else {"error": self._ended(), "kind": ""}
        if "error" not in answer:
            return dict(answer)
        if answer["kind"] == "NotApplicable":
            raise NotApplicable(answer["error"])
        raise MeasurementFailed(answer["error"], answer["kind"])

    def _expire(self, do: str) -> None:
        self.late = (
            f"{self.who} process gave no answer to {do!r} within {self.patience:g} seconds, and was ended; "
            f"give it more: patience={2 * self.patience:g}"
        )
        self.kill()

    def _ended(self) -> str:
        """How it came to its end, in words."""
        try:
            code = self.process.wait(GRACE)
        except subprocess.TimeoutExpired:  # it closed its output, and goes on
            self.kill()
            code = self.process.wait()
        if self.late:
            return self.late
        if code == -signal.SIGKILL:
            return f"{self.who} process was killed (signal {signal.SIGKILL:d}), as when memory runs out"
        last = f": {said}" if (said := self._last()) else ""
        if code < 0:
            return f"{self.who} process crashed (signal {-code}, {signal.strsignal(-code)}){last}"
        return f"{self.who} process ended ({code}){last}"

    def _last(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def kill(self) -> None:
        """Ends it at once, with all that it started."""
        if self.process.poll() is None:
            with suppress(OSError):  # it ends by itself just now
                if hasattr(os, "killpg"):
                    os.killpg(self.process.pid, signal.SIGKILL)
                else:
                    self.process.kill()

    def close(self) -> None:
        """Lets it end."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                with suppress(BrokenPipeError):  # an order that it never read
                    stream.close()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        self.errors.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:  # whoever asked is no longer there for the answer, which may take minutes
            self.kill()
        self.close()
