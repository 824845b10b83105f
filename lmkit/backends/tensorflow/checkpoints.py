"""Weights and training state as NumPy arrays, under the names and in the layout that all backends share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from lmkit.backends.tensorflow.models.custom import CustomModel, all_variables, learned_variables
from lmkit.backends.tensorflow.models.layers import Constants

if TYPE_CHECKING:
    from lmkit.backends.tensorflow.strategies import Strategy
    from lmkit.specs.models import Weights


SHARED_NAMES = {"scale": "gamma"}
"""Keras's name of a weight → the shared one, where they differ: the scale of RMS normalization."""


def named(model: keras.Model | CustomModel) -> dict[str, keras.Variable]:
    """Return shared name → weight, frozen or not. Keras keeps a kernel as (…, inputs, outputs), the shared layout.

    Of a custom model, all that it holds.
    """
    if isinstance(model, CustomModel):
        return all_variables(model)
    return {
        f"{layer.name}.{SHARED_NAMES.get(v.name, v.name)}": v
        for layer in model.layers
        if not isinstance(layer, Constants)
        for v in layer.weights
    }


def learned(model: keras.Model | CustomModel) -> dict[str, keras.Variable]:
    """Return shared name → weight that training changes: those that are not frozen."""
    if isinstance(model, CustomModel):
        return learned_variables(model)
    return {name: v for name, v in named(model).items() if v.trainable}


def random_states(model: keras.Model | CustomModel) -> list[keras.Variable]:
    """Return the states from which dropout draws, one per layer: a seed and a counter.

    Those of a custom model are among its weights, and seeded as it was built.
    """
    if isinstance(model, CustomModel):
        return []
    return [layer.seed_generator.state for layer in model.layers if hasattr(layer, "seed_generator")]


def weights(model: keras.Model | CustomModel, strategy: Strategy) -> Weights:
    """Return a copy of the weights, frozen ones included."""
    return {name: strategy.to_array(v) for name, v in named(model).items()}


def set_weights(model: keras.Model | CustomModel, values: Weights, strategy: Strategy) -> None:
    """Set the weights."""
    for name, variable in named(model).items():
        strategy.assign(variable, values[name])


def state(model: keras.Model | CustomModel, optimizer: Mapping[str, tf.Variable], strategy: Strategy) -> Weights:
    """Return the optimizer's state and the random states of dropout as arrays."""
    arrays = {name: strategy.to_array(v) for name, v in optimizer.items()}
    return arrays | {f"random.{i}": strategy.to_array(v) for i, v in enumerate(random_states(model))}


def restore(
    model: keras.Model | CustomModel, optimizer: Mapping[str, tf.Variable], arrays: Weights, strategy: Strategy
) -> None:
    """Set the optimizer's state and the random states."""
    for name, variable in optimizer.items():
        strategy.assign(variable, arrays[name])
    for i, variable in enumerate(random_states(model)):
        strategy.assign(variable, arrays[f"random.{i}"])
