"""A trained model as techniques take it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lmkit.backends import get_backend
from lmkit.exceptions import LmkitError

if TYPE_CHECKING:
    import numpy as np

    from lmkit.backends import Backend, Removed
    from lmkit.data.dataset import Dataset
    from lmkit.run.run import Run
    from lmkit.specs.models import ModelSpec, Weights
    from lmkit.specs.signature import Signature
    from lmkit.training.finetune import FineTuned, Limits


class ModelTechnique(Protocol):
    """The part of a technique that derives a model; see ``lmkit.deploy.techniques``."""

    @property
    def name(self) -> str:
        """Name of the technique."""

    @property
    def transform(self) -> Callable[[TrainedModel], TrainedModel] | None:
        """Derives another model; None where the technique derives none."""


class DerivedModel(NamedTuple):
    """A model that a technique derived from another one."""

    origin: TrainedModel
    framework: str
    spec: ModelSpec
    weights: Weights
    recipe: dict[str, Any]
    removed: Sequence[Removed] = ()


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, and what a technique may need of its run.

    Attributes:
        run: the run that trained it.
        derived: the model that a technique derived from the run's; None for the run's own model.
        exports: format → bytes that an exporter wrote; several techniques start from the same file.
    """

    run: Run
    derived: DerivedModel | None = None
    exports: dict[str, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)
    _results: dict[str, TrainedModel] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def framework(self) -> str:
        """Name of the model's framework."""
        return self.derived.framework if self.derived else self.run.experiment.framework

    @cached_property
    def backend(self) -> Backend:
        """Backend of the model's framework."""
        return get_backend(self.framework)

    @property
    def spec(self) -> ModelSpec:
        """Specification of the model."""
        return self.derived.spec if self.derived else self.run.experiment.model

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the model."""
        return self.run.preprocessing.signature

    @cached_property
    def weights(self) -> Weights:
        """Weights in the layout that all frameworks share."""
        return self.derived.weights if self.derived else self.backend.weights(self.model)

    @property
    def recipe(self) -> dict[str, Any]:
        """How the model was derived from the run's own; empty for the run's own model."""
        return self.derived.recipe if self.derived else {}

    @property
    def removed(self) -> Sequence[Removed]:
        """Units that were removed from a custom model after it was built, since its specification cannot say so."""
        return self.derived.removed if self.derived else ()

    @property
    def sample_rows(self) -> np.ndarray:
        """Two training rows to try a model on."""
        import numpy as np

        return np.asarray(self.data.training.X[:2])

    @cached_property
    def data(self) -> Dataset:
        """The run's data, split and prepared as for training."""
        if self.derived:
            return self.derived.origin.data
        return self.run.prepare_data()

    @property
    def model(self) -> Any:
        """A new instance of the model, so that techniques do not change each other's."""
        if not self.derived:
            return self.run.built()
        return self.build(self.spec, self.weights)

    def build(self, spec: ModelSpec, weights: Weights) -> Any:
        """Build a model for the run's data in this model's framework."""
        model = self.backend.build(spec, self.signature, self.run.experiment.training.weight_dtype)
        if self.removed:
            self.backend.remove(model, self.sample_rows, self.removed)
        self.backend.set_weights(model, weights)
        return model

    def finetune(
        self,
        spec: ModelSpec,
        weights: Weights,
        data: Dataset,
        limits: Limits,
        *,
        rate: float,
        mask: Mapping[str, np.ndarray] | None = None,
    ) -> FineTuned:
        """Train a model for the run's task with the run's loss; see ``lmkit.training.finetune``."""
        from lmkit.training.finetune import finetune

        experiment = self.run.experiment.model_copy(update={"model": spec})
        return finetune(self.backend, self.build(spec, weights), experiment, data, limits, rate=rate, mask=mask)

    def with_model(
        self,
        *,
        framework: str = "",
        spec: ModelSpec | None = None,
        weights: Weights | None = None,
        removed: Sequence[Removed] | None = None,
        **recipe: Any,
    ) -> TrainedModel:
        """Return a model derived from this one; each argument that is left out keeps this model's value."""
        weights = self.weights if weights is None else weights
        removed = self.removed if removed is None else removed
        derived = DerivedModel(self, framework or self.framework, spec or self.spec, weights, recipe, removed)
        return TrainedModel(self.run, derived)

    def then(self, technique: ModelTechnique) -> TrainedModel:
        """Return the model that a technique derives from this one; computed once.

        Raises:
            LmkitError: the technique derives no model.
        """
        if technique.transform is None:
            raise LmkitError(f"{technique.name} does not produce a model for another technique")
        if technique.name not in self._results:
            derived = technique.transform(self).derived
            assert derived
            recipe = {"technique": technique.name, **derived.recipe, **({"of": self.recipe} if self.recipe else {})}
            self._results[technique.name] = TrainedModel(self.run, derived._replace(recipe=recipe))
        return self._results[technique.name]
