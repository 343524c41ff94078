import math
from collections import Counter

import networkx as nx
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.utils import from_networkx

from metamerlib.metrics.structure import (
    adjacency,
    edge_flips,
    edge_homophily,
    edge_jaccard,
    edge_overlap,
    node_labels,
    num_components,
    wl_kernel,
)


def to_data(graph):
    return from_networkx(nx.convert_node_labels_to_integers(graph))


def relabelled(graph, seed=0):
    order = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(seed))
    return Data(edge_index=order[graph.edge_index], num_nodes=graph.num_nodes)


def brute_force(one, other, h):
    """The same kernel from strings: a colour is the sorted text of its neighbourhood."""
    counts = []
    for graph in (one, other):
        colours, total = dict.fromkeys(graph, "."), Counter()
        for depth in range(h + 1):
            total.update((depth, colour) for colour in colours.values())
            colours = {v: f"({colours[v]}|{sorted(colours[u] for u in graph[v])})" for v in graph}
        counts.append(total)
    dot = [[sum(a[c] * b[c] for c in a) for b in counts] for a in counts]
    return dot[0][1] / math.sqrt(dot[0][0] * dot[1][1])


@pytest.mark.parametrize("h", [0, 1, 2, 3])
def test_kernel_agrees_with_brute_force(h):
    one, other = nx.karate_club_graph(), nx.gnm_random_graph(34, 78, seed=0)
    for graph in (one, other):
        nx.set_edge_attributes(graph, 1.0, "weight")
    one, other = nx.Graph(one.edges), nx.Graph([*other.edges])
    expected = brute_force(one, other, h)
    assert wl_kernel(to_data(one), to_data(other), h=h) == pytest.approx(expected)


def test_two_paths_by_hand():
    path, triangle = to_data(nx.path_graph(3)), to_data(nx.cycle_graph(3))
    # Round 0: 3 and 3 nodes of one colour. Round 1: ends and a middle beside three middles.
    assert wl_kernel(path, triangle, h=1) == pytest.approx((9 + 3) / math.sqrt((9 + 5) * (9 + 9)))


def test_equal_and_isomorphic_graphs_are_perfect():
    graph = to_data(nx.gnm_random_graph(50, 120, seed=1))
    assert wl_kernel(graph, graph) == edge_jaccard(graph, graph) == 1
    assert wl_kernel(graph, relabelled(graph)) == 1
    assert edge_jaccard(graph, relabelled(graph)) < 0.5


def test_kernel_is_blind_where_colour_refinement_is():
    two_triangles = to_data(nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)))
    hexagon = to_data(nx.cycle_graph(6))
    assert wl_kernel(two_triangles, hexagon) == 1
    assert edge_jaccard(two_triangles, hexagon) == 4 / 8


def test_labels_are_the_first_colours():
    graph = to_data(nx.cycle_graph(4))
    alternating, halves = torch.tensor([5, 9, 5, 9]), torch.tensor([5, 5, 9, 9])
    assert wl_kernel(graph, graph, labels=(alternating, alternating)) == 1
    # Equal counts before the first round; no neighbourhood in common after it.
    assert wl_kernel(graph, graph, h=1, labels=(alternating, halves)) == pytest.approx(8 / 16)
    assert wl_kernel(graph, graph, labels=(alternating, alternating + 1)) == 0


def test_jaccard_reads_edges_without_direction_and_without_zero_weights():
    one = Data(edge_index=torch.tensor([[0, 1, 1], [1, 0, 2]]), num_nodes=3)
    other = Data(edge_index=torch.tensor([[2, 0], [1, 2]]), num_nodes=3)
    assert edge_jaccard(one, other) == 1 / 3 and edge_overlap(one, other) == 1 / 2
    weighted = Data(edge_index=other.edge_index, edge_weight=torch.tensor([1.0, 0.0]), num_nodes=3)
    assert edge_jaccard(one, weighted) == 1 / 2
    empty = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=3)
    assert edge_jaccard(empty, empty) == wl_kernel(empty, empty) == 1
    assert edge_jaccard(one, empty) == edge_overlap(empty, one) == 0 and edge_overlap(one, empty) == 1


def test_bad_arguments():
    three, four = to_data(nx.path_graph(3)), to_data(nx.path_graph(4))
    with pytest.raises(ValueError, match=r"got graphs of \(3, 4\) nodes"):
        edge_jaccard(three, four)
    with pytest.raises(ValueError, match=r"got \(3, 3\) labels for graphs of \(3, 4\) nodes"):
        wl_kernel(three, four, labels=(torch.zeros(3), torch.zeros(3)))
    with pytest.raises(ValueError, match="h=-1"):
        wl_kernel(three, four, h=-1)
    with pytest.raises(ValueError, match=r"got graphs of \(4, 3\) nodes"):
        edge_flips(four, three)


def test_flips_are_edges_of_one_graph_only():
    square, path = to_data(nx.cycle_graph(4)), to_data(nx.path_graph(4))
    bow = Data(edge_index=torch.tensor([[0, 0, 1], [2, 1, 3]]), num_nodes=4)
    assert edge_flips(square, square) == 0 and edge_flips(square, path) == 1
    # 0-1, 1-2, 2-3, 3-0 beside 0-2, 0-1, 1-3: three go and two come.
    assert edge_flips(square, bow) == edge_flips(bow, square) == 5


def test_components_by_hand():
    assert num_components(to_data(nx.disjoint_union(nx.cycle_graph(3), nx.path_graph(2)))) == 2
    assert num_components(Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=4)) == 4
    weighted = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), edge_weight=torch.tensor([1.0, 0.0]), num_nodes=3)
    assert num_components(weighted) == 2


def test_homophily_by_hand():
    square = to_data(nx.cycle_graph(4))
    square.y = torch.tensor([0, 0, 1, 1])
    assert edge_homophily(square) == 0.5
    assert edge_homophily(square, torch.tensor([0, 1, 0, 1])) == 0
    square.y = torch.tensor([2])
    assert node_labels(square) is None and math.isnan(edge_homophily(square))
    square.y, square.edge_index = torch.arange(4), square.edge_index[:, :0]
    assert math.isnan(edge_homophily(square))


def test_adjacency_is_simple_and_symmetric():
    messy = Data(edge_index=torch.tensor([[0, 1, 0, 2, 2], [1, 0, 1, 2, 1]]), num_nodes=3)
    assert adjacency(messy).toarray().tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
