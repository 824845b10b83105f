"""Custom models: a function or class that builds the model, and its arguments."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, JsonValue

from lmkit.specs.models.base import Layer, ModelSpec, Weights, refuse
from lmkit.specs.outputs import OutputSetting
from lmkit.specs.references import Reference
from lmkit.specs.signature import Signature

PROVIDED = ("shape", "features", "outputs", "vocabulary")
"""Parameters of a builder that are set from the data's signature, if they have no default."""


class Custom(ModelSpec):
    """A custom model: a function or class that builds a ``torch.nn.Module`` or a ``keras.Model``.

    The builder is called with ``arguments``, and with those of ``shape`` (of a row, a tuple), ``features`` (numbers per
    row), ``outputs`` (per row) and ``vocabulary`` (tokens) for which it has a parameter without a default. The model
    takes rows in their shape (rows, …) and returns logits or probabilities (rows, outputs); (rows,) for one output,
    ``.logits``, ``["logits"]`` and the first of a tuple are accepted, and so are two outputs for two classes. Initial
    weights come from the framework's initializers, seeded by the experiment.
    """

    is_custom: ClassVar[bool] = True
    family: Literal["own"] = "own"
    """A custom model, built by a function or class."""
    builder: Reference
    """The function or class that builds it, as package.module:name."""
    arguments: Annotated[dict[str, JsonValue], BeforeValidator(lambda value: {} if value == "" else value)] = Field(
        default_factory=dict
    )
    """Arguments of the builder: names and plain values."""
    outputs: OutputSetting = "auto"
    """What its outputs are; auto: asked of the last operation and of the first outputs."""

    def check(self, signature: Signature) -> None:
        """Raise an error for the nodes of a graph, whose edges a custom model does not get."""
        if signature.graph:
            raise refuse("model.family", "'own' takes rows, and the data is the nodes of a graph; write model: gcn")

    def layers(self, signature: Signature) -> list[Layer]:  # noqa: ARG002 (part of the interface)
        """Return an empty list: the layers are known only to the framework."""
        return []

    def initial_weights(self, signature: Signature, seed: int) -> Weights:  # noqa: ARG002 (part of the interface)
        """Return an empty mapping: the framework initializes the weights."""
        return {}

    def provided(self, signature: Signature) -> dict[str, Any]:
        """Return the arguments that a builder may take.

        >>> Custom(builder="shapes:build").provided(Signature((8, 8, 1), 10))
        {'shape': (8, 8, 1), 'features': 64, 'outputs': 10, 'vocabulary': 0}
        """
        return {name: getattr(signature, name) for name in PROVIDED}
