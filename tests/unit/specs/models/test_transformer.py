"""The transformer's counts, first weights and refusals, held to what is published and to what the frameworks build."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from layer_models import TRANSFORMERS, language, rows

from lmkit import ConfigError, Experiment
from lmkit.backends import get_backend
from lmkit.specs.models import PRESETS, Transformer
from lmkit.specs.models.base import ModelSpec
from lmkit.specs.signature import Graph, Signature


def preset(name: str) -> Transformer:
    return Transformer(**PRESETS[f"transformer:{name}"])


def parameters(spec: ModelSpec, signature: Signature) -> int:
    return sum(layer.parameters for layer in spec.layers(signature))


@pytest.mark.parametrize(
    ("name", "signature", "published"),
    [
        ("gpt2", language(1024, 50257), 124_439_808),
        ("gpt2-medium", language(1024, 50257), 354_823_168),
        ("gpt2-large", language(1024, 50257), 774_030_080),
        ("gpt2-xl", language(1024, 50257), 1_557_611_200),
        ("7b", language(4096, 32000), 6_738_415_616),
        ("13b", language(4096, 32000), 13_015_864_320),
        ("70b", language(4096, 32000), 68_976_648_192),
    ],
)
def test_parameters_are_the_published_ones(name: str, signature: Signature, published: int) -> None:
    tracemalloc.start()
    try:
        assert parameters(preset(name), signature) == published
        assert tracemalloc.get_traced_memory()[1] < 2**21  # it is counted, and nothing of that size is made
    finally:
        tracemalloc.stop()


def test_a_shorter_text_leaves_the_positions_as_they_are() -> None:
    assert parameters(preset("gpt2"), language(64, 50257)) == 124_439_808
    whole = parameters(Transformer(context=None), language(64, 256))
    assert whole == parameters(Transformer(context=100), language(64, 256)) - 36 * 128


@pytest.mark.parametrize(("spec", "signature"), TRANSFORMERS)
def test_layers_are_those_that_pytorch_builds(spec: Transformer, signature: Signature) -> None:
    import torch

    model: Any = get_backend("torch").build(spec, signature, "float32")
    found: list[Any] = []

    def note(name: str, module: Any, out: Any) -> None:
        parameters = sum(p.numel() for p in module.parameters(recurse=False))
        found.append((name.rpartition(".")[2], tuple(out.shape[1:]), parameters))

    for name, module in model.named_modules():
        if name.rpartition(".")[2] not in ("", "patches", "inside", "shortcut"):  # they learn nothing and keep the rest
            module.register_forward_hook(lambda module, _, out, name=name: note(name, module, out))
    model(torch.from_numpy(rows(signature)))
    assert [(layer.name, layer.shape, layer.parameters) for layer in spec.layers(signature)] == found


def test_first_weights_are_small_draws_of_numpy() -> None:
    spec = Transformer(depth=8, width=64, heads=4, feedforward=200, tied=False)
    found = spec.initial_weights(language(40, 100), 7)
    shapes = {f"{layer.name}.{n}": s for layer in spec.layers(language(40, 100)) for n, s in layer.weights.items()}
    assert {name: values.shape for name, values in found.items()} == shapes
    for name, values in found.items():
        assert values.dtype == np.float32
        if name.endswith(("kernel", "embeddings")):
            expected = 0.0790569 / (4 if name.startswith(("project", "down")) else 1)  # √(2/(5 · 64)); √(2 · 8) = 4
            assert values.std() == pytest.approx(expected, rel=6 / math.sqrt(2 * values.size)), name
            assert abs(values.mean()) < 5 * expected / math.sqrt(values.size), name
        else:
            assert np.all(values == (1 if name.endswith("gamma") else 0)), name
    draw = np.random.default_rng([7, 0])
    drawn = draw.standard_normal((100, 64), np.float32)
    np.testing.assert_allclose(found["embed.embeddings"], drawn * 0.0790569, rtol=1e-6)
    other = spec.initial_weights(language(40, 100), 8)
    assert not np.isclose(found["output.kernel"], other["output.kernel"], rtol=1e-6, atol=0).any()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"heads": 5}, "model.heads: given 5, which do not divide a width of 128; write heads: 4 or 8"),
        ({"heads": 4, "kv_heads": 3}, "model.kv_heads: given 3, which do not divide 4 heads; write kv_heads: 2 or 4"),
        ({"head_size": 3, "positions": "rotary"}, "model.head_size: given 3, and rotary positions turn pairs"),
        ({"heads": 2, "kv_heads": 4}, "model.kv_heads: given 4, which do not divide 2 heads; write kv_heads: 1 or 2"),
        ({"width": 12, "positions": "rotary"}, "model.heads: given 4, which leaves each head 3 of 12 numbers, and "),
        ({"patch": 3}, "model.patch: given 3, which does not divide 8 × 8; write patch: 2 or 4"),
        (
            {"context": 16},
            "model.context: the sequence is longer than positions: given 16 positions, and a row of the "
            "data is 64 patches long; write context: 64, or positions: rotary",
        ),
        ({"activation": "relu"}, "model.activation: given 'relu', "),
        ({"head": 3}, "model.head: unknown key of 'transformer'; did you mean 'heads'?"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Experiment(data="digits", model={"family": "transformer", **fields})
    assert caught.value.problems[0].startswith(said)


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        (
            Signature((13,), 3),
            "model.family: 'transformer' needs texts, images or sequences, and a row of the data is "
            "13 columns; write model: mlp, or data: digits",
        ),
        (
            Signature((3,), 2, graph=Graph(np.zeros((4, 3)), np.zeros((2, 0), int))),
            "model.family: 'transformer' needs "
            "texts, images or sequences, and the data is the nodes of a graph; write model: gcn",
        ),
        (
            language(129, 256),
            "model.context: the sequence is longer than positions: given 128 positions, and a row of "
            "the data is 129 tokens long; write context: 129, or positions: rotary",
        ),
    ],
)
def test_data_that_it_cannot_read_is_refused(signature: Signature, said: str) -> None:
    spec = preset("nano")
    spec.check(language(128, 256))
    with pytest.raises(ConfigError) as caught:
        spec.check(signature)
    assert caught.value.problems[0].startswith(said)


def test_a_text_has_no_patches_and_rotary_positions_no_end() -> None:
    with pytest.raises(ConfigError, match=r"model.patch: given 2, and a text has no patches; write patch: 1"):
        preset("patches").check(language(16, 256))
    Transformer(positions="rotary", context=8).check(language(16, 256))


def test_a_preset_alone_is_no_family() -> None:
    with pytest.raises(ConfigError, match="model: given 'gpt2', which is a preset; write model: transformer:gpt2"):
        Experiment(model="gpt2")


def test_its_training_suits_it_where_nothing_else_is_said() -> None:
    spec = Experiment(model="transformer:patches", data="digits").training
    assert (spec.optimizer.name, spec.schedule.name, spec.clip_norm) == ("adamw", "cosine", 1.0)
    told = Experiment(model="transformer:patches", data="digits", training={"optimizer": "sgd", "epochs": 3}).training
    assert (told.optimizer.name, told.epochs, told.clip_norm) == ("sgd", 3, 1.0)
