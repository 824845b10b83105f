"""Anyone's own model: a function or class that builds it, and its arguments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue

from lmkit.specs.models.base import Layer, ModelSpec, Weights, refuse
from lmkit.specs.references import Reference
from lmkit.specs.signature import Signature

PROVIDED = ("shape", "features", "outputs", "vocabulary")
"""What a builder is given of the data's signature, where it has a parameter of this name without a default."""


class Own(ModelSpec):
    """A model of one's own: a function or class that builds a ``torch.nn.Module`` or a ``keras.Model``.

    The builder is called with ``arguments``, and with what it asks for of ``shape`` (of a row, a tuple), ``features``
    (numbers in a row), ``outputs`` (that a row is to get) and ``vocabulary`` (of tokens), by parameters of these names
    without a default. What it builds takes rows in their own shape (rows, …) and gives logits (rows, outputs); (rows,)
    for one output, ``.logits``, ``["logits"]`` and the first of a tuple are understood. Its first weights are those of
    the framework's own initializers, drawn from the experiment's seed.
    """

    family: Literal["own"] = "own"
    """Built by a function or class of your own."""
    builder: Reference
    """The function or class that builds it, as package.module:name."""
    arguments: Annotated[dict[str, JsonValue], BeforeValidator(lambda value: {} if value == "" else value)] = Field(
        default_factory=dict
    )
    """What it is called with: names and plain values."""

    def check(self, signature: Signature) -> None:
        """Refuses the nodes of a graph, whose edges a model of one's own has no way to see."""
        if signature.graph:
            raise refuse("model.family", "'own' takes rows, and the data is the nodes of a graph; write model: gcn")

    def layers(self, signature: Signature) -> list[Layer]:
        """None: what it is made of is known once its framework has built it."""
        return []

    def initial_weights(self, signature: Signature, seed: int) -> Weights:
        """None: its framework draws them as it builds the model."""
        return {}

    def provided(self, signature: Signature) -> dict[str, Any]:
        """What a builder may ask for.

        >>> Own(builder="shapes:build").provided(Signature((8, 8, 1), 10))
        {'shape': (8, 8, 1), 'features': 64, 'outputs': 10, 'vocabulary': 0}
        """
        return {name: getattr(signature, name) for name in PROVIDED}
