"""The interface of a method of explanation, and the registry of methods.

A method is an object that a module adds, ``METHODS.add(name, method)``: ``suits`` says whether a model and its rows can
be explained by it, and ``explain`` returns a result, which has a table, a chart and a text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from lmkit.exceptions import DataError
from lmkit.explanations.model import ExplainedModel, Rows
from lmkit.system.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lmkit.display.figure import Chart
    from lmkit.display.table import Table


class Result(Protocol):
    """What a method returns."""

    @property
    def table(self) -> Table:
        """The result as a table."""

    @property
    def chart(self) -> Chart:
        """The result as a chart."""

    @property
    def text(self) -> str:
        """The result in a few sentences."""


@dataclass(frozen=True)
class Request:
    """What is asked of a method.

    Attributes:
        explained: the model.
        rows: the rows to explain.
        target: the number of the class whose logit is explained; none: class 1 of a single logit, else the predicted.
        columns: names of columns, of which dependence is shown; none: the most important ones.
        groups: name → columns that are shuffled together; none: correlated columns are.
        baseline: ``mean`` of the training rows, or ``zero`` as a prepared number.
        seed: of random draws.
        results: results of the methods that came before, by name.
    """

    explained: ExplainedModel
    rows: Rows
    target: int | None = None
    columns: Sequence[str] | None = None
    groups: Mapping[str, Sequence[str]] | None = None
    baseline: str = "mean"
    seed: int = 0
    results: dict[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """A method of explanation."""

    order: int
    """Position among the methods, whose later ones may use the results of earlier ones."""

    def suits(self, explained: ExplainedModel) -> bool:
        """Return whether the method can explain a model of such rows."""

    def explain(self, request: Request) -> Result:
        """Return the explanation.

        Raises:
            LmkitError: there is none for these rows; the message says why.
        """


METHODS: Registry[Method] = Registry(
    "method of explanation", "lmkit.explanations", "lmkit.explanations.methods", error=DataError
)
"""Name → method."""
