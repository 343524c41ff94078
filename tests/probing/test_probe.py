import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GCNConv, SGConv
from torch_geometric.nn.models import GAT, GCN, GIN, GraphSAGE

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.models.calling import call, forget_cached, private_copy
from metamerlib.probing.probe import Probe

# GIN's inner MLP shares the activation, so that its first call is not the one after the convolution.
FOREIGN = [(GCN, "act:0"), (GAT, "act:0"), (GraphSAGE, "act:0"), (GIN, "act:1")]


@pytest.fixture
def graph():
    graph = ml.load_graph("karate").clone()
    graph.x = torch.randn(34, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return graph


def gnn(**changes):
    torch.manual_seed(0)
    sizes = dict(conv="gcn", in_channels=5, hidden_channels=8, out_channels=3, num_layers=2)
    return ml.GNN(**{**sizes, **changes}).double()


class Functional(nn.Module):
    """Two convolutions; the activation is a function, called in the way named."""

    def __init__(self, relu):
        super().__init__()
        self.first, self.second = GCNConv(5, 6), GCNConv(6, 3)
        self.relu = relu

    def forward(self, x, edge_index):
        return self.second(self.relu(self.first(x, edge_index)), edge_index)


class Block(nn.Module):
    def __init__(self, relu):
        super().__init__()
        self.lin, self.relu = nn.Linear(5, 6), relu

    def forward(self, x, edge_index):
        return self.relu(self.lin(x))


def test_layer_of_a_gnn_by_number_name_and_module_is_the_same(graph):
    model = gnn()
    recordings = [Probe(model, layer)(graph) for layer in (1, "layers.0", model.layers[0])]
    h = torch.relu(model.layers[0].conv(graph.x, graph.edge_index))
    for recording in recordings:
        torch.testing.assert_close(recording.activation, h)
        torch.testing.assert_close(recording.pre_activation.clamp(min=0), h)
        assert recording.rectified
        torch.testing.assert_close(recording.output, model.eval()(graph.x, graph.edge_index))


def test_logits_and_smooth_activations_are_not_rectified(graph):
    assert not Probe(gnn(), 2)(graph).rectified
    smooth = Probe(gnn(act="elu"), 1)(graph)
    assert not smooth.rectified
    torch.testing.assert_close(F.elu(smooth.pre_activation), smooth.activation)


def test_skip_activation_is_after_the_sum(graph):
    recording = Probe(gnn(residual="skip", in_channels=8, num_layers=3), 1)(
        with_features(graph, torch.cat([graph.x, graph.x[:, :3]], 1))
    )
    x = torch.cat([graph.x, graph.x[:, :3]], 1)
    torch.testing.assert_close(recording.activation, recording.pre_activation.clamp(min=0) + x)


def test_incomplete_runs_stop_at_the_layer(graph):
    probe = Probe(gnn(), 1)
    seen = []
    probe.model.layers[1].register_forward_hook(lambda *call: seen.append(1))
    assert probe(graph, complete=False).output is None and not seen
    assert probe(graph).output.shape == (34, 3) and seen == [1]


@pytest.mark.parametrize("kind, act", FOREIGN)
def test_modules_of_pyg_models_by_name(kind, act, graph):
    torch.manual_seed(0)
    model = kind(5, 6, 2, 3).double().eval()
    h = model.convs[0](graph.x, graph.edge_index)
    torch.testing.assert_close(Probe(model, "convs.0").check(graph).activation, h)
    after = Probe(model, act).check(graph)
    torch.testing.assert_close(after.activation, h.clamp(min=0))
    torch.testing.assert_close(after.pre_activation, h)
    assert after.rectified
    torch.testing.assert_close(Probe(model, "convs.1").check(graph).activation, model(graph.x, graph.edge_index))


@pytest.mark.parametrize(
    "relu",
    [
        F.relu,
        torch.relu,
        torch.Tensor.relu,
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.ELU(inplace=True),
        torch.Tensor.relu_,
        lambda z: F.relu(z, inplace=True),
        lambda z: F.relu(z, True),
    ],
)
def test_what_follows_does_not_change_the_activation_of_a_layer(relu, graph):
    torch.manual_seed(0)
    model = Functional(relu).double()
    h = model.first(graph.x, graph.edge_index)
    for recording in (Probe(model, "first").check(graph), Probe(model, "first")(graph, complete=False)):
        torch.testing.assert_close(recording.activation, h)
        assert not recording.rectified and bool((recording.activation < 0).any())


@pytest.mark.parametrize("relu", [F.relu, torch.relu, torch.Tensor.relu, nn.ReLU(), nn.ReLU(inplace=True)])
def test_relu_called_as_a_function_is_seen(relu, graph):
    torch.manual_seed(0)
    model = Block(relu).double()
    recording = Probe(model, model).check(graph)
    torch.testing.assert_close(recording.pre_activation, model.lin(graph.x))
    assert recording.rectified
    assert Probe(model, "lin").check(graph).pre_activation is None


@pytest.mark.parametrize("relu", [torch.Tensor.relu_, lambda z: F.relu(z, True)])
def test_relu_in_place_at_the_end_of_a_layer_is_recorded_as_it_is(relu, graph):
    torch.manual_seed(0)
    model = Block(relu).double()
    recording = Probe(model, model).check(graph)
    torch.testing.assert_close(recording.activation, model.lin(graph.x).clamp(min=0))
    assert not recording.rectified


def test_slope_replaces_only_the_gradient_of_dead_units(graph):
    model = Block(F.relu).double()
    x = graph.x.clone().requires_grad_()
    recording = Probe(model, model, slope=0.25)(with_features(graph, x))
    z = recording.pre_activation
    torch.testing.assert_close(recording.activation, z.clamp(min=0))
    (gradient,) = torch.autograd.grad(recording.activation.sum(), z)
    torch.testing.assert_close(gradient, torch.where(z > 0, 1.0, 0.25).double())


def test_model_is_left_as_it_was(graph):
    model = gnn(norm="batch").train()
    state = {name: p.clone() for name, p in model.state_dict().items()}
    x = graph.x.clone().requires_grad_()
    Probe(model, 2)(with_features(graph, x)).activation.sum().backward()
    assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(p, state[name]) for name, p in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert x.grad is not None


@pytest.mark.parametrize("conv", [GCNConv, SGConv])
def test_private_copy_forgets_what_convolutions_cached(conv, graph):
    model = conv(5, 3, cached=True).double()
    model(graph.x, graph.edge_index)
    twin = private_copy(model)
    other = torch.tensor([[0, 1], [1, 0]])
    expected = conv(5, 3).double()
    expected.load_state_dict(model.state_dict())
    for edges in (other, graph.edge_index):
        torch.testing.assert_close(twin(2 * graph.x, edges), expected(2 * graph.x, edges))
    kept = [name for name, value in vars(model).items() if name.startswith("_cached") and value is not None]
    assert kept and all(vars(forget_cached(model))[name] is None for name in kept)


def test_models_that_keep_tensors_of_their_runs_are_copied_without_their_history(graph):
    model = Block(F.relu).double()
    model.last = model(graph.x, graph.edge_index)
    twin = private_copy(model)
    assert model.last.requires_grad and not twin.last.requires_grad
    torch.testing.assert_close(Probe(model, "lin")(graph).activation, model.lin(graph.x))


def test_call_passes_what_graph_and_model_both_have():
    class Wants(nn.Module):
        def forward(self, x, edge_index, *, edge_weight=None, batch=None):
            return edge_weight, batch

    graph = Data(x=torch.ones(2, 1), edge_index=torch.empty(2, 0, dtype=torch.long))
    assert call(Wants(), graph) == (None, None)
    graph.edge_weight, graph.batch = torch.empty(0), torch.zeros(2)
    assert call(Wants(), graph) == (graph.edge_weight, graph.batch)
    assert call(nn.Bilinear(1, 1, 1), Data(x=graph.x, edge_index=graph.x, batch=graph.batch)).shape == (2, 1)


def test_forward_brings_other_inputs(graph):
    class Edges(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GATConv(5, 3, edge_dim=2)

        def forward(self, data):
            return self.conv(data.x, data.edge_index, edge_attr=data.edge_attr)

    graph.edge_attr = torch.rand(graph.num_edges, 2, dtype=torch.float64)
    model = Edges().double()
    recording = Probe(model, "conv", forward=lambda model, data: model(data)).check(graph)
    torch.testing.assert_close(recording.activation, model(graph))


def test_copies_and_leaked_probes_keep_the_layer(graph):
    probe = Probe(gnn(num_layers=3), 2)
    probe.check(graph)
    twin, leaky = probe.copy(), probe.leaked(0.5)
    assert twin.model is not probe.model and leaky.model is probe.model
    assert twin.inner_relus == probe.inner_relus == 1
    torch.testing.assert_close(twin(graph).activation, probe(graph).activation)
    model = probe.model
    first = F.leaky_relu(model.layers[0].conv(graph.x, graph.edge_index), 0.5)
    z = model.layers[1].conv(first, graph.edge_index)
    torch.testing.assert_close(leaky(graph).activation, z.clamp(min=0))


def test_activations_of_higher_order_are_flattened(graph):
    class Cube(nn.Module):
        def forward(self, x, edge_index):
            return x.reshape(34, 5, 1).expand(-1, -1, 2)

    model = Cube()
    assert Probe(model, model).check(graph).activation.shape == (34, 10)
