"""What the data of an experiment looks like: rows, columns, classes, and a small picture."""

from __future__ import annotations

import base64
import html
import io
import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lmkit import description
from lmkit.data.graphs import load as load_graph
from lmkit.data.hub import parse
from lmkit.data.preparation import parted
from lmkit.data.quality import warnings
from lmkit.data.sources import Table, load, part_sizes
from lmkit.data.store import stored_path
from lmkit.errors import DataError, LmkitError
from lmkit.planning.devices import amount_text
from lmkit.plots import BLUE, COLOURS, GREY
from lmkit.specs.data import HUB, STORED, DataSpec
from lmkit.specs.references import label
from lmkit.specs.signature import Signature, Task
from lmkit.training import EAGER_BYTES
from lmkit.widgets.drawing import count
from lmkit.widgets.graphs import graph_svg
from lmkit.widgets.texts import look_at_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ROWS = 9
"""Classes that are listed at most."""

POINTS = 400
"""Points of the picture at most."""

SAMPLES = 4
"""Pictures of each class, where the rows are pictures."""

WIDTH, HEIGHT = 250, 168


class TooLarge(DataError):
    """The data is not wrong, but too large to be read while somebody waits."""


class Share(NamedTuple):
    """A class, or a range of a number, and how many rows are in it."""

    label: str
    rows: int


class Preview(NamedTuple):
    """What is known of the data once it has been read.

    Attributes:
        rows: how many.
        columns: how many, without the target.
        signature: what a model takes, each category a column of its own, and what it gives.
        target: what the target is called.
        balance: the rows of each class, or of each range of the target.
        picture: a small picture, as HTML.
        head: the first rows, as an HTML table.
        warnings: what one should know before trusting a score.
        augmented: training rows as they are augmented, as HTML.
        table: what was read, where that is to be split anew.
        text: what is shown of a text, as HTML, in place of all that.
        root: where the runs are, and the tokens of a text beside them.
    """

    rows: int
    columns: int
    signature: Signature
    target: str
    balance: tuple[Share, ...]
    picture: str
    head: str
    warnings: tuple[str, ...] = ()
    augmented: str = ""
    table: Table | None = None
    text: str = ""
    root: str | Path | None = None


def look(spec: DataSpec, root: str | Path | None = None, seed: int = 0) -> Preview:
    """Reads the data of ``spec``, and splits it by ``seed`` to see whether the parts are apart.

    Raises:
        DataError: it cannot be trained on.
        TooLarge: it is left to the worker to find that out.
    """
    path = Path(spec.source).expanduser()
    if spec.is_file and path.is_file() and path.stat().st_size > EAGER_BYTES:
        raise TooLarge(
            f"{spec.source!r} is {amount_text(path.stat().st_size)}, too large to look into here; it is read and "
            "checked when training begins"
        )
    if spec.kind == "text":
        seen = look_at_text(spec, root)
        return Preview(seen.rows, 0, seen.signature, "", (), "", "", text=seen.html, root=root)
    if spec.kind == "graph":
        return _look_at_graph(spec, root)
    if spec.source.startswith(HUB) and not parse(spec.source).local:
        raise TooLarge(f"{spec.source!r} is fetched, and checked, when training begins")
    if spec.kind == "loader":
        raise TooLarge(f"{label(spec.source)!r} gives its rows itself; it is read, and checked, when training begins")
    table = load(spec, root)
    found = Preview(
        rows=len(table.y),
        columns=table.X.shape[1],
        signature=table.signature,
        target=str(spec.target or table.y.name or "target"),
        balance=_balance(table),
        picture=_picture(table),
        head=_head(table),
        table=table,
    )
    return split(found, spec, seed)


def split(found: Preview, spec: DataSpec, seed: int) -> Preview:
    """The preview with what is to be said of the parts as ``spec`` and ``seed`` make them, and training rows as they
    are augmented; without, where the data cannot be split so, which is said elsewhere."""
    if found.text:
        try:
            return look(spec, found.root)
        except LmkitError:
            return found
    if found.table is None:
        return found
    try:
        data = parted(spec.model_copy(update={"batch_size": 1}), found.table, seed, "float32")
    except LmkitError:
        return found._replace(warnings=(), augmented="")
    sheet = description.picture(data) if spec.augment else b""
    encoded = base64.b64encode(sheet).decode()
    shown = (
        f'<figure class="lkc-augmented"><img alt="Images of each class, and the same as they are augmented" '
        f'src="data:image/png;base64,{encoded}"><figcaption>Images, and the same as they are augmented</figcaption>'
        "</figure>"
    )
    return found._replace(warnings=warnings(data), augmented=shown if sheet else "")


def columns(spec: DataSpec, root: str | Path | None = None) -> list[str]:
    """The columns that a source has, as far as they can be told without reading it whole; empty where it cannot."""
    try:
        source = spec.source.lower()
        path = stored_path(spec.source, root) if source.startswith(STORED) else Path(spec.source).expanduser()
        if not path.is_file():
            return []
        if source.endswith(".csv"):
            import pandas as pd

            return [str(c) for c in pd.read_csv(path, nrows=0).columns]
        if source.endswith(".npz"):
            import numpy as np

            with np.load(path, allow_pickle=False) as arrays:
                return [name for name in arrays.files if name != "X"]
        from pyarrow.parquet import read_schema

        return [str(name) for name in read_schema(path).names]
    except (OSError, ValueError, RuntimeError, LmkitError):
        return []  # what is wrong with it is said by whoever reads it whole


def preview_html(found: Preview, spec: DataSpec) -> str:
    """The preview, with the sizes of the parts as ``spec`` makes them now."""
    if found.text:
        return found.text
    sizes = part_sizes(spec, found.rows)
    parts = ", ".join(f"{count(n)} {'to train on' if part == 'training' else part}" for part, n in sizes.items() if n)
    what = {
        "binary": "one of two classes",
        "multiclass": f"one of {count(found.signature.outputs)} classes",
        "regression": "a number",
    }
    named = f" ({html.escape(spec.target)})" if spec.target else ""
    shape, inputs = found.signature.shape, found.signature.features
    apart = f" ({count(inputs)} with each category apart)" if inputs != found.columns else ""
    if len(shape) > 1:
        kind = "images" if len(shape) == 3 else "sequences"
        apart = f" ({kind} of {' × '.join(map(str, shape))})"
    much = f"<b>{count(found.rows)}</b> rows × <b>{count(found.columns)}</b> columns{apart}"
    if found.signature.graph:
        nodes, edges = len(found.signature.graph.features), found.signature.graph.edges.shape[1] // 2
        much = f"<b>{count(nodes)}</b> nodes, <b>{count(edges)}</b> edges"
        much += f", <b>{count(found.columns)}</b> column{'s'[: found.columns > 1]}" if found.columns else ""
        much += f", {count(nodes - found.rows)} without a label" if found.rows < nodes else ""
    return (
        f'<div class="lkc-facts">{much}, '
        f"to predict <b>{what[found.signature.task]}</b>{named}<br>{parts}</div>"
        f"{''.join(notice_html(text, wrong=True) for text in found.warnings)}"
        f'<div class="lkc-look">{_balance_html(found)}{found.picture}{found.augmented}</div>'
        f"<details><summary>First rows</summary>{found.head}</details>"
    )


def _balance_html(found: Preview) -> str:
    widest = max(share.rows for share in found.balance)
    lines = "".join(
        f'<tr><th scope="row" title="{html.escape(share.label)}">{html.escape(share.label)}</th>'
        f'<td><i style="width:{100 * share.rows / widest:.1f}%;background:{colour}"></i></td>'
        f"<td>{count(share.rows)}</td><td>{_percent(share.rows / found.rows)}</td></tr>"
        for share, colour in zip(found.balance, _colours(found.signature.task, len(found.balance)), strict=True)
    )
    title = "range of the target" if found.signature.task == "regression" else "class"
    rows = "Nodes" if found.signature.graph else "Rows"
    return f'<table class="lkc-balance"><caption>{rows} of each {title}</caption>{lines}</table>'


def _percent(share: float) -> str:
    return "< 1%" if 0 < share < 0.01 else f"{share:.0%}"


def notice_html(text: str, wrong: bool = False) -> str:
    """A sentence where the preview would be."""
    kind = "lkc-problem" if wrong else "lkc-soft"
    return f'<p class="{kind}"{" role=alert" if wrong else ""}>{html.escape(text)}</p>'


def _look_at_graph(spec: DataSpec, root: str | Path | None) -> Preview:
    import numpy as np
    import pandas as pd

    nodes = load_graph(spec, root)
    table = nodes.table._replace(X=nodes.table.X.iloc[nodes.labelled], y=nodes.y)
    target = str(spec.target or table.y.name or "target")
    said = [str(node) for node in nodes.ids]
    colours = [GREY] * len(said)
    numbers, known = pd.factorize(table.y, sort=True)
    shades = [BLUE] * len(known) if table.task == "regression" else _colours(table.task, len(known))
    for node, value in zip(nodes.labelled, numbers.tolist(), strict=True):
        said[node] += f", {target}: {known[value]}"
        colours[node] = shades[value]
    label = f"{len(said)} nodes and the edges between them"
    head = table._replace(X=table.X.assign(**{nodes.column: np.array(nodes.ids, dtype=object)[nodes.labelled]}))
    return Preview(
        rows=len(table.y),
        columns=table.X.shape[1],
        signature=nodes.signature,
        target=target,
        balance=_balance(table),
        picture=graph_svg(nodes.edges, said, colours, (WIDTH, HEIGHT + 30), label),
        head=_head(head),
    )


# -- what it holds --------------------------------------------------------------------------------


def _balance(table: Table) -> tuple[Share, ...]:
    import numpy as np

    if table.task == "regression":
        y = table.y.to_numpy(dtype=np.float64)
        edges = description.round_edges(y.min(), y.max())
        counts, _ = np.histogram(y, bins=edges)
        return tuple(Share(f"{a:g} to {b:g}", int(n)) for n, (a, b) in zip(counts, pairwise(edges), strict=True))
    counted = table.y.value_counts().sort_index()
    shares = [Share(table.labels.get(value, str(value)), int(n)) for value, n in counted.items()]
    if len(shares) > ROWS + 1:
        rest = shares[ROWS:]
        shares = [*shares[:ROWS], Share(f"{len(rest)} more", sum(s.rows for s in rest))]
    return tuple(shares)


def _colours(task: Task, n: int) -> list[str]:
    """A colour a class, while there are enough of them to tell apart."""
    return list(COLOURS[:n]) if task != "regression" and n <= len(COLOURS) else [BLUE] * n


def _head(table: Table) -> str:
    frame = table.X.head(5).copy()
    frame.insert(
        0, str(table.y.name or "target"), [table.labels.get(v, v) for v in table.y.head(5)], allow_duplicates=True
    )
    shown: str = frame.iloc[:, :40].to_html(
        border=0, index=False, float_format=lambda v: f"{v:.4g}", classes="lkc-head"
    )
    return f'<div class="lkc-scroll">{shown}</div>'


# -- the picture ----------------------------------------------------------------------------------


def _picture(table: Table) -> str:
    side = math.isqrt(table.X.shape[1])
    numeric = table.X.select_dtypes("number")
    if len(table.shape) == 3 and table.task != "regression":
        pixels = numeric.to_numpy(dtype=float).reshape(-1, *table.shape).mean(axis=3)
        return _samples(pixels - pixels.min(), table)
    if side >= 6 and side * side == table.X.shape[1] == numeric.shape[1] and table.task != "regression":
        pixels = numeric.to_numpy()
        if pixels.min() >= 0 and (pixels == pixels.round()).all():
            return _samples(pixels.reshape(-1, side, side), table)
    return _scatter(numeric, table) if numeric.shape[1] else ""


def _samples(pictures: np.ndarray, table: Table) -> str:
    """Some rows of each class, as the pictures that they are."""
    import numpy as np
    from PIL import Image

    classes = sorted(table.y.unique())[:10]
    height, width = pictures.shape[1:]
    sheet = np.zeros((SAMPLES * (height + 1), len(classes) * (width + 1)))
    brightest = pictures.max() or 1
    for column, value in enumerate(classes):
        for row, picture in enumerate(pictures[table.y.to_numpy() == value][:SAMPLES]):
            top, left = row * (height + 1), column * (width + 1)
            sheet[top : top + height, left : left + width] = picture / brightest
    ink = np.zeros((*sheet.shape, 2), dtype=np.uint8)
    ink[..., 1] = sheet * 255
    scale = max(1, 400 // sheet.shape[1])
    file = io.BytesIO()
    image = Image.fromarray(ink, "LA")
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(file, "png", optimize=True)
    url = f"url(data:image/png;base64,{base64.b64encode(file.getvalue()).decode()})"
    names = ", ".join(table.labels.get(v, str(v)) for v in classes)
    return (
        f'<div class="lkc-samples" role="img" aria-label="Rows of each class, as pictures: {html.escape(names)}" '
        f'style="aspect-ratio:{sheet.shape[1]}/{sheet.shape[0]};-webkit-mask-image:{url};mask-image:{url}"></div>'
    )


def _scatter(numeric: pd.DataFrame, table: Table) -> str:
    """The rows over the two columns that tell most; over the best one and the target, where that is a number."""
    import numpy as np
    import pandas as pd

    y = table.y
    if table.task == "regression":
        target = y.to_numpy(dtype=np.float64)
        power = [abs(_correlation(numeric[c].to_numpy(), target)) for c in numeric.columns]
        best = numeric.columns[int(np.argmax(power))]
        pair, classes = (numeric[best].to_numpy(), target), np.zeros(len(y), dtype=int)
        names, colours = (str(best), str(y.name or "target")), [BLUE]
    else:
        classes, values = pd.factorize(y, sort=True)
        order = sorted(numeric.columns, key=lambda c: -_separation(numeric[c].to_numpy(), classes))
        first = order[0]
        apart = [c for c in order[1:] if abs(_correlation(numeric[c].to_numpy(), numeric[first].to_numpy())) < 0.9]
        second = (apart or order[1:] or [first])[0]
        pair, names = (numeric[first].to_numpy(), numeric[second].to_numpy()), (str(first), str(second))
        colours = _colours(table.task, len(values))
    whole = np.isfinite(pair[0]) & np.isfinite(pair[1])
    rows = np.flatnonzero(whole)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, POINTS).astype(int))] if len(rows) > POINTS else rows
    if not len(rows):
        return ""
    x, y_ = (_scaled(v[rows], size) for v, size in zip(pair, (WIDTH - 26, HEIGHT - 26), strict=True))
    clouds = "".join(
        f'<path stroke="{colour}" d="'
        + "".join(f"M{20 + a:.0f} {HEIGHT - 20 - b:.0f}h0" for a, b in zip(x[here], y_[here], strict=True))
        + '"/>'
        for i, colour in enumerate(colours)
        if (here := classes[rows] == i).any()
    )
    axes = f"M18 4V{HEIGHT - 18}H{WIDTH - 4}"
    return (
        f'<svg class="lkc-scatter" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(names[1])} over {html.escape(names[0])}, a point a row">'
        f'<path class="lkc-axes" d="{axes}"/><g class="lkc-points">{clouds}</g>'
        f'<text x="{(WIDTH + 14) / 2:.0f}" y="{HEIGHT - 5}">{html.escape(_short(names[0]))}</text>'
        f'<text x="{-(HEIGHT - 14) / 2:.0f}" y="12" transform="rotate(-90)">{html.escape(_short(names[1], 24))}</text>'
        "</svg>"
    )


def _separation(x: np.ndarray, classes: np.ndarray) -> float:
    """How far a column tells the classes apart: variance between their means over the variance within."""
    import numpy as np

    known = np.isfinite(x)
    x, classes = x[known], classes[known]
    sizes = np.bincount(classes)
    means = np.bincount(classes, x) / np.maximum(sizes, 1)
    between = float((sizes * (means - x.mean()) ** 2).sum()) if len(x) else 0.0
    within = float(((x - means[classes]) ** 2).sum()) if len(x) else 0.0
    return between / within if within > 0 else math.inf if between > 0 else 0.0


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    import numpy as np

    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _scaled(values: np.ndarray, size: float) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / ((high - low) or 1.0) * (size - 8) + 4


def _short(text: str, most: int = 34) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
