"""PyTorch's own tools for deployment: compiled packages (AOTInductor), weights in int8, programs in int8 (torchao)."""

from __future__ import annotations

import copy
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lmkit.backends.quiet import quiet, without_notes
from lmkit.backends.torch.export import for_inference
from lmkit.exceptions import LmkitError

DATA, SCALE = ".int8", ".scale"
"""Suffixes of a weight's name where it is stored as integers with one scale per row."""

MAX_ERROR = 0.5
"""Largest relative error of a quantized model on its calibration rows."""


class CannotQuantize(LmkitError):
    """A model has nothing that torchao quantizes, or fails once it is quantized; the message says why."""


class Program(NamedTuple):
    """An exported program, for any number of rows.

    Attributes:
        program: of ``torch.export``.
        recipe: how it was quantized, if it was.
    """

    program: Any
    recipe: dict[str, Any]

    def outputs(self, X: np.ndarray) -> np.ndarray:
        """Return logits of rows, as the program simulates them: its integers are float32 numbers in between."""
        with torch.no_grad():
            outputs: np.ndarray = self.program.module()(torch.from_numpy(X)).numpy()
        return outputs


def program(model: torch.nn.Module, X: np.ndarray) -> Program:
    """Return the graph of a model, traced at two rows in inference mode, so that dropout is off."""
    with for_inference(model) as module:
        return Program(_exported(module, X), {})


def static_int8(model: torch.nn.Module, X: np.ndarray, *, reduce_range: bool) -> Program:
    """Return the graph of a model with dense layers and convolutions in int8, as Inductor computes it on x86 (PT2E).

    Activation ranges are calibrated on the rows ``X``. The replaced weights are removed: ``torch.export`` would save
    them next to the integers, in a file larger than before.

    Raises:
        CannotQuantize: the model has no such layer, or its outputs differ too much on the calibration rows.
    """
    with quiet(), without_notes():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86
    with quiet(), for_inference(model) as module:
        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config(reduce_range=reduce_range))
        prepared = prepare_pt2e(_exported(module, X).module(), quantizer)
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
    total = sum(p.numel() for p in model.parameters())
    quantized = Program(
        exported, {"calibration_rows": len(X), "reduce_range": reduce_range, "quantized": integers / total}
    )
    with torch.no_grad(), for_inference(model) as module:
        expected = module(torch.from_numpy(X)).numpy()
    with np.errstate(invalid="ignore"):
        off = float(np.sqrt(np.mean((quantized.outputs(X) - expected) ** 2) / np.mean(expected**2)))
    if not off <= MAX_ERROR:
        raise CannotQuantize(
            f"in int8 it is {off:.2g} of its outputs off on the rows that its ranges were taken on: what flows has "
            "no range that 256 steps could divide, as where a mask of −∞ goes into a dense layer"
        )
    return quantized


def package(exported: Program, path: Path) -> dict[str, str]:
    """Compile a program ahead of time (AOTInductor) into a package; return the instruction set it was compiled for.

    It uses as many threads as the process that runs it. Weights of a quantized program are frozen into it, for only
    then are operations fused into integer ones; elsewhere freezing gains no speed. Debugging symbols are removed and
    the rest is compressed: a twelfth of the size that PyTorch writes.
    """
    frozen = bool(exported.recipe)
    with tempfile.TemporaryDirectory() as folder, quiet(), torch.no_grad():
        archive = Path(folder) / "whole.pt2"
        options = {"cpp.dynamic_threads": True, "freezing": frozen}
        torch._inductor.aoti_compile_and_package(exported.program, package_path=str(archive), inductor_configs=options)
        _compress(archive, path)
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    return {"instructions": str(pick_vec_isa())}


def int8_weights(model: torch.nn.Module) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the weights of a model, those of dense layers as integers with one scale per row, and their share.

    torchao silently skips all but ``nn.Linear``: convolutions, embeddings, and all of an ``nn.MultiheadAttention``.

    Raises:
        CannotQuantize: nothing was quantized.
    """
    with quiet(), without_notes():
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    total = sum(p.numel() for p in model.parameters())
    model = copy.deepcopy(model).cpu().eval()  # torchao replaces the weights
    with quiet():
        quantize_(model, Int8WeightOnlyConfig(set_inductor_config=False))
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
    return arrays, {"quantized": integers / total, "left_out": sorted(skipped)}


@torch.no_grad()
def set_int8_weights(model: torch.nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Set the weights that ``int8_weights`` returned."""
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


def _compress(archive: Path, path: Path) -> None:
    """Write the archive compressed, its machine code without the symbols that only a debugger reads."""
    strip = shutil.which("strip")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if strip and name.endswith(".so"):
                code = archive.with_name("code.so")
                code.write_bytes(content)
                subprocess.run([strip, str(code)], check=True, timeout=60)
                content = code.read_bytes()
            new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)
