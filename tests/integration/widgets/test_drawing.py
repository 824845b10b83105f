"""A model's layers, compared to those that TensorFlow builds."""

from __future__ import annotations

from typing import Any

import pytest
from layer_models import FEEDFORWARD_MODELS

from lmkit.specs.models import CNN, MLP
from lmkit.specs.signature import Signature


@pytest.mark.parametrize(("spec", "shape", "outputs"), FEEDFORWARD_MODELS)
def test_layers_are_those_that_tensorflow_builds(spec: MLP | CNN, shape: tuple[int, ...], outputs: int) -> None:
    from lmkit.backends import get_backend

    model: Any = get_backend("tensorflow").build(spec, Signature(shape, outputs), "float32")
    found = [(layer.name, tuple(layer.output.shape[1:]), layer.count_params()) for layer in model.layers]
    found = [f for f in found if not f[0].startswith("input") and f[0] != "places"]
    # Keras lists a shortcut beside what it goes around
    layers = spec.layers(Signature(shape, outputs))
    assert sorted((layer.name, layer.shape, layer.parameters) for layer in layers) == sorted(found)
