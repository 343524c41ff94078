import pytest
import torch
from torch import nn
from torch_geometric.nn import PNAConv, SAGEConv

import metamerlib as ml
from metamerlib.probing.probe import Probe
from metamerlib.search.edges.relaxation import Relaxed, reads_weights
from tests.helpers.edges import random_graph

CONVOLUTIONS = ["gcn", "gat", "gatv2", "sage", "gin", "cheb", "sgc", "appnp"]


def model_of(conv, **changes):
    torch.manual_seed(0)
    return ml.GNN(conv=conv, in_channels=6, hidden_channels=8, out_channels=3, num_layers=2, **changes).double()


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_relaxation_is_the_plain_convolution_at_zero_and_one(conv):
    graph, probe = random_graph(), Probe(model_of(conv), 2)
    keep = torch.rand(20, generator=torch.Generator().manual_seed(1)) < 0.6
    weight = keep.repeat(2).double()
    relaxed = Relaxed(probe, graph)(graph.x, graph.edge_index, weight)
    fewer = random_graph()
    fewer.edge_index = graph.edge_index[:, keep.repeat(2)]
    torch.testing.assert_close(relaxed, probe(fewer).activation, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_relaxation_has_gradients_for_absent_edges(conv):
    graph = random_graph()
    weight = torch.zeros(40, dtype=torch.float64)
    weight[:30] = 1
    weight.requires_grad_()
    Relaxed(Probe(model_of(conv), 1), graph)(graph.x, graph.edge_index, weight).square().sum().backward()
    assert weight.grad[30:].abs().max() > 0


def test_models_without_weights_are_told_apart():
    graph = random_graph()
    assert reads_weights(Probe(model_of("gcn"), 1), graph)
    assert not reads_weights(Probe(model_of("sage"), 1), graph)
    assert not reads_weights(Probe(model_of("mlp"), 1), graph)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = PNAConv(6, 4, ["max"], ["identity"], deg=torch.tensor([0, 3, 3]))

    def forward(self, x, edge_index):
        return self.conv(x, edge_index)


def test_convolutions_that_cannot_be_relaxed_are_named():
    with pytest.raises(ValueError, match="PNAConv has no edge weights"):
        Relaxed(Probe(Odd().double(), "conv"), random_graph())


def test_maximum_is_not_taken_for_a_mean():
    class Largest(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = SAGEConv(6, 4, aggr="max")

        def forward(self, x, edge_index):
            return self.conv(x, edge_index)

    with pytest.raises(ValueError, match="SAGEConv has no edge weights"):
        Relaxed(Probe(Largest().double(), "conv"), random_graph())
