"""What the tests of structure metamers share."""

import torch
from torch_geometric.data import Data

from metamerlib.graphs.edges import both_directions
from metamerlib.graphs.rewiring import draw_pairs


def random_graph(num_nodes=14, num_edges=20, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pairs = draw_pairs(num_edges, num_nodes, torch.empty(0, dtype=torch.long), generator)
    x = torch.randn(num_nodes, width, dtype=torch.float64, generator=generator)
    return Data(x=x, edge_index=both_directions(pairs))


def keys(graph):
    return {tuple(edge) for edge in graph.edge_index.T.tolist()}


def check_simple(graph, num_edges):
    edges = keys(graph)
    assert len(edges) == graph.edge_index.size(1) == 2 * num_edges
    assert all(a != b and (b, a) in edges for a, b in edges)


def overlap(graph, reference):
    return len(keys(graph) & keys(reference)) // 2
