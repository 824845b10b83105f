"""A language model in a real JupyterLab: what it writes while it learns, and its text in the form."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
from narrowing import require_value

from lmkit.run.run import Run
from lmkit.runfolder.find import run_folders

pytestmark = pytest.mark.usefixtures("ended")

LONG = """import lmkit as lk
run = lk.train({
    "data": {"source": "python_docs", "text": {"length": 32}, "batch_size": 4},
    "model": {"family": "transformer", "depth": 1, "width": 16, "heads": 2},
    "training": {"epochs": 1000, "validate_every": 40, "threads": 1, "early_stopping": None},
})
run"""


def test_the_monitor_shows_what_is_written(notebook: Any) -> None:
    shown = notebook(LONG)
    shown.run(0)
    sample = shown.page.locator(".lmkit-sample")
    shown.wait_until(lambda: sample.is_visible() and "after step" in sample.inner_text(), "a sample", 120)
    first = sample.inner_text()
    run = Run(run_folders(shown.runs)[-1])
    told = [e.data for e in run.events if e.type == "sample"]
    step = int(require_value(re.search(r"after step ([\d,]+)", first))[1].replace(",", ""))
    written = next(s for s in told if s["step"] == step)
    words = re.findall(r"[A-Za-z]+", written["prompt"] + written["text"])
    assert re.findall(r"[A-Za-z]+", first)[2:] == words  # after "after step"
    shown.wait_until(lambda: sample.inner_text() != first, "another sample", 60)
    assert shown.page.locator(".lmkit-metric figcaption").inner_text() == "Bits per byte"
    if os.environ.get("LMKIT_PICTURES"):
        shown.page.locator(".lmkit-monitor").screenshot(path=f"{os.environ['LMKIT_PICTURES']}/sample.png")


def test_the_form_shows_the_text(notebook: Any) -> None:
    shown = notebook('import lmkit as lk\nlk.configure({"data": {"source": "python_docs", "text": "bpe"}})')
    shown.run(0)
    text = shown.page.locator(".lkc-text")
    shown.wait_until(lambda: text.is_visible() and 'The "assert" statement' in text.inner_text(), "the text", 60)
    facts = shown.page.locator(".lkc-facts").inner_text()
    assert re.search(r"\d+ documents\n[\d,]+ tokens, vocabulary of 1,024 \([\d.]+ bytes per token", facts)
    if os.environ.get("LMKIT_PICTURES"):
        shown.page.locator(".lmkit-configurator").screenshot(path=f"{os.environ['LMKIT_PICTURES']}/text.png")
