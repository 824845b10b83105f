"""The preview of a dataset: rows, columns, classes, warnings, and a thumbnail."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from lmkit.data.dataset import EAGER_BYTES
from lmkit.data.graphs.graphs import load as load_graph
from lmkit.data.kinds import get_kind, row_kind
from lmkit.data.profile import Profile, profile_data
from lmkit.data.quality import warnings
from lmkit.data.tables.files import is_delimited, read_names
from lmkit.data.tables.fit import prepare_table, table_sizes
from lmkit.data.tables.hub import parse
from lmkit.data.tables.memory import stored_path
from lmkit.data.tables.parts import PARTS
from lmkit.data.tables.size import exceeds
from lmkit.data.tables.sources import load, part_sizes
from lmkit.data.tables.table import Table
from lmkit.display.figure import BLUE, GREY
from lmkit.display.units import format_bytes
from lmkit.exceptions import DataError, LmkitError
from lmkit.specs.data import HUB, STORED, DataSpec
from lmkit.specs.file_names import FILE_NAMES, PARQUET, TEXTS
from lmkit.specs.losses import resolve_loss
from lmkit.specs.references import label
from lmkit.specs.signature import Signature
from lmkit.specs.tasks import get_task
from lmkit.tables import dataset
from lmkit.widgets.drawing import count
from lmkit.widgets.graphs import graph_svg
from lmkit.widgets.texts import preview_text
from lmkit.widgets.thumbnail import HEIGHT, WIDTH, class_colours, thumbnail

MAX_CLASSES = 9
"""Maximum number of classes to list."""


class TooLarge(DataError):
    """The data is too large to preview; training can read it."""


class Share(NamedTuple):
    """The number of rows of a class, or of a range of the target."""

    label: str
    rows: int


class Preview(NamedTuple):
    """The preview of a dataset.

    Attributes:
        rows: number of rows.
        columns: number of columns, without the target.
        signature: inputs, after one-hot encoding, and outputs of a model.
        target: name of the target.
        balance: rows per class, or per range of the target.
        picture: the thumbnail, as HTML.
        head: the first rows, as an HTML table.
        warnings: problems that make a score unreliable.
        notes: what was inferred about the data.
        augmented: augmented training rows, as HTML.
        table: the data, to split it again; None for texts and graphs.
        text: the preview of a text, as HTML, which replaces all others.
        root: the folder of the runs, with the tokens of texts.
        sizes: rows of each part, where these follow from the values of a column.
        profile: what the prepared data are like; None for texts and graphs.
    """

    rows: int
    columns: int
    signature: Signature
    target: str
    balance: tuple[Share, ...]
    picture: str
    head: str
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    augmented: str = ""
    table: Table | None = None
    text: str = ""
    root: str | Path | None = None
    sizes: Mapping[str, int] | None = None
    profile: Profile | None = None


def load_preview(spec: DataSpec, root: str | Path | None = None, seed: int = 0) -> Preview:
    """Read the data of ``spec``, and split it by ``seed`` to check the splits.

    Raises:
        DataError: the data cannot be used for training.
        TooLarge: the data is read by the worker only.
    """
    path = Path(spec.source).expanduser()
    if spec.is_file and path.is_file() and exceeds(path, EAGER_BYTES):
        raise TooLarge(
            f"{spec.source!r} holds more than {format_bytes(EAGER_BYTES)}, too large to preview; it is read and "
            "checked when training starts"
        )
    if view := VIEWS.get(spec.kind):
        return view(spec, root)
    if spec.source.startswith(HUB) and not parse(spec.source).is_local:
        raise TooLarge(f"{spec.source!r} is downloaded and checked when training starts")
    if not get_kind(spec).has_preview:
        raise TooLarge(f"{label(spec.source)!r} is a data loader; it is read and checked when training starts")
    table = load(spec, root)
    preview = Preview(
        rows=len(table.y),
        columns=table.X.shape[1],
        signature=table.signature,
        target=str(spec.target or table.y.name or "target"),
        balance=_balance(table),
        picture=thumbnail(table),
        head=_head(table),
        notes=table.notes,
        table=table,
    )
    return split(preview, spec, seed)


def try_preview(spec: DataSpec, root: str | Path | None = None, seed: int = 0) -> Preview | LmkitError:
    """Return the preview, or the error for which there is none."""
    if not spec.source:
        return DataError(f"data.source: enter the path of a file that ends in {', '.join((FILE_NAMES, *TEXTS))}")
    return _try(lambda: load_preview(spec, root, seed))


def try_split(preview: Preview, spec: DataSpec, seed: int) -> Preview | LmkitError:
    """Return what ``split`` returns, or the error for which there is no preview."""
    return _try(lambda: split(preview, spec, seed))


def _try(make: Callable[[], Preview]) -> Preview | LmkitError:
    try:
        return make()
    except LmkitError as error:
        return error
    except Exception as error:  # a file can hold anything; the form stays usable
        return DataError(f"data.source: cannot be read: {type(error).__name__}: {error}")


def split(preview: Preview, spec: DataSpec, seed: int) -> Preview:
    """Return the preview with the warnings and augmented rows of the split by ``spec`` and ``seed``.

    Without them if the data cannot be split, which is a problem of the form.
    """
    if preview.text:
        try:
            return load_preview(spec, preview.root)
        except LmkitError:
            return preview
    if preview.table is None:
        return preview
    try:
        data = prepare_table(spec.model_copy(update={"batch_size": 1}), preview.table, seed, "float32")
    except LmkitError as error:
        return preview._replace(warnings=(str(error),) if preview.table.order else (), augmented="", profile=None)
    png = dataset.picture(data) if spec.augment else b""
    encoded = base64.b64encode(png).decode()
    figure = (
        f'<figure class="lkc-augmented"><img alt="Images of each class, original and augmented" '
        f'src="data:image/png;base64,{encoded}"><figcaption>Images, original and augmented</figcaption>'
        "</figure>"
    )
    sizes = dict(zip(PARTS, (len(part.y) for part in data[:3]), strict=True)) if preview.table.order else None
    return preview._replace(
        warnings=warnings(data),
        augmented=figure if png else "",
        notes=data.notes,
        sizes=sizes,
        profile=profile_data(data, resolve_loss("auto", data.preprocessing.task)),
    )


def columns(spec: DataSpec, root: str | Path | None = None) -> list[str]:
    """Return the columns of a source from its header; empty if it has none or cannot be read."""
    try:
        source = spec.source.lower()
        path = stored_path(spec.source, root) if source.startswith(STORED) else Path(spec.source).expanduser()
        if not path.is_file():
            return []
        if is_delimited(source) and spec.kind == "table":
            return read_names(path, spec)
        if not source.startswith(STORED) and not source.endswith((*PARQUET, ".npz")):
            return []
        if source.endswith(".npz"):
            import numpy as np

            with np.load(path, allow_pickle=False) as arrays:
                return [name for name in arrays.files if name != "X"]
        from pyarrow.parquet import read_schema

        return [str(name) for name in read_schema(path).names]
    except Exception:  # a file can hold anything; reading it reports the error
        return []


def preview_html(preview: Preview, spec: DataSpec) -> str:
    """Return the preview as HTML, with the sizes of the splits from ``spec``."""
    if preview.text:
        return preview.text
    sizes = table_sizes(spec, preview.table) if preview.table else part_sizes(spec, preview.rows)
    sizes = {**sizes, **(preview.sizes or {})}
    splits = ", ".join(f"{count(n)} {split}" for split, n in sizes.items() if n)
    task = get_task(preview.signature.task).describe(preview.signature.outputs)
    unit = "nodes" if preview.signature.graph else "rows"
    target = f" ({html.escape(spec.target)})" if spec.target else ""
    return (
        f'<div class="lkc-facts">{_size_html(preview)} · '
        f"<b>{task}</b>{target}<br>{splits} {unit}</div>"
        f"{''.join(notice_html(text) for text in preview.notes)}"
        f"{''.join(notice_html(text, is_error=True) for text in preview.warnings)}"
        f'<div class="lkc-look">{_balance_html(preview)}{preview.picture}{preview.augmented}</div>'
        f"<details><summary>First rows</summary>{preview.head}</details>"
    )


def _size_html(preview: Preview) -> str:
    """The numbers of rows and columns, or of nodes and edges."""
    graph, shape, inputs = preview.signature.graph, preview.signature.shape, preview.signature.features
    if graph:
        nodes, edges = len(graph.features), graph.edges.shape[1] // 2
        text = f"<b>{count(nodes)}</b> nodes, <b>{count(edges)}</b> edges"
        text += f", <b>{count(preview.columns)}</b> column{'s'[: preview.columns > 1]}" if preview.columns else ""
        return text + (f", {count(nodes - preview.rows)} without a label" if preview.rows < nodes else "")
    encoded = f" ({count(inputs)} after one-hot encoding)" if inputs != preview.columns else ""
    if len(shape) > 1:
        encoded = f" ({row_kind(preview.signature).rows} of {' × '.join(map(str, shape))})"
    return f"<b>{count(preview.rows)}</b> rows × <b>{count(preview.columns)}</b> columns{encoded}"


def _balance_html(preview: Preview) -> str:
    widest = max(share.rows for share in preview.balance)
    lines = "".join(
        f'<tr><th scope="row" title="{html.escape(share.label)}">{html.escape(share.label)}</th>'
        f'<td><i style="width:{100 * share.rows / widest:.1f}%;background:{colour}"></i></td>'
        f"<td>{count(share.rows)}</td><td>{_percent(share.rows / preview.rows)}</td></tr>"
        for share, colour in zip(
            preview.balance, class_colours(preview.signature.task, len(preview.balance)), strict=True
        )
    )
    rows = "Nodes" if preview.signature.graph else "Rows"
    title = "Distribution of the target" if get_task(preview.signature.task).numeric else f"{rows} per class"
    return f'<table class="lkc-balance"><caption>{title}</caption>{lines}</table>'


def _percent(share: float) -> str:
    return "< 1%" if 0 < share < 0.01 else f"{share:.0%}"


def notice_html(text: str, is_error: bool = False) -> str:
    """Return a message in place of the preview, as HTML."""
    css_class = "lkc-problem" if is_error else "lkc-soft"
    return f'<p class="{css_class}"{" role=alert" if is_error else ""}>{html.escape(text)}</p>'


def _preview_text(spec: DataSpec, root: str | Path | None) -> Preview:
    text = preview_text(spec, root)
    return Preview(text.rows, 0, text.signature, "", (), "", "", text=text.html, root=root)


def _preview_graph(spec: DataSpec, root: str | Path | None) -> Preview:
    import numpy as np
    import pandas as pd

    nodes = load_graph(spec, root)
    table = nodes.table._replace(X=nodes.table.X.iloc[nodes.labelled], y=nodes.y)
    target = str(spec.target or table.y.name or "target")
    tooltips = [str(node) for node in nodes.ids]
    colours = [GREY] * len(tooltips)
    numbers, values = pd.factorize(table.y, sort=True)
    shades = [BLUE] * len(values) if get_task(table.task).numeric else class_colours(table.task, len(values))
    for node, value in zip(nodes.labelled, numbers.tolist(), strict=True):
        tooltips[node] += f", {target}: {values[value]}"
        colours[node] = shades[value]
    label = f"{len(tooltips)} nodes and their edges"
    head = table._replace(X=table.X.assign(**{nodes.column: np.array(nodes.ids, dtype=object)[nodes.labelled]}))
    return Preview(
        rows=len(table.y),
        columns=table.X.shape[1],
        signature=nodes.signature,
        target=target,
        balance=_balance(table),
        picture=graph_svg(nodes.edges, tooltips, colours, (WIDTH, HEIGHT + 30), label),
        head=_head(head),
        notes=table.notes,
    )


VIEWS = {"text": _preview_text, "graph": _preview_graph}
"""Kind of data → its preview; all other kinds are tables."""


# -- tables ---------------------------------------------------------------------------------------


def _balance(table: Table) -> tuple[Share, ...]:
    import numpy as np

    if get_task(table.task).numeric:
        y = table.y.to_numpy(dtype=np.float64)
        edges = dataset.round_edges(y.min(), y.max())
        counts, _ = np.histogram(y, bins=edges)
        return tuple(Share(f"{a:g} to {b:g}", int(n)) for n, (a, b) in zip(counts, pairwise(edges), strict=True))
    counts_by_class = table.y.value_counts().sort_index()
    shares = [Share(table.labels.get(value, str(value)), int(n)) for value, n in counts_by_class.items()]
    if len(shares) > MAX_CLASSES + 1:
        rest = shares[MAX_CLASSES:]
        shares = [*shares[:MAX_CLASSES], Share(f"{len(rest)} more", sum(s.rows for s in rest))]
    return tuple(shares)


def _head(table: Table) -> str:
    frame = table.X.head(5).copy()
    frame.insert(
        0, str(table.y.name or "target"), [table.labels.get(v, v) for v in table.y.head(5)], allow_duplicates=True
    )
    html_table: str = frame.iloc[:, :40].to_html(
        border=0, index=False, float_format=lambda v: f"{v:.4g}", classes="lkc-head"
    )
    return f'<div class="lkc-scroll">{html_table}</div>'
