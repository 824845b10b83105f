"""PyTorch's own tools for deployment: compiled packages (AOTInductor), weights in int8, programs in int8 (torchao)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lmkit.backends.quiet import quiet, without_notes
from lmkit.errors import LmkitError

DATA, SCALE = ".int8", ".scale"
"""What follows a weight's name where it is kept as integers, one scale a row."""

MOST_OFF = 0.5
"""What a quantized model may be off on the rows that its ranges were taken on, as a share of its outputs."""


class CannotQuantize(LmkitError):
    """A model has nothing that torchao quantizes, or cannot be run once it did; the message says what."""


class Program(NamedTuple):
    """An exported program, for any number of rows.

    Attributes:
        program: what ``torch.export`` gives.
        recipe: how its numbers were made narrower, if they were.
    """

    program: Any
    recipe: dict[str, Any]

    def outputs(self, X: np.ndarray) -> np.ndarray:
        """Logits of rows, as the program simulates them: its integers are numbers of float32 in between."""
        with torch.no_grad():
            found: np.ndarray = self.program.module()(torch.from_numpy(X)).numpy()
        return found


def program(model: torch.nn.Module, X: np.ndarray) -> Program:
    """The graph of a model, traced at a few rows in inference mode, so that dropout is off."""
    return Program(_exported(model.eval().cpu(), X), {})


def static_int8(model: torch.nn.Module, X: np.ndarray, *, reduce_range: bool) -> Program:
    """The graph of a model whose dense layers and convolutions are computed in int8, as Inductor does it on x86 (PT2E).

    Ranges of what flows are taken on the rows ``X``. The weights that were replaced are left out: ``torch.export``
    would keep them beside the integers, in a file larger than before.

    Raises:
        CannotQuantize: the model has no such layer, or is no longer itself on the rows that ranges were taken on.
    """
    with quiet(), without_notes():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86
    with quiet():
        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config(reduce_range=reduce_range))
        prepared = prepare_pt2e(_exported(model.eval().cpu(), X).module(), quantizer)
        with torch.no_grad():
            for i in range(0, len(X), 32):
                prepared(torch.from_numpy(X[i : i + 32]))
        converted = convert_pt2e(prepared)
        used = {node.target for node in converted.graph.nodes if node.op == "get_attr"}
        for name in [name for name, _ in converted.named_parameters() if name not in used]:
            owner, _, last = name.rpartition(".")
            delattr(converted.get_submodule(owner), last)
        exported = _exported(converted, X)
    integers = sum(t.numel() for t in exported.state_dict.values() if t.dtype == torch.int8)
    if not integers:
        raise CannotQuantize("there is no dense layer or convolution whose weights could be int8")
    whole = sum(p.numel() for p in model.parameters())
    made = Program(exported, {"calibration_rows": len(X), "reduce_range": reduce_range, "quantized": integers / whole})
    with torch.no_grad():
        wanted = model(torch.from_numpy(X)).numpy()
    with np.errstate(invalid="ignore"):
        off = float(np.sqrt(np.mean((made.outputs(X) - wanted) ** 2) / np.mean(wanted**2)))
    if not off <= MOST_OFF:
        raise CannotQuantize(
            f"in int8 it is {off:.2g} of its outputs off on the rows that its ranges were taken on: what flows has "
            "no range that 256 steps could divide, as where a mask of −∞ goes into a dense layer"
        )
    return made


def package(made: Program, path: Path) -> dict[str, str]:
    """Compiles a program ahead of time (AOTInductor) into a package; returns what it was compiled for.

    It uses as many threads as the process that runs it. Weights are frozen into it where integers are meant, for only
    then are operations fused into integer ones; elsewhere that makes nothing quicker. Debugging symbols are left out,
    and the rest is compressed: a twelfth of what PyTorch writes.
    """
    frozen = bool(made.recipe)
    with tempfile.TemporaryDirectory() as folder, quiet(), torch.no_grad():
        whole = Path(folder) / "whole.pt2"
        options = {"cpp.dynamic_threads": True, "freezing": frozen}
        torch._inductor.aoti_compile_and_package(made.program, package_path=str(whole), inductor_configs=options)
        _pack(whole, path)
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    return {"instructions": str(pick_vec_isa())}


def int8_weights(model: torch.nn.Module) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The weights of a model, those of dense layers as integers and a scale a row; and how many of all those are.

    torchao leaves out what is no ``nn.Linear``, and says nothing: convolutions, embeddings, and all of an
    ``nn.MultiheadAttention``.

    Raises:
        CannotQuantize: nothing was quantized.
    """
    with quiet(), without_notes():
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    whole = sum(p.numel() for p in model.parameters())
    with quiet():
        quantize_(model.eval().cpu(), Int8WeightOnlyConfig(set_inductor_config=False))
    arrays: dict[str, np.ndarray] = {}
    seen: set[int] = set()
    skipped = {name for name, p in model.named_parameters() if p.ndim > 1 and not hasattr(p, "qdata")}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if hasattr(tensor, "qdata"):
            arrays |= {name + DATA: tensor.qdata.numpy(), name + SCALE: tensor.scale.numpy()}
        else:
            arrays[name] = tensor.detach().numpy()
    integers = sum(a.size for name, a in arrays.items() if name.endswith(DATA))
    if not integers:
        raise CannotQuantize("torchao quantizes the weights of dense layers, and this model has none")
    return arrays, {"quantized": integers / whole, "left_out": sorted(skipped)}


@torch.no_grad()
def set_int8_weights(model: torch.nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Gives a model the weights that ``int8_weights`` told."""
    with quiet(), without_notes():
        from torchao.quantization import Int8Tensor
    state = model.state_dict(keep_vars=True)
    for name, values in arrays.items():
        if name.endswith(SCALE):
            continue
        if not name.endswith(DATA):
            state[name].copy_(torch.from_numpy(values))
            continue
        name = name.removesuffix(DATA)
        data, scale = torch.from_numpy(values), torch.from_numpy(arrays[name + SCALE])
        owner, _, last = name.rpartition(".")
        narrow = Int8Tensor(data, scale, [1, data.shape[1]], state[name].dtype)
        setattr(model.get_submodule(owner), last, torch.nn.Parameter(narrow, requires_grad=False))


def _exported(model: torch.nn.Module, X: np.ndarray) -> Any:
    example = torch.from_numpy(np.ascontiguousarray(np.resize(X, (2, *X.shape[1:]))))
    with quiet():
        return torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))


def _pack(whole: Path, path: Path) -> None:
    """The same archive, compressed; of machine code without the symbols that only a debugger reads."""
    strip = shutil.which("strip")
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if strip and name.endswith(".so"):
                code = whole.with_name("code.so")
                code.write_bytes(content)
                subprocess.run([strip, str(code)], check=True, timeout=60)
                content = code.read_bytes()
            new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)
