"""What a graph convolutional network looks like, and what it refuses."""

import math
import re

import numpy as np
import pytest
from narrowing import require_type, require_value

import lmkit as lk
from lmkit import ConfigError, Experiment
from lmkit.specs.models import GCN
from lmkit.specs.signature import Graph, Signature

PATH = Signature((5,), 3, graph=Graph(np.zeros((4, 5)), np.array([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])))


def test_the_weights_of_a_path_of_four_nodes():
    senders, receivers, weights = require_value(PATH.graph).with_loops()
    found = np.zeros((4, 4))
    found[receivers, senders] = weights
    a, b, c = 1 / 2, 1 / math.sqrt(6), 1 / 3  # degrees with loops are 2, 3, 3, 2
    assert np.allclose(found, [[a, b, 0, 0], [b, c, c, 0], [0, c, c, b], [0, 0, b, a]], rtol=1e-15)


def test_a_step_computes_the_whole_graph():
    # X W, then 6 directions of edges and 4 loops an output
    degree = 4 * 5 * 8 + (6 + 4) * 8 + 4 * 8 * 3 + (6 + 4) * 3
    assert GCN(hidden=[8]).multiplications(PATH) == degree
    attention = GCN(weighting="attention", hidden=[8], heads=2)
    assert attention.multiplications(PATH) == degree + 2 * 4 * 8 + 2 * 4 * 3


def test_layers_and_parameters_of_attention():
    layers = GCN(weighting="attention", hidden=[8, 8], heads=2, residual=True, dropout=0.5).layers(PATH)
    assert [layer.name for layer in layers] == [
        "conv_0",
        "relu_0",
        "dropout_0",
        "conv_1",
        "relu_1",
        "dropout_1",
        "add_1",
        "conv_2",
    ]
    assert layers[0].weights == {"kernel": (5, 8), "bias": (8,), "sender": (2, 4), "receiver": (2, 4)}
    assert layers[-1].weights == {"kernel": (8, 3), "bias": (3,), "sender": (1, 3), "receiver": (1, 3)}


def test_first_weights_are_draws_of_numpy():
    found = GCN(weighting="attention", hidden=[6], heads=2).initial_weights(PATH, seed=5)
    draw, second = np.random.default_rng([5, 0]), np.random.default_rng([5, 4])
    expected = {
        "conv_0.kernel": draw.uniform(-math.sqrt(6 / 5), math.sqrt(6 / 5), (5, 6)),  # before a relu
        "conv_1.kernel": draw.uniform(-math.sqrt(6 / 9), math.sqrt(6 / 9), (6, 3)),
        "conv_0.sender": second.uniform(-math.sqrt(6 / 7), math.sqrt(6 / 7), (2, 3)),
        "conv_0.receiver": second.uniform(-math.sqrt(6 / 7), math.sqrt(6 / 7), (2, 3)),
        "conv_1.sender": second.uniform(-math.sqrt(6 / 7), math.sqrt(6 / 7), (1, 3)),
        "conv_1.receiver": second.uniform(-math.sqrt(6 / 7), math.sqrt(6 / 7), (1, 3)),
        "conv_0.bias": np.zeros(6),
        "conv_1.bias": np.zeros(3),
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(found[name], values), name


def test_data_and_model_suit_each_other():
    assert Experiment(model="gcn").data.source == "karate_club"
    assert Experiment(data="karate_club").model == GCN()
    assert Experiment(data="karate_club").training.optimizer.name == "adam"
    attention = require_type(Experiment(data="karate_club", model="gcn:attention").model, GCN)
    assert (attention.weighting, attention.heads) == ("attention", 4)
    graph = Experiment(data={"source": "n.csv", "target": "club", "graph": "edges.csv"})
    spec = require_value(graph.data.graph)
    assert (graph.model.family, spec.edges, spec.ends) == (
        "gcn",
        "edges.csv",
        ("source", "target"),
    )
    assert Experiment.from_yaml(graph.to_yaml()) == graph


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"family": "gcn", "heads": 2}}, r"model: heads: given 2, but only attention has heads; write"),
        (
            {"model": {"family": "gcn", "weighting": "attention", "hidden": [10], "heads": 4}},
            r"4 heads do not share 10 units evenly; write such as hidden: \[12\]",
        ),
        ({"model": {"family": "gcn", "weighting": "attenion"}}, r"model.weighting: given 'attenion', did you mean"),
        (
            {"data": "wine", "model": "gcn"},
            r"model.family: 'gcn' needs the nodes of a graph, and a row of the data is 13 columns; write model: mlp, "
            r"or data: karate_club, or name the edges",
        ),
        ({"data": "digits", "model": "gcn"}, r"'gcn' needs .* a row of the data is 8 × 8 × 1 numbers; write .*cnn"),
        ({"data": "python_docs", "model": "gcn"}, r"'gcn' needs .* the data is text; write model: transformer"),
        ({"data": "karate_club", "model": "mlp"}, r"'mlp' needs rows .* the nodes of a graph; write .*gcn"),
        ({"data": "karate_club", "model": "cnn"}, r"'cnn' needs images .* nodes of a graph; write model: gcn"),
        (
            {"data": {"source": "karate_club", "graph": "e.csv"}},
            r"data.graph: given, but 'karate_club' already has edges",
        ),
        ({"data": {"source": "digits", "graph": "e.csv"}}, r"data.graph: given, but 'digits' holds rows without edges"),
        ({"data": {"source": "karate_club", "drop": ["x"]}}, r"data.drop: given, but a node of 'karate_club' has no"),
        (
            {"data": {"source": "karate_club", "target": "x"}},
            r"data.target: given 'x', but karate_club already has a target",
        ),
        (
            {"data": {"source": "n.csv", "graph": "e.csv", "missing": "drop"}},
            r"data.missing: given 'drop', but a node cannot be taken out of its graph; write median",
        ),
        (
            {"data": {"source": "n.csv", "graph": {"ends": ["a"]}}},
            r"data.graph.ends: given \['a'\], expected two columns, such as \[source, target\]",
        ),
        ({"data": {"source": "n.csv", "graph": {"edge": "a"}}}, r"data.graph.edge: unknown key.*did you mean 'edges'"),
    ],
)
def test_what_is_refused(changes, said):
    with pytest.raises(ConfigError) as caught:
        Experiment(**changes)
    assert any(re.search(said, problem) for problem in caught.value.problems), caught.value


def test_a_graph_model_on_a_table_of_ones_own_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(ConfigError, match=r"'gcn' needs the nodes of a graph, and a row of the data is 3 columns"):
        lk.train(data=(np.ones((80, 3)), np.arange(80) % 2), model="gcn", runs=tmp_path)
    assert not list(tmp_path.glob("*/experiment.yaml"))
