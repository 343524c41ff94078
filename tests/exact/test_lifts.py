import networkx as nx
import pytest
import torch
from torch_geometric.utils import to_networkx

import metamerlib as ml
from metamerlib.exact.lifts import double, two_lift
from tests.helpers.exact import ALL, check_simple, edge_set, errors, model_of, plain, random_graph, to_data


def test_two_triangles_or_a_hexagon():
    triangle = to_data(nx.cycle_graph(3))
    apart, joined = two_lift(triangle, 0.0), two_lift(triangle, signs=torch.ones(6, dtype=torch.bool))
    assert edge_set(apart) == {(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5)}
    assert edge_set(joined) == {(0, 4), (0, 5), (1, 3), (1, 5), (2, 3), (2, 4)}
    assert nx.is_isomorphic(to_networkx(joined, to_undirected=True), nx.cycle_graph(6))


def test_doubled_graph_holds_every_attribute_twice():
    graph = ml.load_graph("karate")
    graph.edge_weight = torch.arange(graph.num_edges).float()
    both = double(graph)
    assert both.num_nodes == 68 and both.name == "karate" and both.num_classes == 4
    for name in ("x", "y", "train_mask", "val_mask", "test_mask", "edge_weight"):
        assert torch.equal(both[name], torch.cat([graph[name], graph[name]])), name
    assert torch.equal(both.edge_index[:, graph.num_edges :], graph.edge_index + 34)
    assert graph.num_nodes == 34 and graph.num_edges == both.num_edges // 2


@pytest.mark.parametrize("conv", ALL)
@pytest.mark.parametrize("name", ["karate", "irregular"])
def test_activations_are_those_of_two_copies(conv, name):
    graph = ml.load_graph(name) if name == "karate" else random_graph(3)
    lift = two_lift(graph, 0.5, seed=1)
    check_simple(lift, double(graph))
    assert edge_set(lift) != edge_set(double(graph))
    model = model_of(conv, graph.num_features, norm="layer", residual="skip")
    assert max(errors(model, double(graph), lift)) < 1e-12


def test_weights_stay_with_their_edges():
    graph = ml.load_graph("les-miserables")
    lift = two_lift(graph, 0.5)
    weight = {pair: w for *pair, w in zip(*graph.edge_index.tolist(), graph.edge_weight.tolist(), strict=True)
              for pair in [tuple(pair)]}  # fmt: skip
    for a, b, w in zip(*lift.edge_index.tolist(), lift.edge_weight.tolist(), strict=True):
        assert w == weight[a % 77, b % 77]
    assert max(errors(model_of("gcn", 77), double(graph), lift)) < 1e-12


def test_share_and_seed():
    graph = plain("karate")
    crossed = [
        int((two_lift(graph, share, seed=seed).edge_index // 34).diff(dim=0).ne(0).sum()) // 4
        for share, seed in [(0.0, 0), (1.0, 0), (0.5, 0), (0.5, 1)]
    ]
    assert crossed[:2] == [0, 78] and 20 < crossed[2] < 58
    assert torch.equal(two_lift(graph, seed=2).edge_index, two_lift(graph, 0.5, seed=2).edge_index)
    assert not torch.equal(two_lift(graph, seed=2).edge_index, two_lift(graph, seed=3).edge_index)


def test_bad_arguments():
    graph = plain("decalin")
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\], got 1.5"):
        two_lift(graph, 1.5)
    with pytest.raises(ValueError, match="differ between the two directions"):
        two_lift(graph, signs=graph.edge_index[0] == 0)
    with pytest.raises(ValueError, match=r"give share or signs \[22\]"):
        two_lift(graph, 0.5, signs=torch.ones(22))
    graph.edge_index = graph.edge_index[:, :3]
    with pytest.raises(ValueError, match="simple undirected graph"):
        two_lift(graph)


def coloured(graph):
    """The graph of networkx with the node that each copy stands for as colour."""
    made = to_networkx(graph, to_undirected=True)
    nx.set_node_attributes(made, {node: node % (graph.num_nodes // 2) for node in made}, "colour")
    return made


def same(graph, other):
    return nx.is_isomorphic(
        coloured(graph), coloured(other), node_match=nx.algorithms.isomorphism.categorical_node_match("colour", None)
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_lift_of_a_forest_is_two_copies_of_it(seed):
    tree = to_data(nx.disjoint_union(nx.random_labeled_tree(12, seed=seed), nx.path_graph(4)))
    lift = two_lift(tree, 0.5, seed=seed)
    assert edge_set(lift) != edge_set(double(tree)) and same(lift, double(tree))


def test_crossing_a_bridge_alone_renames_nodes_and_crossing_a_cycle_does_not():
    graph = to_data(nx.lollipop_graph(3, 2))  # a triangle with a tail of two edges
    ends = graph.edge_index
    tail = (ends >= 3).any(dim=0)
    assert same(two_lift(graph, signs=tail), double(graph))
    assert not same(two_lift(graph, signs=(ends.sum(dim=0) == 1)), double(graph))
