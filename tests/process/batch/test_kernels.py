"""A notebook is executed by the kernel that is named."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from written_notebook import printed, write_notebook

from lmkit.batch.execute import run_template


def test_a_registered_kernel_executes_a_notebook_with_its_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    folder = tmp_path / "kernels" / "there"
    folder.mkdir(parents=True)
    command = [sys.executable, "-X", "dev", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "There", "language": "python", "env": {"OF_THE_KERNEL": "yes"}}
    (folder / "kernel.json").write_text(json.dumps(spec))
    cells = ["import os, sys", "print(os.environ['OF_THE_KERNEL'], sys.flags.dev_mode, rate)"]
    notebook = write_notebook(tmp_path / "x.ipynb", *cells, parameters="rate = 0.1")
    done = run_template(
        notebook, {"rate": 0.5}, kernel="there", output=tmp_path / "out.ipynb", log=io.StringIO(), time_limit=120
    )
    assert (done.state, done.error) == ("completed", "")
    assert printed(done.notebook) == "yes True 0.5\n"
