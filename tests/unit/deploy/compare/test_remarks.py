"""Remarks of the table: what a quantized variant costs, and where there is no difference."""

from __future__ import annotations

from lmkit.deploy.compare.table import table
from lmkit.deploy.measure.statistics import Interval, Latency
from lmkit.deploy.variant import Variant


def variant(
    name: str, group: str, size: int, ratio: float, operations: tuple[tuple[str, str, int], ...], **fields: object
) -> Variant:
    latency = Latency(
        1, Interval(ratio / 1e3, 0, 1), None, Interval(ratio, ratio - 0.01, ratio + 0.01), Interval(1, 0.98, 1.02), 100
    )
    return Variant(
        "r",
        name,
        group,
        "measured",
        size_bytes=size,
        latency=(latency,),
        metrics={"accuracy": 0.9},
        seconds={"import_seconds": 0, "load_seconds": 0},
        operations=operations,
        rows=360,
        **fields,
    )  # type: ignore[arg-type]


BASE = variant("baseline", "baseline", 9000, 1.0, (("addmm", "float32", 2),))
ONNX = variant("onnx", "convert", 5620, 0.5, (("Conv", "float32", 2), ("Gemm", "float32", 1)))


def remark(*variants: Variant) -> str:
    return str(table([BASE, ONNX, *variants]).rows[-1][-1])


def test_a_larger_and_slower_int8_file_is_remarked_with_what_stayed_in_float() -> None:
    slow = variant("onnx-int8-dynamic", "quantize", 7240, 1.5, (("Conv", "float32", 2), ("MatMulInteger", "int8", 1)))
    assert remark(slow) == "larger and slower than onnx: Conv 2× stayed in float"
    all_int8 = variant(
        "onnx-int8-static", "quantize", 5000, 0.9, (("QLinearConv", "int8", 2), ("QuantizeLinear", "float32", 3))
    )
    assert remark(all_int8) == "slower than onnx: 3 conversions between float and integers"


def test_the_reference_of_a_runtime_without_a_float_variant_is_the_baseline() -> None:
    small = variant("torchao-int8-weights", "quantize", 9500, 0.9, (("mm", "int8", 2),))
    assert remark(small) == "larger than baseline: its scales cost more"


def test_a_smaller_and_faster_one_has_no_remark() -> None:
    assert remark(variant("onnx-int8-static", "quantize", 3000, 0.3, (("QLinearConv", "int8", 2),))) == ""


def test_no_difference_is_said_with_the_rows() -> None:
    same = variant("saved-model", "convert", 5000, 1.0, (), differences={"accuracy": Interval(-0.003, -0.01, 0.004)})
    shown = table([BASE, same])
    assert shown.rows[-1][-1] == "no difference in latency; no difference in accuracy on 360 rows"
    cell = shown.rows[-1][shown.columns.index("accuracy − baseline [95 %]")]
    assert cell.text == "-0.3 points [-1, +0.4]"
    assert shown.rows[0][shown.columns.index("accuracy − baseline [95 %]")] is None
    worse = variant("distil", "distil", 5000, 0.3, (), differences={"accuracy": Interval(-0.03, -0.05, -0.01)})
    assert remark(worse) == ""
