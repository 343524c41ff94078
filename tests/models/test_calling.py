"""Models are called as their owners call them."""

import threading

import pytest
import torch
import torch_geometric.nn as gnn
from torch import nn
from torch_geometric.data import Data, HeteroData

import metamerlib as ml
from metamerlib.models.calling import arguments, call, first_scores, left_out, private_copy, unwrapped
from metamerlib.probing.probe import Probe


@pytest.fixture
def graph():
    generator = torch.Generator().manual_seed(3)
    pairs = torch.randint(9, (2, 14), generator=generator)
    edges = torch.cat([pairs, pairs.flip(0)], 1)
    return Data(x=torch.randn(9, 5, generator=generator, dtype=torch.float64), edge_index=edges.unique(dim=1))


class Two(nn.Module):
    """Two convolutions."""

    def __init__(self, conv=gnn.GCNConv):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = conv(5, 4), conv(4, 3)
        self.double()

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


class Whole(Two):
    def forward(self, data):
        return super().forward(data.x, data.edge_index)


class Odd(Two):
    def forward(self, features, edges):
        return super().forward(features, edges)


class Swapped(Two):
    def forward(self, edge_index, x):
        return super().forward(x, edge_index)


class Loose(Two):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


class Pooled(Two):
    def forward(self, x, edge_index, batch):
        return gnn.global_add_pool(super().forward(x, edge_index), batch)


class Located(Two):
    def forward(self, x, edge_index, pos):
        return super().forward(x + pos.sum(1, keepdim=True), edge_index)


@pytest.mark.parametrize("kind", [Two, Whole, Odd, Swapped, Loose])
def test_every_order_of_parameters_gives_the_same(kind, graph):
    torch.testing.assert_close(call(kind(), graph), Two()(graph.x, graph.edge_index))
    assert ml.find_metamer(kind(), graph, layer="first").status == "converged"


def test_a_required_batch_is_zero_and_a_required_position_is_asked_for(graph):
    assert call(Pooled(), graph).shape == (1, 3)
    with pytest.raises(ValueError, match=r"requires \['pos'\], which the graph lacks.*forward=lambda"):
        ml.find_metamer(Located(), graph, layer="second")
    graph.pos = torch.ones(9, 2, dtype=torch.float64)
    assert ml.find_metamer(Located(), graph, layer="second", num_restarts=2).loss < 0.01


def test_edge_attributes_are_passed_by_name(graph):
    graph.edge_attr = torch.rand(graph.num_edges, 2, dtype=torch.float64)
    model = gnn.GAT(5, 6, 2, 3, edge_dim=2).double().eval()
    assert arguments(model, graph)[0]["edge_attr"] is graph.edge_attr
    m = ml.find_metamer(model, graph, layer="convs.1")
    with torch.no_grad():
        h, wanted = (model(g.x, g.edge_index, edge_attr=g.edge_attr) for g in (m.graph, graph))
    assert ((h - wanted).norm() / wanted.norm()).item() == pytest.approx(m.relative_error, rel=1e-6)


def test_edge_data_that_the_call_leaves_out_are_refused_where_they_could_be_read(graph):
    graph.edge_weight = torch.rand(graph.num_edges, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"holds edge_weight, which the model could read.*edge_weight = None"):
        ml.find_metamer(Two(), graph, layer="first")
    graph.edge_attr, graph.edge_weight = torch.rand(graph.num_edges, 2), None
    assert left_out(Two(gnn.GATConv), graph) == [] == left_out(Two(), graph)
    assert left_out(Two(lambda a, b: gnn.GATConv(a, b, edge_dim=2)), graph) == ["edge_attr"]


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.optim.swa_utils.AveragedModel])
def test_wrappers_are_looked_through(wrap, graph):
    graph.edge_weight = torch.rand(graph.num_edges, dtype=torch.float64)
    inner = gnn.GCN(5, 6, 2, 3).double().eval()
    model = wrap(inner).eval()
    h = inner(graph.x, graph.edge_index, graph.edge_weight)
    for layer in ("module.convs.1", "convs.1"):
        torch.testing.assert_close(Probe(model, layer).check(graph).activation, h)
    numbered = ml.GNN(conv="gcn", in_channels=5, hidden_channels=4, out_channels=3, num_layers=2).double()
    assert Probe(wrap(numbered), 2).check(graph).activation.shape == (9, 3)
    assert type(unwrapped(wrap(numbered))) is ml.GNN


def test_other_kinds_of_graphs_are_refused_with_the_way_out(graph):
    networkx = pytest.importorskip("networkx")
    with pytest.raises(TypeError, match=r"got Graph; convert with torch_geometric\.utils\.from_networkx"):
        ml.find_metamer(Two(), networkx.path_graph(4), layer="first")
    with pytest.raises(TypeError, match=r"got HeteroData; convert with graph\.to_homogeneous"):
        ml.find_metamer(Two(), HeteroData(), layer="first")
    graph.adj_t = torch.eye(9).to_sparse()
    with pytest.raises(TypeError, match="adj_t, and a search needs edge_index"):
        ml.find_metamer(Two(), graph, layer="first")


class Several(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.inner, self.kind, self.out = Two(), kind, gnn.GCNConv(3, 3).double()
        self.both = nn.Identity()

    def forward(self, x, edge_index):
        h = self.inner(x, edge_index)
        both = self.both({"h": h, "twice": 2 * h} if self.kind is dict else (h, 2 * h))
        return edge_index, self.out(both["h"] if self.kind is dict else both[0], edge_index)


@pytest.mark.parametrize("kind, layer", [(dict, "both[twice]"), (tuple, "both[1]")])
def test_one_of_several_tensors_is_matched_and_the_first_table_is_the_prediction(kind, layer, graph):
    model = Several(kind)
    m = ml.find_metamer(model, graph, layer=layer)
    assert m.status == "converged" and m.layer == layer
    torch.testing.assert_close(m.target, 2 * model.inner(graph.x, graph.edge_index).detach())
    assert float(ml.compare(model, m, null_draws=3)["prediction_match"]) > 0.5
    with pytest.raises(TypeError, match=r"choose one of its 2, such as layer='both\["):
        ml.find_metamer(model, graph, layer="both")
    with pytest.raises(ValueError, match="has no entry '7'"):
        ml.find_metamer(model, graph, layer="both[7]")


def test_first_scores():
    table, vector = torch.ones(2, 3), torch.ones(4)
    assert first_scores((vector, {"a": torch.ones(2, 2).long(), "b": table})) is table
    assert first_scores([vector]) is vector and first_scores("none") is None


class Listens(Two):
    """A hook of one's own that writes into the model that owns it."""

    def __init__(self):
        super().__init__()
        self.kept = {}
        self.first.register_forward_hook(lambda module, args, output: self.kept.update(h=output))

    def forward(self, x, edge_index):
        super().forward(x, edge_index)
        return self.second(self.kept["h"].tanh(), edge_index)


def test_own_hooks_serve_the_copy(graph):
    model = Listens()
    before = model(graph.x, graph.edge_index).detach()
    m = ml.find_metamer(model, graph, layer="second:1")
    assert m.status == "converged"
    torch.testing.assert_close(m.target, before)


def test_a_forward_replaced_on_the_instance_serves_the_copy(graph):
    model = Two()
    old = model.forward
    model.forward = lambda x, edge_index: old(3 * x, edge_index)
    m = ml.find_metamer(model, graph, layer="second")
    torch.testing.assert_close(m.target, Two()(3 * graph.x, graph.edge_index).detach())
    assert m.status == "converged"


class Stubborn(Two):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
        self.trainer = {"lock": self.lock, "model": [self]}

    def train(self, mode=True):
        super().train(mode)

    def forward(self, x, edge_index):
        with self.lock:
            return super().forward(x, edge_index)


def test_locks_and_train_without_a_result(graph):
    assert ml.find_metamer(Stubborn(), graph, layer="second").status == "converged"


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "norm",
    [
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.weight_norm,
        nn.utils.spectral_norm,
        nn.utils.weight_norm,
    ],
)
def test_parametrised_weights_have_a_null_space_and_stay_as_they_were(norm, graph):
    model = gnn.GCNConv(5, 3).double()
    norm(model.lin)
    model.eval()
    before = model(graph.x, graph.edge_index).detach()
    m = ml.nullspace_metamer(model, graph)
    assert m.relative_error < 1e-10 and (m.graph.x - graph.x).norm() > 1
    torch.testing.assert_close(m.target, before)
    torch.testing.assert_close(model(graph.x, graph.edge_index).detach(), before)
    assert type(private_copy(model).lin) is gnn.Linear


class Direct(Two):
    def forward(self, x, edge_index):
        return self.second(self.first.forward(x, edge_index), edge_index)


class Skips(Two):
    def forward(self, x, edge_index):
        return self.second(x[:, :4], edge_index) if x[0, 0] > 0 else x


def test_layers_that_are_called_directly_or_skipped(graph):
    with pytest.raises(ValueError, match=r"'first' is never called.*\.forward is called directly fires no hook"):
        ml.find_metamer(Direct(), graph, layer="first")
    graph.x[0, 0] = 1
    probe = Probe(Skips(), "second")
    probe.check(graph)
    graph.x[0, 0] = -1
    with pytest.raises(ValueError, match="skips layer 'second'"):
        probe(graph)


class Broken(Two):
    def forward(self, x, edge_index):
        return {}["absent"]


def test_whatever_a_model_raises_is_one_kind_of_error(graph):
    with pytest.raises(ValueError, match=r"fails on the reference graph.*KeyError: 'absent'.*forward="):
        ml.find_metamer(Broken(), graph, layer="first")


def test_other_widths_are_no_alarm_with_a_forward_of_ones_own(graph):
    graph.pe = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = gnn.GCN(8, 6, 2, 3).double()
    m = ml.find_metamer(
        model, graph, layer="convs.1", forward=lambda n, g: n(torch.cat([g.x, g.pe], 1), g.edge_index), max_steps=20
    )
    assert m.activation.shape == (9, 3)


def test_integer_features_where_only_edges_vary(graph):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.names, self.conv = nn.Embedding(6, 4), gnn.GCNConv(4, 3)

        def forward(self, x, edge_index):
            return self.conv(self.names(x[:, 0]), edge_index)

    pairs = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]])
    graph = Data(x=torch.arange(9)[:, None] % 6, edge_index=torch.cat([pairs, pairs.flip(0)], 1))
    m = ml.find_metamer(Named(), graph, layer="conv", vary="structure", max_steps=20)
    assert m.graph.x.dtype == torch.long and m.loss < 1
    with pytest.raises(TypeError, match="floating point"):
        ml.find_metamer(Named(), graph, layer="conv")
