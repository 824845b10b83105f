"""Techniques: ways to prepare a trained model for deployment. One file per group, found through a registry.

A technique is a function ``(TrainedModel, folder) -> Artifact`` that writes files into the folder, registered by
``technique(name, group)``. It raises ``NotApplicable`` with a reason where it cannot be used; the comparison shows the
reason in the technique's row and continues with the others.

A function ``(TrainedModel) -> TrainedModel``, registered by ``model_technique(name, group)``, derives another model,
which is deployed in its own framework or passed to another technique: ``prune-50+onnx-int8-static``.

A technique's module may list as ``PACKAGES`` the distributions that it builds with: a variant is measured again once
their versions change. Other packages add a technique by an entry point of the group ``lmkit.techniques``.
"""

from lmkit.deploy.techniques.base import FAITHFUL, GROUPS, Technique, find, model_technique, technique, techniques
from lmkit.deploy.trained_model import TrainedModel
from lmkit.system.rpc import NotApplicable

__all__ = [
    "FAITHFUL",
    "GROUPS",
    "NotApplicable",
    "Technique",
    "TrainedModel",
    "find",
    "model_technique",
    "technique",
    "techniques",
]
