"""Where the theorems of book/theory.md stop to hold: each limit that the chapter states, as a case worked by hand."""

import math

import pytest
import torch
from torch_geometric.data import Data

import metamerlib as ml
from tests.helpers.jacobians import Neighbours
from tests.helpers.metamers import WIDTH


def alone(features):
    """A graph whose node 0 has no neighbour; the pair beside it has the features' negatives."""
    own = torch.tensor(features, dtype=torch.float64)
    return Data(x=torch.stack([own, -own, 2 * own]), edge_index=torch.tensor([[1, 2], [2, 1]]))


def network(weights, biases=None, **options):
    """A GCN with the given weight matrices [d_in, d_out] and biases."""
    widths = [len(weights[0]), *(len(matrix[0]) for matrix in weights)]
    sizes = dict(in_channels=widths[0], hidden_channels=widths[1], out_channels=widths[-1], num_layers=len(weights))
    model = ml.GNN(conv="gcn", **sizes, **options).double().eval()
    for place, (layer, matrix) in enumerate(zip(model.layers, weights, strict=True)):
        layer.conv.lin.weight.data = torch.tensor(matrix).double().T.contiguous()
        layer.conv.bias.data = (
            torch.tensor(biases[place]).double() if biases else torch.zeros(widths[place + 1]).double()
        )
    return model


def minimum_of_gelu():
    """Where the slope of GELU is zero, by bisection: Phi(z) + z phi(z) = 0."""
    low, high = -1.0, -0.5
    for _ in range(100):
        z = (low + high) / 2
        slope = 0.5 * (1 + math.erf(z / math.sqrt(2))) + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        low, high = (z, high) if slope < 0 else (low, z)
    return z


def test_theorem_6_counts_directions_only_where_the_rank_is_locally_constant():
    z = minimum_of_gelu()
    graph = alone([z, z])
    model = network([[[1.0, 0.0], [0.0, 1.0]], [[1.0], [1.0]]], act="gelu")
    x = graph.x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x, graph.edge_index)[0, 0], x)
    assert slope.abs().max() < 1e-12  # J = 0, so that n_v F - rank J = 2
    here = model(graph.x, graph.edge_index)[0, 0]
    for radius in (1e-3, 1e-2, 0.1):
        for angle in torch.linspace(0, 2 * math.pi, 33):
            near = graph.x.clone()
            near[0] += radius * torch.stack([angle.cos(), angle.sin()]).double()
            rise = model(near, graph.edge_index)[0, 0] - here
            assert rise > 0.1 * radius**2  # and yet no other features near these keep the activation


@pytest.mark.parametrize(("inactive", "jump"), [([0.0, -1.0], 1), ([-1.0, 0.0], 0)])
def test_the_dimension_jumps_by_the_inactive_rows_that_are_independent_of_the_active_ones(inactive, jump):
    # Two active units with one and the same row, so that the rows of J_z are dependent either way.
    rows = [[1.0, 0.0], [1.0, 0.0], inactive]
    weight = [[row[feature] for row in rows] for feature in range(2)]
    graph = alone([1.0, 1.0])
    dimension = {}
    for act in ("elu", "relu"):
        model = network([weight, [[1.0], [1.0], [1.0]]], act=act)
        dimension[act] = int(ml.metamer_dimension(model, graph, layer=1, nodes=[0])["dimension"].iloc[0])
    assert dimension["relu"] == 1 and dimension["relu"] - dimension["elu"] == jump


@pytest.mark.parametrize(("act", "power"), [("tanh", 2), ("relu", 1)])
def test_a_tangent_step_leaves_by_its_square_only_where_the_jacobian_is_lipschitz(act, power):
    # h = act(x_1 - 1) + x_2; the tangent direction at a point on the flat side of the kink is that of x_1.
    graph = alone([0.0, 3.0])
    model = network([[[1.0, 0.0], [0.0, 1.0]], [[1.0], [1.0]]], [[-1.0, 0.0], [0.0]], act=act)
    target = model(graph.x, graph.edge_index)[0, 0]
    x = graph.x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x, graph.edge_index)[0, 0], x)
    direction = torch.stack([-slope[0, 1], slope[0, 0]]) / slope[0].norm()

    def away(step):
        moved = graph.x.clone()
        moved[0] -= step * direction
        return (model(moved, graph.edge_index)[0, 0] - target).abs().item()

    if power == 2:
        assert away(1e-3) / away(5e-4) == pytest.approx(4, rel=0.01)
    else:
        assert away(0.5) == away(1.0) == 0 and away(1.25) == pytest.approx(0.25) and away(1.5) == pytest.approx(0.5)


def test_a_node_need_not_lie_in_its_own_receptive_field():
    graph = ml.load_graph("karate")
    graph.x = torch.randn(34, WIDTH, generator=torch.Generator().manual_seed(0))
    model = Neighbours()
    degree = int((graph.edge_index[0] == 0).sum())
    row = ml.metamer_dimension(model, graph, layer="conv", nodes=[0]).iloc[0]
    assert row["receptive_field"] == degree  # and not one more
    x = graph.x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x, graph.edge_index)[0].sum(), x)
    assert not slope[0].any()
