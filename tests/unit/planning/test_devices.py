"""The device of a plan, among the GPUs that this process may use."""

from __future__ import annotations

import pytest

from lmkit.exceptions import ConfigError
from lmkit.planning import devices
from lmkit.planning.devices import find_device
from lmkit.system.gpus import Gpu

GPUS = [Gpu(0, "GPU-a", "A100", 80 * 2**30, free=10 * 2**30), Gpu(1, "GPU-b", "H100", 80 * 2**30, free=70 * 2**30)]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "read_gpus", lambda: GPUS)


@pytest.mark.usefixtures("two_gpus")
def test_of_several_gpus_it_is_the_freest_or_the_one_that_is_named() -> None:
    assert find_device() == find_device("auto") == ("cuda", "H100", 70 * 2**30)
    assert find_device("cuda:0") == ("cuda", "A100", 10 * 2**30)
    assert find_device("cpu").kind == "cpu"
    assert find_device("cuda", "24 GB") == ("cuda", "the device", 24 * 10**9)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="given 'cuda:2', but this machine has the GPUs cuda:0 to cuda:1"):
        find_device("cuda:2")
    assert find_device("cuda:2", "80 GB").kind == "cuda"  # of another machine


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "read_gpus", list)
    with pytest.raises(ConfigError, match="given 'cuda', but this machine has no GPU; use device: cpu"):
        find_device("cuda")
    assert find_device().kind == "cpu"
    assert find_device("mps").kind == "mps"


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "mps:0", "cpu:1"])
def test_another_spelling_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="expected cpu, cuda, cuda:N or mps"):
        find_device(device)
