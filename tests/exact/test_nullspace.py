import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv, SAGEConv

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.models.convolutions import CONVOLUTIONS
from metamerlib.models.gnn import NORMS, RESIDUALS
from metamerlib.probing.probe import Probe

WIDTH = 40


def gnn(**changes):
    torch.manual_seed(0)
    sizes = dict(conv="gcn", in_channels=WIDTH, hidden_channels=8, out_channels=3, num_layers=3)
    return ml.GNN(**{**sizes, **changes}).double()


@pytest.fixture
def graph():
    x = torch.randn(34, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    return with_features(ml.load_graph("karate").clone(), x)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_metamer_is_exact_at_every_layer(conv, residual, norm, graph):
    model = gnn(conv=conv, residual=residual, norm=norm).train()
    m = ml.nullspace_metamer(model, graph)
    assert m.status == "exact" and m.loss <= 1e-24 and m.steps == 0 and len(m.history) == 0
    for layer in (1, 2, 3):
        probe = Probe(model, layer)
        wanted, found = probe(graph), probe(m.graph)
        assert (found.activation - wanted.activation).norm() <= 1e-12 * wanted.activation.norm()
        assert (found.output - wanted.output).norm() <= 1e-12 * wanted.output.norm()
    assert (m.graph.x - graph.x).norm() > 0.5 * graph.x.norm()
    assert model.training


def test_two_features_by_hand():
    # The model reads x_1 + x_2, so the change lies along (1, -1).
    model = ml.GNN(conv="mlp", in_channels=2, hidden_channels=1, out_channels=1, num_layers=1).double()
    with torch.no_grad():
        model.layers[0].conv.weight.fill_(1.0)
    graph = ml.load_graph("davis").clone()
    graph.x = torch.arange(64, dtype=torch.float64).reshape(32, 2)
    m = ml.nullspace_metamer(model, graph)
    moved = m.graph.x - graph.x
    torch.testing.assert_close(moved[:, 0], -moved[:, 1])
    torch.testing.assert_close(moved[:, 0], ((m.start.x - graph.x) @ torch.tensor([0.5, -0.5]).double()))
    assert m.settings["row_space"] == 1 and moved.norm() > 1


def test_layer_and_seed_choose_what_is_reported(graph):
    model = gnn()
    whole, first = ml.nullspace_metamer(model, graph), ml.nullspace_metamer(model, graph, layer=1)
    assert whole.target.shape == (34, 3) and first.target.shape == (34, 8)
    assert torch.equal(whole.graph.x, first.graph.x)
    assert not torch.equal(ml.nullspace_metamer(model, graph, seed=1).graph.x, whole.graph.x)
    start = ml.find_metamer(model, graph, layer=1, max_steps=1, seed=1).start.x
    torch.testing.assert_close(ml.nullspace_metamer(model, graph, seed=1).start.x, start)


def test_find_metamer_agrees_that_it_is_one(graph):
    planted = ml.nullspace_metamer(gnn(), graph).graph.x
    assert ml.find_metamer(gnn(), graph, layer=3, start=planted).steps == 1


def test_it_can_be_saved(graph, tmp_path):
    m = ml.nullspace_metamer(gnn(), graph)
    m.save(tmp_path / "m.pt")
    other = ml.Metamer.load(tmp_path / "m.pt")
    assert torch.equal(other.graph.x, m.graph.x) and other.status == "exact" and len(other.history) == 0


def test_narrow_features_leave_no_null_space():
    graph = ml.load_graph("karate")
    model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=64, out_channels=4, num_layers=2)
    with pytest.raises(ValueError, match=r"rank r = 34 and there are F = 34 features"):
        ml.nullspace_metamer(model, graph)


@pytest.mark.parametrize("conv, width", [("sage", 20), ("gatv2", 20), ("cheb", 20), ("gcn", 40)])
def test_every_branch_counts_towards_the_rank(conv, width, graph):
    with pytest.raises(ValueError, match=r"rank r = 40 and there are F = 40"):
        ml.nullspace_metamer(gnn(conv=conv, hidden_channels=width), graph)
    assert ml.nullspace_metamer(gnn(conv=conv, hidden_channels=width - 1), graph).loss < 1e-24


class Wrapped(nn.Module):
    def __init__(self, conv, skip):
        super().__init__()
        self.conv, self.skip = conv, skip

    def forward(self, x, edge_index):
        h = self.conv(x, edge_index)
        return torch.cat([h, x], 1) if self.skip else h


class Product(nn.Module):
    """A linear map that is no linear module."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH, 2))

    def forward(self, x, edge_index):
        return x @ self.weight


REFUSED = {
    "sage-max": Wrapped(SAGEConv(WIDTH, 8, aggr="max"), False),
    "raw skip": Wrapped(GCNConv(WIDTH, 8), True),
    "no linear module": Product(),
}


@pytest.mark.parametrize("model", REFUSED.values(), ids=REFUSED)
def test_models_that_read_the_features_otherwise_are_refused(model, graph):
    with pytest.raises(ValueError, match=r"does not read the features through linear maps alone.*use find_metamer"):
        ml.nullspace_metamer(model.double(), graph)


def test_the_same_convolution_without_the_skip_has_one(graph):
    torch.manual_seed(0)
    assert ml.nullspace_metamer(Wrapped(GCNConv(WIDTH, 8), False).double(), graph).loss < 1e-24


def test_float32_is_exact_to_its_own_rounding():
    graph = ml.load_graph("bow-sbm")
    model = ml.GNN(conv="gcn", in_channels=600, hidden_channels=16, out_channels=4, num_layers=2)
    m = ml.nullspace_metamer(model, graph)
    assert m.relative_error < 1e-5 and m.graph.x.dtype == torch.float32


def test_nothing_given_is_changed(graph):
    model, before = gnn(norm="batch").train(), graph.x.clone()
    state = {name: p.clone() for name, p in model.state_dict().items()}
    graph.x.requires_grad_()
    m = ml.nullspace_metamer(model, graph)
    assert all(torch.equal(p, state[name]) for name, p in model.state_dict().items())
    assert torch.equal(graph.x, before) and not m.graph.x.requires_grad
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
