"""What this machine could do at best: how fast it multiplies and moves numbers, and what a call must take at least.

A call multiplies, and reads its weights; it takes no less than the longer of the two (the roofline model: Williams,
Waterman and Patterson, *Communications of the ACM*, 2009). Both rates are measured, once a machine and number of
threads, by ``python -m lmkit.deploy.limits`` in a process of its own, some seconds, and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lmkit.deploy.bench import THREADS
from lmkit.environment import cache_folder, processor

VERSION = 1
"""Of what is measured: a file of another one is not read."""

SIZES, TIMES = (512, 768, 1024, 1536), 7
"""Of the matrices that are multiplied; and how often, of which the shortest counts."""

ARRAYS = (2**16, 2**18, 2**20, 2**22, 2**24, 2**26, 3 * 2**27)
"""Bytes of three arrays of which two are added into the third, the largest 128 MiB each."""

PATIENCE = 120.0
"""Seconds after which a measurement is given up."""


@dataclass(frozen=True)
class Limits:
    """What a machine does at best.

    Attributes:
        threads: with so many.
        peak: type → operations a second in products of matrices, of which a multiplication and an addition are two.
        bandwidth: bytes a second by the size of what is moved, the smallest first: caches are faster than memory.
    """

    threads: int
    peak: Mapping[str, float]
    bandwidth: tuple[tuple[int, float], ...]

    def bytes_a_second(self, size: int) -> float:
        """How fast so many bytes are moved, at best: as fast as the next smaller size that was measured."""
        fits = [rate for known, rate in self.bandwidth if known <= size]
        return fits[-1] if fits else self.bandwidth[0][1]

    def seconds(self, flops: float, size: int, dtype: str = "float32") -> float | None:
        """What a call takes at least, seconds: max(flops ÷ peak of the type, bytes ÷ bandwidth).

        Args:
            flops: operations of the call, two a multiplication.
            size: bytes of the weights, as they are stored.
            dtype: that the call computes in.

        Returns:
            None where nothing that is installed could measure the type.

        >>> limits = Limits(1, {"float32": 1e11}, ((65536, 1e11), (402653184, 1e10)))
        >>> limits.seconds(2e6, 400_000), limits.seconds(2e3, 400_000), limits.seconds(2e6, 100_000, "int8")
        (2e-05, 4e-06, None)
        """
        if dtype not in self.peak:
            return None
        return max(flops / self.peak[dtype], size / self.bytes_a_second(size))


def stored_bytes(weights: Mapping[str, int]) -> int:
    """Bytes of so many numbers of each type.

    >>> stored_bytes({"int8": 10, "float32": 10, "int4": 10})
    55
    """
    return sum(count * int(re.sub(r"\D+", "", dtype) or 8) for dtype, count in weights.items()) // 8


def cached(threads: int) -> Limits | None:
    """What was measured before, if it was; nothing is started."""
    try:
        told = json.loads(_file(threads).read_text(encoding="utf-8"))
        return _read(told)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def measured(threads: int, tell: Callable[[str], None] = lambda _: None) -> Limits | None:
    """What was measured before, or is now, in a process of its own; None where it cannot be.

    Args:
        threads: that a comparison's variants have.
        tell: is told before a measurement begins; never where it was made before.
    """
    if (known := cached(threads)) is not None:
        return known
    tell(f"measures what this machine can do at best, once ({threads} thread{'s' if threads > 1 else ''})")
    command = [sys.executable, "-m", "lmkit.deploy.limits", str(threads)]
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
        limits = _read(json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, OSError, IndexError, ValueError, KeyError, TypeError):
        return None
    with suppress(OSError):  # it is measured again next time
        keep(limits)
    return limits


def keep(limits: Limits) -> None:
    """Writes what was measured into the user's cache, where ``cached`` finds it.

    Raises:
        OSError: it cannot be written.
    """
    file = _file(limits.threads)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as written:
        json.dump(asdict(limits) | {"for": _key(limits.threads)}, written)
    Path(written.name).replace(file)


def _read(told: Mapping[str, Any]) -> Limits:
    return Limits(
        told["threads"], dict(told["peak"]), tuple((int(size), float(rate)) for size, rate in told["bandwidth"])
    )


@lru_cache(maxsize=8)
def _key(threads: int) -> dict[str, Any]:
    """What decides what is found."""
    versions = {}
    for name in ("numpy", "onnxruntime"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"processor": processor(), "cores": os.cpu_count(), "versions": versions, "threads": threads, "v": VERSION}


def _file(threads: int) -> Path:
    key = json.dumps(_key(threads), sort_keys=True)
    return cache_folder() / f"limits-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


# -- the process that measures --------------------------------------------------------------------


def shortest(call: Callable[[], object], times: int = TIMES, least: float = 0.0) -> float:
    """Seconds of the shortest of several calls, or of as many as ``least`` seconds take; the first is not timed."""
    call()
    clock, found = time.perf_counter, list[float]()
    end = clock() + least
    while len(found) < times or clock() < end:
        began = clock()
        call()
        found.append(clock() - began)
    return min(found)


def peaks(threads: int) -> dict[str, float]:
    """Operations a second of the fastest product of square matrices, by type."""
    found: dict[str, float] = {}
    for make in (_numpy, _onnxruntime):
        for dtype, product, size in make(threads):
            found[dtype] = max(found.get(dtype, 0.0), 2.0 * size**3 / shortest(product))
    return found


Product = tuple[str, Callable[[], object], int]


def _numpy(threads: int) -> Iterator[Product]:
    import numpy as np

    for dtype in ("float32", "float64"):
        for size in SIZES:
            a = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
            out = np.empty_like(a)
            yield dtype, lambda a=a, out=out: np.matmul(a, a, out=out), size  # type: ignore[misc]


def _onnxruntime(threads: int) -> Iterator[Product]:
    """Of ONNX Runtime, whose integer product is what int8 models run in; nothing where it is not installed."""
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxruntime") is None:
        return
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    draw = np.random.default_rng(0)
    for size in SIZES:
        for name, operation, kinds in (
            ("float32", "MatMul", (np.float32, np.float32, TensorProto.FLOAT, TensorProto.FLOAT)),
            ("int8", "MatMulInteger", (np.uint8, np.int8, TensorProto.UINT8, TensorProto.INT32)),
        ):
            given, kept, type_in, type_out = kinds
            # seven bits: what no processor saturates on
            a, b = (draw.integers(0, 64, (size, size)).astype(t) for t in (given, kept))
            graph = helper.make_graph(
                [helper.make_node(operation, ["a", "b"], ["c"])], "product",
                [helper.make_tensor_value_info("a", type_in, (size, size))],
                [helper.make_tensor_value_info("c", type_out, (size, size))],
                [numpy_helper.from_array(b, "b")],
            )  # fmt: skip
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            yield name, lambda session=session, a=a: session.run(None, {"a": a}), size  # type: ignore[misc]


def bandwidths() -> list[tuple[int, float]]:
    """Bytes a second of adding two arrays into a third, by the bytes of all three, without what a call itself takes.

    A larger size is never told faster than a smaller one: what it shows is then the noise of the smaller.
    """
    import numpy as np

    one = np.zeros(1, np.float32)
    call = shortest(lambda: np.add(one, one, out=one), 20_000)
    found = []
    for size in ARRAYS:
        a, b, c = (np.full(size // 12, i, np.float32) for i in range(3))
        taken = shortest(lambda a=a, b=b, c=c: np.add(a, b, out=c), least=0.1)  # type: ignore[misc]
        found.append((size, 3 * a.nbytes / max(taken - call, taken / 2)))
    return [(size, max(rate for _, rate in found[i:])) for i, (size, _) in enumerate(found)]


def main(threads: int) -> None:
    """Measures, and prints what was found as JSON."""
    began = time.perf_counter()
    found = asdict(Limits(threads, peaks(threads), tuple(bandwidths())))
    print(json.dumps({**found, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
