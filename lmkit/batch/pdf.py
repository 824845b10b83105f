"""Print a page as a PDF with an installed Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lmkit.exceptions import MissingPackage, TemplateError
from lmkit.system.files import move_file
from lmkit.system.temporary import temporary_folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")

TIMEOUT = 60.0
"""Seconds that printing may take."""


def pdf(page: Path, target: Path) -> Path:
    """Print an HTML page; returns the path of the PDF.

    Raises:
        MissingPackage: Chromium is not installed.
        TemplateError: the browser fails, or the file cannot be written.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise MissingPackage(
            f"a PDF needs Chromium or Chrome, and none of {', '.join(BROWSERS)} is installed: "
            "apt-get install chromium; or write an .html file, and print it in a browser"
        )
    target = target.absolute()
    with temporary_folder() as folder:
        output = Path(folder) / "page.pdf"
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-sync",
            f"--user-data-dir={folder}/profile",
            "--no-pdf-header-footer",
            f"--print-to-pdf={output}",
            *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),  # required for root
            page.absolute().as_uri(),
        ]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise TemplateError(f"{browser} did not print {page.name!r} within {TIMEOUT:g} seconds") from None
        if not output.is_file():
            message = (process.stderr.strip().splitlines() or ["no message"])[-1]
            raise TemplateError(f"{browser} could not print {page.name!r}: {message}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            move_file(Path(output), target)
        except OSError as error:
            raise TemplateError(f"cannot write the PDF to {str(target)!r}: {error.strerror}") from None
    return target
