"""Converters' errors as sentences, of messages that their packages really write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmkit.deploy.measure.server import explained_failures
from lmkit.deploy.runtimes import RUNTIMES
from lmkit.deploy.techniques.base import TECHNIQUES, Technique, find
from lmkit.deploy.techniques.failures import ConversionFailed, alternative, explain
from lmkit.system.rpc import NotApplicable

VIEW = "Cannot view a tensor with shape torch.Size([s77, 64, 64])"


@pytest.mark.parametrize(
    ("message", "operators"),
    [
        (
            "No ONNX function found for <OpOverload(op='aten.special_bessel_j0', overload='default')>",
            ("aten.special_bessel_j0",),
        ),
        ("error: 'tf.Igamma' op is neither a custom op nor a flex op", ("Igamma",)),
        ("Conversion failed\n-- aten.index_add with a message:\nNo translator\n-- aten.cat with", ("index_add", "cat")),
        ("[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Conv(11)", ("Conv",)),
        ("Op type not registered 'CudnnRNN' in binary running on host", ("CudnnRNN",)),
    ],
)
def test_operators_are_named(message: str, operators: tuple[str, ...]) -> None:
    assert explain(RuntimeError(message)).operators == operators


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ValueError(f"{VIEW}\nWhile executing %view_8\nOriginal traceback:\nFile own.py"),
            "needs a fixed number of rows",
        ),
        (RuntimeError("Could not guard on data-dependent expression u0 > 3"), "depends on the values of its rows"),
        (ValueError("Message onnx.ModelProto exceeds maximum protobuf size of 2GB"), "larger than the format's 2 GB"),
        (IndexError("axis 1 is out of bounds for array of dimension 1"), "cannot follow the shapes inside it"),
        (TypeError("unsupported operand type(s) for +: 'int' and 'NoneType'"), "an error of its own (TypeError)"),
    ],
)
def test_the_reason_is_a_sentence_without_the_message(error: Exception, reason: str) -> None:
    failure = explain(error)
    assert failure.reason.endswith(reason) or reason in failure.reason
    assert str(error).splitlines()[0] not in failure.reason
    assert not failure.operators


@pytest.mark.parametrize(
    ("name", "group", "expected"),
    [
        ("executorch", "convert", "onnx"),
        ("onnx", "convert", "saved-model"),
        ("openvino-int8-static", "quantize", "onnx-int8-dynamic"),
        ("onnx-int8-static", "quantize", "onnx"),
        ("prune-50+litert-int8-static", "quantize", "prune-50+onnx-int8-dynamic"),
        ("prune-50", "prune", "prune-unstructured-50"),
    ],
)
def test_there_is_always_something_else_to_use(name: str, group: str, expected: str) -> None:
    assert alternative(name, group, "tensorflow") == expected
    assert expected.rpartition("+")[2] in TECHNIQUES


def test_an_error_inside_a_technique_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Exception] = []

    def make(*_: Any) -> Any:
        raise raised[-1]

    make.__module__ = "lmkit.deploy.techniques.executorch"
    monkeypatch.setitem(TECHNIQUES._implementations, "executorch", Technique("executorch", "convert", "", make))
    model: Any = SimpleNamespace(framework="torch")
    raised.append(ValueError(VIEW))
    with pytest.raises(ConversionFailed) as error:
        find("executorch").make(model, Path())
    assert str(error.value) == (
        "executorch failed on this model: it, or the converter, needs a fixed number of rows; use onnx instead"
    )
    assert error.value.__cause__ is raised[-1]
    raised.append(NotApplicable("the reason"))
    with pytest.raises(NotApplicable, match=r"^the reason$"):
        find("executorch").make(model, Path())
    make.__module__ = "own_techniques"
    raised.append(ValueError("what its author wrote"))
    with pytest.raises(ValueError, match=r"^what its author wrote$"):
        find("executorch").make(model, Path())


def test_an_error_of_a_runtime_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(
            ConversionFailed,
            match=r"^openvino cannot run the file: the tool cannot follow the shapes inside it; use onnx instead$",
        ),
        explained_failures("openvino"),
    ):
        raise RuntimeError("Exception from src/core.cpp:142: shapes {1,3} and {2,4} are incompatible")
    monkeypatch.setitem(RUNTIMES._implementations, "own", SimpleNamespace(__name__="own_runtime"))
    with pytest.raises(RuntimeError, match=r"^in its own words$"), explained_failures("own"):
        raise RuntimeError("in its own words")
