"""What the tests of the local geometry share: Jacobians by brute force, and models that couple or reach oddly."""

import torch
from torch import nn
from torch_geometric.nn import APPNP, GATConv, GCNConv, MessagePassing, SAGEConv

from metamerlib.graphs.edit import with_features
from metamerlib.probing.probe import Probe
from tests.helpers.metamers import WIDTH


def whole_jacobian(model, graph, layer, node, forward=None):
    """Return the Jacobian [d_k, N, F] of one node's activation on the whole graph, with nothing but autograd."""
    probe = Probe(model.double(), layer, forward=forward)

    def activation(x):
        return probe(with_features(graph, x), complete=False).activation[node]

    return torch.autograd.functional.jacobian(activation, graph.x.double())


def distances(graph):
    """Return hops between all nodes [N, N], infinite where there is no path."""
    num_nodes = graph.x.size(0)
    hops = torch.full((num_nodes, num_nodes), float("inf")).fill_diagonal_(0)
    hops[graph.edge_index[0], graph.edge_index[1]] = 1
    for k in range(num_nodes):
        hops = torch.minimum(hops, hops[:, k, None] + hops[None, k])
    return hops


class Foreign(nn.Module):
    """A model of PyG's own convolutions, with edge weights and a functional activation."""

    def __init__(self):
        super().__init__()
        self.first, self.second = GCNConv(WIDTH, 8), GATConv(8, 6)

    def forward(self, x, edge_index, edge_weight=None):
        h = torch.relu(self.first(x, edge_index, edge_weight))
        return self.second(h, edge_index)


class Hops(nn.Module):
    """Three hops in one layer, after a nonlinear map of the features."""

    def __init__(self):
        super().__init__()
        self.lin, self.spread = nn.Linear(WIDTH, 6), APPNP(3, 0.2)

    def forward(self, x, edge_index):
        return self.spread(self.lin(x.tanh()), edge_index)


class Everyone(nn.Module):
    """Attention of every node to every node."""

    def __init__(self):
        super().__init__()
        self.key, self.value = nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 5)

    def forward(self, x, edge_index):
        key = self.key(x) / WIDTH
        return (key @ key.T).softmax(1) @ self.value(x)


class Neighbours(nn.Module):
    """Means of the neighbours alone: a node does not see itself in one hop."""

    def __init__(self):
        super().__init__()
        self.conv = SAGEConv(WIDTH, 6, root_weight=False)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index).tanh()


class Learned(MessagePassing):
    """Edge weights that depend on the features: a neighbour's degree looks one hop further than its features."""

    def __init__(self):
        super().__init__()
        self.lin, self.conv = nn.Linear(WIDTH, 1), GCNConv(WIDTH, 6)

    def forward(self, x, edge_index):
        strength = self.lin(x).sigmoid().squeeze(1)
        return self.conv(x, edge_index, strength[edge_index[0]] * strength[edge_index[1]])


class Fixed(nn.Module):
    """One of its layers does not read the features."""

    def __init__(self):
        super().__init__()
        self.table, self.lin = nn.Embedding(34, 6), nn.Linear(WIDTH, 6)

    def forward(self, x, edge_index):
        return self.lin(x) + self.table(torch.arange(x.size(0)))
