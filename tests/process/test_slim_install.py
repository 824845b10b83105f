"""On a server: ``lmkit train`` needs neither plots nor widgets nor notebooks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

HIDDEN = """
import sys
from importlib.machinery import PathFinder

NAMES = {
    "matplotlib", "plotly", "ipywidgets", "anywidget", "IPython", "papermill", "nbconvert", "nbclient", "nbformat",
    "jupyter_client", "ipykernel", "bleach", "traitlets", "zmq", "tensorflow", "keras", "optuna",
}

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in NAMES else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""
"""A ``sitecustomize`` that hides packages from a process and from every process that it starts."""


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where the packages are hidden."""
    (tmp_path / "site").mkdir(exist_ok=True)
    (tmp_path / "site" / "sitecustomize.py").write_text(HIDDEN)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    command = [sys.executable, "-m", "lmkit.commands.cli", *arguments, "--runs", str(tmp_path / "runs")]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)


def test_training_and_watching_need_none_of_them_and_a_report_names_what_installs_them(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text("{data: wine, model: mlp:small, training: {epochs: 2}}")
    trained = run(tmp_path, "train", "experiment.yaml", "--json")
    assert trained.returncode == 0, trained.stderr
    assert '"state": "completed"' in trained.stdout
    listed = run(tmp_path, "runs")
    assert listed.returncode == 0, listed.stderr
    assert "completed" in listed.stdout
    watched = run(tmp_path, "watch", "last")
    assert watched.returncode == 0, watched.stderr
    reported = run(tmp_path, "report", "last")
    assert reported.returncode != 0
    assert "pip install 'jupyter-lmkit[" in reported.stderr, reported.stderr
    assert "Traceback" not in reported.stderr
