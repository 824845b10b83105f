"""The preview of a graph shows every node and edge, and what is known of them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from narrowing import require_value

import lmkit as lk
from lmkit.display.figure import COLOURS, GREY
from lmkit.specs.data import DataSpec
from lmkit.widgets import preview
from lmkit.widgets.graphs import MAX_NODES, graph_svg, layout

KARATE = nx.karate_club_graph()


def both(graph: nx.Graph) -> np.ndarray:
    return np.array([*graph.edges, *((b, a) for a, b in graph.edges)]).T


def test_the_karate_club_is_drawn_whole() -> None:
    spec = DataSpec(source="karate_club")
    found = preview.load_preview(spec)
    assert [(s.label, s.rows) for s in found.balance] == [("Mr. Hi", 17), ("Officer", 17)]
    shown = preview.preview_html(found, spec)
    assert "<b>34</b> nodes, <b>78</b> edges · <b>binary classification</b>" in shown
    assert "20 training, 7 validation, 7 test nodes" in shown
    assert "Nodes per class" in shown
    picture = ET.fromstring(found.picture)
    (lines,) = [p.get("d", "") for p in picture.iter("path")]
    assert lines.count("M") == 78
    drawn = {title.text: circle for circle in picture.iter("circle") for title in circle}
    assert len(drawn) == 34
    clubs = {"Mr. Hi": COLOURS[0], "Officer": COLOURS[1]}
    for node, club in KARATE.nodes(data="club"):
        assert drawn[f"{node}, club: {club}"].get("fill") == clubs[club]
    sizes = {require_value(title).split(",")[0]: float(circle.get("r", "")) for title, circle in drawn.items()}
    by_degree = sorted(KARATE.degree, key=lambda pair: pair[1])
    assert sizes["11"] == min(sizes.values())
    assert sizes["33"] == max(sizes.values())
    assert [sizes[str(n)] for n, _ in by_degree] == sorted(sizes.values())


def test_what_is_joined_lies_close_and_every_time_alike() -> None:
    places = layout(both(KARATE), 34)
    assert np.array_equal(places, layout(both(KARATE), 34))
    assert places.min() == 0
    assert places.max() == 1
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    joined = nx.to_numpy_array(KARATE, weight=None) > 0
    assert apart[joined].mean() < 0.65 * apart[~joined].mean()
    assert apart[~np.eye(34, dtype=bool)].min() > 0.02


@pytest.mark.parametrize("graph", [nx.empty_graph(1), nx.empty_graph(5), nx.path_graph(2), nx.complete_graph(9)])
def test_any_small_graph_can_be_drawn(graph: nx.Graph) -> None:
    edges = both(graph) if graph.edges else np.empty((2, 0), dtype=int)
    nodes = len(graph)
    assert np.isfinite(layout(edges, nodes)).all()
    picture = ET.fromstring(graph_svg(edges, ["<&>"] * nodes, [GREY] * nodes, (250, 198), "a <graph>"))
    for circle in picture.iter("circle"):
        assert 0 <= float(circle.get("cx", "")) <= 250
        assert 0 <= float(circle.get("cy", "")) <= 198


def test_files_of_ones_own_and_nodes_without_a_label(tmp_path: Path) -> None:
    n = 30
    side = np.arange(n) % 3
    nodes = pd.DataFrame({"id": np.arange(n) + 5, "x": side / 7, "club": np.array(["<A>", "B", "C"])[side]})
    nodes.loc[[0, 4], "club"] = None
    nodes.to_csv(tmp_path / "n.csv", index=False)
    pairs = pd.DataFrame(list(nx.cycle_graph(n).edges), columns=["source", "target"]) + 5
    pairs.to_csv(tmp_path / "e.csv", index=False)
    spec = DataSpec(source=str(tmp_path / "n.csv"), target="club", graph={"edges": str(tmp_path / "e.csv")})
    found = preview.load_preview(spec)
    assert (found.rows, found.columns, found.signature.outputs) == (28, 1, 3)
    shown = preview.preview_html(found, spec)
    assert "<b>30</b> nodes, <b>30</b> edges, <b>1</b> column, 2 without a label" in shown
    assert "<A>" not in shown
    picture = ET.fromstring(found.picture)
    assert sum(circle.get("fill") == GREY for circle in picture.iter("circle")) == 2
    assert re.search(r"<th>id</th>", found.head)

    form = lk.configure(lk.Experiment(data=spec))
    assert form.experiment.model.family == "gcn"
    assert form.experiment.data.graph == spec.graph
    assert form.problems == ()


def test_a_large_graph_is_told_in_numbers() -> None:
    n = MAX_NODES + 1
    assert graph_svg(both(nx.cycle_graph(n)), ["a"] * n, [GREY] * n, (250, 198), "a graph") == ""
