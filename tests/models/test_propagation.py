import pytest
import torch
from torch import nn
from torch_geometric.nn import APPNP, ChebConv, GCNConv, GINConv, MessagePassing, SAGEConv, SGConv

import metamerlib as ml
from metamerlib.models.calling import private_copy
from metamerlib.models.convolutions import CONVOLUTIONS
from metamerlib.models.propagation import SparsePropagation, fix_structure
from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.features.problem import feature_problem

GRAPHS = {
    "karate": ml.load_graph("karate").edge_index,
    "isolated": torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]),
    "no edges": torch.empty(2, 0, dtype=torch.long),
    "directed": torch.tensor([[0, 0, 2, 5], [1, 2, 1, 5]]),
    "repeated": torch.tensor([[0, 1, 0, 1, 3, 3], [1, 0, 1, 0, 3, 3]]),
}
CONVS = {
    "gcn": (lambda: GCNConv(5, 3), True),
    "gcn plain": (lambda: GCNConv(5, 3, normalize=False), True),
    "sage": (lambda: SAGEConv(5, 3), False),
    "sage sum": (lambda: SAGEConv(5, 3, aggr="sum"), False),
    "sage max": (lambda: SAGEConv(5, 3, aggr="max"), False),
    "gin": (lambda: GINConv(nn.Linear(5, 3), train_eps=True), False),
    "cheb": (lambda: ChebConv(5, 3, K=3), True),
    "sgc": (lambda: SGConv(5, 3, K=2), True),
    "appnp": (lambda: APPNP(4, 0.1), True),
    "reversed": (lambda: GCNConv(5, 3, flow="target_to_source"), True),
}
CASES = [(name, False) for name in CONVS] + [(name, True) for name, (_, takes) in CONVS.items() if takes]


def features(num_nodes=34, width=5):
    return torch.randn(num_nodes, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gradient(output, x):
    return torch.autograd.grad(output.square().sum(), x)[0]


@pytest.mark.parametrize("edges", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("name, weighted", CASES)
def test_output_and_gradient_equal_those_of_pyg(name, weighted, edges):
    torch.manual_seed(0)
    conv = CONVS[name][0]().double().requires_grad_(False)
    extra = (torch.linspace(0.5, 2, edges.size(1), dtype=torch.float64),) if weighted else ()
    x = features().requires_grad_()
    expected = conv(x, edges, *extra)
    slow = gradient(expected, x)
    fast = fix_structure(private_copy(conv))
    for _ in range(2):
        output = fast(x, edges, *extra)
        torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradient(output, x), slow, rtol=1e-12, atol=1e-12)


def test_path_of_three_nodes_by_hand():
    conv = fix_structure(SAGEConv(1, 1, bias=False, root_weight=False).requires_grad_(False))
    conv.lin_l.weight.fill_(1)
    x = torch.tensor([[1.0], [2.0], [5.0], [7.0]])
    assert conv(x, GRAPHS["isolated"]).flatten().tolist() == [2.0, 3.0, 2.0, 0.0]


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_every_convolution_of_ours_keeps_its_output(conv):
    torch.manual_seed(0)
    model = ml.GNN(conv=conv, in_channels=5, hidden_channels=8, out_channels=3, num_layers=2).double().eval()
    for edges in GRAPHS.values():
        fast = fix_structure(private_copy(model))
        torch.testing.assert_close(fast(features(), edges), model(features(), edges))


def test_matrix_is_built_once_and_again_for_other_edges():
    conv = SAGEConv(5, 3).double()
    fast = fix_structure(private_copy(conv))
    fast(features(), GRAPHS["karate"])
    matrices = fast.propagate.matrices
    fast(2 * features(), GRAPHS["karate"].clone())
    assert fast.propagate.matrices is matrices
    for edges in (GRAPHS["directed"], GRAPHS["isolated"], GRAPHS["karate"]):
        torch.testing.assert_close(fast(features(), edges), conv(features(), edges))


def test_other_weights_on_the_same_edges_are_noticed():
    conv = SGConv(5, 3).double()
    fast = fix_structure(private_copy(conv))
    for scale in (1.0, 2.0):
        weight = scale * torch.arange(4, dtype=torch.float64)
        got = fast(features(), GRAPHS["isolated"], weight)
        torch.testing.assert_close(got, conv(features(), GRAPHS["isolated"], weight))


def test_weights_that_depend_on_the_features_keep_their_gradient():
    conv = SGConv(5, 3).double().requires_grad_(False)
    fast = fix_structure(private_copy(conv))
    gradients = []
    for model in (conv, fast):
        x = features().requires_grad_()
        edges = GRAPHS["karate"]
        weight = torch.sigmoid((x[edges[0]] * x[edges[1]]).sum(1))
        gradients.append(gradient(model(x, edges, weight), x))
    torch.testing.assert_close(*gradients)


def test_only_plain_weighted_sums_are_replaced():
    class Own(GCNConv):
        def message(self, x_j, edge_weight):
            return 2 * x_j

    replaced = [
        isinstance(vars(fix_structure(conv)).get("propagate"), SparsePropagation)
        for conv in (GCNConv(5, 3), Own(5, 3), SAGEConv(5, 3, aggr="max"), MessagePassing("add"))
    ]
    assert replaced == [True, False, False, False]


class TwoGraphs(nn.Module):
    """One convolution on the graph and on its reverse; one cache cannot hold both."""

    def __init__(self):
        super().__init__()
        self.conv = GCNConv(5, 5)

    def forward(self, x, edge_index):
        upper = edge_index[:, edge_index[0] < edge_index[1]]
        return self.conv(self.conv(x, edge_index), upper)


class Gated(nn.Module):
    """Edge weights that are one at the reference's scale, and change with the features."""

    def __init__(self):
        super().__init__()
        self.conv = GCNConv(5, 5)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index, x.square().mean(1)[edge_index[0]].clamp(min=0.5))


@pytest.mark.parametrize("kind", [TwoGraphs, Gated])
def test_search_falls_back_where_a_fixed_structure_is_wrong(kind):
    graph = ml.load_graph("karate").clone()
    graph.x = features()
    torch.manual_seed(0)
    probe = Probe(kind().double(), "conv:1" if kind is TwoGraphs else "conv")
    target = Target.of(probe.check(graph), None)
    problem = feature_problem(probe, graph, target, 3 * features()[None] + 1, None, reduce=False)
    assert not problem.probe.module.cached
    x = problem.start.clone().requires_grad_()
    loss = (probe.model(x[0], graph.edge_index) - target.activation).square().sum() / target.activation.square().sum()
    evaluation = problem.evaluate(problem.start)
    torch.testing.assert_close(evaluation.loss[0], loss)
    torch.testing.assert_close(evaluation.gradient, torch.autograd.grad(loss, x)[0])


@pytest.mark.parametrize("aggr", ["mean", "sum"])
def test_edges_between_nodes_of_two_kinds_are_no_square_matrix(aggr):
    conv = fix_structure(SAGEConv((3, 3), 2, aggr=aggr))
    senders, receivers, edges = torch.randn(2, 3), torch.randn(4, 3), torch.tensor([[0, 1, 0], [3, 2, 0]])
    with pytest.raises(IndexError, match="edges end at nodes up to 3, there are 2"):
        conv((senders, receivers), edges)
