"""``lk.explain``: what the model of a run looks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmkit.exceptions import DataError, LmkitError, UntrustedCode
from lmkit.explanations.columns import select_columns
from lmkit.explanations.explanation import Explanation
from lmkit.explanations.methods.base import METHODS, Method, Request
from lmkit.explanations.model import ExplainedModel
from lmkit.explanations.rows import resolve_rows
from lmkit.run.resolve import resolve_run


def explain(
    run: Any = "last",
    rows: Any = None,
    *,
    target: Any = None,
    columns: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    baseline: str = "mean",
    seed: int = 0,
    runs: str | Path | None = None,
) -> Explanation:
    """Explain what the model of a run looks at, in the columns and units of the data. Waits for the end of the run.

    Args:
        run: a run or its name.
        rows: which rows to explain: numbers of rows of the test part, counted from 0 (7, [0, 3], range(10)); or rows
            as ``run.predict`` takes them; of a graph the names of nodes. Default: 100 rows of the test part.
        target: the class whose logit is explained (default: class 1 of a model with a single logit, else the predicted
            one).
        columns: the columns whose partial dependence is shown (default: the three most important ones).
        methods: names of methods (default: all that suit the data): ``attributions``, ``permutation``, ``dependence``
            and ``neighbours`` of tables; ``saliency`` and ``neighbours`` of images and sequences; ``tokens`` of texts,
            ``nodes`` of graphs, ``attention`` of transformers.
        groups: name → columns to shuffle together (default: those that are correlated).
        baseline: what attributions start from: ``mean`` of the training rows, or ``zero`` as a prepared number.
        seed: the seed of shuffles.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).

    Raises:
        RunNotFound: no run has that name.
        RunStateError: the run has no checkpoint.
        DataError: the rows do not fit, a column or a class does not exist, or the data are not what they were.
        ConfigError: the model gives other outputs each time.
        UntrustedCode: the run names code that this user has not run on this machine before.

    >>> import lmkit as lk
    >>> explanation = lk.explain("last", rows=7)  # doctest: +SKIP
    >>> explanation.attributions.table  # doctest: +SKIP
    """
    resolved = resolve_run(run, runs=runs)
    requested = _in_order((name, METHODS.get(name)) for name in _names(methods)) if methods is not None else None
    explained = ExplainedModel(resolved)
    if columns is not None and explained.kind.name == "table":
        select_columns(explained.columns, columns)
    class_number = explained.resolve_class(target)
    request = Request(explained, resolve_rows(explained, rows), class_number, columns, groups, baseline, seed)
    explained.check_repeatable(request.rows.X)
    suitable = _suitable(explained) if requested is None else requested
    notes = {}
    for name, method in suitable:
        try:
            if not method.suits(explained):
                raise DataError(f"the method does not suit {explained.kind.rows} of {resolved.name}")
            request.results[name] = method.explain(request)
        except UntrustedCode:
            raise
        except LmkitError as error:
            if methods is not None:
                raise
            notes[name] = str(error)
    if not request.results:
        raise DataError(
            "; ".join(notes.values()) or f"explain: no method suits the {explained.kind.rows} of {resolved.name}"
        )
    return Explanation(resolved.name, request.results, notes)


def _names(methods: Sequence[str]) -> list[str]:
    return [methods] if isinstance(methods, str) else list(methods)


def _suitable(explained: ExplainedModel) -> list[tuple[str, Method]]:
    """Return the methods that suit a model, in their order."""
    return _in_order((name, method) for name, method in METHODS.items() if method.suits(explained))


def _in_order(items: Iterable[tuple[str, Method]]) -> list[tuple[str, Method]]:
    """Return names and methods in the order in which later methods use the results of earlier ones."""
    return sorted(items, key=lambda item: item[1].order)
