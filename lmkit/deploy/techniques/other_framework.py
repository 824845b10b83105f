"""Both ways: the run's weights in the other framework, whose tools can then be used."""

from __future__ import annotations

from lmkit.backends import others, require
from lmkit.deploy.techniques import NotApplicable, Subject, makes_model
from lmkit.errors import MissingPackage


@makes_model("other-framework", "both ways")
def other_framework(subject: Subject) -> Subject:
    """The same weights in the other framework, where its own tools can follow: other-framework+litert."""
    if not subject.spec.layers(subject.signature):
        raise NotApplicable("a model of one's own is built in one framework, and stays there")
    (other,) = others(subject.framework)
    try:
        require(other)
    except MissingPackage as error:
        raise NotApplicable(str(error)) from None
    return subject.become(framework=other, converted_from=subject.framework)
