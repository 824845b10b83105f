"""A specification from somebody else allocates nothing that this machine does not have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lmkit import ConfigError, Experiment
from lmkit.backends.capacity import check_capacity
from lmkit.specs.models import CNN, MLP, Transformer
from lmkit.specs.signature import Signature


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": {"hidden": [10**9]}}, "model.hidden.0: given 1000000000, expected a number of at most 1048576"),
        ({"model": {"hidden": [2] * 1001}}, "model.hidden"),
        ({"model": {"family": "cnn", "channels": [10**9]}, "data": "digits"}, "model.channels.0"),
        ({"model": {"family": "cnn", "kernel": 10**9 + 1}, "data": "digits"}, "model.kernel"),
        ({"model": {"family": "cnn", "convolutions": 10**9}, "data": "digits"}, "model.convolutions"),
        ({"model": {"family": "gcn", "hidden": [10**9]}, "data": "karate_club"}, "model.hidden.0"),
        ({"model": {"family": "transformer", "depth": 10**9}, "data": "python_docs"}, "model.depth"),
        ({"model": {"family": "transformer", "width": 2**30}, "data": "python_docs"}, "model.width"),
        ({"model": {"family": "transformer", "context": 2**40}, "data": "python_docs"}, "model.context"),
        ({"data": {"source": "python_docs", "text": {"length": 2**40}}}, "data.text.length"),
        ({"data": {"source": "a", "size": [10**9, 10**9]}}, "data.size.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sizes_are_bounded(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Experiment(**values)


def test_a_model_larger_than_the_memory_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=4 * 1_000_000))
    signature = Signature((10,), 3, "multiclass")
    check_capacity(MLP(hidden=(1000, 900)), signature, "float32")  # 914,603 parameters
    with pytest.raises(
        ConfigError, match=r"model: has 914,603 parameters, 7\.32 MB at float64, and this machine has 4 MB"
    ):
        check_capacity(MLP(hidden=(1000, 900)), signature, "float64")
    huge = Transformer(width=2**20, heads=2**10, depth=1000)
    with pytest.raises(ConfigError, match="and this machine has 4 MB of memory; use a smaller model"):
        check_capacity(huge, Signature.of_text(128, 257), "float32")


def test_the_shapes_of_weights_are_those_of_the_layers() -> None:
    shapes = MLP(hidden=(4,)).weight_shapes(Signature((3,), 2, "multiclass"))
    assert sorted(map(tuple, shapes.values())) == [(2,), (3, 4), (4,), (4, 2)]


def test_images_whose_channels_come_first_are_recognized() -> None:
    with pytest.raises(ConfigError, match=r"expected at most 1; .* if the channels come first, move them: X.transpose"):
        CNN().check(Signature((3, 8, 8), 2, "binary"))
