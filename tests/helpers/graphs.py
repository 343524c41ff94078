"""What the tests of graph-level models share: rings and stars whose class a small model can learn."""

import torch
from torch_geometric.data import Data

import metamerlib as ml

WIDTH = 6


def ring(size, seed):
    ends = torch.arange(size)
    edges = torch.stack([ends, (ends + 1) % size])
    return _graph(size, edges, seed, 0)


def star(size, seed):
    ends = torch.arange(1, size)
    return _graph(size, torch.stack([torch.zeros_like(ends), ends]), seed, 1)


def _graph(size, edges, seed, label):
    x = torch.randn(size, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Data(x=x, edge_index=torch.cat([edges, edges.flip(0)], 1), y=torch.tensor([label]))


def rings_and_stars(count=6):
    """Return graphs of 4, 5, ... nodes, ring and star by turns."""
    return [(ring, star)[i % 2](4 + i, i) for i in range(count)]


def gnn(**changes):
    torch.manual_seed(0)
    sizes = dict(conv="gcn", in_channels=WIDTH, hidden_channels=16, out_channels=2, num_layers=2, pool="sum")
    return ml.GNN(**{**sizes, **changes}).double()
