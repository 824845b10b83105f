"""Graphs become numbers of nodes and edges that go both ways; what is wrong with their files is said."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from narrowing import require_type, require_value

import lmkit as lk
from lmkit import DataError, Experiment, MissingPackage
from lmkit.data.graphs import graphs
from lmkit.data.kinds import read_preprocessing
from lmkit.data.preparation import prepare
from lmkit.preprocessing.graph import GraphPreprocessing, NodePreprocessing
from lmkit.specs.data import BUNDLED, DataSpec

KARATE = nx.karate_club_graph()


class Files:
    """A table of nodes and one of edges, and the data that they are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        draw = np.random.default_rng(3)
        side = np.arange(40) % 2
        self.nodes = pd.DataFrame(
            {
                "id": [f"n{i}" for i in range(40)],
                "age": draw.normal(40, 10, 40),
                "town": draw.choice(["A", "B"], 40),
                "side": np.where(side, "left", "right"),
            }
        )
        pairs = np.argwhere(np.triu(draw.random((40, 40)) < np.where(side[:, None] == side, 0.25, 0.02), 1))
        self.edges = pd.DataFrame({"source": [f"n{i}" for i in pairs[:, 0]], "target": [f"n{i}" for i in pairs[:, 1]]})

    def spec(self, graph: dict[str, Any] | None = None, **fields: Any) -> DataSpec:
        paths = [str(self.folder / name) for name in ("nodes.csv", "edges.csv")]
        for frame, path in zip((self.nodes, self.edges), paths, strict=True):
            frame.to_csv(path, index=False)
        return DataSpec(source=paths[0], **{"target": "side", **fields}, graph={"edges": paths[1], **(graph or {})})


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def matrix(edges: np.ndarray, nodes: int) -> np.ndarray:
    found = np.zeros((nodes, nodes))
    np.add.at(found, tuple(edges), 1)
    return found


# -- the karate club ------------------------------------------------------------------------------


def test_the_karate_club_is_zacharys() -> None:
    data = prepare(DataSpec(source="karate_club"), 0, "float64")
    known = require_type(data.preprocessing, GraphPreprocessing)
    assert np.array_equal(matrix(known.edges, 34), nx.to_numpy_array(KARATE, weight=None))
    assert np.array_equal(known.values, np.eye(34))
    assert (known.classes, known.labels, known.task) == (["Mr. Hi", "Officer"], ["Mr. Hi", "Officer"], "binary")
    assert [part.X.shape for part in data[:3]] == [(20, 1), (7, 1), (7, 1)]
    assert sorted(np.concatenate([part.X[:, 0] for part in data[:3]])) == list(range(34))
    for part in data[:3]:
        assert known.restore(part.y).tolist() == [KARATE.nodes[i]["club"] for i in part.X[:, 0]]
    expected = require_value(DataSpec(source="karate_club").signature)
    assert expected._replace(graph=None) == known.signature._replace(graph=None)
    assert [a.shape for a in require_value(expected.graph)] == [a.shape for a in require_value(known.signature.graph)]
    assert BUNDLED["karate_club"].rows == 34


def test_the_seed_decides_the_split() -> None:
    first, again, other = (prepare(DataSpec(source="karate_club"), seed, "float32") for seed in (1, 1, 2))
    assert np.array_equal(first.test.X, again.test.X)
    assert not np.array_equal(first.test.X, other.test.X)
    assert first.preprocessing == again.preprocessing


def test_without_networkx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "networkx" else found(name, *a))
    with pytest.raises(MissingPackage, match=r"python -m pip install 'jupyter-lmkit\[graphs\]'"):
        lk.train(data="karate_club", runs=tmp_path)
    assert not list(tmp_path.glob("*/experiment.yaml"))


# -- files ----------------------------------------------------------------------------------------


def test_nodes_are_prepared_by_what_is_known_of_those_trained_on(files: Files) -> None:
    data = prepare(files.spec(), 0, "float64")
    known, rows = require_type(data.preprocessing, GraphPreprocessing), data.training.X[:, 0]
    assert known.features == ["age", "town=A", "town=B"]
    age = files.nodes.age.to_numpy()
    np.testing.assert_allclose(known.values[:, 0], (age - age[rows].mean()) / age[rows].std(), rtol=1e-12)
    assert np.array_equal(known.values[:, 1], files.nodes.town == "A")
    number = {name: i for i, name in enumerate(files.nodes.id)}
    graph = nx.Graph([(number[a], number[b]) for a, b in files.edges.to_numpy()])
    assert np.array_equal(matrix(known.edges, 40), nx.to_numpy_array(graph, nodelist=range(40)))
    assert known.nodes == files.nodes.id.tolist()


def test_an_edge_counts_once_both_ways_and_never_to_itself(files: Files) -> None:
    whole = graphs.load(files.spec()).edges
    written = files.edges
    files.edges = pd.concat(
        [
            written,
            written.head(5),
            written[["target", "source"]].set_axis(["source", "target"], axis=1).head(7),
            pd.DataFrame({"source": ["n3"], "target": ["n3"]}),
        ]
    ).assign(weight=2.5)
    assert np.array_equal(graphs.load(files.spec()).edges, whole)
    files.edges = written.rename(columns={"source": "from", "target": "to"})
    assert np.array_equal(graphs.load(files.spec({"ends": ["to", "from"]})).edges, whole)


def test_nodes_without_columns_are_told_apart_each(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.nodes = files.nodes[["id", "side"]]
    preprocessing = require_type(prepare(files.spec(), 0, "float32").preprocessing, GraphPreprocessing)
    assert np.array_equal(preprocessing.values, np.eye(40))
    assert graphs.load(files.spec()).signature.shape == (40,)
    monkeypatch.setattr(graphs, "MAX_ONE_HOT", 39)
    with pytest.raises(
        DataError, match=r"has 40 nodes and no column besides 'id' and the target; more than 39 nodes need col"
    ):
        graphs.load(files.spec())


def test_nodes_may_be_numbers_and_numbers_predicted(files: Files) -> None:
    names = {f"n{i}": 100 + i for i in range(40)}
    files.nodes["id"] = files.nodes.id.map(names)
    files.edges = files.edges.replace(names)
    data = prepare(files.spec(target="age", graph={"node": "id"}), 0, "float64")
    known = data.preprocessing
    assert known.task == "regression"
    assert known.restore(data.test.y) == pytest.approx(files.nodes.age[data.test.X[:, 0]].tolist())
    for asked in ([103, 100], np.array([103.0, 100.0]), ["103", "100"], files.nodes.iloc[[3, 0]], (np.int32(103), 100)):
        assert known.apply(asked).tolist() == [[3], [0]]
    assert known.apply(105).tolist() == [[5]]
    with pytest.raises(DataError, match=r"no node 99 among the 40 nodes of the graph \(100, 101, .*, …\); .*again"):
        known.apply([100, 99])
    with pytest.raises(DataError, match="the rows have no column 'id', which names the nodes"):
        known.apply(files.nodes[["age"]])


def test_nodes_without_a_label_are_part_of_the_graph_alone(files: Files) -> None:
    whole = graphs.load(files.spec())
    files.nodes.loc[[0, 1, 5, 30], "side"] = None
    data = prepare(files.spec(), 0, "float64")
    preprocessing = require_type(data.preprocessing, GraphPreprocessing)
    assert np.array_equal(preprocessing.edges, whole.edges)
    assert sorted(np.concatenate([p.X[:, 0] for p in data[:3]])) == sorted(set(range(40)) - {0, 1, 5, 30})
    assert len(preprocessing.values) == 40
    for part in data[:3]:
        assert data.preprocessing.restore(part.y).tolist() == files.nodes.side[part.X[:, 0]].tolist()
    assert len(graphs.load(files.spec()).y) == 36
    files.nodes["side"] = None
    with pytest.raises(DataError, match="'side' is missing in 40 of 40 rows"):
        prepare(files.spec(), 0, "float64")


def test_what_was_prepared_comes_back_from_the_run_s_folder(files: Files) -> None:
    known = require_type(prepare(files.spec(), 0, "float64").preprocessing, GraphPreprocessing)
    text = json.dumps(known.to_dict())
    again = require_type(read_preprocessing(json.loads(text)), GraphPreprocessing)
    assert again == known
    assert again.values.tobytes() == known.values.tobytes()
    assert again.nodes == known.nodes
    files.edges = files.edges.iloc[1:]
    assert prepare(files.spec(), 0, "float64").preprocessing != known


# -- runs -----------------------------------------------------------------------------------------


def test_a_run_predicts_nodes_from_its_folder_alone(files: Files) -> None:
    experiment = Experiment(data=files.spec(drop=["age", "town"]), model={"family": "gcn", "dropout": 0.1})
    run = lk.train(experiment, inline=True)
    assert run.state == "completed", run.status.reason
    assert run.metrics["accuracy"] >= 0.75
    (files.folder / "nodes.csv").unlink()
    (files.folder / "edges.csv").unlink()
    run = lk.attach(run.name)
    asked = prepare_test_nodes(run, files)
    assert run.predictions.id.tolist() == asked
    assert run.predict(asked).tolist() == run.predictions.prediction.tolist()
    assert set(run.predictions.target) <= {"left", "right"}
    np.testing.assert_allclose(run.predict_proba(asked).sum(1), 1, rtol=1e-6)
    lk.report(run)


def prepare_test_nodes(run: lk.Run, files: Files) -> list[str]:
    """The names of the nodes tested on, split as the run did."""
    nodes = require_type(run.preprocessing, NodePreprocessing).nodes
    return [nodes[i] for i in prepare(files.spec(), 0, "float32").test.X[:, 0]]


@pytest.mark.parametrize(("batch_size", "steps"), [(1000, 3), (6, 12)])
@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_step_sees_the_whole_training_part_or_some_of_its_nodes(framework: str, batch_size: int, steps: int) -> None:
    run = lk.train(data="karate_club", framework=framework, batch_size=batch_size, epochs=3, inline=True)
    assert run.state == "completed", run.status.reason
    assert run.status.step == steps  # an epoch is 20 nodes
    assert np.isfinite(run.steps.loss).all()


# -- what is wrong --------------------------------------------------------------------------------


def broken(files: Files, what: str) -> DataSpec:
    """The files with something wrong in them."""
    edges, nodes, graph = files.edges, files.nodes, {}
    if what == "strange":
        files.edges = pd.concat([edges.iloc[:4], pd.DataFrame({"source": ["n1", "n2"], "target": ["zed", "zed"]})])
    elif what == "missing end":
        sources: list[str | None] = [None, *edges.source[1:]]
        files.edges = edges.assign(source=pd.Series(sources, index=edges.index))
    elif what == "range":
        numbers = {f"n{i}": i for i in range(40)}
        files.nodes, files.edges = nodes.replace(numbers), edges.replace(numbers)
        files.edges.loc[7, "target"] = 40
    elif what == "column":
        files.edges = edges.rename(columns={"target": "targets"})
    elif what == "empty":
        files.edges = edges.iloc[:0]
    elif what == "twice":
        files.nodes = nodes.assign(id=[*nodes.id[:-1], "n2"])
    elif what == "nameless":
        names: list[str | None] = [*nodes.id[:9], None, *nodes.id[10:]]
        files.nodes = nodes.assign(id=pd.Series(names, index=nodes.index))
    elif what == "node":
        graph = {"node": "name"}
    elif what == "ending":
        graph = {"edges": "edges.txt"}
    elif what == "absent":
        graph = {"edges": "nowhere.csv"}
    return files.spec(graph)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            "strange",
            r"data.graph.edges: row 5 of '.*edges.csv' names the node 'zed' as 'target', and '.*nodes.csv' has no such "
            r"node \(2 rows in total\); add the node, or remove the edge",
        ),
        ("missing end", r"row 1 of '.*edges.csv' names no node as 'source'"),
        (
            "range",
            r"data.graph.edges: row 8 of .* names the node 40 as 'target', and '.*nodes.csv' has no such node",
        ),
        (
            "column",
            r"data.graph.ends: '.*edges.csv' has no column 'target'; did you mean 'targets'\?.*use data: {",
        ),
        ("empty", r"data.graph.edges: '.*edges.csv' has no rows; without edges use model: mlp"),
        ("twice", r"data.graph.node: the node 'n2' is in rows 3 and 40 of '.*nodes.csv'; expected each node once"),
        ("nameless", r"data.graph.node: 'id' is missing in row 10 of '.*nodes.csv'; each node needs a name"),
        ("node", r"data.graph.node: '.*nodes.csv' has no column 'name' that names the nodes"),
        ("ending", r"data.graph.edges: given 'edges.txt', expected a file that ends in .csv or .parquet"),
        ("absent", r"data.graph.edges: no file 'nowhere.csv'; the current folder is"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(files: Files, tmp_path: Path, what: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        lk.train(Experiment(data=broken(files, what)), runs=tmp_path / "runs")
    assert not list(tmp_path.glob("runs/*/experiment.yaml"))


def test_a_torn_file_of_edges_is_called_by_its_name(files: Files) -> None:
    (files.folder / "torn.parquet").write_bytes(b"PAR1nonsense")
    with pytest.raises(DataError, match=r"data.graph.edges: '.*torn.parquet' cannot be read"):
        graphs.load(files.spec({"edges": str(files.folder / "torn.parquet")}))
    (files.folder / "void.csv").write_text("")
    with pytest.raises(DataError, match=r"data.graph.edges: '.*void.csv' has no rows"):
        graphs.load(files.spec({"edges": str(files.folder / "void.csv")}))
