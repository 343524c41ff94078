import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.exact.lifts import double, two_lift
from metamerlib.metrics.isomorphism import are_isomorphic, only_renamed
from tests.helpers.exact import plain, to_data


def renamed(graph, seed=0):
    order = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(seed))
    return Data(edge_index=order[graph.edge_index], num_nodes=graph.num_nodes)


SYMMETRIC = {
    "ring": nx.cycle_graph(30),
    "cube": nx.convert_node_labels_to_integers(nx.hypercube_graph(4)),
    "rings": nx.disjoint_union_all([nx.cycle_graph(5)] * 6),
    "petersen": nx.petersen_graph(),
    "regular": nx.random_regular_graph(3, 60, seed=0),
    "loose": nx.empty_graph(8),
    "karate": nx.karate_club_graph(),
}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_renamed_graphs_are_isomorphic(name):
    graph = to_data(SYMMETRIC[name])
    assert are_isomorphic(graph, renamed(graph)) is True


PAIRS = {
    "decalin": (plain("decalin"), plain("bicyclopentyl")),
    "rings": (to_data(nx.cycle_graph(12)), to_data(nx.disjoint_union(nx.cycle_graph(5), nx.cycle_graph(7)))),
    "regular": tuple(to_data(nx.random_regular_graph(3, 60, seed=seed)) for seed in (0, 1)),
    "prism": (to_data(nx.circular_ladder_graph(9)), to_data(nx.Graph(nx.moebius_kantor_graph()))),
    "moebius": (to_data(nx.circular_ladder_graph(8)), to_data(nx.circulant_graph(16, [1, 8]))),
    "size": (to_data(nx.path_graph(3)), to_data(nx.path_graph(4))),
    "lift": (double(ml.load_graph("karate")), two_lift(ml.load_graph("karate"), 1.0)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_different_graphs_are_not(name):
    assert are_isomorphic(*PAIRS[name]) is False


def test_strongly_regular_graphs_need_a_search():
    # The 4 x 4 rook's graph and Shrikhande's share all that refinement and short cycles see.
    rook = nx.convert_node_labels_to_integers(nx.line_graph(nx.complete_bipartite_graph(4, 4)))
    steps = [(0, 1), (1, 0), (1, 1)]
    places = [(a, b) for a in range(4) for b in range(4)]
    pairs = [(4 * a + b, 4 * ((a + i) % 4) + (b + j) % 4) for a, b in places for i, j in steps]
    shrikhande = nx.Graph(pairs)
    shrikhande = nx.relabel_nodes(shrikhande, {v: v for v in range(16)})
    one, other = to_data(rook), to_data(shrikhande)
    assert are_isomorphic(one, other) is False and are_isomorphic(other, renamed(other)) is True
    assert are_isomorphic(one, other, max_refinements=1) is None


def test_labels_have_to_be_kept():
    path = to_data(nx.path_graph(3))
    ends, middle = torch.tensor([1, 0, 0]), torch.tensor([0, 1, 0])
    assert are_isomorphic(path, path, labels=(ends, torch.tensor([0, 0, 1]))) is True
    assert are_isomorphic(path, path, labels=(ends, middle)) is False


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(0, 12))
def test_agrees_with_networkx(seed, nodes, edges):
    one, other = (nx.gnm_random_graph(nodes, edges, seed=seed + i) for i in (0, 1))
    assert are_isomorphic(to_data(one), to_data(other)) is nx.is_isomorphic(one, other)


def coloured(graph, x, kinds=None):
    data = Data(x=torch.tensor(x)[:, None], edge_index=to_data(graph).edge_index)
    if kinds is not None:
        ends = [tuple(sorted(edge)) for edge in data.edge_index.T.tolist()]
        data.edge_attr = torch.tensor([kinds[edge] for edge in ends])
    return data


def test_renaming_keeps_what_nodes_and_edges_carry():
    path = nx.path_graph(4)
    one = coloured(path, [0, 1, 2, 3], {(0, 1): 1, (1, 2): 2, (2, 3): 3})
    order = torch.tensor([2, 0, 3, 1])
    other = Data(x=one.x[order.argsort()], edge_index=order[one.edge_index], edge_attr=one.edge_attr, y=torch.arange(4))
    assert only_renamed(one, other) is True and are_isomorphic(one, other)
    for x, kinds in (([0, 1, 3, 2], (1, 2, 3)), ([0, 1, 2, 3], (3, 2, 1))):
        changed = coloured(path, x, dict(zip(path.edges, kinds, strict=True)))
        assert are_isomorphic(one, changed) and only_renamed(one, changed) is False


def test_crossing_a_bridge_renames_and_crossing_a_cycle_does_not():
    tree, ring = to_data(nx.random_labeled_tree(12, seed=0)), to_data(nx.cycle_graph(5))
    assert only_renamed(double(tree), two_lift(tree, 0.5, seed=1)) is True
    assert only_renamed(double(ring), two_lift(ring, 1.0)) is False
    assert only_renamed(ring, tree) is False
