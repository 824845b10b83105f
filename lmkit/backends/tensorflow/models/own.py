"""Anyone's own model: what a function or class of theirs builds, behind the interface of the families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import keras
import tensorflow as tf

from lmkit.data.objects import arguments_of, find, signature_of, told
from lmkit.data.trial import check_built, check_outputs, trial_rows
from lmkit.errors import ConfigError
from lmkit.specs.models import Own
from lmkit.specs.references import label
from lmkit.specs.signature import Shape, Signature


class OwnModel:
    """Gives a model its rows in their own shape, and takes the logits out of what it gives.

    Attributes:
        own: the model as its author knows it.
    """

    def __init__(self, own: keras.Model, shape: Shape, precision: str) -> None:
        self.own, self.shape, self.dtype = own, shape, tf.as_dtype(precision)

    def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Rows (rows, …), flat or not → logits (rows, outputs)."""
        if x.dtype.is_floating:
            x = tf.reshape(x, (-1, *self.shape))
        given = self.own(x, training=training)
        given = getattr(given, "logits", given)
        if isinstance(given, Mapping) and "logits" in given:
            given = given["logits"]
        elif isinstance(given, tuple | list):
            given = given[0]
        if not tf.is_tensor(given):
            return given
        given = tf.cast(given, self.dtype)
        return given[:, None] if given.shape.rank == 1 else given

    def penalty(self) -> tf.Tensor:
        """What the layers add to the loss: regularizers, ``add_loss``."""
        return tf.add_n([tf.cast(loss, self.dtype) for loss in self.own.losses]) if self.own.losses else 0


def build(spec: Own, signature: Signature, precision: str) -> OwnModel:
    """Calls the builder and tries what it gives on two rows of zeros, which also makes the weights of its layers.

    Raises:
        ConfigError: the builder raises or gives something else, or the model takes no such rows or gives others.
    """
    name = label(spec.builder)
    builder = find(spec.builder, "model.builder")
    arguments = arguments_of(signature_of(builder), spec, spec.provided(signature))
    with _policy(precision):
        try:
            own = builder(**arguments)
        except Exception as error:
            raise ConfigError([f"model.builder: {name} raised {told(error)}"]) from error
        check_built(own, keras.Model, "tensorflow", name)
        model = OwnModel(own, signature.shape, precision)
        rows = trial_rows(signature)
        try:
            given = model(tf.constant(rows if signature.vocabulary else rows.astype(precision)))
        except Exception as error:
            raise ConfigError(
                [f"model.builder: the model of {name} takes no rows {rows.shape}: {told(error)}"]
            ) from error
    check_outputs(tuple(given.shape) if tf.is_tensor(given) else type(given).__name__, signature, name)
    if not own.trainable_variables:
        raise ConfigError([f"model.builder: the model of {name} has no weight to learn (trainable)"])
    other = next((v for v in own.trainable_variables if v.dtype != precision), None)
    if other is not None:
        raise ConfigError(
            [f"model.builder: {name} asks for weights of {other.dtype}, and training.precision is {precision!r}; "
             "leave dtype out of the layers, or write what they have"]
        )  # fmt: skip
    return model


@contextmanager
def _policy(precision: str) -> Iterator[None]:
    """Layers that do not say otherwise compute in ``precision``."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def learned(model: OwnModel) -> dict[str, keras.Variable]:
    """Name → what is learned. Keras numbers its layers as they are made, so the place tells variables apart."""
    places = {id(v): name for name, v in held(model).items()}
    return {places[id(v)]: v for v in model.own.trainable_variables}


def held(model: OwnModel) -> dict[str, keras.Variable]:
    """Name → all that the model holds: weights, running statistics, the states of its random draws."""
    return {f"{i}.{v.name}": v for i, v in enumerate(model.own.variables)}


def seed(number: int) -> None:
    """Seeds what Keras draws the seeds of its layers from: Python's generator, NumPy's and TensorFlow's."""
    keras.utils.set_random_seed(number)
