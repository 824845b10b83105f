"""A table of features and a target: typed, checked, and with what was inferred about it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data.tables.columns import MISSING, Columns, convert, convert_target, infer_columns
from lmkit.data.tables.files import unique_names
from lmkit.data.tables.memory import SHAPE, TARGET
from lmkit.data.tables.missing import find_signs, replace_in_frame
from lmkit.data.tables.order import Order, read_order
from lmkit.data.tables.parts import part_numbers
from lmkit.data.tables.sniff import DECIMAL, READ_NOTES
from lmkit.exceptions import MAX_NAMES, DataError, join_names, nearest
from lmkit.preprocessing.formats import PARTS
from lmkit.specs.data import STORED, DataSpec, row_shape
from lmkit.specs.inference import Target
from lmkit.specs.signature import Shape, Signature
from lmkit.specs.tasks import TaskName, get_task
from lmkit.specs.values import plain_value

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmkit.preprocessing.formats import Format


class Table(NamedTuple):
    """Data as it was read, before it is split and scaled.

    Attributes:
        X: (rows, columns) features; a column of dates has become several.
        y: (rows,) target.
        task: the task of the model.
        labels: class → its name, where the source has names.
        shape: of a row that is an image or a sequence; its numbers are the columns, the last axis running fastest.
        notes: what was inferred, a sentence each.
        warnings: what was left out, a sentence each.
        formats: column → its format, where its values are parsed.
        raw: the features as in the source, where ``formats`` has some.
        missing_values: column → the values that stand for a missing one.
        parts: (rows,) 0 for training, 1 for validation and 2 for test, where the source says so; −1: to be drawn.
        order: what decides the part of each row; None: they are drawn.
    """

    X: pd.DataFrame
    y: pd.Series[float]
    task: TaskName
    labels: dict[object, str]
    shape: Shape = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    formats: Mapping[str, Format] = MappingProxyType({})
    raw: pd.DataFrame | None = None
    missing_values: Mapping[str, list[Any]] = MappingProxyType({})
    parts: np.ndarray | None = None
    order: Order | None = None

    @property
    def columns(self) -> list[str]:
        """The columns of a row, as ``predict`` takes them."""
        return [str(name) for name in (self.X if self.raw is None else self.raw).columns]

    @property
    def signature(self) -> Signature:
        """The inputs of a model, with each category one-hot encoded, and its outputs."""
        text = [c for c in self.X.columns if self.X[c].dtype == object]
        columns = self.X.shape[1] - len(text) + sum(self.X[c].nunique() for c in text)
        task = get_task(self.task)
        outputs = task.outputs(len(task.class_values(self.y.unique())))
        return Signature(self.shape or (columns,), outputs, self.task)


def as_table(frame: pd.DataFrame, spec: DataSpec) -> Table:
    """Return the columns of ``frame`` as features and target, typed and checked as ``spec`` says.

    Raises:
        DataError: the table cannot be trained on; the message has all reasons.
    """
    source = source_label(spec.source)
    frame = unique_names(frame, spec.target)
    target = check_columns(spec, frame.columns, spec.target or frame.attrs.get(TARGET), source)
    if frame.empty:
        raise DataError(f"data.source: {source} has no rows")
    signs = find_signs(frame, spec)
    frame = replace_in_frame(frame, signs.by_column)
    decimal = frame.attrs.get(DECIMAL, ".")
    parts = part_numbers(frame)
    if parts is not None and spec.missing == "drop":
        parts = parts[frame[target].notna().to_numpy()]
    frame, notes, problems = _drop_without_target(spec, frame, target, source)
    y = frame[target]
    order, order_problems = read_order(spec, frame, source, decimal)
    problems += order_problems
    unused = {target, *spec.drop, *([spec.group] if spec.group else [])}
    X = frame.drop(columns=[name for name in frame.columns if name in unused])
    columns = infer_columns(X, spec, source, decimal)
    if not columns.names:
        problems.append(f"data.source: {source} has no column to learn from; {'; '.join(columns.warnings)}")
    task = ""
    if not y.isna().any():
        y, task, found = _read_target(spec, y, source, decimal, labels=SHAPE in frame.attrs)
        notes, problems = [*notes, *found[0]], [*problems, *found[1]]
    problems += [*columns.problems, *_unknown_parts(spec, columns, frame.columns, source)]
    sound = columns._replace(names=[name for name in columns.names if str(name) not in columns.drop])
    raw, X = X[sound.names], convert(X, sound)
    problems += find_infinite(X, source)
    rows, gap_notes, gap_problems = _handle_missing(spec, raw, columns, source)
    problems += gap_problems
    raise_problems(source, problems, columns.drop)
    if not rows.all():
        X, raw = (part[rows].reset_index(drop=True) for part in (X, raw))
        y = y[rows].reset_index(drop=True)
        parts = None if parts is None else parts[rows]
        order = None if order is None else order.take(rows)
    if spec.missing == "error":
        X = X.fillna(dict.fromkeys(columns.categories, MISSING)) if columns.categories else X
    if get_task(task).has_classes and y.nunique() < 2:
        raise DataError(
            f"data.target: {target!r} has only one class ({plain_value(y.iloc[0])!r}); expected two or more"
        )
    table = Table(
        X,
        y,
        task,
        {},
        _shape(spec, frame, X),
        (*frame.attrs.get(READ_NOTES, ()), *signs.notes, *notes, *columns.notes, *gap_notes),
        (*columns.warnings, *signs.warnings),
        {str(name): column_format for name, column_format in columns.formats.items()},
        raw if columns.formats else None,
        {str(name): signs.by_column[name] for name in columns.names if name in signs.by_column},
        parts,
        order,
    )
    return check_augmentation(spec, table)


def raise_problems(source: str, problems: list[str], drop: Sequence[str] = ()) -> None:
    """Raise one error for all problems of a table, if there are any.

    Args:
        source: the name of the source.
        problems: a sentence each.
        drop: the columns that they advise to leave out.

    Raises:
        DataError: there are problems.
    """
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        lines = [f"{source} cannot be trained on, for {len(problems)} reasons:"]
        lines += [f"- {text}" for text in problems[:MAX_NAMES]]
        if len(problems) > MAX_NAMES:
            lines.append(f"… and {len(problems) - MAX_NAMES:,} more of these kinds")
        if len(drop) > 1:
            lines.append(f"without these columns: data: {{drop: [{join_names(drop)}]}}")
        raise DataError("\n".join(lines))


def check_columns(spec: DataSpec, columns: Iterable[Any], target: str | None, source: str) -> str:
    """Check that the columns of ``spec`` exist, and that there are others to learn from; return the target.

    Raises:
        DataError: a column does not exist, or there is no feature.
    """
    columns = list(columns)
    problems = []
    if target is None:
        problems.append(
            f"data.target: {source} needs the column to predict; use data: {{target: …}}; "
            f"{nearest('target', columns, 'columns:')}"
        )
    elif target not in columns:
        problems.append(f"data.target: {source} has no column {target!r}; {nearest(target, columns, 'columns:')}")
    for field in ("drop", "categorical", "ids"):
        problems += [
            f"data.{field}: {source} has no column {name!r}; {nearest(name, columns, 'columns:')}"
            for name in getattr(spec, field) or ()
            if name not in columns and not (field == "drop" and _part_column(name) in columns)
        ]
    if target is not None and target in (spec.ids or ()):
        problems.append(f"data.ids: {target!r} is the target of {source}; expected another column")
    for field in ("group", "time"):
        name = getattr(spec, field)
        if name is not None and name not in columns:
            problems.append(f"data.{field}: {source} has no column {name!r}; {nearest(name, columns, 'columns:')}")
        elif name is not None and name == target:
            problems.append(f"data.{field}: {name!r} is the target of {source}; expected another column")
    if not problems and not set(columns) - {target, *spec.drop, *(spec.ids or ()), spec.group}:
        problems.append(f"data.source: {source} has no column besides the target {target!r}")
    raise_problems(source, problems)
    return str(target)


def _part_column(name: str) -> str:
    """Return the column of dates that has a part of this name, as ``when.age``; empty where it can be none.

    >>> _part_column("when.age"), _part_column("v1.5")
    ('when', '')
    """
    column, _, part = name.rpartition(".")
    return column if part in PARTS else ""


def _unknown_parts(spec: DataSpec, columns: Columns, names: Iterable[Any], source: str) -> list[str]:
    """Return a problem for each part in ``drop`` whose column has no dates."""
    names = set(names)
    return [
        f"data.drop: {name!r} is no part of {_part_column(name)!r}, which has no dates in {source}"
        for name in spec.drop
        if name not in names
        and _part_column(name) in columns.names
        and columns.formats.get(_part_column(name), {}).get("type") != "date"
    ]


def check_augmentation(spec: DataSpec, table: Table) -> Table:
    """Return the table; check that its rows can be augmented as ``spec`` says."""
    shape = table.signature.shape if spec.augment else ()
    if spec.augment and (problem := spec.augment.problem(shape)):
        raise DataError(problem)
    return table


def _shape(spec: DataSpec, frame: pd.DataFrame, X: pd.DataFrame) -> Shape:
    """Return the shape of a row that is a complete image or sequence; else ()."""
    stored = tuple(int(n) for n in frame.attrs.get(SHAPE, ()))
    is_complete = len(stored) > 1 and math.prod(stored) == X.shape[1] and not spec.categorical
    shape = row_shape(stored if is_complete else (X.shape[1],), spec.axes)
    return shape if is_complete else ()


def find_task(spec: DataSpec, target: Target, example: Any, source: str) -> tuple[TaskName, tuple[str, ...]]:
    """Return the task, as configured or inferred, and in the second case a note that says so.

    Args:
        spec: the data.
        target: what the target holds.
        example: one of its values.
        source: the name of the source, for messages.

    Raises:
        DataError: the target does not fit the configured task.
    """
    if spec.task == "auto":
        task = target.infer_task()
        return task, (target.describe(spec.target or "y", task),)
    if problem := get_task(spec.task).target_problem(target.numeric, target.distinct, example, source):
        raise DataError(f"data.task: {problem}")
    return spec.task, ()


def _drop_without_target(
    spec: DataSpec, frame: pd.DataFrame, target: str, source: str
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Return the rows that have a target, with a note; or a problem where they are not to be dropped."""
    gaps = frame[target].isna()
    count, rows = int(gaps.sum()), len(gaps)
    if not count:
        return frame, [], []
    if count == rows or spec.missing != "drop":
        advice = "use data: {missing: drop}" if count < rows else "use another target"
        return (
            frame,
            [],
            [
                f"data.target: {target!r} is missing in {count} of {rows} rows of {source}, which cannot be trained "
                f"on; {advice}"
            ],
        )
    attributes = frame.attrs
    frame = frame[~gaps].reset_index(drop=True)
    frame.attrs = attributes
    return frame, [f"{count:,} of {rows:,} rows have no {target!r}, and are dropped"], []


def _read_target(
    spec: DataSpec, y: pd.Series[Any], source: str, decimal: str, *, labels: bool
) -> tuple[pd.Series[Any], TaskName, tuple[list[str], list[str]]]:
    """Return the target, its task, and notes and problems."""
    import numpy as np
    import pandas as pd

    name = str(y.name)
    if isinstance(y.dtype, pd.CategoricalDtype):
        y = y.astype(y.dtype.categories.dtype)
    if pd.api.types.is_datetime64_any_dtype(y) or pd.api.types.is_complex_dtype(y):
        return (
            y,
            "",
            ([], [f"data.target: {name!r} of {source} has values of type {y.dtype}, expected numbers or classes"]),
        )
    if pd.api.types.is_float_dtype(y) and np.isinf(y).any():
        problem = f"data.target: {name!r} is infinite in {int(np.isinf(y).sum())} of {len(y)} rows of {source}"
        return y, "", ([], [problem])
    if spec.task in ("auto", "regression"):
        numbers = convert_target(y, decimal)
        is_number = spec.task == "regression" or Target.of(numbers).infer_task() == "regression"
        y = numbers if is_number else y
    summary = Target.of(y, labels=labels)
    try:
        task, notes = find_task(spec.model_copy(update={"target": name}), summary, y.iloc[0], source)
    except DataError as error:
        return y, "", ([], [str(error)])
    return y, task, (list(notes), [])


def find_infinite(X: pd.DataFrame, source: str) -> list[str]:
    """Return a problem for each column with infinite values."""
    import numpy as np

    numbers = X.select_dtypes("number")
    counts = np.isinf(numbers.to_numpy()).sum(axis=0)
    return [
        f"column {name!r} of {source} has {count} infinite values, expected finite numbers"
        for name, count in zip(numbers.columns, counts.tolist(), strict=True)
        if count
    ]


def _handle_missing(
    spec: DataSpec, X: pd.DataFrame, columns: Columns, source: str
) -> tuple[np.ndarray, list[str], list[str]]:
    """Return which rows (rows,) stay, as ``spec.missing`` says, and notes and problems of missing values."""
    gaps = X.isna()
    counts = gaps.sum()
    complete = ~gaps.any(axis=1).to_numpy()
    if complete.all():
        return complete, [], []
    everything = ~(complete & False)
    if spec.missing == "error":
        numbers = {n: c for n, c in counts.items() if c and n not in columns.categories}
        texts = [f"{n!r}: {c:,}" for n, c in counts.items() if c and n in columns.categories]
        notes = [f"missing categories are a category of their own ({join_names(texts)} rows)"] if texts else []
        if not numbers:
            return everything, notes, []
        listed = join_names(f"{n}: {c}" for n, c in numbers.items())
        return (
            everything,
            notes,
            [
                f"{source} has {sum(numbers.values())} missing values ({listed}). "
                "Choose how to handle them: data: {missing: drop}, or mean, median, most_frequent"
            ],
        )
    if spec.missing == "drop":
        if not complete.any():
            return (
                complete,
                [],
                [f"every row of {source} has a missing value; use data: {{missing: median}}, or drop columns"],
            )
        return complete, [f"{int((~complete).sum()):,} of {len(X):,} rows have a missing value, and are dropped"], []
    empty = [str(n) for n in X.columns if counts[n] == len(X)]
    if empty:
        return everything, [], [f"column {empty[0]!r} of {source} is empty; use data: {{drop: [{join_names(empty)}]}}"]
    return everything, [], []


def source_label(source: str) -> str:
    """Return the name of a source in messages."""
    return "the data" if source.startswith(STORED) else repr(source)
