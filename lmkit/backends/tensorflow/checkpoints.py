"""Weights and training state as NumPy arrays, under the names and in the layout that all backends share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from lmkit.backends.tensorflow.models.own import OwnModel, held, learned

if TYPE_CHECKING:
    from lmkit.specs.models import Weights


SHARED = {"scale": "gamma"}
"""What Keras calls a weight → what it is called here, where they differ: the scale of RMS normalization."""


def named(model: keras.Model) -> dict[str, keras.Variable]:
    """Shared name → variable. Keras keeps a kernel as (…, inputs, outputs), which is the shared layout."""
    if isinstance(model, OwnModel):
        return learned(model)
    return {f"{layer.name}.{SHARED.get(v.name, v.name)}": v for layer in model.layers for v in layer.trainable_weights}


def random_states(model: keras.Model) -> list[keras.Variable]:
    """The states from which dropout draws, one a layer: a seed and a counter.

    Those of a model of somebody's own are among its weights, and seeded as it was built.
    """
    if isinstance(model, OwnModel):
        return []
    return [layer.seed_generator.state for layer in model.layers if hasattr(layer, "seed_generator")]


def _kept(model: keras.Model | OwnModel) -> dict[str, keras.Variable]:
    return held(model) if isinstance(model, OwnModel) else named(model)


def weights(model: keras.Model) -> Weights:
    """A copy of the weights; of a model of somebody's own, of all that it holds."""
    return {name: np.array(v.numpy()) for name, v in _kept(model).items()}


def set_weights(model: keras.Model, values: Weights) -> None:
    """Sets the weights."""
    for name, variable in _kept(model).items():
        variable.assign(values[name])


def state(model: keras.Model, memory: Mapping[str, tf.Variable]) -> Weights:
    """The optimizer's memory, and the random states of dropout, as arrays."""
    arrays = {name: np.array(v.numpy()) for name, v in memory.items()}
    return arrays | {f"random.{i}": np.array(v.numpy()) for i, v in enumerate(random_states(model))}


def restore(model: keras.Model, memory: Mapping[str, tf.Variable], arrays: Weights) -> None:
    """Takes up a ``state``."""
    for name, variable in memory.items():
        variable.assign(arrays[name])
    for i, variable in enumerate(random_states(model)):
        variable.assign(arrays[f"random.{i}"])
