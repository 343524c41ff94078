"""Edges of models whose convolutions send more than one matrix of messages, or none that a stand-in fits."""

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn
from torch_geometric.utils import k_hop_subgraph

import metamerlib as ml
from tests.helpers.edges import check_simple, random_graph
from tests.helpers.metamers import loss_of

WIDTH = 6
GRAPH = random_graph(num_nodes=20, num_edges=34, width=WIDTH)


def mlp(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outputs))


class Two(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.first, self.second = make(WIDTH, 8), make(8, 8)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


class PointNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.place, self.conv = nn.Linear(WIDTH, 3), pyg.PointNetConv(mlp(WIDTH + 3, 8), None)

    def forward(self, x, edge_index):
        return self.conv(x, self.place(x), edge_index)


class Jumping(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = pyg.DNAConv(WIDTH)

    def forward(self, x, edge_index):
        h = x[:, None]
        for _ in range(2):
            h = torch.cat([h, self.conv(h, edge_index)[:, None]], 1)
        return h[:, -1]


class OfEdges(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.edge = pyg.GCNConv(WIDTH, 8), nn.Linear(16, 4)

    def forward(self, x, edge_index):
        h = self.conv(x, edge_index)
        return self.edge(torch.cat([h[edge_index[0]], h[edge_index[1]]], 1))


class Ego(nn.Module):
    """A convolution on the subgraph around node 0, found inside the forward."""

    def __init__(self):
        super().__init__()
        self.near, self.all = pyg.GCNConv(WIDTH, 8), pyg.GCNConv(8, 8)

    def forward(self, x, edge_index):
        nodes, inside, _, _ = k_hop_subgraph(0, 2, edge_index, relabel_nodes=True, num_nodes=x.size(0))
        return self.all(x.new_zeros(x.size(0), 8).index_copy(0, nodes, self.near(x[nodes], inside)), edge_index)


DEGREES = torch.bincount(GRAPH.edge_index[1]).bincount()
LAYERS = {
    "pna": lambda: Two(lambda i, o: pyg.PNAConv(i, o, ["mean", "std"], ["identity", "amplification"], DEGREES)),
    "edge cnn": lambda: pyg.EdgeCNN(WIDTH, 8, 2),
    "u-net": lambda: pyg.GraphUNet(WIDTH, 8, 4, 2),
    "arma": lambda: Two(lambda i, o: pyg.ARMAConv(i, o, 2, 2)),
    "feast": lambda: Two(lambda i, o: pyg.FeaStConv(i, o, 2)),
    "egc": lambda: Two(lambda i, o: pyg.EGConv(i, o, ["sum", "mean"], 4, 2)),
    "dna": Jumping,
    "point net": PointNet,
    "several aggregations": lambda: Two(lambda i, o: pyg.SAGEConv(i, o, aggr=["mean", "max"])),
    "of edges": OfEdges,
    "ego": Ego,
}
UNGUIDED = {"point net", "pna", "egc", "dna", "several aggregations"}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("name", LAYERS)
def test_search_is_the_models_own_and_says_whether_it_was_guided(name):
    torch.manual_seed(0)
    model = LAYERS[name]().double().eval()
    m = ml.find_metamer(model, GRAPH, layer="", vary="structure", max_steps=20)
    check_simple(m.graph, 34)
    assert m.loss == pytest.approx(loss_of(model, m, ""), rel=1e-6) and m.loss <= m.history.loss[0] * (1 + 1e-6)
    assert m.settings["guided"] is (name not in UNGUIDED)


@pytest.mark.parametrize("solver", ["ste", "prbcd"])
@pytest.mark.parametrize("name", ["pna", "several aggregations"])
def test_solvers_that_need_messages_or_weights_say_so(name, solver):
    model = LAYERS[name]().double().eval()
    with pytest.raises(ValueError, match="solver='swaps'"):
        ml.find_metamer(model, GRAPH, layer="", vary="structure", solver=solver, max_steps=5)
