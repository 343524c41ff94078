import math

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from metamerlib.metrics import cycles
from metamerlib.metrics.cycles import clustering, count_ratio, cycle_counts
from tests.helpers.exact import plain, to_data

KNOWN = {
    "complete 4": (nx.complete_graph(4), 4, 3),
    "complete 5": (nx.complete_graph(5), 10, 15),
    "complete 2, 3": (nx.complete_bipartite_graph(2, 3), 0, 3),
    "square": (nx.cycle_graph(4), 0, 1),
    "pentagon": (nx.cycle_graph(5), 0, 0),
    "cube": (nx.hypercube_graph(3), 0, 6),
    "no edges": (nx.empty_graph(3), 0, 0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_counts_by_hand(name):
    graph, triangles, squares = KNOWN[name]
    counts = cycle_counts(to_data(nx.convert_node_labels_to_integers(graph)))
    assert (counts.triangles, counts.four_cycles) == (triangles, squares)
    assert counts.node_triangles.sum() == 3 * triangles and counts.node_four_cycles.sum() == 4 * squares


@pytest.mark.parametrize("chunk", [1, 50, 10**6])
def test_counts_and_clustering_are_those_of_networkx(chunk, monkeypatch):
    monkeypatch.setattr(cycles, "CHUNK", chunk)
    graph = nx.gnm_random_graph(40, 150, seed=0)
    data = to_data(graph)
    counts = cycle_counts(data)
    assert counts.node_triangles.tolist() == list(nx.triangles(graph).values())
    squares = [cycle for cycle in nx.simple_cycles(graph, length_bound=4) if len(cycle) == 4]
    through = np.bincount(np.ravel(squares), minlength=40)
    assert counts.four_cycles == len(squares) and counts.node_four_cycles.tolist() == through.tolist()
    assert clustering(data) == pytest.approx(list(nx.clustering(graph).values()))


def test_two_molecules_differ_in_longer_cycles_only():
    for name in ("decalin", "bicyclopentyl"):
        assert (cycle_counts(plain(name)).triangles, cycle_counts(plain(name)).four_cycles) == (0, 0)


def test_ratios_and_a_graph_without_nodes():
    assert count_ratio(1, 4) == 0.25 and count_ratio(0, 0) == 1 and math.isnan(count_ratio(2, 0))
    nothing = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=0)
    assert cycle_counts(nothing).triangles == 0 and len(clustering(nothing)) == 0
