import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import MLP, BatchNorm, GCNConv, SAGEConv

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.models.convolutions import CONVOLUTIONS
from metamerlib.models.gnn import RESIDUALS
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe
from metamerlib.probing.row_space import RowSpace, first_linear_maps, projected, row_space, sees_only
from metamerlib.probing.target import Target
from metamerlib.search.features.problem import feature_problem

# Number of linear maps from the 40 features to the width of 8.
BRANCHES = {"gcn": 1, "gat": 1, "gatv2": 2, "sage": 2, "gin": 1, "cheb": 2, "sgc": 1, "appnp": 1, "mlp": 1}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def gnn(**changes):
    torch.manual_seed(0)
    sizes = dict(conv="gcn", in_channels=40, hidden_channels=8, out_channels=3, num_layers=2)
    return ml.GNN(**{**sizes, **changes}).double().eval()


@pytest.fixture
def graph():
    graph = ml.load_graph("karate").clone()
    graph.x = torch.randn(34, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return graph


def elsewhere(graph):
    return with_features(graph, torch.randn_like(graph.x) * 3)


def sees(probe, space, graph):
    return sees_only(probe, space, [(g, space.coordinates(g.x)) for g in (graph, elsewhere(graph))])


def test_two_directions_by_hand():
    model = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 1), nn.Linear(2, 3)])
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 0, 0], [-3.0, 0, 0]]))
        model[1].weight.copy_(torch.tensor([[0.0, 0, 2]]))
    space = row_space(model, 3)
    assert space.rank == 2 and len(first_linear_maps(model, 3)) == 2
    torch.testing.assert_close(space.basis.abs(), torch.tensor([[1.0, 0], [0, 0], [0, 1]]))
    torch.testing.assert_close(space.scale, torch.tensor([18**0.5, 2.0]))
    torch.testing.assert_close(space.invisible(torch.tensor([[5.0, 6, 7]])), torch.tensor([[0.0, 6, 0]]))


@pytest.mark.parametrize("device", DEVICES)
def test_features_and_coordinates_are_a_round_trip(device, graph):
    space = row_space(gnn().to(device), 40)
    base = graph.x.to(device)
    wanted = torch.randn(34, space.rank, dtype=torch.float64).to(device)
    x = space.features(wanted, base)
    torch.testing.assert_close(space.coordinates(x), wanted)
    torch.testing.assert_close(space.invisible(x), space.invisible(base))
    torch.testing.assert_close(space.features(space.coordinates(base), base), base)
    assert space.coordinates(space.invisible(base)).abs().max() < 1e-14


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_rank_counts_every_branch(conv):
    space = row_space(gnn(conv=conv), 40)
    assert space.rank == 8 * BRANCHES[conv]
    torch.testing.assert_close(space.basis.T @ space.basis, torch.eye(space.rank, dtype=torch.float64))


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_projected_model_has_the_same_activations(conv, residual, layer, graph):
    probe = Probe(gnn(conv=conv, residual=residual, norm="layer", num_layers=3), layer)
    space = row_space(probe.model, 40)
    twin = projected(probe, space)
    assert sees(probe, space, graph)
    for g in (graph, elsewhere(graph)):
        small = twin(with_features(g, space.coordinates(g.x))).activation
        torch.testing.assert_close(small, probe(g).activation, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("free", [None, torch.tensor([3, 0, 7])])
@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_search_in_coordinates_sees_what_the_full_search_sees(conv, copies, free, graph):
    probe = Probe(gnn(conv=conv), 2)
    target = Target.of(probe.check(graph), None)
    rows = 34 if free is None else 3
    starts = torch.randn(copies, rows, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    small, full = (feature_problem(probe, graph, target, starts, free, reduce=reduce) for reduce in (True, False))
    assert small.start.shape == (copies, rows, 8 * BRANCHES[conv]) and full.space is None
    a, b = small.evaluate(small.start), full.evaluate(full.start)
    torch.testing.assert_close(a.loss, b.loss)
    torch.testing.assert_close(a.objective, b.objective)
    torch.testing.assert_close(a.gradient * small.space.scale, b.gradient @ small.space.basis)
    assert small.space.invisible(b.gradient).abs().max() < 1e-12 * b.gradient.abs().max()
    torch.testing.assert_close(small.features(small.start[-1], copies - 1), starts[-1])


class RawSkip(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GCNConv(40, 40)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index) + x


class Normed(nn.Module):
    """Reads the features through a norm, and checks their width."""

    def __init__(self):
        super().__init__()
        self.norm, self.lin = BatchNorm(40), nn.Linear(40, 8)

    def forward(self, x, edge_index):
        assert x.size(1) == 40
        return self.lin(self.norm(x))


class Square(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(40, 8)

    def forward(self, x, edge_index):
        return self.lin(x) + x.square().sum(1, keepdim=True)


class Reparametrised(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.utils.parametrizations.weight_norm(nn.Linear(40, 8))

    def forward(self, x, edge_index):
        return self.lin(x)


class SageMax(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = SAGEConv(40, 8, aggr="max")

    def forward(self, x, edge_index):
        return self.conv(x, edge_index)


@pytest.mark.parametrize("kind", [RawSkip, Normed, Square, SageMax])
def test_models_that_read_the_features_otherwise_are_found_out(kind, graph):
    torch.manual_seed(0)
    model = kind().double().eval()
    probe = Probe(model, model)
    space = row_space(probe.model, 40)
    assert space is None or space.rank == 40 or not sees(probe, space, graph)
    starts = elsewhere(graph).x[None]
    problem = feature_problem(probe, graph, Target.of(probe.check(graph), None), starts, None, reduce=True)
    assert problem.space is None or problem.space.rank == 40


def test_parametrised_weights_are_reduced_as_they_are(graph):
    torch.manual_seed(0)
    probe = Probe(Reparametrised().double().eval(), "")
    space = row_space(probe.model, 40)
    assert space.rank == 8 and sees(probe, space, graph)


def test_models_without_linear_maps_have_no_row_space():
    assert row_space(nn.ReLU(), 3) is None
    zero = nn.Linear(3, 2)
    nn.init.zeros_(zero.weight)
    assert row_space(zero, 3) is None


def test_first_linear_maps_of_an_mlp_inside_a_convolution():
    model = MLP([40, 8, 3])
    assert [m.in_channels for m in first_linear_maps(model, 40)] == [40]
    assert row_space(model, 40).rank == 8


def test_agree_allows_rounding_only():
    a = torch.ones(2, 3, dtype=torch.float64)
    assert agree(a, a * (1 + 1e-10)) and not agree(a, a * (1 + 1e-8)) and not agree(a, a[:1])
    assert agree(a.float(), a.float() * (1 + 1e-4)) and not agree(a, a * torch.nan)


def test_weak_directions_are_not_blown_up():
    lin = nn.Linear(2, 2)
    with torch.no_grad():
        lin.weight.copy_(torch.tensor([[1.0, 0], [0, 1e-5]]))
    space = row_space(lin, 2)
    assert isinstance(space, RowSpace) and space.rank == 2
    torch.testing.assert_close(space.scale, torch.tensor([1.0, 1e-2]))
    graph = Data(x=torch.ones(1, 2), edge_index=torch.empty(2, 0, dtype=torch.long))
    assert space.coordinates(graph.x).abs().max() <= 1.0
