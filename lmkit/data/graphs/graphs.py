"""Graphs: a table of nodes, some of which are labeled, and the edges between them.

    graph.csv ──> sources: a table, checked ──> fitted on the training nodes ──> features of all nodes ─┐
    edges.csv ──> node indices, both directions, each once ─────────────────────────────────────────────┴─> Graph

Unlabeled nodes are part of the graph, but are in no part of the data. A row of the data is the index of a node;
the model reads everything else in the graph, which the run folder stores.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data.batches import Part
from lmkit.data.dataset import EAGER_BYTES, Dataset
from lmkit.data.tables.columns import category_names
from lmkit.data.tables.fit import fit, split
from lmkit.data.tables.size import exceeds
from lmkit.data.tables.sources import check_sizes, read
from lmkit.data.tables.table import Table, as_table, source_label
from lmkit.exceptions import DataError, nearest, shorten
from lmkit.preprocessing.graph import GraphPreprocessing, node_indices
from lmkit.specs.data import BUNDLED, DataSpec
from lmkit.specs.graph import GraphSpec
from lmkit.specs.signature import Graph, Signature
from lmkit.specs.tasks import TaskName, get_task
from lmkit.specs.values import plain_value
from lmkit.system.optional import require

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MAX_ONE_HOT = 5_000
"""Nodes without columns at most, each of which gets a feature of its own."""


class Nodes(NamedTuple):
    """A graph as it was read.

    Attributes:
        table: one row per node; the target of an unlabeled node is an arbitrary label, which is unused.
        ids: the names of the nodes.
        column: the name of the column that holds them.
        labelled: (labelled,), the indices of the labeled nodes.
        edges: (2, edges), node indices, both directions, no loops.
    """

    table: Table
    ids: list[Any]
    column: str
    labelled: np.ndarray
    edges: np.ndarray

    @property
    def y(self) -> pd.Series[float]:
        """The labels of the labeled nodes."""
        return self.table.y.iloc[self.labelled]

    @property
    def task(self) -> TaskName:
        """The task of the model."""
        return self.table.task

    @property
    def signature(self) -> Signature:
        """The inputs and outputs of a model, with the sizes of the graph."""
        signature, nodes = self.table.signature, len(self.ids)
        features = signature.features if self.table.X.shape[1] else nodes
        return signature._replace(shape=(features,), graph=Graph.sized(nodes, features, self.edges.shape[1]))


def load(spec: DataSpec, root: str | Path | None = None) -> Nodes:
    """Read the graph of ``spec``.

    Raises:
        DataError: its nodes or edges cannot be trained on; the message says why and what to do.
        MissingPackage: it is bundled with a package that is not installed.
    """
    import numpy as np

    if spec.graph is None:
        return _karate_club()
    frame, graph, source = read(spec, root), spec.graph, source_label(spec.source)
    ids = _read_ids(frame, graph, source)
    target = spec.target or ""
    labelled = np.arange(len(frame))
    if target in frame.columns and frame[target].isna().any() and not frame[target].isna().all():
        labelled = np.flatnonzero(frame[target].notna())
        frame = frame.assign(**{target: frame[target].fillna(frame[target].iloc[labelled[0]])})
    drop = tuple(name for name in spec.drop if name != graph.node)
    is_bare = set(frame.columns) <= {graph.node, target, *drop}
    frame = frame.assign(**{graph.node: 0.0}) if is_bare else frame.drop(columns=[graph.node])
    table = as_table(frame, spec.model_copy(update={"drop": drop}))
    if is_bare:
        table = table._replace(X=table.X[[]])
    if is_bare and len(ids) > MAX_ONE_HOT:
        raise DataError(
            f"data.source: {source} has {len(ids)} nodes and no column besides {graph.node!r} and the target; more "
            f"than {MAX_ONE_HOT} nodes need columns to learn from"
        )
    return Nodes(table, ids, graph.node, labelled, _read_edges(graph, ids, source))


def prepare(spec: DataSpec, seed: int, precision: str, root: str | Path | None = None) -> Dataset:
    """Prepare the graph of ``spec``, its labeled nodes split by ``seed``; see ``lmkit.data.preparation.prepare``."""
    import numpy as np

    nodes = load(spec, root)
    table, labelled = nodes.table, nodes.labelled
    check_sizes(spec, len(labelled))
    labelled_table = table._replace(X=table.X.iloc[labelled], y=nodes.y)
    parts = [labelled[rows] for rows in split(spec, labelled_table, seed)]
    fitted = fit(spec, table, parts[0])
    values = fitted.apply_parsed(table.X) if fitted.features else np.eye(len(nodes.ids))
    preprocessing = GraphPreprocessing(
        **{f.name: getattr(fitted, f.name) for f in fields(fitted) if f.name != "shape"},
        nodes=nodes.ids,
        column=nodes.column,
        values=values,
        edges=nodes.edges,
    )

    def as_part(rows: np.ndarray) -> Part:
        y = preprocessing.encode(table.y.iloc[rows]) if len(rows) else np.empty((0,))
        return Part(rows[:, None], y if get_task(table.task).integer_targets else y.astype(precision))

    training, validation, test = map(as_part, parts)
    return Dataset(training, validation, test, preprocessing, notes=table.notes, warnings=table.warnings)


def check(spec: DataSpec, root: str | Path | None = None) -> Signature | None:
    """Check a graph whose table of nodes has at most ``EAGER_BYTES``; return its signature, if it was read.

    Raises:
        DataError: it cannot be trained on.
    """
    path = Path(spec.source).expanduser()
    if spec.is_file and path.is_file() and exceeds(path, EAGER_BYTES):
        return None
    nodes = load(spec, root)
    check_sizes(spec, len(nodes.y))
    return nodes.signature


def read_signature(spec: DataSpec, root: str | Path | None = None) -> tuple[Signature, int | None]:
    """Return the inputs and outputs of a model, and the number of labeled nodes."""
    if spec.signature:
        return spec.signature, spec.bundled.rows if spec.bundled else None
    nodes = load(spec, root)
    return nodes.signature, len(nodes.y)


def example_rows(spec: DataSpec, seed: int, data: Dataset, count: int, root: str | Path) -> list[Any]:
    """Return names of nodes."""
    del spec, seed, root
    import numpy as np

    part = next(part for part in (data.test, data.validation, data.training) if len(part.X))
    (names,) = data.preprocessing.names(np.asarray(part.X[:count])).values()
    return list(names)


# -- nodes and edges ------------------------------------------------------------------------------


def _karate_club() -> Nodes:
    """Zachary's karate club (1977): 34 members, who met whom, and the side of each when the club split."""
    import numpy as np
    import pandas as pd

    require("networkx", extra="graphs", purpose="data.source: 'karate_club'")
    import networkx

    graph = networkx.karate_club_graph()
    ids = list(graph.nodes)
    y = pd.Series([graph.nodes[node]["club"] for node in ids], name="club")
    table = Table(pd.DataFrame(index=y.index), y, BUNDLED["karate_club"].task, {})
    return Nodes(table, ids, "node", np.arange(len(ids)), _both_directions(np.array(graph.edges).T, len(ids)))


def _read_ids(frame: pd.DataFrame, graph: GraphSpec, source: str) -> list[Any]:
    """Return the names of the nodes; check that they are present and unique."""
    if graph.node not in frame.columns:
        raise DataError(
            f"data.graph.node: {source} has no column {graph.node!r} that names the nodes; "
            f"{nearest(graph.node, frame.columns, 'columns:')}"
        )
    ids = frame[graph.node]
    if ids.isna().any():
        row = int(ids.isna().to_numpy().argmax()) + 1
        raise DataError(f"data.graph.node: {graph.node!r} is missing in row {row} of {source}; each node needs a name")
    names = category_names(ids)
    duplicates = names[names.duplicated()]
    if len(duplicates):
        rows = [i + 1 for i, name in enumerate(names) if name == duplicates.iloc[0]]
        raise DataError(
            f"data.graph.node: the node {plain_value(ids[duplicates.index[0]])!r} is in rows {rows[0]} and {rows[1]} "
            f"of {source}; expected each node once"
        )
    return [plain_value(v) for v in ids]


def _read_edges(graph: GraphSpec, ids: list[Any], nodes: str) -> np.ndarray:
    """Return the edges (2, edges) of a file, as node indices in both directions."""
    import numpy as np

    source = repr(graph.edges)
    if not graph.edges.lower().endswith((".csv", ".parquet")):
        raise DataError(
            f"data.graph.edges: given {shorten(graph.edges)}, expected a file that ends in .csv or .parquet"
        )
    if not Path(graph.edges).expanduser().is_file():
        raise DataError(f"data.graph.edges: no file {graph.edges!r}; the current folder is {str(Path.cwd())!r}")
    try:
        frame = read(DataSpec(source=graph.edges))
    except DataError as error:
        raise DataError(str(error).replace("data.source:", "data.graph.edges:", 1)) from None
    for end in graph.ends:
        if end not in frame.columns:
            raise DataError(
                f"data.graph.ends: {source} has no column {end!r}; {nearest(end, frame.columns, 'columns:')}; "
                "use data: {graph: {ends: [one, other]}}"
            )
    if frame.empty:
        raise DataError(f"data.graph.edges: {source} has no rows; without edges use model: mlp, and leave graph out")
    ends = [node_indices(frame[end].tolist(), ids) for end in graph.ends]
    for end, indices in zip(graph.ends, ends, strict=True):
        unknown = np.flatnonzero(indices < 0)
        if len(unknown):
            value = plain_value(frame[end].iloc[unknown[0]])
            problem = "names no node" if value != value or value is None else f"names the node {value!r}"
            raise DataError(
                f"data.graph.edges: row {unknown[0] + 1} of {source} {problem} as {end!r}, and {nodes} has no such node"
                + (f" ({len(unknown)} rows in total)" if len(unknown) > 1 else "")
                + "; add the node, or remove the edge"
            )
    return _both_directions(np.stack(ends), len(ids))


def _both_directions(edges: np.ndarray, nodes: int) -> np.ndarray:
    """Return edges (2, edges) in both directions, sorted, each once and without loops."""
    import numpy as np

    directed = np.hstack([edges, edges[::-1]])
    codes = np.unique(directed[0, directed[0] != directed[1]] * nodes + directed[1, directed[0] != directed[1]])
    return np.stack([codes // nodes, codes % nodes])
