"""Code from elsewhere in a real JupyterLab: what would run is shown next to a button that trusts it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lmkit.runfolder.find import run_folders

pytestmark = pytest.mark.usefixtures("ended")

MAIL = """import os, pathlib, tempfile
os.environ["LMKIT_DATA"] = tempfile.mkdtemp()
import lmkit as lk
model = {"family": "own", "builder": "subprocess:getoutput", "arguments": {"cmd": "touch PWNED"}}
received = lk.Experiment(data="wine", model=model)
received.save("mail.yaml")
from lmkit.runfolder.folder import RunFolder
folder = RunFolder.create(received, "mail")
folder.write_status(lk.attach(folder.path).status.__class__(state="stopped"))"""

FORM, RUN = 'lk.configure("mail.yaml")', "lk.attach(folder.path)"


def test_the_form_and_the_display_of_a_run_ask_before_its_code_runs(notebook: Any) -> None:
    shown = notebook(
        MAIL, FORM, RUN, "lk.attach(folder.path).require_trust()\nprint('trusted')", width=1100, height=1000
    )
    shown.run(0)
    earlier = {folder.path for folder in run_folders(shown.runs)}
    shown.run(1)
    form = shown.output(1)
    train = form.get_by_role("button", name="Train", exact=True)
    shown.wait_until(train.is_enabled, "the form is ready")
    train.click()
    shown.wait_for("This experiment names code from elsewhere.")
    assert "subprocess:getoutput with cmd='touch PWNED'" in form.inner_text()
    trust = form.get_by_role("button", name="Trust this code")
    assert trust.is_visible()
    shown.run(2)
    output = shown.output(2)
    output.get_by_text(re.compile("names code that you have not run on this machine")).wait_for()
    output.get_by_role("button", name="Trust this run").click()
    output.get_by_text(re.compile("is trusted on this machine")).wait_for()
    shown.run(3)
    shown.wait_for("trusted")
    assert not (shown.path.parent / "PWNED").exists()
    assert {folder.path for folder in run_folders(shown.runs)} == earlier


def test_the_monitor_packs_the_run(notebook: Any) -> None:
    shown = notebook('import lmkit as lk\nrun = lk.train(data="digits", epochs=100_000, name="long")\nrun')
    shown.run(0)
    button = shown.page.locator(".lmkit-monitor").get_by_role("button", name="Pack", exact=True)
    shown.wait_until(button.is_enabled, "the run has begun", 90)
    button.click()
    shown.wait_for("whole: it names nothing that lies beside it.")
