"""What a ``.pt2`` file of ``torch.export`` holds, inspected before PyTorch opens it.

``torch.export.load`` reads each entry that it takes for tensors with ``weights_only=True``, and unpickles what that
refuses; entries of other kinds it always unpickles. Texts of symbolic sizes are evaluated as Python. So every entry is
read here first, by the same reader: it is JSON, the bytes of a tensor, or tensors that ``weights_only=True`` accepts.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmkit.exceptions import UntrustedCode, shorten

MARKERS = ("archive_format", "archive_version", "byteorder", "version", ".data/version", ".data/serialization_id")
"""Entries that hold a word or a number."""

CONFIG = re.compile(r"data/(weights|constants)/\w+_config\.json")
"""Entries that list tensors: which file holds each, and whether it is pickled."""

FUNCTION, TEXT = re.compile(r"[A-Z]\w*"), re.compile(r"[\w.+-]*")
"""The names of SymPy's functions, which no function of Python has; and the texts that they are given."""


def check_program(path: Path) -> None:
    """Check that opening a ``.pt2`` file unpickles and evaluates nothing but tensors and sizes.

    The operations of the program itself are not judged: they run when it is called.

    Raises:
        UntrustedCode: an entry holds anything else; it was not loaded.
        ValueError: the file is no archive that PyTorch wrote.
    """
    import torch

    try:
        reader = torch._C.PyTorchFileReader(str(path))
        names = list(reader.get_all_records())
        with zipfile.ZipFile(path) as archive:
            members = [member.filename.partition("/")[2] for member in archive.infolist()]
    except (RuntimeError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} is no archive that PyTorch wrote: {error}") from None
    if sorted(members) != sorted(names) or len({name.lower() for name in names}) < len(names):
        raise ValueError(f"{path.name} holds entries of the same name, or outside of its folder")
    texts = {name: _parse(path, name, reader.get_record(name)) for name in names if name.endswith(".json")}
    plain = {raw for name, text in texts.items() if CONFIG.fullmatch(name) for raw in _raw_tensors(name, text)}
    for name, text in texts.items():
        for expression in _expressions(text):
            if not _is_size(expression):
                raise _refusal(path, name, f"a size is computed by {shorten(expression)}")
    for name in names:
        if name in texts or name in plain or name in MARKERS:
            continue
        try:
            torch.load(io.BytesIO(reader.get_record(name)), map_location="cpu", weights_only=True)
        except Exception as error:  # whatever the reader of PyTorch makes of damaged or malicious bytes
            raise _refusal(path, name, str(error).partition("\n")[0]) from None


def _refusal(path: Path, name: str, problem: str) -> UntrustedCode:
    return UntrustedCode(
        f"{path.name} holds {shorten(name)}, which is neither tensors nor their description, and would run code of "
        f"its author when it is opened ({shorten(problem, 200)}); it was not opened: write the program again with "
        "torch.export.save"
    )


def _parse(path: Path, name: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(f"{path.name}: {shorten(name)} is no JSON") from None


def _raw_tensors(config: str, text: Any) -> Iterator[str]:
    """Yield the names of the entries that a list of tensors describes as bytes, and never as a pickle."""
    files: dict[str, bool] = {}
    tensors = text.get("config") if isinstance(text, dict) else None
    for tensor in tensors.values() if isinstance(tensors, dict) else ():
        if isinstance(tensor, dict):
            name = f"{config.rpartition('/')[0]}/{tensor.get('path_name')}"
            is_raw = tensor.get("use_pickle") is False and isinstance(tensor.get("tensor_meta"), dict)
            files[name] = files.get(name, True) and is_raw and bool(re.match("weight_|tensor_", name.split("/")[-1]))
    yield from (name for name, is_raw in files.items() if is_raw)


def _is_size(expression: Any) -> bool:
    """Return whether a text is a symbolic size, such as ``Mul(Integer(2), Symbol('s0'))``: SymPy evaluates it."""
    try:
        nodes = list(ast.walk(ast.parse(expression, mode="eval")))
    except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    allowed = (ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Constant, ast.expr_context, ast.BinOp, ast.UnaryOp)
    return all(
        isinstance(node, (*allowed, ast.Compare, ast.operator, ast.unaryop, ast.cmpop))
        and not (isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and FUNCTION.match(node.func.id)))
        and not (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and not _is_name(node.value))
        for node in nodes
    )


def _is_name(text: str | bytes) -> bool:
    return isinstance(text, str) and bool(TEXT.fullmatch(text))


def _expressions(value: Any) -> Iterator[Any]:
    """Yield the texts of symbolic sizes at any depth."""
    values: list[Any] = [value]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values.extend(value.values())
            if "expr_str" in value:
                yield value["expr_str"]
        elif isinstance(value, list):
            values.extend(value)
