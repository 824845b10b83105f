"""Graphs: a table of nodes, of which some have a label, and the edges between them.

    nodes.csv ──> sources: a table, checked ──> fitted on the nodes trained on ──> features of all nodes ─┐
    edges.csv ──> numbers of nodes, both ways, once ─────────────────────────────────────────────────────┴─> Graph

A node without a label is neither trained nor tested on, but it is part of the graph. A row of the data is the number of
a node; everything else a model reads in the graph, which the run's folder keeps whole.
"""

from __future__ import annotations

import base64
import importlib.util
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data import nodes
from lmkit.data.batches import Part
from lmkit.data.nodes import numbers
from lmkit.data.preparation import Dataset, fit, split
from lmkit.data.sources import Table, as_table, category_names, check_sizes, plain_value, read, shown
from lmkit.errors import DataError, MissingPackage, nearest
from lmkit.specs.data import BUNDLED, DataSpec
from lmkit.specs.graph import GraphSpec
from lmkit.specs.signature import Graph, Signature, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ALONE = 5_000
"""Nodes at most, where they have no columns: each is then told apart by a feature of its own."""


class Nodes(NamedTuple):
    """A graph as it came.

    Attributes:
        table: a row a node; the target of one without a label is any label, which nobody looks at.
        ids: what the nodes are called.
        column: what the column of these names is called.
        labelled: (labelled,), the numbers of the nodes with a label.
        edges: (2, edges), numbers of nodes, both directions, no loops.
    """

    table: Table
    ids: list[Any]
    column: str
    labelled: np.ndarray
    edges: np.ndarray

    @property
    def y(self) -> pd.Series[float]:
        """The labels, as far as there are any."""
        return self.table.y.iloc[self.labelled]

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.table.task

    @property
    def signature(self) -> Signature:
        """What a model takes and gives: the sizes of the graph."""
        given, nodes = self.table.signature, len(self.ids)
        features = given.features if self.table.X.shape[1] else nodes
        return given._replace(shape=(features,), graph=Graph.sized(nodes, features, self.edges.shape[1]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Preprocessing(nodes.Preprocessing):
    """What was fitted on the nodes trained on, and the whole graph as the model takes it.

    Nodes without columns are told apart each by a feature of its own, 1 for itself and 0 elsewhere (Kipf and Welling,
    2017): nothing is known of them but the edges.

    Attributes:
        values: (nodes, features), prepared.
        edges: (2, edges), numbers of nodes, both directions, no loops.
    """

    values: np.ndarray
    edges: np.ndarray

    def __post_init__(self) -> None:
        for name in ("values", "edges"):
            kept = getattr(self, name)
            object.__setattr__(self, name, _unpacked(kept) if isinstance(kept, dict) else kept)
        super().__post_init__()

    def __eq__(self, other: object) -> bool:
        import numpy as np

        return type(self) is type(other) and all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name))
            if f.name in ("values", "edges")
            else getattr(self, f.name) == getattr(other, f.name)
            for f in fields(self)
        )

    @property
    def signature(self) -> Signature:
        """What a model takes and gives, and the graph."""
        return super().signature._replace(graph=Graph(self.values, self.edges))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the run's folder; arrays as text."""
        return super().to_dict() | {name: _packed(getattr(self, name)) for name in ("values", "edges")}

    def shipped(self) -> dict[str, Any]:
        """What a bundle needs of it: the model holds the graph."""
        return super().to_dict()


def load(spec: DataSpec, root: str | Path | None = None) -> Nodes:
    """The graph of ``spec``.

    Raises:
        DataError: its nodes or edges cannot be trained on; the message says why and what to do.
        MissingPackage: it is bundled with a package that is not installed.
    """
    import numpy as np

    if spec.graph is None:
        return _karate_club()
    frame, given = read(spec, root), spec.graph
    ids = _ids(frame, given, shown(spec.source))
    target = spec.target or ""
    labelled = np.arange(len(frame))
    if target in frame.columns and frame[target].isna().any() and not frame[target].isna().all():
        labelled = np.flatnonzero(frame[target].notna())
        frame = frame.assign(**{target: frame[target].fillna(frame[target].iloc[labelled[0]])})
    drop = tuple(name for name in spec.drop if name != given.node)
    bare = set(frame.columns) <= {given.node, target, *drop}
    frame = frame.assign(**{given.node: 0.0}) if bare else frame.drop(columns=[given.node])
    table = as_table(frame, spec.model_copy(update={"drop": drop}))
    if bare:
        table = table._replace(X=table.X[[]])
    if bare and len(ids) > ALONE:
        raise DataError(
            f"data.source: {shown(spec.source)} has no column besides {given.node!r} and the target, and {len(ids)} "
            f"nodes; of more than {ALONE} something must be known: give the nodes columns"
        )
    return Nodes(table, ids, given.node, labelled, _edges(given, ids, shown(spec.source)))


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """The graph of ``spec``, its labelled nodes split by ``seed``; see ``preparation.prepare``."""
    import numpy as np

    given = load(spec, root)
    table, labelled = given.table, given.labelled
    check_sizes(spec, len(labelled))
    known = table._replace(X=table.X.iloc[labelled], y=given.y)
    parts = [labelled[rows] for rows in split(spec, known, seed)]
    fitted = fit(spec, table, parts[0])
    values = fitted.apply(table.X) if fitted.features else np.eye(len(given.ids))
    preprocessing = Preprocessing(
        **{f.name: getattr(fitted, f.name) for f in fields(fitted) if f.name != "shape"},
        nodes=given.ids, column=given.column, values=values, edges=given.edges,
    )  # fmt: skip

    def part(rows: np.ndarray) -> Part:
        y = preprocessing.encode(table.y.iloc[rows]) if len(rows) else np.empty((0,))
        return Part(rows[:, None], y if table.task == "multiclass" else y.astype(precision))

    training, validation, test = map(part, parts)
    return Dataset(training, validation, test, preprocessing)


# -- nodes and edges ------------------------------------------------------------------------------


def _karate_club() -> Nodes:
    """Zachary's karate club: 34 members, who met whom outside, and whom each followed when the club split (1977)."""
    import numpy as np
    import pandas as pd

    if importlib.util.find_spec("networkx") is None:
        raise MissingPackage(
            "karate_club lies inside networkx, which is not installed; install it: "
            "python -m pip install 'lmkit[graphs]'"
        )
    import networkx

    graph = networkx.karate_club_graph()
    ids = list(graph.nodes)
    y = pd.Series([graph.nodes[node]["club"] for node in ids], name="club")
    table = Table(pd.DataFrame(index=y.index), y, BUNDLED["karate_club"].task, {})
    return Nodes(table, ids, "node", np.arange(len(ids)), _both_ways(np.array(graph.edges).T, len(ids)))


def _ids(frame: pd.DataFrame, given: GraphSpec, where: str) -> list[Any]:
    """What the nodes are called; each is called something else."""
    if given.node not in frame.columns:
        raise DataError(
            f"data.graph.node: {where} has no column {given.node!r} that names the nodes; "
            f"{nearest(given.node, frame.columns)}"
        )
    ids = frame[given.node]
    if ids.isna().any():
        row = int(ids.isna().to_numpy().argmax()) + 1
        raise DataError(f"data.graph.node: {given.node!r} is missing in row {row} of {where}; each node needs a name")
    names = category_names(ids)
    twice = names[names.duplicated()]
    if len(twice):
        rows = [i + 1 for i, name in enumerate(names) if name == twice.iloc[0]]
        raise DataError(
            f"data.graph.node: the node {plain_value(ids[twice.index[0]])!r} stands in rows {rows[0]} and {rows[1]} of "
            f"{where}; expected each node once"
        )
    return [plain_value(v) for v in ids]


def _edges(given: GraphSpec, ids: list[Any], nodes: str) -> np.ndarray:
    """The edges (2, edges) of a file, as numbers of nodes."""
    import numpy as np

    where = repr(given.edges)
    if not given.edges.lower().endswith((".csv", ".parquet")):
        raise DataError(f"data.graph.edges: given {given.edges!r}, expected a file that ends in .csv or .parquet")
    if not Path(given.edges).expanduser().is_file():
        raise DataError(
            f"data.graph.edges: there is no file {given.edges!r}; the current folder is {str(Path.cwd())!r}"
        )
    try:
        frame = read(DataSpec(source=given.edges))
    except DataError as error:
        raise DataError(str(error).replace("data.source:", "data.graph.edges:", 1)) from None
    for end in given.ends:
        if end not in frame.columns:
            raise DataError(
                f"data.graph.ends: {where} has no column {end!r}; {nearest(end, frame.columns)}; "
                "write data: {graph: {ends: [one, other]}}"
            )
    if frame.empty:
        raise DataError(f"data.graph.edges: {where} has no rows; without edges write model: mlp, and leave graph out")
    ends = [numbers(frame[end].tolist(), ids) for end in given.ends]
    for end, found in zip(given.ends, ends, strict=True):
        strange = np.flatnonzero(found < 0)
        if len(strange):
            value = plain_value(frame[end].iloc[strange[0]])
            told = "names no node" if value != value or value is None else f"names the node {value!r}"
            raise DataError(
                f"data.graph.edges: row {strange[0] + 1} of {where} {told} as {end!r}, and {nodes} has no such node"
                + (f" ({len(strange)} rows do so)" if len(strange) > 1 else "")
                + "; add the node, or take the edge out"
            )
    return _both_ways(np.stack(ends), len(ids))


def _both_ways(edges: np.ndarray, nodes: int) -> np.ndarray:
    """Edges (2, edges) in both directions, each once, without loops, in order."""
    import numpy as np

    sent = np.hstack([edges, edges[::-1]])
    codes = np.unique(sent[0, sent[0] != sent[1]] * nodes + sent[1, sent[0] != sent[1]])
    return np.stack([codes // nodes, codes % nodes])


# -- arrays as text -------------------------------------------------------------------------------


def _packed(values: np.ndarray) -> dict[str, Any]:
    """An array as JSON can hold it, bit for bit and small: most features of most graphs are zeros."""
    text = base64.b64encode(zlib.compress(values.tobytes())).decode()
    return {"dtype": values.dtype.str, "shape": list(values.shape), "zlib": text}


def _unpacked(kept: dict[str, Any]) -> np.ndarray:
    import numpy as np

    content = zlib.decompress(base64.b64decode(kept["zlib"]))
    return np.frombuffer(content, dtype=kept["dtype"]).reshape(kept["shape"]).copy()  # one that may be written to
