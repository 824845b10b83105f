"""Small models of every kind of layer, whose specifications are compared to what the frameworks build."""

from __future__ import annotations

import numpy as np

from lmkit.specs.models import CNN, MLP, Transformer
from lmkit.specs.signature import Signature

FEEDFORWARD_MODELS = [
    (MLP(hidden=()), (30,), 1),
    (MLP(), (30,), 1),
    (MLP(hidden=(7, 5), activation="tanh", dropout=0.25), (4,), 3),
    (MLP(hidden=(16, 16, 8, 8), activation="gelu"), (8, 8, 1), 10),
    (MLP(hidden=(5, 5, 4, 4), residual=True, normalization="layer", dropout=0.1), (6,), 2),
    (CNN(channels=(4, 4, 6), convolutions=2, residual=True, normalization="group", groups=2), (8, 9, 1), 10),
    (CNN(channels=(4,), normalization="layer", pooling="average", dropout=0.5, dense=(5,)), (9, 2), 3),
    (CNN(pooling="none", gather="average", activation="gelu"), (8, 8, 3), 3),
]


def language(length: int, vocabulary: int) -> Signature:
    return Signature((length,), vocabulary, "language", vocabulary)


TRANSFORMERS = [
    (Transformer(depth=2, width=12, heads=3, dropout=0.1), language(7, 11)),
    (
        Transformer(
            depth=2,
            width=16,
            heads=4,
            kv_heads=2,
            feedforward=10,
            activation="swiglu",
            normalization="rms",
            positions="rotary",
            bias=False,
            tied=False,
        ),
        language(7, 11),
    ),
    (Transformer(depth=1, width=16, heads=4, kv_heads=1, context=9, bias=False), language(7, 11)),
    (Transformer(depth=1, width=10, heads=3, head_size=4), language(7, 11)),
    (Transformer(depth=2, width=12, heads=3, patch=2, dropout=0.1), Signature((4, 6, 2), 3)),
    (Transformer(depth=1, width=12, heads=3, patch=3, bias=False), Signature((9, 2), 1, "regression")),
    (Transformer(depth=1, width=12, heads=2), Signature((9,), 3, "multiclass", 11)),
]


def rows(signature: Signature, number: int = 2) -> np.ndarray:
    draw = np.random.default_rng(0)
    if signature.vocabulary:
        return draw.integers(0, signature.vocabulary, (number, signature.features)).astype(np.int32)
    return draw.normal(size=(number, signature.features)).astype(np.float32)
