"""Some of the planted faults of ``tests/benchmarks/doctor_faults.py``, beside healthy runs, in both frameworks."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import lmkit as lk
from lmkit.commands.cli import main
from lmkit.data.dataset import Dataset
from lmkit.doctor.diagnose import diagnose

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "doctor_faults.py"


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    spec = importlib.util.spec_from_file_location("doctor_faults", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["doctor_faults"] = module
    environment, path = dict(os.environ), list(sys.path)
    spec.loader.exec_module(module)
    os.environ.clear()
    os.environ.update(environment)  # a script of its own sets threads and devices
    sys.path[:] = path
    return module


@pytest.mark.parametrize(
    ("framework", "name"),
    [
        *(("torch", name) for name in ("rate too high", "rate too low", "clip far too low", "target as a column")),
        *(("torch", name) for name in ("softmax twice", "detached body", "rows mixed", "two linear layers")),
        *(("torch", name) for name in ("broadcast loss", "circles with a line", "weight decay 30")),
        *(("tensorflow", name) for name in ("rate too low", "sigmoid on numbers", "detached body", "broadcast loss")),
    ],
)
def test_a_planted_fault_is_named_first(faults: ModuleType, framework: str, name: str, tmp_path: Path) -> None:
    item = next(item for item in faults.FAULTS if item.name == name)
    findings = faults.train(item, framework, 0, tmp_path).doctor().findings
    assert findings[0].check in item.right, findings
    assert findings[0].confidence in ("sure", "likely")


@pytest.mark.parametrize(("framework", "name"), [("torch", "digits, own"), ("torch", "wine"), ("tensorflow", "clouds")])
def test_nothing_is_said_of_a_healthy_run(faults: ModuleType, framework: str, name: str, tmp_path: Path) -> None:
    item = next(item for item in faults.HEALTHY if item.name == name)
    findings = faults.train(item, framework, 0, tmp_path).doctor().findings
    assert [finding for finding in findings if finding.confidence != "hint"] == []


def test_the_command_line_prints_the_findings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = lk.train(data="wine", optimizer="sgd", lr=1e-6, epochs=20, inline=True, runs=tmp_path)
    assert main(["doctor", run.name, "--runs", str(tmp_path)]) in (0, None)
    text = capsys.readouterr().out
    assert "rate-low" in text
    assert "training.optimizer.lr" in text
    again = lk.train(run.doctor().apply(), inline=True, runs=tmp_path)
    assert again.metrics["accuracy"] > run.metrics["accuracy"]


def test_a_run_without_readings_and_without_its_data_is_examined_too(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    draw = np.random.default_rng(0)
    lines = [f"{a},{b},{int(a > b)}" for a, b in draw.normal(size=(200, 2))]
    table.write_text("\n".join(["a,b,y", *lines]))
    data = {"source": str(table), "target": "y"}
    run = lk.train(data=data, epochs=2, inline=True, runs=tmp_path, **{"training.readings": "off"})
    table.unlink()
    diagnosis = run.doctor()
    assert any("no readings" in text for text in diagnosis.remarks)
    assert any("not compared" in text for text in diagnosis.remarks)

    def fail() -> Dataset:
        raise ValueError("odd rows\nand more")

    remark = "its data were not compared with simple models: ValueError: odd rows"
    assert remark in diagnose(run.folder, fail).remarks
