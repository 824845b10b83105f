"""The run's weights in the other framework, whose tools can then be used."""

from __future__ import annotations

from lmkit.backends import others, require
from lmkit.deploy.techniques.base import model_technique
from lmkit.deploy.trained_model import TrainedModel
from lmkit.exceptions import MissingPackage
from lmkit.system.rpc import NotApplicable


@model_technique("other-framework", "both ways")
def other_framework(trained: TrainedModel) -> TrainedModel:
    """The same weights in the other framework, for a technique of that framework: other-framework+litert."""
    if not trained.spec.layers(trained.signature):
        raise NotApplicable("a custom model cannot be converted to the other framework")
    (other,) = others(trained.framework)
    try:
        require(other)
    except MissingPackage as error:
        raise NotApplicable(str(error)) from None
    return trained.with_model(framework=other, converted_from=trained.framework)
