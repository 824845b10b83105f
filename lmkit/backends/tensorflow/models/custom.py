"""A custom model: the Keras model that a user's builder returns, behind the interface of the families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import keras
import tensorflow as tf

from lmkit.backends.facts import MODEL_CLASSES
from lmkit.backends.tensorflow.models.base import FAMILIES
from lmkit.custom.arguments import arguments_of
from lmkit.custom.checks import axes_hint, check_built, check_outputs, trial_rows
from lmkit.custom.objects import describe_error, get_object, signature_of
from lmkit.exceptions import ConfigError
from lmkit.specs.models import Custom
from lmkit.specs.references import label
from lmkit.specs.signature import Shape, Signature


class CustomModel:
    """Gives a custom model its rows in their own shape, and returns a row of outputs for each.

    Attributes:
        module: the model as its author wrote it.
    """

    def __init__(self, module: keras.Model, shape: Shape, precision: str) -> None:
        self.module, self.shape, self.dtype = module, shape, tf.as_dtype(precision)

    def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Rows (rows, …), flat or not → outputs (rows, outputs)."""
        outputs = self.module(self.reshape(x), training=training)
        outputs = getattr(outputs, "logits", outputs)
        if isinstance(outputs, Mapping) and "logits" in outputs:
            outputs = outputs["logits"]
        elif isinstance(outputs, tuple | list):
            outputs = outputs[0]
        if not tf.is_tensor(outputs):
            return outputs
        outputs = tf.cast(outputs, self.dtype)
        return _restore_axes(outputs, tf.shape(x)[0])

    def reshape(self, x: tf.Tensor) -> tf.Tensor:
        """Return rows (rows, …), flat or not, in their own shape; tokens as they are."""
        return tf.reshape(x, (-1, *self.shape)) if x.dtype.is_floating else x

    def penalty(self) -> tf.Tensor:
        """Return what the layers add to the loss: regularizers, ``add_loss``."""
        losses = self.module.losses
        return tf.add_n([tf.cast(loss, self.dtype) for loss in losses]) if losses else 0


def _restore_axes(outputs: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Return outputs with the axes of rows and outputs: a squeeze takes away one of them, or of one row both."""
    if outputs.shape.rank is not None and outputs.shape.rank > 1:
        return outputs
    if tf.executing_eagerly() and int(tf.size(outputs)) % int(rows):
        return outputs  # the check of the outputs says what is wrong with them
    return tf.reshape(outputs, (rows, -1))


@FAMILIES.register(Custom)
def build(spec: Custom, signature: Signature, precision: str) -> CustomModel:
    """Call the builder and try its model on two rows of zeros, which also makes the weights of its layers.

    Raises:
        ConfigError: the builder raises or returns no model, or the model takes no such rows or returns others.
    """
    name = label(spec.builder)
    builder = get_object(spec.builder, "model.builder")
    arguments = arguments_of(signature_of(builder), spec, spec.provided(signature))
    with _policy(precision):
        try:
            module = builder(**arguments)
        except Exception as error:
            raise ConfigError([f"model.builder: {name} raised {describe_error(error)}"]) from error
        check_built(module, keras.Model, "tensorflow", name, MODEL_CLASSES)
        model = CustomModel(module, signature.shape, precision)
        rows = trial_rows(signature)
        try:
            outputs = model(tf.constant(rows if signature.vocabulary else rows.astype(precision)))
        except Exception as error:
            raise ConfigError(
                [
                    f"model.builder: the model of {name} takes no rows {rows.shape}: {describe_error(error)}"
                    f"{axes_hint(signature)}"
                ]
            ) from error
    check_outputs(tuple(outputs.shape) if tf.is_tensor(outputs) else type(outputs).__name__, signature, name)
    if not module.trainable_variables:
        raise ConfigError([f"model.builder: the model of {name} has no weight to learn (trainable)"])
    other = next((v for v in module.trainable_variables if v.dtype != precision), None)
    if other is not None:
        raise ConfigError(
            [
                f"model.builder: {name} asks for weights of {other.dtype}, and training.precision is {precision!r}; "
                "leave dtype out of the layers, or write what they have"
            ]
        )
    return model


@contextmanager
def _policy(precision: str) -> Iterator[None]:
    """Let layers compute in ``precision`` unless they set a type of their own."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def learned_variables(model: CustomModel) -> dict[str, keras.Variable]:
    """Return name → variable that training changes.

    Keras numbers its layers as they are made, so the position identifies a variable.
    """
    names = {id(v): name for name, v in all_variables(model).items()}
    return {names[id(v)]: v for v in model.module.trainable_variables}


def all_variables(model: CustomModel) -> dict[str, keras.Variable]:
    """Return name → variable: weights, running statistics, the states of its random draws."""
    return {f"{i}.{v.name}": v for i, v in enumerate(model.module.variables)}


def seed(number: int) -> None:
    """Seed what Keras draws the seeds of its layers from: Python's generator, NumPy's and TensorFlow's."""
    keras.utils.set_random_seed(number)
