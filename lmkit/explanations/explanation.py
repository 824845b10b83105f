"""The result of ``lk.explain``: what each method says about a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmkit.explanations.methods.base import Result


class Explanation(Mapping[str, Any]):
    """What a model looks at: a result for each method, by its name and as an attribute.

    In a notebook it displays the chart of each result. Each result has a ``table``, a ``chart`` and a ``text``.

    Attributes:
        run: the name of the run.
        results: method → its result.
        notes: method → why it has no result.
    """

    def __init__(self, run: str, results: Mapping[str, Result], notes: Mapping[str, str]) -> None:
        self.run, self.results, self.notes = run, dict(results), dict(notes)

    def __getitem__(self, method: str) -> Any:
        return self.results[method]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getattr__(self, name: str) -> Any:
        results = self.__dict__.get("results", {})
        if name in results:
            return results[name]
        raise AttributeError(f"the explanation has no {name!r}; it has {', '.join(results) or 'no result'}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.results]

    @property
    def text(self) -> str:
        """The text of each result, then why others are missing."""
        lines = [f"{self.run}: what the model looks at", *(result.text for result in self.results.values())]
        return "\n".join([*lines, *(f"No {method}: {note}" for method, note in self.notes.items())])

    def __repr__(self) -> str:
        return self.text
