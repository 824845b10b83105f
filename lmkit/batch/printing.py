"""A page as a PDF, printed by a Chromium that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lmkit.errors import MissingPackage, TemplateError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")

PATIENCE = 60.0
"""Seconds after which printing is given up."""


def pdf(page: Path, target: Path) -> Path:
    """Prints an HTML page; returns the path of the PDF.

    Raises:
        MissingPackage: there is no Chromium.
        TemplateError: it could not print, or the file cannot be written.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise MissingPackage(
            f"a PDF needs Chromium or Chrome, and none of {', '.join(BROWSERS)} is installed: "
            "apt-get install chromium; or write an .html file, and print it in a browser"
        )
    target = target.absolute()
    with tempfile.TemporaryDirectory(prefix="lmkit-") as folder:
        made = Path(folder) / "page.pdf"
        command = [
            browser, "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-sync", f"--user-data-dir={folder}/profile", "--no-pdf-header-footer", f"--print-to-pdf={made}",
            *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),  # it refuses root else
            page.absolute().as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise TemplateError(f"{browser} has not printed {page.name!r} after {PATIENCE:g} seconds") from None
        if not made.is_file():
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise TemplateError(f"{browser} could not print {page.name!r}: {said}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(made, target)
        except OSError as error:
            raise TemplateError(f"the PDF cannot be written to {str(target)!r}: {error.strerror}") from None
    return target
