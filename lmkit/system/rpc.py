"""Remote procedure calls to a child process: one JSON line per request and per answer, with a timeout."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import Any

from lmkit.exceptions import LmkitError

TIMEOUT = 1800.0
"""Default seconds for one answer; making a variant may compile or train it."""

GRACE = 10.0
"""Seconds after the end of its input until a process is killed."""


class MeasurementFailed(LmkitError):
    """A variant could not be made, loaded or run.

    Attributes:
        kind: the class name of the error in the child process; empty if the process ended.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        self.kind = kind
        super().__init__(message)


class NotApplicable(LmkitError):
    """A technique cannot be used on this model or machine; the message holds the reason and the remedy."""


class Process:
    """A child process that answers requests: ``python -m MODULE ARGUMENT…``, with the import path of this process.

    Args:
        module: the module that it runs.
        arguments: its command-line arguments.
        who: the owner of the process, for messages.
        patience: seconds until a request times out.
    """

    def __init__(self, module: str, *arguments: object, who: str = "its", patience: float = TIMEOUT) -> None:
        self.owner, self.timeout, self.timeout_message = who, patience, ""
        self.error_log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.error_log,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # interrupts of the kernel or terminal do not reach it
        )

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Send a request and return its answer.

        Args:
            do: the name of the request.
            **order: its arguments.

        Raises:
            NotApplicable: the technique cannot be used on this model or machine.
            MeasurementFailed: the request failed, or the process ended; the message is the runtime's own, or says how
                the process ended.
        """
        assert self.process.stdin
        assert self.process.stdout
        timer = threading.Timer(self.timeout, self._expire, [do])
        timer.daemon = True
        timer.start()
        try:
            self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except (BrokenPipeError, ValueError):  # it ended, or was closed
            line = ""
        finally:
            timer.cancel()
        answer = json.loads(line) if line.endswith("\n") else {"error": self._describe_end(), "kind": ""}
        if "error" not in answer:
            return dict(answer)
        if answer["kind"] == "NotApplicable":
            raise NotApplicable(answer["error"])
        raise MeasurementFailed(answer["error"], answer["kind"])

    def _expire(self, do: str) -> None:
        self.timeout_message = (
            f"{self.owner} process did not answer {do!r} within {self.timeout:g} seconds and was killed; "
            f"allow more: patience={2 * self.timeout:g}"
        )
        self.kill()

    def _describe_end(self) -> str:
        """Return how the process ended, as a sentence."""
        try:
            code = self.process.wait(GRACE)
        except subprocess.TimeoutExpired:  # it closed its output but still runs
            self.kill()
            code = self.process.wait()
        if self.timeout_message:
            return self.timeout_message
        if code == -signal.SIGKILL:
            return f"{self.owner} process was killed (signal {signal.SIGKILL:d}), as when memory runs out"
        last_line = self._last_error_line()
        last = f": {last_line}" if last_line else ""
        if code < 0:
            return f"{self.owner} process crashed (signal {-code}, {signal.strsignal(-code)}){last}"
        return f"{self.owner} process ended ({code}){last}"

    def _last_error_line(self) -> str:
        self.error_log.seek(0)
        lines = self.error_log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    @property
    def over(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def kill(self) -> None:
        """Kill the process and all its children."""
        if self.process.poll() is None:
            with suppress(OSError):  # it has just ended
                if hasattr(os, "killpg"):
                    os.killpg(self.process.pid, signal.SIGKILL)
                else:
                    self.process.kill()

    def close(self) -> None:
        """Close its input, and wait until it ends."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                with suppress(BrokenPipeError):  # a request that it never read
                    stream.close()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        self.error_log.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:  # the block has failed, and the answer may take minutes
            self.kill()
        self.close()


def serve(target: Any) -> None:
    """Call a method of ``target`` for each request on the input, in a child process, and answer with its result or its
    error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print to the standard error instead
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(target, request.pop("do"))(**request)
        except Exception as error:
            answer = {"error": describe_error(error), "kind": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def describe_error(error: Exception) -> str:
    """Return the message of an error, with the remedy if it is known."""
    if type(error).__module__.startswith("lmkit"):
        return str(error)
    if isinstance(error, MemoryError):
        return f"ran out of memory{': ' if str(error) else ''}{error}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror}{_file_suffix(error)}; free some space and compare again; finished variants are saved"
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{error.strerror}{_file_suffix(error)}; expected a writable folder"
    return f"{type(error).__name__}: {error}"


def _file_suffix(error: OSError) -> str:
    return f": {str(error.filename)!r}" if error.filename else ""
