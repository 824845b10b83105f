"""Notebooks that the command line reads from the standard input and writes to the standard output."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmkit.exceptions import TemplateError
from lmkit.system.temporary import temporary_folder

STREAM = "-"
"""Instead of a notebook's path: the standard input or output."""


@contextmanager
def standard_streams(args: argparse.Namespace) -> Iterator[bool]:
    """Replace ``-`` as template and as output by temporary files; yields whether the output is a stream.

    Raises:
        TemplateError: the notebook would be executed by a process that has no streams.
    """
    if args.detach and STREAM in (args.template, args.output):
        raise TemplateError("--detach: given with -, the standard input or output; expected the path of a file")
    with temporary_folder() as folder:
        if args.template == STREAM:
            args.template, args.cwd = Path(folder) / "stdin.ipynb", args.cwd or Path.cwd()
            args.template.write_bytes(sys.stdin.buffer.read())
        to_stdout = args.output == STREAM
        if to_stdout:
            args.output = Path(folder) / "stdout.ipynb"
        yield to_stdout
