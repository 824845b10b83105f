"""The device of a comparison: refused where there is none, and shown where it is not the processor."""

from __future__ import annotations

from dataclasses import replace

import pytest

import lmkit as lk
from lmkit.deploy.artifact import Artifact
from lmkit.deploy.compare.table import table
from lmkit.deploy.measure.server import check_device
from lmkit.deploy.measure.statistics import Interval, Latency
from lmkit.deploy.variant import Variant
from lmkit.exceptions import ConfigError
from lmkit.system.rpc import NotApplicable

SPAN = Interval(1.0, 0.9, 1.1)
VARIANT = Variant(
    "r",
    "baseline",
    "reference",
    "measured",
    latency=(Latency(1, SPAN, None, SPAN, SPAN, 100),),
    seconds={"import_seconds": 0.1, "load_seconds": 0.1},
)


def test_a_device_that_the_machine_does_not_have_is_refused_first() -> None:
    with pytest.raises(ConfigError, match="device: given 'cuda:7', this machine has cpu"):
        lk.compare("no such run", ["baseline"], device="cuda:7")


def test_a_runtime_of_the_processor_alone_is_not_applicable_elsewhere() -> None:
    check_device("onnxruntime", "cpu")
    check_device("torch", "cuda:0")
    check_device("tensorflow", "cuda:0")
    with pytest.raises(NotApplicable, match="onnxruntime computes on the processor here"):
        check_device("onnxruntime", "cuda:0")


def test_an_artifact_is_loaded_on_the_device_that_its_options_name() -> None:
    artifact = Artifact("torch", "model.json", (4,), "float32", {}, options={"compiled": True})
    assert artifact.on("cpu") is artifact
    assert artifact.on("cuda:1").options == {"compiled": True, "device": "cuda:1"}


def test_the_table_says_the_device_where_one_is_not_the_processor() -> None:
    assert "device" not in table([VARIANT]).columns
    shown = table([replace(VARIANT, device="cuda:0")])
    assert shown.rows[0][shown.columns.index("device")] == "cuda:0"
