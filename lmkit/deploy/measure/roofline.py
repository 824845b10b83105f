"""The roofline of this machine: how fast it multiplies and moves numbers, and the least time of a call.

A call multiplies and reads its weights; it takes at least the longer of the two (the roofline model: Williams, Waterman
and Patterson, *Communications of the ACM*, 2009). Both rates are measured in some seconds by ``python -m
lmkit.deploy.measure.roofline``, once per machine and number of threads, and saved in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lmkit.deploy.measure.server import THREADS
from lmkit.system.cores import available_cores
from lmkit.system.environment import installed_versions, processor
from lmkit.system.files import write_json
from lmkit.system.optional import missing_modules
from lmkit.system.user_folders import cache_folder

VERSION = 1
"""Version of the measurement; files of other versions are ignored."""

SIZES, REPEATS = (512, 768, 1024, 1536), 7
"""Sizes of the multiplied matrices, and repetitions, of which the shortest counts."""

ARRAYS = (2**16, 2**18, 2**20, 2**22, 2**24, 2**26, 3 * 2**27)
"""Total bytes of three arrays, two of which are added into the third; the largest are 128 MiB each."""

TIMEOUT = 120.0
"""Seconds after which a measurement is aborted."""


@dataclass(frozen=True)
class Roofline:
    """The highest rates of a machine.

    Attributes:
        threads: number of threads.
        peak: type → operations per second in matrix products; a multiplication and an addition are two.
        bandwidth: (size in bytes, bytes per second), by increasing size: caches are faster than memory.
    """

    threads: int
    peak: Mapping[str, float]
    bandwidth: tuple[tuple[int, float], ...]

    def bytes_per_second(self, size: int) -> float:
        """Return the bandwidth at a size: that of the next smaller measured size."""
        fits = [rate for array_size, rate in self.bandwidth if array_size <= size]
        return fits[-1] if fits else self.bandwidth[0][1]

    def seconds(self, flops: float, size: int, dtype: str = "float32") -> float | None:
        """Return the least seconds of a call: max(flops ÷ peak of the type, bytes ÷ bandwidth).

        Args:
            flops: operations of the call, two per multiplication.
            size: bytes of the stored weights.
            dtype: type in which the call computes.

        Returns:
            None if no installed library could measure the type.

        >>> roofline = Roofline(1, {"float32": 1e11}, ((65536, 1e11), (402653184, 1e10)))
        >>> roofline.seconds(2e6, 400_000), roofline.seconds(2e3, 400_000), roofline.seconds(2e6, 100_000, "int8")
        (2e-05, 4e-06, None)
        """
        if dtype not in self.peak:
            return None
        return max(flops / self.peak[dtype], size / self.bytes_per_second(size))


def stored_bytes(weights: Mapping[str, int]) -> int:
    """Return the bytes of {type: how many numbers}.

    >>> stored_bytes({"int8": 10, "float32": 10, "int4": 10})
    55
    """
    return sum(count * int(re.sub(r"\D+", "", dtype) or 8) for dtype, count in weights.items()) // 8


def cached_roofline(threads: int) -> Roofline | None:
    """Return the saved roofline; None if there is none."""
    try:
        record = json.loads(_file(threads).read_text(encoding="utf-8"))
        return _from_record(record)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def measure_roofline(threads: int, report: Callable[[str], None] = lambda _: None) -> Roofline | None:
    """Return the saved roofline, or measure it in another process; None if it cannot be measured.

    Args:
        threads: threads of each variant of a comparison.
        report: called with a message before a measurement begins.
    """
    if (roofline := cached_roofline(threads)) is not None:
        return roofline
    report(f"benchmarking this machine (first time only, {threads} thread{'s' if threads > 1 else ''})")
    command = [sys.executable, "-m", "lmkit.deploy.measure.roofline", str(threads)]
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=environment)
        roofline = _from_record(json.loads(process.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, OSError, IndexError, ValueError, KeyError, TypeError):
        return None
    with suppress(OSError):  # measured again next time
        save_roofline(roofline)
    return roofline


def save_roofline(roofline: Roofline) -> None:
    """Write a roofline to the user's cache, where ``cached_roofline`` reads it.

    Raises:
        OSError: it cannot be written.
    """
    path = _file(roofline.threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(roofline) | {"for": _key(roofline.threads)})


def _from_record(record: Mapping[str, Any]) -> Roofline:
    return Roofline(
        record["threads"], dict(record["peak"]), tuple((int(size), float(rate)) for size, rate in record["bandwidth"])
    )


@lru_cache(maxsize=8)
def _key(threads: int) -> dict[str, Any]:
    """Return what the measurement depends on."""
    versions = installed_versions(("numpy", "onnxruntime"))
    return {
        "processor": processor(),
        "cores": available_cores(),
        "versions": versions,
        "threads": threads,
        "v": VERSION,
    }


def _file(threads: int) -> Path:
    key = json.dumps(_key(threads), sort_keys=True)
    return cache_folder() / f"limits-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


# -- the process that measures --------------------------------------------------------------------


def shortest(call: Callable[[], object], repeats: int = REPEATS, min_seconds: float = 0.0) -> float:
    """Return the seconds of the shortest of ``repeats`` calls, or more until ``min_seconds``, after a warm-up call."""
    call()
    clock, durations = time.perf_counter, list[float]()
    end = clock() + min_seconds
    while len(durations) < repeats or clock() < end:
        start = clock()
        call()
        durations.append(clock() - start)
    return min(durations)


def measure_peaks(threads: int) -> dict[str, float]:
    """Return type → operations per second of the fastest product of square matrices."""
    rates: dict[str, float] = {}
    for make in (_numpy, _onnxruntime):
        for dtype, product, size in make(threads):
            rates[dtype] = max(rates.get(dtype, 0.0), 2.0 * size**3 / shortest(product))
    return rates


Product = tuple[str, Callable[[], object], int]


def _numpy(_threads: int) -> Iterator[Product]:
    import numpy as np

    for dtype in ("float32", "float64"):
        for size in SIZES:
            a = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
            out = np.empty_like(a)
            yield dtype, lambda a=a, out=out: np.matmul(a, a, out=out), size  # type: ignore[misc]


def _onnxruntime(threads: int) -> Iterator[Product]:
    """Yield products of ONNX Runtime, whose integer product int8 models run; none if it is not installed."""
    if missing_modules(["onnx", "onnxruntime"]):
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
            input_type, weight_type, type_in, type_out = kinds
            # seven bits, on which no processor saturates
            a, b = (draw.integers(0, 64, (size, size)).astype(t) for t in (input_type, weight_type))
            graph = helper.make_graph(
                [helper.make_node(operation, ["a", "b"], ["c"])],
                "product",
                [helper.make_tensor_value_info("a", type_in, (size, size))],
                [helper.make_tensor_value_info("c", type_out, (size, size))],
                [numpy_helper.from_array(b, "b")],
            )
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            yield name, lambda session=session, a=a: session.run(None, {"a": a}), size  # type: ignore[misc]


def measure_bandwidths() -> list[tuple[int, float]]:
    """Return (size, bytes per second) of adding two arrays into a third, without the overhead of a call.

    A smaller size is at least as fast as any larger one, since otherwise its measurement is noise.
    """
    import numpy as np

    one = np.zeros(1, np.float32)
    overhead = shortest(lambda: np.add(one, one, out=one), 20_000)
    rates = []
    for size in ARRAYS:
        a, b, c = (np.full(size // 12, i, np.float32) for i in range(3))
        duration = shortest(lambda a=a, b=b, c=c: np.add(a, b, out=c), min_seconds=0.1)  # type: ignore[misc]
        rates.append((size, 3 * a.nbytes / max(duration - overhead, duration / 2)))
    return [(size, max(rate for _, rate in rates[i:])) for i, (size, _) in enumerate(rates)]


def main(threads: int) -> None:
    """Measure the roofline and print it as JSON."""
    start = time.perf_counter()
    roofline = asdict(Roofline(threads, measure_peaks(threads), tuple(measure_bandwidths())))
    print(json.dumps({**roofline, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
