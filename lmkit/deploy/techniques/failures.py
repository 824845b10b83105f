"""What a converter's error means, in a sentence: converters report their own insides, often on pages.

The converter's error stays the cause of the exception that carries the sentence.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lmkit.backends.facts import EXPORT_TECHNIQUES
from lmkit.exceptions import LmkitError

if TYPE_CHECKING:
    from lmkit.deploy.artifact import Artifact
    from lmkit.deploy.trained_model import TrainedModel

Make = Callable[["TrainedModel", Path], "Artifact"]

_OPERATOR = re.compile(
    r"No ONNX function found for <OpOverload\(op='([\w.]+)'"
    r"|'(?:tf|tfl)\.(\w+)' op is neither"
    r"|^-- (?:aten\.)?([\w.]+)"
    r"|Op type not registered '(\w+)'"
    r"|Could not find an implementation for (\w+)"
    r"|[Uu]nsupported (?:operator|operation|op|function)s?:? [`'\"]?(?:aten::|aten\.)?([A-Za-z_][\w.]+)"
    r"|(?:Tensorflow|TensorFlow|tf) op \[[^\]:]*: (\w+)\] is not supported",
    re.MULTILINE,
)
"""Converters' messages about an operator that they do not support."""

_REASONS = (
    (
        r"data[- ]dependent|Could not guard|GuardOnDataDependent|TensorBoolean|as a Python `bool`",
        "what it computes depends on the values of its rows, which the converter cannot follow",
    ),
    (
        r"Constraints? ?[Vv]iolat|specializ|[Cc]annot view a tensor|[Nn]ot all values of RelaxedUnspec|\bs\d+\b",
        "it, or the converter, needs a fixed number of rows",
    ),
    (r"2 ?Gi?B|maximum protobuf size|exceeds maximum", "its file would be larger than the format's 2 GB"),
    (r"scalar type|dtype|data type|mixed precision", "the tool does not take the types of its numbers"),
    (r"shape|dimension|rank|out of bounds|size mismatch", "the tool cannot follow the shapes inside it"),
    (r"No module named|cannot import", "a package that the converter needs is missing or of another version"),
)
"""Pattern in an error → what it means for the model."""


class ConversionFailed(LmkitError):
    """A tool that converts or quantizes models failed on this one; the message says why and what to use instead."""


class Failure(NamedTuple):
    """Why a converter failed.

    Attributes:
        operators: the operators of the model that it does not support, if that is the reason.
        reason: the reason, as the end of a sentence.
    """

    operators: tuple[str, ...]
    reason: str


def explain(error: BaseException) -> Failure:
    """Return what an error of a converter means.

    >>> explain(ValueError("Cannot view a tensor with shape torch.Size([s77, 64]) as ...")).reason
    'it, or the converter, needs a fixed number of rows'
    >>> explain(RuntimeError("No ONNX function found for <OpOverload(op='aten.bessel', overload='default')>")).operators
    ('aten.bessel',)
    """
    text = f"{type(error).__name__}:\n{error}"
    if operators := tuple(dict.fromkeys(next(filter(None, groups)) for groups in _OPERATOR.findall(text))):
        plural = "s" if len(operators) > 1 else ""
        return Failure(
            operators,
            f"the operator{plural} {', '.join(operators)} of this model {'are' if plural else 'is'} not supported",
        )
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return Failure((), reason)
    return Failure((), f"the tool stopped with an error of its own ({type(error).__name__})")


def alternative(name: str, group: str, framework: str) -> str:
    """Return the technique to use where ``name`` fails.

    >>> alternative("openvino", "convert", "torch"), alternative("onnx", "convert", "torch")
    ('onnx', 'torch-export')
    """
    head, plus, last = name.rpartition("+")
    if group == "quantize":
        return f"{head}{plus}{'onnx' if last.startswith('onnx-') else 'onnx-int8-dynamic'}"
    if group in ("prune", "distil") and not plus:
        return "onnx-int8-dynamic" if last == "prune-unstructured-50" else "prune-unstructured-50"
    return f"{head}{plus}{EXPORT_TECHNIQUES[framework] if last == 'onnx' else 'onnx'}"


def explained(name: str, group: str, make: Make) -> Make:
    """Return ``make`` with its converter's errors as sentences; lmkit's own errors and those of the system pass."""

    @functools.wraps(make)
    def make_explained(trained: TrainedModel, folder: Path) -> Artifact:
        try:
            return make(trained, folder)
        except (LmkitError, OSError, MemoryError):
            raise
        except Exception as error:
            instead = alternative(name, group, trained.framework)
            raise ConversionFailed(
                f"{name} failed on this model: {explain(error).reason}; use {instead} instead"
            ) from error

    return make_explained
