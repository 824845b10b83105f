"""Executes a template in a process of its own, which outlives this one: the command line, with what was asked for."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.batch.templates import Template
from lmkit.specs.plain import dump_yaml, plain
from lmkit.system.environment import command
from lmkit.system.files import open_log

COMMAND = "LMKIT_DETACHED"
"""The environment variable of that process that holds the command or call that began it, for the record of its run."""


def detach(
    template: Template,
    values: Mapping[str, Any],
    output: str,
    *,
    log: Path,
    runs: Path,
    folder: str,
    kernel: str = "",
    time_limit: float | None = None,
) -> int:
    """Start a process that executes a template, and return its number.

    Args:
        template: the template.
        values: its parameters, which have been checked.
        output: the path or address of the executed notebook.
        log: the file that it prints to.
        runs: the folder of the runs.
        folder: the folder that the notebook's kernel works in.
        kernel: the name of its kernel; empty: the current Python.
        time_limit: seconds after which it is ended.
    """
    parameters = base64.b64encode(dump_yaml(plain(dict(values))).encode()).decode()
    source = template.name if template.bundled else str(template.path.absolute())
    options = ["-o", output, "--runs", str(runs), "--cwd", folder, *(["-k", kernel] if kernel else [])]
    options += ["--time-limit", str(time_limit)] if time_limit else []
    with os.fdopen(open_log(log), "ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "lmkit.commands.cli", "run", source, "-b", parameters, *options],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, COMMAND: command()},
            start_new_session=True,  # it outlives this process and ignores its Ctrl-C
        )
    return process.pid


def typed_command() -> str:
    """Return the command that is recorded for a run: of a detached process, the one that began it."""
    return os.environ.get(COMMAND) or command()
