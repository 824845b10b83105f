"""Permutation importance (Breiman, 2001; Fisher, Rudin and Dominici, 2019), with intervals over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmkit.display.figure import Chart
from lmkit.display.panels import SignedBars
from lmkit.display.table import Table
from lmkit.display.units import format_number
from lmkit.exceptions import ConfigError, DataError
from lmkit.explanations.columns import Column, select_columns
from lmkit.explanations.intervals import mean_interval
from lmkit.explanations.methods.attributions import rank_columns
from lmkit.explanations.methods.base import METHODS, Request
from lmkit.explanations.model import ExplainedModel, take_rows

if TYPE_CHECKING:
    import numpy as np

ROWS, REPEATS = 1000, 5
"""Rows of the test part, at most, and shuffles of each column."""

MAX_COLUMNS = 100
"""Columns that are shuffled one by one; of more, those with the largest attributions."""

CORRELATED = 0.7
"""|Spearman correlation| of columns that are shuffled together as well."""

MAX_BARS = 12
"""Columns that are drawn."""


@dataclass(frozen=True)
class Importance:
    """The importance of one column, or of a group of columns.

    Attributes:
        name: of the column or group.
        columns: the columns that were shuffled together.
        loss: mean increase of the loss, and its 95 % interval over rows.
        score: mean decrease of the accuracy, or of R².
    """

    name: str
    columns: tuple[str, ...]
    loss: tuple[float, float, float]
    score: tuple[float, float, float]

    @property
    def change(self) -> str:
        """The mean increase of the loss as a text with its sign."""
        return format_number(self.loss[0], 3, sign=True)


@dataclass(frozen=True)
class Permutation:
    """What the predictions lose where the values of a column are dealt to other rows.

    Attributes:
        importances: of each column, the largest increase of the loss first.
        groups: of columns that are shuffled together, since each stands in for the others.
        loss: the loss in words, and ``score`` the score.
        rows: the number of rows, of the part called ``part``.
        repeats: shuffles of each column.
    """

    importances: tuple[Importance, ...]
    groups: tuple[Importance, ...]
    loss: str
    score: str
    rows: int
    part: str
    repeats: int = REPEATS

    @property
    def table(self) -> Table:
        """The importance of each column, then of each group."""
        rows = [
            (importance.name, *importance.loss, importance.score[0]) for importance in (*self.importances, *self.groups)
        ]
        title = f"Permutation importance on {self.rows:,} rows of the {self.part} part"
        return Table(title, ("column", f"increase of the {self.loss}", "2.5 %", "97.5 %", self.score), tuple(rows))

    @property
    def chart(self) -> Chart:
        """The increase of the loss of each column, and of each group."""
        panels = [self._panel(self.importances[:MAX_BARS], f"increase of the {self.loss}")]
        if self.groups:
            panels.append(self._panel(self.groups[:MAX_BARS], "the same, of groups"))
        return Chart("Permutation importance (bars: 95 % intervals over rows)", tuple(panels), self.text)

    @staticmethod
    def _panel(importances: Sequence[Importance], title: str) -> SignedBars:
        names, means, spans = zip(*((i.name, i.loss[0], (i.loss[1], i.loss[2])) for i in importances), strict=True)
        return SignedBars(title, names, means, spans)

    @property
    def text(self) -> str:
        """The most important columns, those that do not matter, and the groups."""
        top = [
            f"{i.name} {i.change} [{format_number(i.loss[1], 3)}, {format_number(i.loss[2], 3)}]"
            for i in self.importances[:5]
            if i.loss[0] > 0
        ]
        unclear = sum(i.loss[1] <= 0 for i in self.importances)
        words = [
            f"Permutation importance: increase of the {self.loss} where a column is shuffled, "
            f"{self.rows:,} rows of the {self.part} part, {self.repeats} shuffles. "
            f"{', '.join(top) or 'No column matters'}."
        ]
        if unclear:
            words.append(f"{unclear} of {len(self.importances)} columns cannot be told from 0.")
        if self.groups:
            listed = "; ".join(f"{g.name} ({len(g.columns)} columns) {g.change}" for g in self.groups[:3])
            words.append(f"Columns that stand in for each other, shuffled together: {listed}.")
        return " ".join(words)


class PermutationMethod:
    """Permutation importance of the columns of a table."""

    order = 1

    def suits(self, explained: ExplainedModel) -> bool:
        """Rows of a table suit."""
        return explained.kind.name == "table"

    def explain(self, request: Request) -> Permutation:
        """Return the importance of columns on the test part, whatever rows are explained.

        Raises:
            DataError: the part has a single row.
        """
        import numpy as np

        explained = request.explained
        name, part = explained.evaluation
        X, y = take_rows(part, ROWS)
        if len(X) < 2:
            raise DataError(f"permutation importance needs two rows, and the {name} part has {len(X)}")
        columns = self._columns(request)
        groups = resolve_groups(request.groups, explained)
        before = row_losses(explained, X, y)
        names = {column.name: (column,) for column in columns} | groups
        measured = []
        for number, (label, members) in enumerate(names.items()):
            features = [feature for column in members for feature in column.features]
            rng = np.random.default_rng([request.seed, number])
            shuffled = np.tile(X, (REPEATS, 1))
            order = np.concatenate([rng.permutation(len(X)) for _ in range(REPEATS)])
            shuffled[:, features] = X[order][:, features]
            after = row_losses(explained, shuffled, np.concatenate([y] * REPEATS))
            loss, score = (
                mean_interval(b.reshape(REPEATS, -1).mean(axis=0) - a) for a, b in zip(before, after, strict=True)
            )
            measured.append(Importance(label, tuple(column.name for column in members), loss, score))
        by_loss = sorted(measured[: len(columns)], key=lambda i: -i.loss[0])
        by_group = sorted(measured[len(columns) :], key=lambda i: -i.loss[0])
        numeric = explained.task.numeric
        return Permutation(
            tuple(by_loss),
            tuple(by_group),
            "absolute error" if numeric else "cross-entropy",
            "decrease of R²" if numeric else "decrease of the accuracy",
            len(X),
            name,
        )

    def _columns(self, request: Request) -> list[Column]:
        columns = request.explained.columns
        return columns if len(columns) <= MAX_COLUMNS else rank_columns(request)[:MAX_COLUMNS]


def row_losses(explained: ExplainedModel, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss (rows,), and what the score of all rows lacks (rows,), the mean of which is 1 − score.

    The loss is the cross-entropy −log p, or the absolute error in the unit of the target; the score is the accuracy,
    or R², which is NaN where the target does not vary.
    """
    import numpy as np

    answers = explained.answers(X)
    if explained.task.numeric:
        truth = explained.preprocessing.restore(y)
        error = answers[:, 0] - truth
        return np.abs(error), error**2 / (float(truth.var()) or np.nan)
    truth = np.asarray(y).reshape(-1).astype(np.int64)
    likelihood = np.maximum(answers[np.arange(len(truth)), truth], np.finfo(np.float64).tiny)
    return -np.log(likelihood), (answers.argmax(axis=1) != truth).astype(np.float64)


def resolve_groups(
    groups: Mapping[str, Sequence[str]] | None, explained: ExplainedModel
) -> dict[str, tuple[Column, ...]]:
    """Return name → columns to shuffle together: as given, else correlated ones.

    Raises:
        DataError: a column does not exist.
    """
    if groups is None:
        return correlated_columns(explained.columns, explained.reference.X)
    if not isinstance(groups, Mapping):
        raise ConfigError(["groups: expected a mapping of names to columns, such as {'size': ['width', 'height']}"])
    return {f"{name} (group)": tuple(select_columns(explained.columns, names)) for name, names in groups.items()}


def correlated_columns(columns: list[Column], X: np.ndarray) -> dict[str, tuple[Column, ...]]:
    """Return name → columns of which each is correlated with others: average linkage of 1 − |Spearman's ρ|.

    Args:
        columns: at most ``MAX_COLUMNS`` of them are compared.
        X: prepared rows (rows, features). Of a column with several features the largest |ρ| counts.
    """
    import numpy as np
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from scipy.stats import rankdata

    columns = columns[:MAX_COLUMNS]
    if len(columns) < 2 or len(X) < 3:
        return {}
    owners = np.concatenate([np.full(len(c.features), i) for i, c in enumerate(columns)])
    ranks = rankdata(np.asarray(X)[:, [f for c in columns for f in c.features]], axis=0)
    ranks = ranks - ranks.mean(axis=0)
    norms = np.sqrt((ranks**2).sum(axis=0))
    ranks = np.divide(ranks, norms, out=np.zeros_like(ranks), where=norms > 0)
    pairs = np.abs(ranks.T @ ranks)
    strength = np.zeros((len(columns), len(columns)))
    np.maximum.at(strength, (owners[:, None], owners[None, :]), pairs)
    distance = 1 - np.minimum(strength, 1)
    np.fill_diagonal(distance, 0)
    clusters = fcluster(linkage(squareform(distance, checks=False), "average"), 1 - CORRELATED, "distance")
    groups = {}
    for cluster in dict.fromkeys(clusters.tolist()):
        members = tuple(c for c, number in zip(columns, clusters, strict=True) if number == cluster)
        if len(members) > 1:
            groups[f"{members[0].name} + {len(members) - 1} correlated"] = members
    return groups


METHODS.add("permutation", PermutationMethod())
