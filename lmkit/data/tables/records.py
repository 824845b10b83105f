"""Tables in JSON: records, a record a line, columns, rows, and what pandas' other orients write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.data.tables.sniff import READ_NOTES, open_binary
from lmkit.exceptions import DataError
from lmkit.specs.file_names import COMPRESSIONS

if TYPE_CHECKING:
    import pandas as pd

    from lmkit.specs.data import DataSpec


def read_records(path: Path, spec: DataSpec) -> pd.DataFrame:
    """Read a table in JSON; records in records become columns ``outer.inner``.

    Raises:
        DataError: it holds no table.
    """
    import pandas as pd

    with open_binary(path, spec) as file:
        text = file.read().decode(spec.encoding or "utf-8-sig")
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in COMPRESSIONS]
    if suffixes[-1] in (".jsonl", ".ndjson"):
        values: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
    else:
        values = json.loads(text)
    if isinstance(values, dict) and len(values) == 1:  # {"data": [records]}
        (inner,) = values.values()
        values = inner if isinstance(inner, list) and inner and isinstance(inner[0], dict) else values
    frame = _frame(values, spec)
    if frame is None:
        raise DataError(
            f'data.source: {spec.source!r} has no table, expected a list of records: [{{"a": 1, "y": 0}}, …], or '
            "columns, rows or a table as pandas writes them"
        )
    nested = [name for name in frame.columns if any(isinstance(v, dict) for v in frame[name].head(100))]
    if nested:
        records: list[Any] = frame.to_dict("records")
        frame = pd.json_normalize(records)
        frame.attrs[READ_NOTES] = [f"{spec.source!r}: records in {nested[0]!r} are columns {nested[0]}.…"]
    return frame


def _frame(values: Any, spec: DataSpec) -> pd.DataFrame | None:
    """Return the table that values are; None where they are none."""
    import pandas as pd

    if isinstance(values, list):
        if all(isinstance(record, dict) for record in values):
            return pd.DataFrame(values)
        return _of_rows(values)
    if not isinstance(values, dict) or not values:
        return None
    rows, names = values.get("data"), values.get("columns")
    if isinstance(rows, list) and isinstance(names, list) and all(_is_row(row, len(names)) for row in rows):  # split
        return pd.DataFrame(rows, columns=names)
    if isinstance(rows, list) and isinstance(schema := values.get("schema"), dict):  # table
        keys = schema.get("primaryKey")
        frame = pd.DataFrame(rows)
        return frame.drop(columns=[k for k in keys or () if k in frame.columns and k == "index"])
    columns = list(values.values())
    if all(isinstance(column, list) for column in columns) and len({len(column) for column in columns}) == 1:
        return pd.DataFrame(values)
    if not all(isinstance(column, dict) for column in columns):
        return None
    if spec.target is not None and spec.target not in values and all(spec.target in record for record in columns):
        return pd.DataFrame(columns)  # a record by its index
    return pd.DataFrame(values).reset_index(drop=True)


def _of_rows(values: list[Any]) -> pd.DataFrame | None:
    """Return the table of a list of rows, of which the first may have the names."""
    import pandas as pd

    if not values or not isinstance(values[0], list) or not all(_is_row(row, len(values[0])) for row in values):
        return None
    if all(isinstance(name, str) for name in values[0]):
        return pd.DataFrame(values[1:], columns=values[0])
    return pd.DataFrame(values, columns=[f"x{i}" for i in range(len(values[0]))])


def _is_row(row: Any, width: int) -> bool:
    return isinstance(row, list) and len(row) == width
