"""A model's layers, held to what the frameworks themselves build; its picture."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from layer_models import FEEDFORWARD_MODELS

from lmkit.specs.models import CNN, MLP, Layer, Transformer
from lmkit.specs.signature import Signature
from lmkit.widgets.drawing import MAX_COLUMNS, MAX_UNITS, columns, elide, model_svg


@pytest.mark.parametrize(("spec", "shape", "outputs"), FEEDFORWARD_MODELS)
def test_layers_are_those_that_pytorch_builds(spec: MLP | CNN, shape: tuple[int, ...], outputs: int) -> None:
    import torch

    from lmkit.backends import get_backend

    model: Any = get_backend("torch").build(spec, Signature(shape, outputs), "float32")
    found: list[Any] = []

    def note(name: str, module: Any, out: Any) -> None:
        parameters = sum(p.numel() for p in module.parameters(recurse=False))
        found.append((name.rpartition(".")[2], tuple(out.movedim(1, -1).shape[1:]), parameters))  # channels last

    for name, module in model.named_modules():
        if name.rpartition(".")[2] not in ("", "places", "inside", "shortcut"):  # they hold layers, and are none
            module.register_forward_hook(lambda module, _, out, name=name: note(name, module, out))
    model(torch.zeros(2, math.prod(shape)))
    assert [(layer.name, layer.shape, layer.parameters) for layer in spec.layers(Signature(shape, outputs))] == found


def test_the_picture_is_well_formed_and_says_what_it_shows() -> None:
    spec = MLP(hidden=(64, 3), activation="tanh", dropout=0.5)
    picture = ET.fromstring(model_svg((30,), spec.layers(Signature((30,), 1))))
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == (
        "input 30; dense 64, tanh, dropout, 1,984 parameters; dense 3, tanh, dropout, 195 parameters; "
        "dense 1, 4 parameters"
    )
    assert [t.text for t in picture.iter("text") if t.get("class") == "lkc-strong"] == [
        "input 30",
        "dense 64",
        "dense 3",
        "dense 1",
    ]
    units = [[c for c in g.iter("circle") if float(c.get("r", 0)) > 2] for g in picture.iter("g")]
    assert [len(u) for u in units] == [6, 6, 3, 1]  # more than seven: the first and the last three, and dots
    lines = next(p for p in picture.iter("path") if p.get("class") == "lkc-lines").get("d", "")
    assert lines.count("M") == 6 * 6 + 6 * 3 + 3 * 1


@pytest.mark.parametrize("depth", [1, 4, 5, 40, 500])
def test_long_models_are_elided_and_nothing_is_uncounted(depth: int) -> None:
    layers = MLP(hidden=(8,) * depth).layers(Signature((8,), 2))
    whole = columns((8,), layers)
    drawn = elide(whole)
    assert len(drawn) == min(depth + 2, MAX_COLUMNS)
    assert sum(c.parameters for c in drawn) == sum(layer.parameters for layer in layers)
    left_out = sum(int(c.after[0].split()[0]) for c in drawn if not c.kind)
    assert left_out + sum(1 for c in drawn if c.kind) == depth + 2
    picture = model_svg((8,), layers)
    assert len(picture) < 9000
    xs = [float(t.get("x", 0)) for t in ET.fromstring(picture).iter("text")]
    assert 0 < min(xs) < max(xs) < 560


def test_layers_of_other_families_are_drawn_too() -> None:
    layers = [
        Layer("conv_0", "conv <3>", (8, 26, 26), {"kernel": (3, 3, 1, 8), "bias": (8,)}),
        Layer("relu_0", "relu", (8, 26, 26)),
        Layer("flatten", "flatten", (5408,)),
        Layer("dense_0", "dense", (10,), {"kernel": (5408, 10), "bias": (10,)}),
    ]
    assert [(c.kind, c.after) for c in columns((784,), layers)] == [
        ("input", ()),
        ("conv <3>", ("relu",)),
        ("flatten", ()),
        ("dense", ()),
    ]
    picture = ET.fromstring(model_svg((784,), layers))
    assert len(list(picture.iter("rect"))) == 1
    assert "conv <3> 8 × 26 × 26" in [t.text for t in picture.iter("text")]


def test_blocks_that_are_alike_are_drawn_as_one() -> None:
    layers = Transformer(depth=4, width=64, heads=4, dropout=0.1).layers(Signature((16,), 256, "language", 256))
    found = columns((16,), layers)
    assert [(c.kind, c.shape, c.after) for c in found] == [
        ("input", (16,), ()),
        ("embedding", (16, 64), ("positions", "dropout")),
        ("4 blocks", (16, 64), ("attention", "gelu", "layer norm")),
        ("tied dense", (16, 256), ()),
    ]
    assert sum(c.parameters for c in found) == sum(layer.parameters for layer in layers)


def test_shapes_have_a_line_of_their_own_where_they_would_touch() -> None:
    def texts(length: int) -> list[str | None]:
        layers = Transformer().layers(Signature((length, 2), 3))
        return [t.text for t in ET.fromstring(model_svg((length, 2), layers)).iter("text")]

    assert "4 blocks 6 × 128" in texts(6)
    assert texts(100000)[6:8] == ["4 blocks", "100000 × 128"]


def test_a_layer_of_few_units_shows_each() -> None:
    picture = ET.fromstring(model_svg((MAX_UNITS,), MLP(hidden=()).layers(Signature((MAX_UNITS,), MAX_UNITS + 1))))
    assert [len(list(g.iter("circle"))) for g in picture.iter("g")] == [MAX_UNITS, 6 + 3]
