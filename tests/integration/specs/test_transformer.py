"""The transformer's layers and operations, compared to those that the frameworks build and count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_models import TRANSFORMERS, rows

from lmkit.backends import get_backend
from lmkit.specs.models import Transformer
from lmkit.specs.signature import Signature


@pytest.mark.parametrize(("spec", "signature"), TRANSFORMERS)
def test_layers_are_those_that_tensorflow_builds(spec: Transformer, signature: Signature) -> None:
    model: Any = get_backend("tensorflow").build(spec, signature, "float32")
    own = [layer for layer in model.layers if not layer.name.startswith(("input", "patches"))]
    outputs = {layer.name: layer._inbound_nodes[0].output_tensors[0] for layer in own}
    found = {layer.name: (tuple(outputs[layer.name].shape[1:]), layer.count_params()) for layer in own}
    # a tied output is no layer of Keras's: the embedding is called once more
    expected = {layer.name: (layer.shape, layer.parameters) for layer in spec.layers(signature)}
    tied = [layer.name for layer in spec.layers(signature) if layer.kind == "tied dense"]
    assert found == {name: layer for name, layer in expected.items() if name not in tied}
    assert tuple(model.output.shape[1:]) == spec.layers(signature)[-1].shape


@pytest.mark.parametrize(("spec", "signature"), TRANSFORMERS)
def test_multiplications_are_those_that_pytorch_counts(spec: Transformer, signature: Signature) -> None:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    model: Any = get_backend("torch").build(spec, signature, "float32")
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
        model(torch.from_numpy(rows(signature, 3)))
    assert counted.get_total_flops() == 2 * 3 * spec.multiplications(signature)


@pytest.mark.parametrize(("spec", "signature"), [TRANSFORMERS[1], TRANSFORMERS[3]])
def test_a_keras_model_is_saved_whole(spec: Transformer, signature: Signature, tmp_path: Path) -> None:
    import keras

    model: Any = get_backend("tensorflow").build(spec, signature, "float32")
    model.save(tmp_path / "a.keras")
    X = rows(signature, 4)
    expected = get_backend("tensorflow").predict(model, X)
    assert np.ptp(expected) > 0
    found = get_backend("tensorflow").predict(keras.models.load_model(tmp_path / "a.keras"), X)
    np.testing.assert_array_equal(found, expected)
