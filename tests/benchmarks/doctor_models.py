"""Custom models and losses of the doctor's cases, the same ones in both frameworks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Builder = Callable[[str], Any]
"""Returns what a framework takes, by its name."""


def model(kind: str) -> Builder:
    """Return builders of a perceptron with one property, often a fault."""
    return lambda framework: _torch_model(kind) if framework == "torch" else _keras_model(kind)


def _torch_model(kind: str) -> Callable[..., Any]:
    def build(features: int, outputs: int) -> Any:
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                width = 32
                bend = nn.Tanh if kind == "saturated" else nn.Identity if kind == "linear" else nn.ReLU
                self.body = nn.Sequential(
                    nn.Linear(features, width),
                    nn.BatchNorm1d(width) if kind == "norm" else nn.Identity(),
                    bend(),
                    nn.Linear(width, width),
                    bend(),
                    nn.Dropout(0.97) if kind == "dropout" else nn.Identity(),
                )
                self.head = nn.Linear(width, outputs)
                if kind == "unused":
                    self.extra = nn.Linear(width, width)
                if kind == "zeros":
                    for p in self.parameters():
                        nn.init.zeros_(p)
                if kind in ("exploding", "deep exploding"):
                    depth = 6 if kind == "exploding" else 12
                    self.body = nn.Sequential(
                        *(m for i in range(depth) for m in (nn.Linear(features if not i else 64, 64), nn.ReLU()))
                    )
                    self.head = nn.Linear(64, outputs)
                    for p in self.parameters():
                        nn.init.normal_(p, std=1.0 if kind == "exploding" else 0.5)
                if kind == "saturated":
                    for p in self.body.parameters():
                        nn.init.normal_(p, std=5.0)
                if kind in ("frozen", "frozen zeros"):
                    for p in self.body.parameters():
                        p.requires_grad_(False)
                if kind == "frozen zeros":
                    for p in self.body[3].parameters():
                        nn.init.normal_(p, std=1e-3)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                h = self.body(x)
                if kind == "detached":
                    h = h.detach()
                if kind == "mixing":
                    h = h.softmax(0)
                if kind == "centred":
                    h = h - h.mean(0)
                z = self.head(h)
                if kind == "softmax":
                    return z.softmax(1) * 1.0
                if kind == "sigmoid":
                    return z.sigmoid() * 1.0
                return z.relu() if kind == "relu" else z

        return Model()

    return build


def _keras_model(kind: str) -> Callable[..., Any]:
    def build(features: int, outputs: int) -> Any:
        import keras

        L, I = keras.layers, keras.initializers  # noqa: E741 (as L)
        depth, width = {"exploding": (6, 64), "deep exploding": (12, 64)}.get(kind, (2, 32))
        start: Any = {
            "zeros": "zeros",
            "exploding": I.RandomNormal(stddev=1.0),
            "deep exploding": I.RandomNormal(stddev=0.5),
            "saturated": I.RandomNormal(stddev=5.0),
        }.get(kind, "glorot_uniform")
        x = x_in = keras.Input((features,))
        for i in range(depth):
            inner = I.RandomNormal(stddev=1e-3) if kind == "frozen zeros" and i else start
            x = L.Dense(width, kernel_initializer=inner, trainable=not kind.startswith("frozen"))(x)
            if kind == "norm" and not i:
                x = L.BatchNormalization()(x)
            x = x if kind == "linear" else L.Activation("tanh" if kind == "saturated" else "relu")(x)
        if kind == "dropout":
            x = L.Dropout(0.97)(x)
        if kind == "detached":
            x = L.Lambda(keras.ops.stop_gradient)(x)
        if kind == "mixing":
            x = L.Lambda(lambda v: keras.ops.softmax(v, axis=0))(x)
        if kind == "centred":
            x = L.Lambda(lambda v: v - keras.ops.mean(v, axis=0))(x)
        x = L.Dense(outputs, kernel_initializer="glorot_uniform" if kind == "saturated" else start)(x)
        if kind in ("softmax", "sigmoid", "relu"):
            x = L.Activation(kind)(x)
            x = x if kind == "relu" else L.Lambda(lambda v: v * 1.0)(x)
        if kind != "unused":
            return keras.Model(x_in, x)

        class Model(keras.Model):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.inner, self.extra = keras.Model(x_in, x), L.Dense(width)
                self.extra.build((None, width))

            def call(self, rows: Any, training: bool = False) -> Any:
                return self.inner(rows, training=training)

        return Model()

    return build


def recurrent(gain: float, activation: str = "relu", length: int = 40) -> Builder:
    """Return builders of a plain recurrence, whose weights are ``gain`` times an orthogonal matrix."""

    def build_torch(outputs: int) -> Any:
        import torch
        from torch import nn

        class Recurrence(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.rnn, self.head = nn.RNN(2, 24, nonlinearity=activation, batch_first=True), nn.Linear(24, outputs)
                nn.init.orthogonal_(self.rnn.weight_hh_l0, gain)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.head(self.rnn(x)[0][:, -1])

        return Recurrence()

    def build_keras(outputs: int) -> Any:
        import keras

        start = keras.initializers.Orthogonal(gain)
        return keras.Sequential(
            [
                keras.Input((length, 2)),
                keras.layers.SimpleRNN(24, activation=activation, recurrent_initializer=start),
                keras.layers.Dense(outputs),
            ]
        )

    return lambda framework: build_torch if framework == "torch" else build_keras


def token_recurrence(gain: float) -> Builder:
    """Return builders of a recurrence over tokens."""

    def build_torch(outputs: int) -> Any:
        import torch
        from torch import nn

        class Recurrence(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embedding = nn.Embedding(12, 8)
                self.rnn, self.head = nn.RNN(8, 24, batch_first=True), nn.Linear(24, outputs)
                nn.init.orthogonal_(self.rnn.weight_hh_l0, gain)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.head(self.rnn(self.embedding(x))[0][:, -1])

        return Recurrence()

    def build_keras(outputs: int) -> Any:
        import keras

        start = keras.initializers.Orthogonal(gain)
        return keras.Sequential(
            [
                keras.Input((30,), dtype="int32"),
                keras.layers.Embedding(12, 8),
                keras.layers.SimpleRNN(24, recurrent_initializer=start),
                keras.layers.Dense(outputs),
            ]
        )

    return lambda framework: build_torch if framework == "torch" else build_keras


def loss(kind: str) -> Builder:
    """Return a custom loss, often with a fault."""

    def torch_loss(z: Any, y: Any) -> Any:
        from torch.nn import functional as F

        if kind == "negated":
            return -F.cross_entropy(z, y)
        if kind == "naive":
            return -(z.softmax(1)[range(len(y)), y]).log().mean()
        if kind == "root":
            return ((z - y) ** 2).sum(1).sub(1e-2).sqrt().mean()
        if kind == "squares":
            return ((z - y) ** 2).mean()
        return ((z - y[:, 0]) ** 2).mean() if kind == "broadcast" else (z - y[:, 0]).abs().mean()

    def keras_loss(y: Any, z: Any) -> Any:
        import tensorflow as tf

        if kind == "negated":
            return -tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, z))
        if kind == "naive":
            return -tf.reduce_mean(tf.math.log(tf.gather(tf.nn.softmax(z), y, batch_dims=1)))
        if kind == "root":
            return tf.reduce_mean(tf.sqrt(tf.reduce_sum((z - y) ** 2, 1) - 1e-2))
        if kind == "squares":
            return tf.reduce_mean((z - y) ** 2)
        return tf.reduce_mean((z - y[:, 0]) ** 2) if kind == "broadcast" else tf.reduce_mean(tf.abs(z - y[:, 0]))

    return lambda framework: torch_loss if framework == "torch" else keras_loss
