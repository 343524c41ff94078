import math

import pytest
import torch
from torch_geometric.data import Data

from metamerlib.graphs.edges import among, both_directions, nodes_by_degree, pair_keys, undirected_pairs
from metamerlib.graphs.rewiring import draw_pairs, random_edges, switched_edges
from tests.helpers.edges import check_simple, overlap, random_graph


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_pairs_of_a_graph_and_back():
    graph = random_graph()
    again = Data(edge_index=both_directions(undirected_pairs(graph)), num_nodes=14)
    assert undirected_pairs(again).equal(undirected_pairs(graph))


@pytest.mark.parametrize("edges", [[[0, 1], [1, 1]], [[0, 1, 0, 1], [1, 0, 1, 0]], [[0], [1]], [[0, 2], [1, 0]]])
def test_graphs_that_are_not_simple_are_refused(edges):
    with pytest.raises(ValueError, match="simple and undirected"):
        undirected_pairs(Data(edge_index=torch.tensor(edges), num_nodes=3))


def test_membership():
    assert among(torch.tensor([0, 3, 9]), torch.tensor([3, 5])).tolist() == [False, True, False]
    assert not among(torch.tensor([1]), torch.tensor([], dtype=torch.long)).any()
    assert pair_keys(torch.tensor([[1, 4], [4, 1]]), 5).tolist() == [9, 9]


def test_every_pair_can_be_drawn_and_no_more():
    avoid = torch.tensor([1])
    pairs = draw_pairs(9, 5, avoid, generator())
    assert len({tuple(p) for p in pairs.T.tolist()}) == 9
    with pytest.raises(ValueError, match="10 pairs of nodes are wanted, but only 9"):
        draw_pairs(10, 5, avoid, generator())


def test_pairs_are_drawn_uniformly():
    counts = torch.zeros(64)
    for seed in range(400):
        pair = draw_pairs(1, 8, torch.empty(0, dtype=torch.long), generator(seed))
        counts[pair_keys(pair, 8)] += 1
    hit = counts[counts > 0]
    assert hit.numel() == 28
    assert ((hit - 400 / 28).square() / (400 / 28)).sum() < 27 + 4 * math.sqrt(54)


@pytest.mark.parametrize("highest", [0, 3, 20])
def test_random_edges_keep_to_the_overlap(highest):
    graph = random_graph()
    found = random_edges(undirected_pairs(graph), 14, 20, highest, generator())
    result = Data(edge_index=both_directions(found))
    check_simple(result, 20)
    assert overlap(result, graph) <= highest


@pytest.mark.parametrize(("lowest", "highest"), [(0, 0), (16, 16), (10, 12)])
def test_switches_keep_degrees_and_bounds(lowest, highest):
    graph = random_graph(num_nodes=30, num_edges=40)
    pairs = undirected_pairs(graph)
    found = switched_edges(pairs, 30, lowest, highest, generator())
    result = Data(edge_index=both_directions(found))
    check_simple(result, 40)
    assert torch.bincount(found.reshape(-1), minlength=30).equal(torch.bincount(pairs.reshape(-1), minlength=30))
    assert lowest <= overlap(result, graph)
    assert overlap(result, graph) <= highest


def test_nodes_in_the_order_of_their_degrees():
    star = Data(edge_index=torch.tensor([[0, 1, 0, 2, 0, 3], [1, 0, 2, 0, 3, 0]]), num_nodes=5)
    assert nodes_by_degree(star).tolist() == nodes_by_degree(star, 9).tolist() == [4, 1, 2, 3, 0]
    assert nodes_by_degree(star, 3).tolist() == [4, 2, 0]
    with pytest.raises(ValueError, match="count"):
        nodes_by_degree(star, 0)
