"""Models that a user brings, unmodified."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GATConv, GCNConv, SGConv
from torch_geometric.nn.models import GAT, GCN, GIN, GraphSAGE

import metamerlib as ml
from metamerlib.search.features.adam import Adam
from tests.helpers.metamers import WIDTH, check_honest, features


def test_metamer_of_the_identity_is_the_reference(graph):
    class Same(nn.Module):
        def __init__(self):
            super().__init__()
            self.same = nn.Identity()

        def forward(self, x, edge_index):
            return self.same(x)

    m = ml.find_metamer(Same(), graph, layer="same", rtol=1e-20)
    assert m.status == "converged"
    torch.testing.assert_close(m.graph.x, graph.x)


@pytest.mark.parametrize("kind, act", [(GCN, "act:0"), (GAT, "act:0"), (GraphSAGE, "act:0"), (GIN, "act:1")])
@pytest.mark.parametrize("layer", ["convs.0", "convs.1", "act"])
def test_models_of_pyg_unmodified(kind, act, layer, graph):
    torch.manual_seed(0)
    model = kind(WIDTH, 8, 2, 3, dropout=0.5, norm="batch_norm").double()
    layer = act if layer == "act" else layer
    m = ml.find_metamer(model, graph, layer=layer, max_steps=300)
    check_honest(model, m, layer)
    assert m.loss < 0.05 and m.layer == layer
    assert (m.dead_units is None) == (layer != act)


class Blocks(nn.Module):
    """A foreign model whose block ends with a function, with keyword-only inputs that the graph lacks."""

    class Block(nn.Module):
        def __init__(self, relu):
            super().__init__()
            self.conv, self.relu = GCNConv(WIDTH, 8), relu

        def forward(self, x, edge_index):
            return self.relu(self.conv(x, edge_index))

    def __init__(self, relu=F.relu):
        super().__init__()
        self.block, self.out = self.Block(relu), GCNConv(8, 3)

    def forward(self, x, edge_index, *, edge_weight=None, perturbation=None):
        h = self.block(x if perturbation is None else x + perturbation, edge_index)
        return self.out(h, edge_index, edge_weight)


@pytest.mark.parametrize("relu", [F.relu, torch.relu, nn.ReLU(), nn.ReLU(inplace=True)])
def test_functional_relu_gets_the_one_sided_residual(relu, graph):
    torch.manual_seed(0)
    model = Blocks(relu).double()
    by_name, by_module = (ml.find_metamer(model, graph, layer=layer) for layer in ("block", model.block))
    check_honest(model, by_name, "block")
    assert by_name.status == "converged" and by_name.dead_units is not None
    assert torch.equal(by_name.graph.x, by_module.graph.x) and by_module.layer == "block"


@pytest.mark.parametrize("relu", [torch.Tensor.relu_, lambda z: z.clamp(min=0)])
def test_activations_out_of_reach_are_matched_plainly(relu, graph):
    torch.manual_seed(0)
    model = Blocks(relu).double()
    m = ml.find_metamer(model, graph, layer="block", max_steps=300)
    check_honest(model, m, "block")
    assert m.loss < m.history.loss[0] / 3 and m.dead_units is None


def test_slope_brings_dead_units_back(graph):
    torch.manual_seed(0)
    model = Blocks().double()
    without, given = (
        ml.find_metamer(model, graph, layer="block", solver=Adam(0.03), slope=slope, max_steps=400)
        for slope in (None, 0.2)
    )
    assert given.settings["slope"] == 0.2 and given.settings["solver"] == repr(Adam(0.03))
    assert given.loss < without.loss and given.dead_units <= without.dead_units
    assert ml.find_metamer(model, graph, layer="block", slope=0.2, max_steps=2).settings["solver"] == "adam"


def test_forward_brings_edge_attributes_and_restarts_too(graph):
    class Edges(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GATConv(WIDTH, 8, edge_dim=2)

        def forward(self, x, edge_index, edge_attr):
            return self.conv(x, edge_index, edge_attr=edge_attr)

    torch.manual_seed(0)
    graph.edge_attr = torch.rand(graph.num_edges, 2, dtype=torch.float64)
    model = Edges().double()

    def forward(model, data):
        return model(data.x, data.edge_index, data.edge_attr)

    m = ml.find_metamer(model, graph, layer="conv", forward=forward, num_restarts=2, max_steps=200)
    found, wanted = (forward(model, g) for g in (m.graph, graph))
    assert m.loss < 0.05
    assert ((found - wanted).norm() / wanted.norm()).item() == pytest.approx(m.relative_error, rel=1e-6)


@pytest.mark.parametrize("conv", [GCNConv, SGConv])
def test_models_that_have_cached_another_graph(conv, graph):
    torch.manual_seed(0)
    model = conv(WIDTH, 8, cached=True).double()
    model(features(1, 3), torch.tensor([[0, 1], [1, 0]]))
    with pytest.warns(match=r"SGConv\(cached=True\).*set it so") if conv is SGConv else nullcontext():
        m = ml.find_metamer(model, graph, layer=model, num_restarts=2)
    plain = conv(WIDTH, 8).double()
    plain.load_state_dict(model.state_dict())
    found, wanted = (plain(g.x, graph.edge_index) for g in (m.graph, graph))
    assert m.status == "converged"
    assert ((found - wanted).norm() / wanted.norm()).item() == pytest.approx(m.relative_error, rel=1e-6)
